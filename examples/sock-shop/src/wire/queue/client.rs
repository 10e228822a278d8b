//! Clients of the queue: a publisher and a consumer, each on a connection that stays open, and a question for its depth.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
    time::{Instant, interval_at, sleep, timeout},
};

use super::{
    HEARTBEAT, PORT,
    broker::message_id,
    frame::{self, Builder, Frame},
};
use crate::{
    directory::Directory,
    http::Failure,
    stop::Stop,
    wire::stream::{Stream, invalid},
};

/// What the broker said of a published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) message_id: String,
    /// The broker's pod.
    pub(crate) pod: String,
}

/// A message as a consumer gets it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

/// How much waits in a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    pub(crate) messages: u32,
    pub(crate) consumers: u32,
}

/// An open connection with its one channel and its queue declared.
#[derive(Debug)]
struct Channel {
    stream: Stream,
    queue: &'static str,
    pod: String,
    connection: u64,
    heard: Instant,
    depth: Depth,
}

impl Channel {
    async fn open(host: &str, queue: &'static str, directory: &Directory) -> io::Result<Channel> {
        let mut stream = BufReader::new(directory.connect(host, PORT).await?);
        stream.write_all(frame::HEADER).await?;
        let mut start = frame::read(&mut stream).await?.expect(frame::START)?;
        start.skip(2 + 4)?;
        let mut properties = [String::new(), String::new()];
        for property in &mut properties {
            start.short()?;
            start.skip(1)?;
            *property = start.long()?;
        }
        let [pod, connection] = properties;
        let connection = connection.parse().map_err(|_| invalid("a connection without number"))?;
        let start_ok =
            Builder::default().u32(0).short("PLAIN").long("\0guest\0guest").short("en_US").method(frame::START_OK);
        frame::write(&mut stream, &[start_ok]).await?;
        frame::read(&mut stream).await?.expect(frame::TUNE)?;
        let tune_ok = Builder::default().u16(1).u32(131_072).u16(HEARTBEAT.as_secs() as u16).method(frame::TUNE_OK);
        let open = Builder::default().short("/").short("").u8(0).method(frame::OPEN);
        frame::write(&mut stream, &[tune_ok, open]).await?;
        frame::read(&mut stream).await?.expect(frame::OPEN_OK)?;
        frame::write(&mut stream, &[Builder::default().short("").method(frame::CHANNEL_OPEN)]).await?;
        frame::read(&mut stream).await?.expect(frame::CHANNEL_OPEN_OK)?;
        let declare = Builder::default().u16(0).short(queue).u8(0).u32(0).method(frame::DECLARE);
        frame::write(&mut stream, &[declare]).await?;
        let mut declared = frame::read(&mut stream).await?.expect(frame::DECLARE_OK)?;
        declared.short()?;
        let depth = Depth { messages: declared.u32()?, consumers: declared.u32()? };
        Ok(Channel { stream, queue, pod, connection, heard: Instant::now(), depth })
    }

    async fn confirming(mut self) -> io::Result<Channel> {
        frame::write(&mut self.stream, &[Builder::default().u8(0).method(frame::CONFIRM)]).await?;
        frame::read(&mut self.stream).await?.expect(frame::CONFIRM_OK)?;
        Ok(self)
    }

    async fn consuming(mut self) -> io::Result<Channel> {
        let consume = Builder::default().u16(0).short(self.queue).short("").u8(0).u32(0).method(frame::CONSUME);
        frame::write(&mut self.stream, &[consume]).await?;
        frame::read(&mut self.stream).await?.expect(frame::CONSUME_OK)?;
        Ok(self)
    }

    async fn publish(&mut self, body: &[u8]) -> io::Result<Receipt> {
        let publish = Builder::default().u16(0).short("").short(self.queue).u8(0).method(frame::PUBLISH);
        let [header, content] = frame::content("", body.to_vec());
        frame::write(&mut self.stream, &[publish, header, content]).await?;
        loop {
            match self.read().await? {
                Frame::Heartbeat => {}
                other => {
                    let delivery = other.expect(frame::ACK)?.u64()?;
                    return Ok(Receipt { message_id: message_id(self.connection, delivery), pod: self.pod.clone() });
                }
            }
        }
    }

    async fn read(&mut self) -> io::Result<Frame> {
        self.heard = Instant::now();
        frame::read(&mut self.stream).await
    }

    async fn beat(&mut self) -> io::Result<()> {
        if self.heard.elapsed() > HEARTBEAT * 2 {
            return Err(invalid("no heartbeat"));
        }
        frame::write(&mut self.stream, &[Frame::Heartbeat]).await
    }

    async fn goodbye(mut self) {
        let close = Builder::default().u16(200).short("bye").u16(0).u16(0).method(frame::CLOSE);
        // the broker notices either way
        let _ = frame::write(&mut self.stream, &[close]).await;
    }
}

/// Publishes to one queue. Handles are cheap; the connection belongs to one task, which reopens it when it breaks.
#[derive(Clone, Debug)]
pub(crate) struct Publisher(mpsc::Sender<Publication>);

#[derive(Debug)]
struct Publication {
    body: Vec<u8>,
    done: oneshot::Sender<Result<Receipt, String>>,
}

impl Publisher {
    pub(crate) fn start(host: &'static str, queue: &'static str, directory: Directory, stop: Stop) -> Publisher {
        let (sender, inbox) = mpsc::channel(64);
        tokio::task::spawn_local(publish_for_ever(host, queue, directory, inbox, stop));
        Publisher(sender)
    }

    /// Publishes and waits for the broker's confirm.
    pub(crate) async fn publish(&self, body: Vec<u8>) -> Result<Receipt, Failure> {
        let (done, outcome) = oneshot::channel();
        let lost = || Failure::unreachable("rabbitmq", "the connection is being reopened");
        self.0.try_send(Publication { body, done }).map_err(|_| lost())?;
        match timeout(CONFIRM_PATIENCE, outcome).await {
            Ok(Ok(receipt)) => receipt.map_err(|reason| Failure::unreachable("rabbitmq", reason)),
            _ => Err(lost()),
        }
    }
}

async fn publish_for_ever(
    host: &'static str,
    queue: &'static str,
    directory: Directory,
    mut inbox: mpsc::Receiver<Publication>,
    mut stop: Stop,
) {
    let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let connect = async || Channel::open(host, queue, &directory).await?.confirming().await;
    'connection: loop {
        let mut channel = match connect().await {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(%error, "cannot reach rabbitmq, trying again");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        loop {
            tokio::select! {
                publication = inbox.recv() => {
                    let Some(publication) = publication else { return channel.goodbye().await };
                    let mut outcome = channel.publish(&publication.body).await;
                    let broken = outcome.is_err();
                    // an idle connection may have died unseen: once more on a fresh one
                    if broken && let Ok(fresh) = connect().await {
                        channel = fresh;
                        outcome = channel.publish(&publication.body).await;
                    }
                    let broken = outcome.is_err();
                    // a caller that no longer waits has been answered by its own time-out
                    let _ = publication.done.send(outcome.map_err(|error| error.to_string()));
                    if broken {
                        continue 'connection;
                    }
                }
                filled = channel.stream.fill_buf() => {
                    let ended = filled.map_or(true, <[u8]>::is_empty);
                    if ended || !matches!(channel.read().await, Ok(Frame::Heartbeat)) {
                        sleep(BACK_OFF).await;
                        continue 'connection;
                    }
                }
                _ = beat.tick() => if channel.beat().await.is_err() { continue 'connection },
                () = stop.asked(), if inbox.is_closed() => return channel.goodbye().await,
            }
        }
    }
}

/// Consumes a queue until the process is asked to stop; each message is acknowledged after `handle` returns.
pub(crate) async fn consume_for_ever(
    host: &'static str,
    queue: &'static str,
    directory: Directory,
    mut stop: Stop,
    mut handle: impl FnMut(Delivery),
) {
    loop {
        let consumed = async {
            let channel = Channel::open(host, queue, &directory).await?.consuming().await?;
            consume(channel, stop.clone(), &mut handle).await
        };
        match consumed.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the connection to rabbitmq ended, opening another"),
        }
        tokio::select! { () = sleep(BACK_OFF) => {} () = stop.asked() => return }
    }
}

async fn consume(mut channel: Channel, mut stop: Stop, handle: &mut impl FnMut(Delivery)) -> io::Result<()> {
    let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        tokio::select! {
            filled = channel.stream.fill_buf() => {
                if filled?.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let frame = channel.read().await?;
                if frame == Frame::Heartbeat {
                    continue;
                }
                let mut deliver = frame.expect(frame::DELIVER)?;
                deliver.short()?;
                let tag = deliver.u64()?;
                let (id, body) = frame::read_content(&mut channel.stream).await?;
                handle(Delivery { id, body });
                let ack = Builder::default().u64(tag).u8(0).method(frame::ACK);
                frame::write(&mut channel.stream, &[ack]).await?;
            }
            _ = beat.tick() => channel.beat().await?,
            () = stop.asked() => {
                channel.goodbye().await;
                return Ok(());
            }
        }
    }
}

/// Asks how much waits in a queue.
pub(crate) async fn depth(host: &str, queue: &'static str, directory: &Directory) -> io::Result<Depth> {
    let channel = Channel::open(host, queue, directory).await?;
    let depth = channel.depth;
    channel.goodbye().await;
    Ok(depth)
}

/// Between attempts to reach the broker.
const BACK_OFF: Duration = Duration::from_millis(500);
/// Confirms come within milliseconds; an order must not wait longer than its shopper.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(8);
