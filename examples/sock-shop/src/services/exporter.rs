//! rabbitmq's second container: what waits in the queue, as metrics. Asks the broker beside it over loopback.

use crate::{
    directory::Directory,
    http::{Answer, Failure, Request},
    serve::Service,
    services::shipping::QUEUE,
    wire::queue::depth,
};

#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) directory: Directory,
}

impl Service for Exporter {
    const NAME: &'static str = "rabbitmq-exporter";

    async fn metrics(&self) -> String {
        match depth("127.0.0.1", QUEUE, &self.directory).await {
            Ok(depth) => format!(
                "# HELP rabbitmq_up Whether the broker answered.\n# TYPE rabbitmq_up gauge\nrabbitmq_up 1\n\
                 # TYPE rabbitmq_queue_messages gauge\nrabbitmq_queue_messages{{queue=\"{QUEUE}\"}} {}\n\
                 # TYPE rabbitmq_queue_consumers gauge\nrabbitmq_queue_consumers{{queue=\"{QUEUE}\"}} {}\n",
                depth.messages, depth.consumers
            ),
            Err(_) => "# TYPE rabbitmq_up gauge\nrabbitmq_up 0\n".to_owned(),
        }
    }

    async fn serve(&self, _: &Request) -> Result<Answer, Failure> {
        Err(Failure::not_found("page in rabbitmq-exporter"))
    }
}
