//! Who has which certificate until when, for people: `minimesh identity`, and the replacement of the root.
//!
//! ```text
//! mod.rs        pure: what every replica says -> one truth
//! view.rs       pure: the truth -> lines, JSON
//! rotation.rs   which step of the root's replacement may be taken now (pure), and taking them
//! ```

pub(crate) mod rotation;
pub(crate) mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use minimesh_api::model::{AuthorityCertificate, HeldCertificate, Identities, RotationPhase};

/// What the replicas say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) trust_domain: Arc<str>,
    pub(crate) phase: RotationPhase,
    pub(crate) roots: Vec<AuthorityCertificate>,
    /// By namespace, workload and pod.
    pub(crate) held: Vec<HeldCertificate>,
}

/// Joins the answers; `None`: there are none. Of roots and phase the replica that writes knows best; of a pod's certificate the one
/// that it is connected to, and of several the one that saw the newest.
pub(crate) fn join(answers: &[Identities]) -> Option<Whole> {
    let first = leader(answers).or(answers.first())?;
    let mut held: BTreeMap<(&str, &str, &str, &str), &HeldCertificate> = BTreeMap::new();
    for certificate in answers.iter().flat_map(|answer| &answer.held) {
        let workload = &certificate.workload;
        let key = (&*workload.namespace, &*workload.name, &*workload.pod, &*certificate.identity);
        let known = held.entry(key).or_insert(certificate);
        let rank = |held: &HeldCertificate| (held.connected, held.trusts_current, held.expires_in);
        if rank(certificate) > rank(known) {
            *known = certificate;
        }
    }
    Some(Whole {
        trust_domain: first.trust_domain.clone(),
        phase: first.phase,
        roots: first.roots.clone(),
        held: held.into_values().cloned().collect(),
    })
}

/// The replica that writes.
fn leader(answers: &[Identities]) -> Option<&Identities> {
    answers.iter().find(|answer| answer.leads)
}

/// Answers for tests of this module.
#[cfg(test)]
mod testing {
    use std::time::Duration;

    use minimesh_api::model::WorkloadRef;

    use super::*;

    /// A pod of the shop with a certificate of that root, connected and trusting what is in force.
    pub(crate) fn held(pod: &str, root: &str) -> HeldCertificate {
        let name = pod.rsplit_once('-').map_or(pod, |(name, _)| name);
        HeldCertificate {
            workload: WorkloadRef {
                namespace: "shop".into(),
                kind: "Deployment".into(),
                name: name.into(),
                pod: pod.into(),
            },
            identity: format!("spiffe://cluster.local/ns/shop/sa/{name}").into(),
            expires_in: Duration::from_secs(86_399),
            root: root.into(),
            trusts_current: true,
            connected: true,
        }
    }

    /// A replica's answer; of the roots the last issues.
    pub(crate) fn answer(
        replica: &str,
        phase: RotationPhase,
        roots: &[&str],
        held: Vec<HeldCertificate>,
    ) -> Identities {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let issues = |at: usize| match phase {
            RotationPhase::Added => at == 0,
            RotationPhase::Steady | RotationPhase::Switched => at + 1 == roots.len(),
        };
        let root = |(at, fingerprint): (usize, &&str)| AuthorityCertificate {
            fingerprint: (*fingerprint).into(),
            expires_in: days(3_650),
            issuer_expires_in: issues(at).then(|| days(365)),
        };
        Identities {
            replica: replica.into(),
            leads: replica == "a",
            trust_domain: "cluster.local".into(),
            phase,
            roots: roots.iter().enumerate().map(root).collect(),
            held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{answer, held};
    use super::*;

    #[test]
    fn of_several_answers_the_one_of_who_is_connected_counts_and_nobody_is_named_twice() {
        let gone = HeldCertificate { connected: false, trusts_current: false, ..held("carts-1", "old") };
        let (carts, orders) = (held("carts-1", "new"), held("orders-1", "new"));
        let follower = answer("b", RotationPhase::Added, &["old", "new"], vec![orders.clone(), gone]);
        let leader = answer("a", RotationPhase::Switched, &["old", "new"], vec![carts.clone()]);
        let whole = join(&[follower, leader.clone()]).unwrap();
        assert_eq!(whole.held, [carts, orders]);
        assert_eq!((whole.phase, whole.roots), (RotationPhase::Switched, leader.roots));
        assert_eq!(join(&[]), None);
    }
}
