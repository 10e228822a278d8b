//! What most stories begin with: a client, a server behind a Service, and the control plane that both listen to.

use super::manifests::Service;
use super::{ControlPlane, HttpServer, Pod, World};
use crate::apps::Request;
use crate::wait;

/// Two meshed pods, of which the one reaches the other.
pub struct Pair<'w> {
    /// The server's application.
    pub http: HttpServer<'w>,
    /// The pod behind the Service.
    pub server: Pod<'w>,
    /// The pod that asks.
    pub client: Pod<'w>,
    /// Of both.
    pub control_plane: ControlPlane<'w>,
}

impl World {
    /// A client and a server of that Service; when this returns, the one has reached the other.
    pub fn pair(&self, service: &Service<'_>) -> Pair<'_> {
        let control_plane = self.control_plane(&[]);
        let [client, server] = ["client", "server"].map(|name| self.pod(name).start(&control_plane));
        let http = server.http_server(service.target_port);
        self.serve(service, &[&server]);
        client.reaches(service);
        Pair { http, server, client, control_plane }
    }
}

impl Pod<'_> {
    /// Waits until requests of this pod to an HTTP Service are answered with 200.
    pub fn reaches(&self, service: &Service<'_>) {
        wait::eventually(&format!("{} is reached", service.name), || {
            (self.request(&Request::get(service.socket(), "/")).status == 200).then_some(())
        });
    }
}
