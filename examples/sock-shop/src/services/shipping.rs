//! Turns an order into a message for the queue. Keeps a connection to `rabbitmq` open, silent or not.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    directory::Directory,
    http::{Answer, Failure, Request},
    ids,
    serve::Service,
    stop::Stop,
    wire::queue::Publisher,
};

/// The queue between shipping and queue-master.
pub(crate) const QUEUE: &str = "shipping-task";

#[derive(Debug)]
pub(crate) struct Shipping {
    publisher: Publisher,
}

impl Shipping {
    pub(crate) fn new(directory: Directory, stop: Stop) -> Shipping {
        Shipping { publisher: Publisher::start("rabbitmq", QUEUE, directory, stop) }
    }
}

impl Service for Shipping {
    const NAME: &'static str = "shipping";

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        let ("POST", ["shipping"]) = (method, path.as_slice()) else {
            return Err(Failure::not_found("page in shipping"));
        };
        let wanted: Value = request.json()?;
        let name = wanted["name"].as_str().ok_or_else(|| Failure::bad_request("name is missing"))?;
        let id = format!("ship-{}", ids::hex(&ids::bytes::<8>()));
        let message = json!({ "id": id, "order": wanted["id"], "name": name });
        let receipt = self.publisher.publish(message.to_string().into_bytes()).await?;
        request.trail.note(&receipt.pod);
        let shipment = json!({ "id": id, "name": name, "queue": QUEUE, "messageId": receipt.message_id });
        Ok(Answer::json(&shipment).with_status(StatusCode::CREATED))
    }
}
