//! What a proxy is told about itself: in a policy, what is not understood denies.

use ipnet::IpNet;

use super::{Invalid, field, target};
use crate::grpc;
use crate::model::{DefaultPolicy, HttpProbe, PortPolicy, TrustBundle, Workload};

impl TryFrom<grpc::Port> for PortPolicy {
    type Error = Invalid;

    fn try_from(value: grpc::Port) -> Result<PortPolicy, Invalid> {
        Ok(PortPolicy { protocol: target::protocol(value.protocol, "protocol")?, policy: policy(value.policy) })
    }
}

impl From<PortPolicy> for grpc::Port {
    fn from(value: PortPolicy) -> grpc::Port {
        grpc::Port {
            protocol: grpc::Protocol::from(value.protocol).into(),
            policy: grpc::DefaultPolicy::from(value.policy).into(),
        }
    }
}

impl From<DefaultPolicy> for grpc::DefaultPolicy {
    fn from(value: DefaultPolicy) -> grpc::DefaultPolicy {
        match value {
            DefaultPolicy::AllAuthenticated => grpc::DefaultPolicy::AllAuthenticated,
            DefaultPolicy::AllUnauthenticated => grpc::DefaultPolicy::AllUnauthenticated,
            DefaultPolicy::Audit => grpc::DefaultPolicy::Audit,
            DefaultPolicy::ClusterAuthenticated => grpc::DefaultPolicy::ClusterAuthenticated,
            DefaultPolicy::ClusterUnauthenticated => grpc::DefaultPolicy::ClusterUnauthenticated,
            DefaultPolicy::Deny => grpc::DefaultPolicy::Deny,
        }
    }
}

impl TryFrom<grpc::Workload> for Workload {
    type Error = Invalid;

    fn try_from(value: grpc::Workload) -> Result<Workload, Invalid> {
        field::bounded(value.cluster_networks.len(), "cluster_networks", field::NETWORKS)?;
        let networks = value.cluster_networks.into_iter().enumerate();
        let networks = networks.map(|(at, cidr)| network(&cidr).map_err(|e| e.under_item("cluster_networks", at)));
        Ok(Workload {
            workload: field::convert(value.workload, "workload")?,
            draining: value.draining,
            cluster_networks: networks.collect::<Result<_, _>>()?,
            // hints: what cannot be read names nobody, and lets nobody in
            node_ips: value.node_ips.iter().filter_map(|ip| field::ip(ip, "").ok()).take(field::NODE_IPS).collect(),
            probes: value.probes.into_iter().filter_map(|probe| probe.try_into().ok()).take(field::PROBES).collect(),
            grpc_probes: {
                let ports = value.grpc_probes.into_iter().filter_map(|port| field::port(port, "").ok());
                ports.take(field::PROBES).collect()
            },
        })
    }
}

impl From<&Workload> for grpc::Workload {
    fn from(value: &Workload) -> grpc::Workload {
        let cidr = |network: &IpNet| grpc::Cidr {
            ip: field::ip_bytes(network.network()),
            prefix_length: u32::from(network.prefix_len()),
        };
        grpc::Workload {
            workload: Some((&value.workload).into()),
            draining: value.draining,
            cluster_networks: value.cluster_networks.iter().map(cidr).collect(),
            node_ips: value.node_ips.iter().map(|ip| field::ip_bytes(*ip)).collect(),
            probes: value.probes.iter().map(Into::into).collect(),
            grpc_probes: value.grpc_probes.iter().map(|port| u32::from(*port)).collect(),
        }
    }
}

impl TryFrom<grpc::HttpProbe> for HttpProbe {
    type Error = Invalid;

    fn try_from(value: grpc::HttpProbe) -> Result<HttpProbe, Invalid> {
        let path = field::text(value.path, "path", field::VALUE_BYTES)?;
        if !path.starts_with('/') || path.contains('?') {
            return Err(Invalid::new("path", "does not begin with /, or has a query"));
        }
        let query = field::text(value.query, "query", field::VALUE_BYTES)?;
        Ok(HttpProbe { port: field::port(value.port, "port")?, path, query })
    }
}

impl From<&HttpProbe> for grpc::HttpProbe {
    fn from(value: &HttpProbe) -> grpc::HttpProbe {
        let text = |text: &str| text.to_owned();
        grpc::HttpProbe { port: u32::from(value.port), path: text(&value.path), query: text(&value.query) }
    }
}

impl TryFrom<grpc::TrustBundle> for TrustBundle {
    type Error = Invalid;

    fn try_from(value: grpc::TrustBundle) -> Result<TrustBundle, Invalid> {
        let roots = field::certificates(value.roots, "roots")?;
        Ok(TrustBundle {
            trust_domain: field::name(value.trust_domain, "trust_domain")?.as_ref().to_owned(),
            // a hint: what names none of them says nothing
            issuing: (value.issuing as usize).checked_sub(1).filter(|place| *place < roots.len()),
            roots,
        })
    }
}

impl From<&TrustBundle> for grpc::TrustBundle {
    fn from(value: &TrustBundle) -> grpc::TrustBundle {
        grpc::TrustBundle {
            trust_domain: value.trust_domain.clone(),
            roots: value.roots.iter().map(|root| root.clone().into()).collect(),
            issuing: value.issuing.map_or(0, |place| u32::try_from(place + 1).unwrap_or_default()),
        }
    }
}

fn policy(value: i32) -> DefaultPolicy {
    match grpc::DefaultPolicy::try_from(value) {
        Ok(grpc::DefaultPolicy::AllAuthenticated) => DefaultPolicy::AllAuthenticated,
        Ok(grpc::DefaultPolicy::AllUnauthenticated) => DefaultPolicy::AllUnauthenticated,
        Ok(grpc::DefaultPolicy::Audit) => DefaultPolicy::Audit,
        Ok(grpc::DefaultPolicy::ClusterAuthenticated) => DefaultPolicy::ClusterAuthenticated,
        Ok(grpc::DefaultPolicy::ClusterUnauthenticated) => DefaultPolicy::ClusterUnauthenticated,
        Ok(grpc::DefaultPolicy::Deny | grpc::DefaultPolicy::Unspecified) | Err(_) => DefaultPolicy::Deny,
    }
}

/// Bits beyond the prefix are cut off.
fn network(value: &grpc::Cidr) -> Result<IpNet, Invalid> {
    let invalid = || Invalid::new("prefix_length", "longer than the address");
    let length = u8::try_from(value.prefix_length).map_err(|_| invalid())?;
    Ok(IpNet::new(field::ip(&value.ip, "ip")?, length).map_err(|_| invalid())?.trunc())
}
