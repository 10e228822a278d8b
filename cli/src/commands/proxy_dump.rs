//! `minimesh proxy dump POD`: what one sidecar knows.

use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use crate::{Failure, api_server::ApiServer, stats::asking::print_lines};

/// What one sidecar knows.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "What one sidecar knows: its certificate, its policies, every resource that it follows\n\n\
        As JSON, from the sidecar itself, through the API server's port-forward: the port that says this is on the pod's loopback and \
        nowhere else. Written as two words, `minimesh proxy dump POD`.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    cluster: ApiServer,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.cluster.ask(async |client| self.dump(client).await)
    }

    async fn dump(&self, client: Client) -> Result<(), Failure> {
        let Args { pod, namespace, .. } = self;
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let failed = |why: String| Failure::new(format!("pod {namespace}/{pod}: {why}"));
        let mut forwarder = pods.portforward(pod, &[PORT]).await.map_err(|error| failed(error.to_string()))?;
        let stream =
            forwarder.take_stream(PORT).ok_or_else(|| failed("the API server forwards no stream".to_owned()))?;
        let unanswered = |error: hyper::Error| {
            failed(format!("its sidecar does not answer ({error}); has it one? `minimesh check --proxy`"))
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
        let request = Request::get("/dump").header(HOST, "localhost").body(Empty::<bytes::Bytes>::new())?;
        let answer = async {
            let response = sender.send_request(request).await?;
            Ok::<_, hyper::Error>((response.status(), response.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = tokio::select! {
            answer = answer => answer.map_err(unanswered)?,
            ended = connection => {
                ended.map_err(unanswered)?;
                return Err(failed("its sidecar closed the connection without an answer".to_owned()));
            }
        };
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            return Err(failed(format!("its sidecar answered {status}: {}", text.trim())));
        }
        print_lines(&[text.trim_end().to_owned()])
    }
}

/// Of the sidecar, on the pod's loopback.
const PORT: u16 = 4192;

/// In the list of commands.
pub(super) const ABOUT: &str = "What one sidecar knows (written as two words: proxy dump)";

const EXAMPLES: &str = "Examples:
  # everything
  minimesh proxy dump front-end-7d5c-x2x4v -n sock-shop

  # whose certificate it has, and how long
  minimesh proxy dump front-end-7d5c-x2x4v -n sock-shop | jq .credentials";
