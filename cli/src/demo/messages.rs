//! What the demo's processes tell each other: one JSON value per line over a Unix socket pair that is the child's stdin.
//!
//! Supervisor and node (`demo-role init`) use it, and the node and each pod (`demo-role pod`). The socket is also the
//! lifeline: its end means that the other side is gone, whatever became of signals.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What the supervisor tells the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToNode {
    /// First message.
    Start(NodeSpec),
    /// End everything, within about two seconds.
    Stop,
}

/// What the node is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeSpec {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// The user's manifests.
    pub(crate) manifests: PathBuf,
    /// Where the control plane listens for `stat` and `edges`.
    pub(crate) operator_socket: PathBuf,
    /// The Service that the host's port leads to.
    pub(crate) exposed: Option<Exposed>,
}

/// A Service that the host's port leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exposed {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// The port on this machine.
    pub(crate) host_port: u16,
}

/// What the node tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromNode {
    /// Cannot go on; a sentence for the user.
    Refused(String),
    /// Namespaces and the node's network are there.
    NodeReady,
    /// The control plane serves, so the certificate authority exists.
    ControlPlaneReady,
    /// How many of the pods that there should be are ready.
    Pods { ready: usize, wanted: usize },
    /// A sentence for the user; nothing ends.
    Warning(String),
    /// Every pod is gone.
    Stopped,
}

/// What the node tells a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToPod {
    /// First message.
    Start(Box<PodPlan>),
    /// End within this many milliseconds: containers first, the sidecar last.
    Stop { grace_ms: u64 },
}

/// A pod as its own process sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodPlan {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    /// Folder for the pod's own files: token, resolv.conf, logs.
    pub(crate) folder: PathBuf,
    /// The sidecar, for a meshed pod.
    pub(crate) sidecar: Option<SidecarPlan>,
    /// Run one after the other, each to its end, before the containers.
    pub(crate) init_containers: Vec<ContainerPlan>,
    pub(crate) containers: Vec<ContainerPlan>,
}

/// The sidecar of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SidecarPlan {
    /// Arguments after `minimesh`.
    pub(crate) redirect: Vec<String>,
    /// Arguments after `minimesh`.
    pub(crate) proxy: Vec<String>,
    /// The file that must exist first.
    pub(crate) trust_bundle: PathBuf,
}

/// A process to be kept running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerPlan {
    pub(crate) name: String,
    /// Program and arguments; `minimesh` is this program.
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) working_dir: Option<PathBuf>,
    /// Gets the host's listener as its stdin.
    pub(crate) takes_listener: bool,
}

/// What a pod tells the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromPod {
    /// The sandbox cannot be made, or interception cannot be programmed; a sentence.
    Failed(String),
    /// The sidecar answers `/ready`.
    SidecarReady,
    /// A container or the sidecar runs.
    Started { container: String },
    /// A container or the sidecar ended; it is started again after the delay unless the pod is ending.
    Ended { container: String, how: String, again_in_ms: Option<u64> },
}

/// The receiving end.
pub(crate) struct Receiver<T> {
    lines: Lines<BufReader<OwnedReadHalf>>,
    message: std::marker::PhantomData<T>,
}

/// The sending end.
pub(crate) struct Sender<T> {
    socket: OwnedWriteHalf,
    message: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next message; `None` when the other side is gone. A line that is none of ours counts as its end.
    pub(crate) async fn next(&mut self) -> Option<T> {
        let line = self.lines.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }
}

impl<T: Serialize> Sender<T> {
    /// Tells the other side, if it is still there: its absence is noticed by whoever reads.
    pub(crate) async fn send(&mut self, message: &T) {
        let mut line = serde_json::to_vec(message).expect("our messages have no maps with other keys than strings");
        line.push(b'\n');
        let _ = self.socket.write_all(&line).await;
    }
}

/// Both ends over a connected socket.
pub(crate) fn channel<In, Out>(socket: StdStream) -> io::Result<(Receiver<In>, Sender<Out>)> {
    socket.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(socket)?.into_split();
    let receiver = Receiver { lines: BufReader::new(read).lines(), message: std::marker::PhantomData };
    Ok((receiver, Sender { socket: write, message: std::marker::PhantomData }))
}

/// The socket that this process got as its stdin.
pub(crate) fn inherited() -> io::Result<StdStream> {
    let own: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(StdStream::from(own))
}
