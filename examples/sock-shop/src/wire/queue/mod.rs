//! The queue in the manner of AMQP 0-9-1: the client sends the protocol header first, then both sides talk in frames on
//! connections that stay open and are kept alive by heartbeats.
//!
//! ```text
//! frame.rs    frames and the methods' arguments, both directions
//! broker.rs   the server: rabbitmq
//! client.rs   a channel, and on it the publisher (shipping), the consumer (queue-master) and the gauge (the exporter)
//! ```
//!
//! Of the protocol only what the shop uses: one channel, the default exchange, publisher confirms, explicit acknowledgement.

mod broker;
mod client;
mod frame;

pub(crate) use broker::Broker;
pub(crate) use client::{Publisher, consume_for_ever, depth};

use std::time::Duration;

/// AMQP's port.
const PORT: u16 = 5672;
/// Each side sends one this often; who hears nothing for two of them closes. RabbitMQ proposes 60 s, Spring 30.
const HEARTBEAT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::{net::TcpListener, task::LocalSet};

    use super::*;
    use crate::{directory::Directory, stop::Stop, wire::stream};

    #[tokio::test]
    async fn what_is_published_is_confirmed_and_consumed_once() {
        LocalSet::new()
            .run_until(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                let directory = Directory::fixed([("rabbitmq", PORT, listener.local_addr().unwrap())]);
                let (_sender, stop) = Stop::pulled_by_hand();
                tokio::task::spawn_local(stream::serve(listener, Rc::new(Broker::default()), stop.clone()));

                let publisher = Publisher::start("rabbitmq", "shipping-task", directory.clone(), stop.clone());
                let first = publisher.publish(b"one".to_vec()).await.unwrap();
                let second = publisher.publish(b"two".to_vec()).await.unwrap();
                assert_ne!(first.message_id, second.message_id);
                assert_eq!(depth("rabbitmq", "shipping-task", &directory).await.unwrap().messages, 2);

                let (seen, done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(tokio::sync::Notify::new()));
                let (inbox, told) = (seen.clone(), done.clone());
                tokio::task::spawn_local(consume_for_ever(
                    "rabbitmq",
                    "shipping-task",
                    directory,
                    stop,
                    move |message| {
                        inbox.borrow_mut().push((message.id, message.body));
                        if inbox.borrow().len() == 2 {
                            told.notify_one();
                        }
                    },
                ));
                done.notified().await;
                let expected = vec![(first.message_id, b"one".to_vec()), (second.message_id, b"two".to_vec())];
                assert_eq!(*seen.borrow(), expected);
            })
            .await;
    }
}
