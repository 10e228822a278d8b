//! Interception in a real kernel: two network namespaces of this test's own, a veth pair between them, real connections.
//!
//! `harness = false`: a user namespace is entered by a single-threaded process only, and libtest has threads. Run without
//! arguments it is the pod; run as `peer` it is the other end.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use clap::Parser;
use minimesh_proxy::redirect;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkUnspec, LinkVeth};
use socket2::{Domain, SockRef, Socket, Type};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let result = if std::env::args().any(|argument| argument == "peer") { peer() } else { pod() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redirect: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The pod whose traffic is intercepted: 10.77.0.1, and 10.78.0.1 towards a skipped subnet.
fn pod() -> Outcome {
    match enter_namespaces(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM | Errno::EACCES | Errno::ENOSPC) => {
            println!("redirect: skipped, user namespaces are not allowed here");
            return Ok(());
        }
        other => other?,
    }
    let mut peer = Peer::start()?;
    configure("veth0", &["10.77.0.1", "10.78.0.1"], Some(peer.child.id()))?;
    peer.tell("configure")?;
    serve("127.0.0.1:4140", "outbound");
    serve("0.0.0.0:4143", "inbound");
    for port in [8080, 9001, 4191] {
        serve(&format!("0.0.0.0:{port}"), "application");
    }

    println!("without interception");
    check("out", &fetch("10.77.0.2:80", None), "peer");
    let program =
        "--exempt-mark 2102 --skip-outbound-ports 79,81-82 --skip-subnets 10.78.0.0/16 --skip-inbound-ports 9001";
    for round in ["programmed", "programmed again"] {
        run(program)?;
        println!("{round}");
        intercepted(&mut peer)?;
    }
    run("--print")?;
    run("--remove")?;
    println!("removed");
    check("out", &fetch("10.77.0.2:80", None), "peer");
    check("in", &peer.tell("10.77.0.1:8080")?, "application");
    println!("ok");
    Ok(())
}

fn intercepted(peer: &mut Peer) -> Outcome {
    check("out", &fetch("10.77.0.2:80", None), "outbound 10.77.0.2:80");
    check("out, the proxy's mark", &fetch("10.77.0.2:80", Some(2102)), "peer");
    check("out, a skipped port", &fetch("10.77.0.2:82", None), "peer");
    check("out, a skipped subnet", &fetch("10.78.0.2:80", None), "peer");
    check("to itself over loopback", &fetch("127.0.0.1:8080", None), "application");
    check("to its own address", &fetch("10.77.0.1:8080", None), "application");
    check("in", &peer.tell("10.77.0.1:8080")?, "inbound 10.77.0.1:8080");
    check("in, a skipped port", &peer.tell("10.77.0.1:9001")?, "application");
    check("in, the admin port", &peer.tell("10.77.0.1:4191")?, "application");
    // not redirected, and the original destination says so: the loop guard's case
    check("in, our own inbound port", &peer.tell("10.77.0.1:4143")?, "inbound 10.77.0.1:4143");
    Ok(())
}

fn check(what: &str, found: &str, expected: &str) {
    assert_eq!(found, expected, "{what}");
    println!("  {what}: {found}");
}

#[derive(Parser)]
struct Redirect {
    #[command(flatten)]
    args: redirect::Args,
}

fn run(line: &str) -> Outcome {
    let words = std::iter::once("redirect").chain(line.split_whitespace());
    Ok(redirect::run(Redirect::try_parse_from(words)?.args)?)
}

/// The far end as the pod sees it.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start() -> Outcome<Peer> {
        let mut child =
            Command::new("/proc/self/exe").arg("peer").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no stdin")?;
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut peer = Peer { child, input, output };
        peer.answer()?;
        Ok(peer)
    }

    fn tell(&mut self, line: &str) -> Outcome<String> {
        writeln!(self.input, "{line}")?;
        self.answer()
    }

    fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The far end itself: 10.77.0.2 and 10.78.0.2; connects where it is told to.
fn peer() -> Outcome {
    unshare(CloneFlags::CLONE_NEWNET)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "configure" => {
                configure("veth1", &["10.77.0.2", "10.78.0.2"], None)?;
                for port in [80, 82] {
                    serve(&format!("0.0.0.0:{port}"), "peer");
                }
                println!("configured");
            }
            address => println!("{}", fetch(address, None)),
        }
    }
    Ok(())
}

/// What the server at `address` says.
fn fetch(address: &str, mark: Option<u32>) -> String {
    let connect = || -> Outcome<String> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.connect_timeout(&address.parse::<SocketAddr>()?.into(), Duration::from_secs(5))?;
        let mut text = String::new();
        TcpStream::from(socket).read_to_string(&mut text)?;
        Ok(text)
    };
    connect().unwrap_or_else(|error| error.to_string())
}

/// Says its name, and the original destination where the name is one of a proxy's listeners.
fn serve(address: &str, name: &'static str) {
    let listener = TcpListener::bind(address).expect("a free port in a namespace of our own");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let text = match SockRef::from(&connection).original_dst_v4() {
                Ok(address) if name.ends_with("bound") => {
                    format!("{name} {}", address.as_socket().expect("an IPv4 address"))
                }
                Err(_) if name.ends_with("bound") => format!("{name} not redirected"),
                _ => name.to_owned(),
            };
            let _ = connection.write_all(text.as_bytes());
        }
    });
}

fn enter_namespaces(flags: CloneFlags) -> Result<(), Errno> {
    let uid = nix::unistd::getuid();
    let gid = nix::unistd::getgid();
    unshare(flags)?;
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|_| Errno::EPERM);
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Brings loopback and a veth up; makes the pair first and gives `veth1` to `peer` where there is one.
fn configure(name: &str, addresses: &[&str], peer: Option<u32>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        if let Some(peer) = peer {
            handle.link().add(LinkVeth::new("veth0", "veth1").build()).execute().await?;
            let far = LinkUnspec::new_with_index(if_nametoindex("veth1")?).setns_by_pid(peer).build();
            handle.link().set(far).execute().await?;
        }
        for link in ["lo", name] {
            let index = if_nametoindex(link)?;
            handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        }
        for address in addresses {
            let address: IpAddr = address.parse()?;
            handle.address().add(if_nametoindex(name)?, address, 24).execute().await?;
        }
        Ok(())
    })
}
