//! Who may connect. The only place that makes a `Permit`, and nothing is forwarded to the application without one.

use std::net::IpAddr;
use std::rc::Rc;

use minimesh_api::model::DefaultPolicy;

use super::peer::Peer;
use super::port::Port;
use crate::metrics::Refusal;
use crate::worker::Worker;

/// Proof that a connection was authorised. It can be taken back: ask `holds` again as long as bytes are copied, `request`
/// before each request.
pub(crate) struct Permit {
    peer: Peer,
    address: IpAddr,
    port: Rc<Port>,
}

/// How a request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// As the policy says.
    Allowed,
    /// By `audit`, where `deny` would have refused it.
    Audited,
    /// As one that the pod's own spec has the node make, whatever the policy says.
    Probe,
}

/// Decides about a connection of `peer` from `address`.
pub(super) fn connection(worker: &Worker, port: &Rc<Port>, address: IpAddr, peer: &Peer) -> Result<Permit, Refusal> {
    let permit = Permit { peer: peer.clone(), address, port: Rc::clone(port) };
    if permit.decide(worker)? == Admission::Audited {
        port.note_audited(peer, address);
    }
    Ok(permit)
}

/// For HTTP of somebody whom the policy does not let in: the node may ask what the pod's spec has it ask, and nothing else.
pub(super) fn probes(worker: &Worker, port: &Rc<Port>, address: IpAddr, peer: &Peer) -> Option<Permit> {
    let permit = Permit { peer: peer.clone(), address, port: Rc::clone(port) };
    permit.may_probe(worker).then_some(permit)
}

/// Whether plaintext from `address` would be let in.
pub(super) fn allows_plaintext(worker: &Worker, port: &Port, address: IpAddr) -> bool {
    decide(port.policy(worker), false, || worker.in_cluster(address.to_canonical())).is_ok()
}

impl Permit {
    /// Who the peer is.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Where it may go.
    pub(super) fn port(&self) -> &Rc<Port> {
        &self.port
    }

    /// Whether the policy in force still lets the peer in.
    pub(super) fn holds(&self, worker: &Worker) -> bool {
        self.decide(worker).is_ok()
    }

    /// Whether it holds by `audit` alone.
    pub(super) fn is_audited(&self, worker: &Worker) -> bool {
        self.decide(worker) == Ok(Admission::Audited)
    }

    /// Whether any request of the peer would be let in.
    pub(super) fn holds_for_requests(&self, worker: &Worker) -> bool {
        self.holds(worker) || self.may_probe(worker)
    }

    /// Decides about one request.
    pub(super) fn request(
        &self,
        worker: &Worker,
        method: &str,
        (path, query): (&[u8], Option<&[u8]>),
    ) -> Result<Admission, Refusal> {
        let port = self.port.address.port();
        let is_probe = || self.peer == Peer::Node && worker.is_probe(port, method, path, query.unwrap_or_default());
        match self.decide(worker) {
            Ok(Admission::Allowed) => Ok(Admission::Allowed),
            Ok(_) | Err(_) if is_probe() => Ok(Admission::Probe),
            decided => decided,
        }
    }

    fn may_probe(&self, worker: &Worker) -> bool {
        self.peer == Peer::Node && worker.is_probed(self.port.address.port())
    }

    fn decide(&self, worker: &Worker) -> Result<Admission, Refusal> {
        let in_cluster = || worker.in_cluster(self.address.to_canonical());
        decide(self.port.policy(worker), self.peer.identity().is_some(), in_cluster)
    }
}

fn decide(policy: DefaultPolicy, authenticated: bool, in_cluster: impl Fn() -> bool) -> Result<Admission, Refusal> {
    match policy {
        DefaultPolicy::AllAuthenticated | DefaultPolicy::ClusterAuthenticated if !authenticated => {
            Err(Refusal::Plaintext)
        }
        DefaultPolicy::ClusterAuthenticated | DefaultPolicy::ClusterUnauthenticated if !in_cluster() => {
            Err(Refusal::OutsideCluster)
        }
        DefaultPolicy::Audit => Ok(Admission::Audited),
        DefaultPolicy::Deny => Err(Refusal::PolicyDenied),
        DefaultPolicy::AllAuthenticated
        | DefaultPolicy::AllUnauthenticated
        | DefaultPolicy::ClusterAuthenticated
        | DefaultPolicy::ClusterUnauthenticated => Ok(Admission::Allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_policies() {
        use DefaultPolicy::*;
        let verdicts = |policy| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(authenticated, in_cluster)| decide(policy, authenticated, || in_cluster))
        };
        let (allowed, plaintext, outside) =
            (Ok(Admission::Allowed), Err(Refusal::Plaintext), Err(Refusal::OutsideCluster));
        assert_eq!(verdicts(AllAuthenticated), [allowed, allowed, plaintext, plaintext]);
        assert_eq!(verdicts(AllUnauthenticated), [allowed; 4]);
        assert_eq!(verdicts(Audit), [Ok(Admission::Audited); 4]);
        assert_eq!(verdicts(ClusterAuthenticated), [allowed, outside, plaintext, plaintext]);
        assert_eq!(verdicts(ClusterUnauthenticated), [allowed, outside, allowed, outside]);
        assert_eq!(verdicts(Deny), [Err(Refusal::PolicyDenied); 4]);
    }
}
