//! Takes shipments out of the queue. Keeps a connection to `rabbitmq` open.

use std::{cell::RefCell, collections::VecDeque, fmt::Write, rc::Rc};

use serde_json::{Value, json};

use super::shipping::QUEUE;
use crate::{
    directory::Directory,
    http::{Answer, Failure, Request},
    serve::Service,
    stop::Stop,
    wire::queue::consume_for_ever,
};

#[derive(Debug)]
pub(crate) struct QueueMaster {
    shipped: Rc<RefCell<Shipped>>,
}

#[derive(Debug, Default)]
struct Shipped {
    count: u64,
    last: VecDeque<Value>,
}

impl QueueMaster {
    pub(crate) fn new(directory: Directory, stop: Stop) -> QueueMaster {
        let shipped = Rc::new(RefCell::new(Shipped::default()));
        let ledger = shipped.clone();
        tokio::task::spawn_local(consume_for_ever("rabbitmq", QUEUE, directory, stop, move |message| {
            let mut ledger = ledger.borrow_mut();
            let shipment: Value = serde_json::from_slice(&message.body).unwrap_or_default();
            ledger.count += 1;
            ledger
                .last
                .push_front(json!({ "messageId": message.id, "shipment": shipment["id"], "order": shipment["order"] }));
            ledger.last.truncate(KEPT);
        }));
        QueueMaster { shipped }
    }
}

impl Service for QueueMaster {
    const NAME: &'static str = "queue-master";

    async fn metrics(&self) -> String {
        let mut text =
            String::from("# HELP shipments_total Shipments taken out of the queue.\n# TYPE shipments_total counter\n");
        // writing to a String cannot fail
        let _ = writeln!(text, "shipments_total {}", self.shipped.borrow().count);
        text
    }

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        let ("GET", []) = (method, path.as_slice()) else {
            return Err(Failure::not_found("page in queue-master"));
        };
        let shipped = self.shipped.borrow();
        Ok(Answer::json(&json!({ "shipped": shipped.count, "last": shipped.last })))
    }
}

/// Shipments shown.
const KEPT: usize = 20;
