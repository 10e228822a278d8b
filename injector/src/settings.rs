//! What every sidecar of an installation has in common. The chart gives it to the injector; `minimesh inject --manual` takes it
//! from the command line.

/// Image, addresses and defaults of the containers that are added.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Settings {
    /// Image of what is added to pods
    #[arg(long, value_name = "IMAGE", env = "MINIMESH_SIDECAR_IMAGE", default_value = concat!("minimesh:", env!("CARGO_PKG_VERSION")))]
    pub sidecar_image: String,

    /// When that image is pulled
    #[arg(long, value_name = "POLICY", env = "MINIMESH_SIDECAR_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_image_pull_policy: String,

    /// Namespace of the mesh's own parts
    #[arg(long, value_name = "NAMESPACE", env = "MINIMESH_NAMESPACE", default_value = "minimesh")]
    pub mesh_namespace: String,

    /// Trust domain of every identity
    #[arg(long, value_name = "NAME", env = "MINIMESH_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,

    /// Networks of pods and Services, comma-separated
    #[arg(long, value_name = "CIDR,…", env = "MINIMESH_CLUSTER_NETWORKS", default_value = "10.42.0.0/16,10.43.0.0/16")]
    pub cluster_networks: String,

    /// Level of the sidecars' logs
    #[arg(long, value_name = "LEVEL", env = "MINIMESH_SIDECAR_LOG_LEVEL", default_value = "info")]
    pub sidecar_log_level: String,

    /// Form of the sidecars' logs
    #[arg(long, value_name = "FORMAT", env = "MINIMESH_SIDECAR_LOG_FORMAT", default_value = "plain", value_parser = ["plain", "json"])]
    pub sidecar_log_format: String,

    /// CPU that the scheduler sets aside for a sidecar
    #[arg(long, value_name = "QUANTITY", env = "MINIMESH_SIDECAR_CPU_REQUEST", default_value = "10m", value_parser = quantity)]
    pub sidecar_cpu_request: String,

    /// Memory that the scheduler sets aside for a sidecar
    #[arg(long, value_name = "QUANTITY", env = "MINIMESH_SIDECAR_MEMORY_REQUEST", default_value = "16Mi", value_parser = quantity)]
    pub sidecar_memory_request: String,

    /// Memory beyond which a sidecar is ended
    #[arg(long, value_name = "QUANTITY", env = "MINIMESH_SIDECAR_MEMORY_LIMIT", default_value = "128Mi", value_parser = quantity)]
    pub sidecar_memory_limit: String,
}

impl Settings {
    /// Where the control plane is.
    pub(crate) fn control_plane(&self) -> String {
        format!("minimesh-control-plane.{}.svc:8086", self.mesh_namespace)
    }

    /// Who it is.
    pub(crate) fn control_plane_identity(&self) -> String {
        format!("spiffe://{}/ns/{}/sa/minimesh-control-plane", self.trust_domain, self.mesh_namespace)
    }

    #[cfg(test)]
    pub(crate) fn example() -> Settings {
        Settings {
            sidecar_image: "minimesh:1.2.3".into(),
            sidecar_image_pull_policy: "IfNotPresent".into(),
            mesh_namespace: "minimesh".into(),
            trust_domain: "cluster.local".into(),
            cluster_networks: "10.42.0.0/16,10.43.0.0/16".into(),
            sidecar_log_level: "info".into(),
            sidecar_log_format: "plain".into(),
            sidecar_cpu_request: "10m".into(),
            sidecar_memory_request: "16Mi".into(),
            sidecar_memory_limit: "128Mi".into(),
        }
    }
}

/// Checked here: the API server would refuse every pod.
fn quantity(text: &str) -> Result<String, String> {
    let form = minimesh_api::annotations::Form::Quantity;
    if form.accepts(text) { Ok(text.to_owned()) } else { Err(format!("is not {}", form.description())) }
}
