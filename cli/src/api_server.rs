//! Which cluster commands speak to: kubectl's choice, and where there is none K3s's own file.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Failure;

/// Which cluster. Flatten this into a command's arguments.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ApiServer {
    /// The kubeconfig; by default $KUBECONFIG, ~/.kube/config, the pod's own, or K3s's
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of it; by default the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl ApiServer {
    /// Whether somebody said which one.
    pub(crate) fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Does a command's work with a client, on a runtime of its own.
    pub(crate) fn ask<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T, Failure>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { work(self.connect().await?).await })
    }

    /// A client; nothing is asked yet.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        // kube asks for the process's provider; where somebody has set it already it is the same
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Client::try_from(self.config().await?)?)
    }

    async fn config(&self) -> Result<Config, Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let k3s = Path::new(K3S);
        if let Some(file) = &self.kubeconfig {
            return from(file, &options).await;
        }
        match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            Err(error) if self.context.is_some() => {
                Err(Failure::new(format!("context {}: {error}", options.context.unwrap_or_default())))
            }
            Err(error) => match Config::incluster() {
                Ok(config) => Ok(config),
                Err(_) if k3s.exists() => from(k3s, &options).await,
                Err(_) => Err(Failure::new(format!(
                    "no cluster is known: {error}; set KUBECONFIG or use --kubeconfig (K3s writes {K3S}, which root may read)"
                ))),
            },
        }
    }
}

async fn from(file: &Path, options: &KubeConfigOptions) -> Result<Config, Failure> {
    let shown = file.display();
    let read = Kubeconfig::read_from(file)
        .map_err(|error| Failure::new(format!("cannot read kubeconfig {shown}: {error}")))?;
    let config = Config::from_custom_kubeconfig(read, options).await;
    config.map_err(|error| Failure::new(format!("kubeconfig {shown}: {error}")))
}

const K3S: &str = "/etc/rancher/k3s/k3s.yaml";
