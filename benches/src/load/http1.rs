//! HTTP/1.1 load: one thread, epoll, and a clock of nanoseconds.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::time::TimeSpec;

use super::response::{Answer, REQUEST};
use super::watch::Watch;
use super::{Failure, Latency, Outcome, Plan, Window};

/// So many connections, at a rate, or each asking as soon as it has its answer.
pub(super) fn run(plan: &Plan, connections: usize, rate: Option<f64>) -> Result<Outcome, Failure> {
    // sleeps end when they should: by default the kernel adds up to 50 microseconds
    prctl::set_timerslack(1)?;
    let poll = Poll::new()?;
    let connections = (0..connections).map(|index| Connection::open(plan.address, poll.registry(), index));
    let connections = connections.collect::<io::Result<Vec<_>>>()?;
    let window = Window::of(plan);
    let watch = Watch::start(window, plan.watched.clone());
    let mut driver = Driver {
        address: plan.address,
        poll,
        idle: (0..connections.len()).map(|index| (index, Instant::now())).collect(),
        connections,
        pace: rate.map(|rate| Pace { begin: Instant::now(), rate, next: 0 }),
        queue: VecDeque::new(),
        window,
        completed: watch.counter(),
        latencies: Vec::new(),
        lags: Vec::new(),
        errors: 0,
    };
    let unanswered = driver.run()?;
    let latency = Some(Latency::of(driver.latencies, driver.lags, unanswered));
    Ok(Outcome { errors: driver.errors, latency, ..watch.finish() })
}

struct Connection {
    stream: TcpStream,
    answer: Answer,
    /// When the request that it waits for was due.
    due: Option<Instant>,
}

impl Connection {
    /// Connects, and asks once, blocking.
    fn open(address: SocketAddr, registry: &Registry, index: usize) -> io::Result<Connection> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = Answer::new();
        stream.write_all(REQUEST)?;
        if !answer.read(&mut stream)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, Token(index), Interest::READABLE)?;
        Ok(Connection { stream, answer, due: None })
    }
}

/// Requests at fixed times.
struct Pace {
    begin: Instant,
    rate: f64,
    next: u64,
}

impl Pace {
    fn due(&self) -> Instant {
        self.begin + Duration::from_secs_f64(self.next as f64 / self.rate)
    }
}

struct Driver {
    address: SocketAddr,
    poll: Poll,
    connections: Vec<Connection>,
    /// Connections that wait for nothing, and since when.
    idle: VecDeque<(usize, Instant)>,
    /// None: whenever a connection is idle.
    pace: Option<Pace>,
    /// When requests were due that no connection was free for.
    queue: VecDeque<Instant>,
    window: Window,
    completed: Arc<AtomicU64>,
    latencies: Vec<u64>,
    lags: Vec<u64>,
    errors: u64,
}

impl Driver {
    /// Until the window is over and its answers are there; says how many are not.
    fn run(&mut self) -> Result<usize, Failure> {
        let mut events = Events::with_capacity(64);
        loop {
            let now = Instant::now();
            if now >= self.window.end && (self.is_quiet() || now >= self.window.end + GRACE) {
                break;
            }
            self.fall_due(now);
            self.send();
            self.wait(&mut events)?;
            for event in &events {
                self.receive(event.token().0);
            }
        }
        Ok(self.give_up())
    }

    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.idle.len() == self.connections.len()
    }

    /// Puts into the queue what is due by now.
    fn fall_due(&mut self, now: Instant) {
        match &mut self.pace {
            None if now < self.window.end => self.queue.resize(self.idle.len(), now),
            None => {}
            Some(pace) => {
                let until = now.min(self.window.end);
                while pace.due() < until {
                    self.queue.push_back(pace.due());
                    pace.next += 1;
                }
            }
        }
    }

    /// Sends what is due, oldest first, on whichever connection has rested longest.
    fn send(&mut self) {
        while let (Some(&due), Some(&(index, since))) = (self.queue.front(), self.idle.front()) {
            self.queue.pop_front();
            self.idle.pop_front();
            let now = Instant::now();
            if self.window.contains(due) {
                self.lags.push(now.saturating_duration_since(due.max(since)).as_nanos() as u64);
            }
            let connection = &mut self.connections[index];
            connection.due = Some(due);
            if connection.stream.write_all(REQUEST).is_err() {
                self.replace(index);
            }
        }
    }

    /// Until something has come, or something is due.
    fn wait(&mut self, events: &mut Events) -> Result<(), Failure> {
        let mut rest = IDLE;
        if let Some(pace) = self.pace.as_ref().filter(|pace| pace.due() < self.window.end) {
            rest = pace.due().saturating_duration_since(Instant::now());
            // epoll knows milliseconds
            let mut ready = [PollFd::new(self.poll.registry().as_fd(), PollFlags::POLLIN)];
            ppoll(&mut ready, Some(TimeSpec::from_duration(rest)), None)?;
            rest = Duration::ZERO;
        }
        Ok(self.poll.poll(events, Some(rest))?)
    }

    fn receive(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(due) = connection.due else {
            // bytes that nobody asked for, or its end
            return self.replace(index);
        };
        match connection.answer.read(&mut connection.stream) {
            Ok(false) => {}
            Ok(true) => {
                let now = Instant::now();
                self.completed.fetch_add(1, Ordering::Relaxed);
                if self.window.contains(due) {
                    self.latencies.push((now - due).as_nanos() as u64);
                }
                connection.due = None;
                self.idle.push_back((index, now));
            }
            Err(_) => self.replace(index),
        }
    }

    /// A request has failed: a new connection takes the old one's place.
    fn replace(&mut self, index: usize) {
        self.errors += 1;
        // may be gone already
        let _ = self.poll.registry().deregister(&mut self.connections[index].stream);
        self.idle.retain(|(idle, _)| *idle != index);
        // one that cannot be opened leaves a dead one in its place, whose end is the next error
        if let Ok(connection) = Connection::open(self.address, self.poll.registry(), index) {
            self.connections[index] = connection;
            self.idle.push_back((index, Instant::now()));
        }
    }

    /// What was due in the window and has no answer has waited until now.
    fn give_up(&mut self) -> usize {
        let now = Instant::now();
        let waiting = self.connections.iter().filter_map(|connection| connection.due).chain(self.queue.iter().copied());
        let waited = waiting.filter(|due| self.window.contains(*due)).map(|due| (now - due).as_nanos() as u64);
        let before = self.latencies.len();
        self.latencies.extend(waited);
        self.latencies.len() - before
    }
}

/// For the first answer of a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// For answers after the window.
const GRACE: Duration = Duration::from_secs(1);
/// How often the end of the window is looked for when nothing comes.
const IDLE: Duration = Duration::from_millis(50);
