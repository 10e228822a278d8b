//! The demo from outside: the run's folder, the port on this machine, what is said while it starts, the table, the end.
//!
//! Called by the `demo` command. Everything that runs hangs on this process: its children die with it, however it dies.

use std::{
    fs, io,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use minimesh_runtime::{duration, signals};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

use super::{
    manifests::{self, Checked},
    messages::{self, Exposed, FromNode, NodeSpec, Receiver, Sender, ToNode},
};
use crate::{
    Failure,
    run_dir::{self, Base, OwnRun},
    stats::{self, LiveOptions, Output, Source, Verdict},
};

/// How to run it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after this time, and judge: the status is zero if every edge was secured and none failed
    #[arg(long, value_name = "DURATION", value_parser = at_least_a_second)]
    duration: Option<Duration>,
    /// How to show the edges
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Run the manifests of this folder instead of the shop (docs/demo.md says what they need)
    #[arg(short, long, value_name = "DIR")]
    file: Option<PathBuf>,
    /// Port on 127.0.0.1 for the shop's page; the next free one if it is taken
    #[arg(long, default_value_t = 8079)]
    port: u16,
    #[command(flatten)]
    base: Base,
}

/// A demo that has been started.
struct Demo {
    args: Args,
    started: Instant,
    run: OwnRun,
    exposed: Option<Exposed>,
    stage: Child,
    from: Receiver<FromNode>,
    to: Sender<ToNode>,
    interrupts: Interrupts,
    warnings: Vec<String>,
}

/// Why the showing ended.
enum End {
    Asked,
    NodeGone,
    TimeUp,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let started = Instant::now();
    let run = args.base.create()?;
    let (manifests, checked) = read_manifests(&args, &run)?;
    for note in &checked.notes {
        say(started, note);
    }
    let (listener, exposed) = bind(checked.exposed, args.port, started)?;
    // one thread: the children's parent-death signal is tied to the thread that starts them
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let interrupts = Interrupts::new()?;
        let (stage, socket) = start_stage(&run, listener)?;
        let (from, mut to) = messages::channel(socket)?;
        to.send(&ToNode::Start(NodeSpec {
            run: run.path().to_owned(),
            manifests,
            operator_socket: run.operator_socket(),
            exposed: exposed.clone(),
        }))
        .await;
        let mut demo = Demo { args, started, run, exposed, stage, from, to, interrupts, warnings: Vec::new() };
        let result = demo.show().await;
        demo.end().await;
        result
    })
}

impl Demo {
    /// From the start to the last table.
    async fn show(&mut self) -> Result<(), Failure> {
        let source = Source::at(self.run.operator_socket());
        if !self.wait_until_ready(&source).await? {
            return Err(Failure::silent(INTERRUPTED));
        }
        self.say_what_comes();
        let options = LiveOptions { output: self.args.output, header: self.header(), refresh: REFRESH, window: WINDOW };
        let quiet = self.args.output == Output::Table && io::IsTerminal::is_terminal(&io::stdout());
        let mut end = End::Asked;
        let verdict = stats::live(&source, options, async { end = self.until_the_end(quiet).await }).await;
        for warning in std::mem::take(&mut self.warnings) {
            say(self.started, &warning);
        }
        let verdict = verdict?;
        match end {
            End::NodeGone => Err(self.node_is_gone()),
            End::TimeUp => self.judge(&verdict),
            End::Asked if self.args.duration.is_some() => self.judge(&verdict),
            End::Asked => Ok(()),
        }
    }

    /// Says what is there already; true when there is something to show, false when the user does not want to wait.
    async fn wait_until_ready(&mut self, source: &Source) -> Result<bool, Failure> {
        let mut patience = Box::pin(sleep(PATIENCE));
        let mut progress = Progress::default();
        let mut control_plane = false;
        // each begins when something is there to wait for
        let (mut first_requests, mut first_reports) = (None, None);
        loop {
            tokio::select! {
                () = when(&mut first_reports) => return Ok(true),
                traffic = when(&mut first_requests) => {
                    first_requests = None;
                    say(self.started, &format!("first requests: {traffic}"));
                }
                message = self.from.next() => match message {
                    Some(FromNode::NodeReady) => say(self.started, "namespaces and network ready"),
                    Some(FromNode::ControlPlaneReady) => {
                        control_plane = true;
                        self.run.publish(self.url())?;
                        say(self.started, "control plane ready: certificate authority made");
                        first_requests = Some(Box::pin(stats::first_requests(source)));
                    }
                    Some(FromNode::Pods { ready, wanted }) => {
                        progress.say(self.started, ready, wanted);
                        if control_plane && ready == wanted {
                            first_reports.get_or_insert_with(|| Box::pin(sleep(FIRST_REPORTS)));
                        }
                    }
                    Some(FromNode::Warning(text)) => say(self.started, &text),
                    Some(FromNode::Refused(reason)) => return Err(Failure::new(reason)),
                    Some(FromNode::Stopped) | None => return Err(self.node_is_gone()),
                },
                () = self.interrupts.next() => return Ok(false),
                () = &mut patience, if control_plane => return Ok(true),
            }
        }
    }

    /// The last line before the table.
    fn say_what_comes(&self) {
        let until = match self.args.duration {
            Some(duration) => format!("for {}", duration::format(duration)),
            None => "until Ctrl-C".to_owned(),
        };
        let what = match self.args.output {
            Output::Json => "measuring",
            Output::Plain | Output::Table => "first table; it goes on",
        };
        say(self.started, &format!("{what} {until}"));
    }

    /// Listens to the node until it is time to end.
    async fn until_the_end(&mut self, quiet: bool) -> End {
        let time_up = async {
            match self.args.duration {
                Some(duration) => sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(time_up);
        loop {
            tokio::select! {
                message = self.from.next() => match message {
                    Some(FromNode::Warning(text) | FromNode::Refused(text)) => {
                        if !quiet {
                            say(self.started, &text);
                        } else if self.warnings.len() < WARNINGS {
                            self.warnings.push(text);
                        }
                    }
                    Some(FromNode::Stopped) | None => return End::NodeGone,
                    Some(_) => {}
                },
                () = self.interrupts.next() => return End::Asked,
                () = &mut time_up => return End::TimeUp,
            }
        }
    }

    /// Ends every process, within three seconds.
    async fn end(&mut self) {
        self.to.send(&ToNode::Stop).await;
        let stopped = async { while !matches!(self.from.next().await, Some(FromNode::Stopped) | None) {} };
        tokio::select! {
            _ = timeout(DRAIN, stopped) => {}
            // asked twice
            () = self.interrupts.next() => {}
        }
        // the stage's death is the death of everything in its namespaces
        let _ = self.stage.kill();
        let _ = self.stage.wait();
    }

    fn url(&self) -> Option<String> {
        self.exposed.as_ref().map(|exposed| format!("http://127.0.0.1:{}/", exposed.host_port))
    }

    fn header(&self) -> Vec<String> {
        let page =
            self.exposed.as_ref().zip(self.url()).map(|(exposed, url)| format!("{} is at {url}", exposed.service));
        let logs = format!("output of the containers: {}", self.run.path().join("pods").display());
        page.into_iter().chain([logs]).collect()
    }

    /// The table ends with the verdict in words; the document leaves them to stderr.
    fn judge(&self, verdict: &Verdict) -> Result<(), Failure> {
        match self.args.output {
            _ if verdict.passed() => Ok(()),
            Output::Json => Err(Failure::new(verdict.sentences().join("\n  "))),
            Output::Plain | Output::Table => Err(Failure::silent(1)),
        }
    }

    fn node_is_gone(&self) -> Failure {
        let log = fs::read_to_string(self.run.path().join(NODE_LOG)).unwrap_or_default();
        let last = log.trim().lines().last().map(|line| format!(": {line}")).unwrap_or_default();
        Failure::new(format!("the demo's node has ended unexpectedly{last}; start the demo again"))
    }
}

/// What a wait that has begun ends with; one that has not begun never ends.
async fn when<F: Future + Unpin>(wait: &mut Option<F>) -> F::Output {
    match wait {
        Some(wait) => wait.await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C, SIGTERM, and the end of the terminal.
struct Interrupts {
    ordinary: signals::Listener,
    hang_up: Signal,
}

impl Interrupts {
    fn new() -> io::Result<Interrupts> {
        Ok(Interrupts { ordinary: signals::Listener::new()?, hang_up: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.ordinary.next() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Pods are reported one by one; lines are not.
#[derive(Default)]
struct Progress {
    said: Option<(Instant, usize)>,
}

impl Progress {
    fn say(&mut self, started: Instant, ready: usize, wanted: usize) {
        let due = self.said.is_none_or(|(at, _)| at.elapsed() >= Duration::from_millis(900));
        if ready > 0 && (due || ready == wanted) && self.said.is_none_or(|(_, said)| said != ready) {
            self.said = Some((Instant::now(), ready));
            say(started, &format!("pods {ready}/{wanted} ready"));
        }
    }
}

/// The folder to run, read and found runnable.
fn read_manifests(args: &Args, run: &OwnRun) -> Result<(PathBuf, Checked), Failure> {
    let unreadable = |folder: &Path, error: &io::Error| {
        let folder = folder.display();
        Failure::new(format!("cannot read the manifests in {folder}: {error}; --file takes a folder (docs/demo.md)"))
    };
    let folder = match &args.file {
        Some(folder) => folder.canonicalize().map_err(|error| unreadable(folder, &error))?,
        None => {
            let folder = run.path().join("manifests");
            manifests::write_shop(&folder).map_err(|error| Failure::new(run_dir::cannot("write", &folder, &error)))?;
            folder
        }
    };
    let checked = manifests::check(&folder).map_err(|error| unreadable(&folder, &error))?;
    match checked.problems.as_slice() {
        [] => Ok((folder, checked)),
        problems => Err(Failure::new(format!("the manifests cannot be run:\n  {}", problems.join("\n  ")))),
    }
}

/// The port on this machine, before there is anything that could not be undone.
fn bind(
    exposed: Option<Exposed>,
    port: u16,
    started: Instant,
) -> Result<(Option<TcpListener>, Option<Exposed>), Failure> {
    let Some(exposed) = exposed else { return Ok((None, None)) };
    let mut last = None;
    for candidate in port..=port.saturating_add(PORTS) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)) {
            Ok(listener) => {
                let host_port = listener.local_addr()?.port();
                if candidate != port {
                    say(started, &format!("port {port} of this machine is taken; using {host_port}"));
                }
                return Ok((Some(listener), Some(Exposed { host_port, ..exposed })));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot listen on 127.0.0.1:{candidate}: {error}; choose another --port"
                )));
            }
        }
    }
    let reason = last.map(|error| error.to_string()).unwrap_or_default();
    Err(Failure::new(format!(
        "cannot listen on 127.0.0.1:{port} nor on the {PORTS} ports after it: {reason}; choose another --port"
    )))
}

/// The process that makes the namespaces. Its stdin is our socket, its stdout the listener.
fn start_stage(run: &OwnRun, listener: Option<TcpListener>) -> Result<(Child, StdStream), Failure> {
    let (ours, theirs) = StdStream::pair()?;
    let log = run.path().join(NODE_LOG);
    let log = fs::File::create(&log).map_err(|error| Failure::new(run_dir::cannot("write", &log, &error)))?;
    let stage = Command::new("/proc/self/exe")
        .args(["demo-role", "stage"])
        .stdin(OwnedFd::from(theirs))
        .stdout(listener.map_or_else(Stdio::null, |listener| OwnedFd::from(listener).into()))
        .stderr(log)
        .spawn()
        .map_err(|error| Failure::new(format!("cannot start /proc/self/exe: {error}; the demo needs /proc")))?;
    Ok((stage, ours))
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    if duration >= Duration::from_secs(1) { Ok(duration) } else { Err("must be 1s or more".to_owned()) }
}

/// A line while it starts: never on stdout, which belongs to the table or the document.
fn say(started: Instant, text: &str) {
    let seconds = started.elapsed().as_secs_f32();
    let _ = writeln!(io::stderr(), "{seconds:5.1} s  {text}");
}

/// Output of the stage and the node themselves.
const NODE_LOG: &str = "node.log";
const REFRESH: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);
/// The first table is shown by then even if a pod is not ready.
const PATIENCE: Duration = Duration::from_secs(8);
/// Proxies report every second. What failed while the pods were starting is reported before the showing and the judging begin.
const FIRST_REPORTS: Duration = Duration::from_millis(1_500);
/// Pods have 1.5 s, sidecars what is left.
const DRAIN: Duration = Duration::from_millis(2_600);
/// How many ports are tried.
const PORTS: u16 = 20;
/// Sentences that a redrawn table holds back until the end.
const WARNINGS: usize = 20;
/// As shells count an end by SIGINT.
const INTERRUPTED: u8 = 130;
