//! Who may connect. The only place that makes a `Permit`, and nothing is forwarded to the application without one.

use std::net::IpAddr;
use std::rc::Rc;

use minimesh_api::model::DefaultPolicy;

use super::peer::Peer;
use super::port::Port;
use crate::metrics::Refusal;
use crate::worker::Worker;

/// Proof that a connection was authorised. It can be taken back: ask `holds` again before each request.
pub(crate) struct Permit {
    peer: Peer,
    in_cluster: bool,
    port: Rc<Port>,
}

/// Decides about a connection of `peer` from `address`.
pub(super) fn connection(worker: &Worker, port: &Rc<Port>, address: IpAddr, peer: &Peer) -> Result<Permit, Refusal> {
    let in_cluster = worker.in_cluster(address.to_canonical());
    decide(port.policy(worker), peer.identity().is_some(), in_cluster)?;
    Ok(Permit { peer: peer.clone(), in_cluster, port: Rc::clone(port) })
}

/// Whether plaintext from `address` would be let in.
pub(super) fn allows_plaintext(worker: &Worker, port: &Port, address: IpAddr) -> bool {
    decide(port.policy(worker), false, worker.in_cluster(address.to_canonical())).is_ok()
}

impl Permit {
    /// Who the peer is.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Where it may go.
    pub(super) fn port(&self) -> &Rc<Port> {
        &self.port
    }

    /// Whether the policy in force still lets the peer in.
    pub(super) fn holds(&self, worker: &Worker) -> bool {
        decide(self.port.policy(worker), self.peer.identity().is_some(), self.in_cluster).is_ok()
    }
}

fn decide(policy: DefaultPolicy, authenticated: bool, in_cluster: bool) -> Result<(), Refusal> {
    match policy {
        DefaultPolicy::AllAuthenticated if !authenticated => Err(Refusal::Plaintext),
        DefaultPolicy::ClusterAuthenticated if !authenticated => Err(Refusal::Plaintext),
        DefaultPolicy::ClusterAuthenticated | DefaultPolicy::ClusterUnauthenticated if !in_cluster => {
            Err(Refusal::OutsideCluster)
        }
        DefaultPolicy::Deny => Err(Refusal::PolicyDenied),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_policies() {
        use DefaultPolicy::*;
        let verdicts = |policy| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(authenticated, in_cluster)| decide(policy, authenticated, in_cluster).is_ok())
        };
        assert_eq!(verdicts(AllAuthenticated), [true, true, false, false]);
        assert_eq!(verdicts(AllUnauthenticated), [true, true, true, true]);
        assert_eq!(verdicts(Audit), [true, true, true, true]);
        assert_eq!(verdicts(ClusterAuthenticated), [true, false, false, false]);
        assert_eq!(verdicts(ClusterUnauthenticated), [true, false, true, false]);
        assert_eq!(verdicts(Deny), [false, false, false, false]);
    }
}
