//! rabbitmq: queues in memory, publisher confirms, one consumer after the other.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    rc::Rc,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt},
    sync::Notify,
    time::{Instant, interval_at},
};

use super::{
    HEARTBEAT,
    frame::{self, Builder, Frame},
};
use crate::{
    pod,
    stop::Stop,
    wire::stream::{Server, Stream, invalid},
};

/// The broker.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    queues: RefCell<HashMap<String, Rc<Queue>>>,
    connections: Cell<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: RefCell<VecDeque<Message>>,
    consumers: Cell<u32>,
    arrived: Notify,
}

#[derive(Clone, Debug)]
struct Message {
    id: String,
    body: Vec<u8>,
}

impl Queue {
    fn push(&self, message: Message) {
        let mut messages = self.messages.borrow_mut();
        if messages.len() >= MOST_MESSAGES {
            messages.pop_front();
        }
        messages.push_back(message);
        self.arrived.notify_one();
    }
}

impl Broker {
    fn queue(&self, name: &str) -> io::Result<Rc<Queue>> {
        let mut queues = self.queues.borrow_mut();
        if !queues.contains_key(name) && queues.len() >= MOST_QUEUES {
            return Err(invalid("too many queues"));
        }
        Ok(queues.entry(name.to_owned()).or_default().clone())
    }
}

impl Server for Broker {
    async fn serve(&self, mut stream: Stream, mut stop: Stop) -> io::Result<()> {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        handshake(&mut stream, number).await?;
        let mut connection = Connection::new(self, number);
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let mut heard = Instant::now();
        loop {
            let consuming = connection.consuming.clone();
            tokio::select! {
                filled = stream.fill_buf() => {
                    if filled?.is_empty() {
                        return Ok(());
                    }
                    heard = Instant::now();
                    let frame = frame::read(&mut stream).await?;
                    if !connection.take(frame, &mut stream).await? {
                        return Ok(());
                    }
                }
                () = arrival(consuming.as_deref()), if connection.unacknowledged.len() < PREFETCH => {}
                _ = beat.tick() => {
                    if heard.elapsed() > HEARTBEAT * 2 {
                        return Err(invalid("no heartbeat"));
                    }
                    frame::write(&mut stream, &[Frame::Heartbeat]).await?;
                }
                () = stop.asked() => {
                    let mut arguments = Builder::default();
                    let close = arguments.u16(320).short("CONNECTION_FORCED - shutdown").u16(0).u16(0).method(frame::CLOSE);
                    return frame::write(&mut stream, &[close]).await;
                }
            }
            connection.deliver(&mut stream).await?;
        }
    }
}

async fn arrival(queue: Option<&Queue>) {
    match queue {
        Some(queue) => queue.arrived.notified().await,
        None => std::future::pending().await,
    }
}

async fn handshake(stream: &mut Stream, number: u64) -> io::Result<()> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).await?;
    if &header != frame::HEADER {
        return Err(invalid("a protocol other than AMQP 0-9-1"));
    }
    let mut properties = Builder::default();
    for (name, value) in [("cluster_name", pod::name()), ("connection", &number.to_string())] {
        properties.short(name).u8(b'S').long(value);
    }
    let mut start = Builder(vec![0, 9]);
    start.u32(properties.0.len() as u32).0.extend(properties.0);
    frame::write(stream, &[start.long("PLAIN").long("en_US").method(frame::START)]).await?;
    frame::read(stream).await?.expect(frame::START_OK)?;
    let tune = Builder::default().u16(1).u32(131_072).u16(HEARTBEAT.as_secs() as u16).method(frame::TUNE);
    frame::write(stream, &[tune]).await?;
    frame::read(stream).await?.expect(frame::TUNE_OK)?;
    frame::read(stream).await?.expect(frame::OPEN)?;
    frame::write(stream, &[Builder::default().short("").method(frame::OPEN_OK)]).await
}

/// One client's connection after the handshake. What it did not acknowledge goes back when it ends.
struct Connection<'b> {
    broker: &'b Broker,
    number: u64,
    confirming: bool,
    published: u64,
    delivered: u64,
    consuming: Option<Rc<Queue>>,
    unacknowledged: BTreeMap<u64, Message>,
}

impl<'b> Connection<'b> {
    fn new(broker: &'b Broker, number: u64) -> Connection<'b> {
        let unacknowledged = BTreeMap::new();
        Connection { broker, number, confirming: false, published: 0, delivered: 0, consuming: None, unacknowledged }
    }

    /// Takes one frame; false when the client said goodbye.
    async fn take(&mut self, frame: Frame, stream: &mut Stream) -> io::Result<bool> {
        let Frame::Method(method, _) = frame else {
            return match frame {
                Frame::Heartbeat => Ok(true),
                _ => Err(invalid("content without a method")),
            };
        };
        let mut arguments = frame.expect(method)?;
        let reply = match method {
            frame::CHANNEL_OPEN => Builder::default().long("").method(frame::CHANNEL_OPEN_OK),
            frame::CONFIRM => {
                self.confirming = true;
                frame::bare(frame::CONFIRM_OK)
            }
            frame::DECLARE => {
                arguments.skip(2)?;
                let name = arguments.short()?;
                let queue = self.broker.queue(&name)?;
                let messages = queue.messages.borrow().len() as u32;
                Builder::default().short(&name).u32(messages).u32(queue.consumers.get()).method(frame::DECLARE_OK)
            }
            frame::CONSUME => {
                arguments.skip(2)?;
                let queue = self.broker.queue(&arguments.short()?)?;
                self.stop_consuming();
                queue.consumers.set(queue.consumers.get() + 1);
                self.consuming = Some(queue);
                Builder::default().short(CONSUMER_TAG).method(frame::CONSUME_OK)
            }
            frame::PUBLISH => {
                arguments.skip(2)?;
                arguments.short()?;
                let queue = self.broker.queue(&arguments.short()?)?;
                let (_, body) = frame::read_content(stream).await?;
                self.published += 1;
                queue.push(Message { id: message_id(self.number, self.published), body });
                if !self.confirming {
                    return Ok(true);
                }
                Builder::default().u64(self.published).u8(0).method(frame::ACK)
            }
            frame::ACK => {
                self.unacknowledged.remove(&arguments.u64()?);
                return Ok(true);
            }
            frame::CLOSE => {
                frame::write(stream, &[frame::bare(frame::CLOSE_OK)]).await?;
                return Ok(false);
            }
            frame::CLOSE_OK => return Ok(false),
            other => return Err(invalid(format!("method {other:?}"))),
        };
        frame::write(stream, &[reply]).await.map(|()| true)
    }

    /// Sends a consumer what its queue holds, as far as it acknowledges.
    async fn deliver(&mut self, stream: &mut Stream) -> io::Result<()> {
        let Some(queue) = self.consuming.clone() else { return Ok(()) };
        while self.unacknowledged.len() < PREFETCH {
            let next = queue.messages.borrow_mut().pop_front();
            let Some(message) = next else { return Ok(()) };
            self.delivered += 1;
            self.unacknowledged.insert(self.delivered, message.clone());
            let mut deliver = Builder::default();
            deliver.short(CONSUMER_TAG).u64(self.delivered).u8(0).short("").short("");
            let [header, body] = frame::content(&message.id, message.body);
            frame::write(stream, &[deliver.method(frame::DELIVER), header, body]).await?;
        }
        Ok(())
    }

    fn stop_consuming(&mut self) {
        let Some(queue) = self.consuming.take() else { return };
        queue.consumers.set(queue.consumers.get().saturating_sub(1));
        for (_, message) in std::mem::take(&mut self.unacknowledged).into_iter().rev() {
            queue.messages.borrow_mut().push_front(message);
        }
        queue.arrived.notify_one();
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.stop_consuming();
    }
}

/// The id of a message: the connection it came on and its number there, which is also the number of its confirm.
pub(super) fn message_id(connection: u64, delivery: u64) -> String {
    format!("msg-{connection}-{delivery}")
}

const CONSUMER_TAG: &str = "queue-master";
/// Messages that a consumer may hold without acknowledging.
const PREFETCH: usize = 16;
/// The oldest goes when nobody consumes.
const MOST_MESSAGES: usize = 1000;
const MOST_QUEUES: usize = 16;
