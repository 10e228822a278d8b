//! The next step from the pods that a Deployment has to the pods that it should have: one pod more than wanted at most, and
//! never fewer ready ones than wanted as long as it can be helped (Kubernetes' maxSurge 1, maxUnavailable 0).

use super::PodRecord;

/// A pod, as far as this decision is concerned. Pods on their way out are not seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) hash: u64,
    pub(super) ready: bool,
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) create: usize,
    pub(super) delete: Vec<String>,
}

impl Seen {
    pub(super) fn of(pod: &PodRecord) -> Seen {
        Seen { name: pod.key().name, hash: pod.hash, ready: pod.is_ready() }
    }
}

/// `wanted` pods of template `hash`.
pub(super) fn step(pods: &[Seen], wanted: usize, hash: u64) -> Step {
    let (current, old): (Vec<&Seen>, Vec<&Seen>) = pods.iter().partition(|pod| pod.hash == hash);
    let surge = usize::from(!old.is_empty());
    let create = wanted.saturating_sub(current.len()).min((wanted + surge).saturating_sub(pods.len()));

    let ready = pods.iter().filter(|pod| pod.ready).count();
    let mut spare = ready.saturating_sub(wanted);
    let mut delete = Vec::new();
    for pod in old {
        if !pod.ready || spare > 0 {
            spare -= usize::from(pod.ready);
            delete.push(pod.name.clone());
        }
    }
    // those that are not ready go first
    let mut extra: Vec<&Seen> = current.clone();
    extra.sort_by_key(|pod| pod.ready);
    delete.extend(extra.iter().take(current.len().saturating_sub(wanted)).map(|pod| pod.name.clone()));
    Step { create, delete }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(list: &[(&str, u64, bool)]) -> Vec<Seen> {
        list.iter().map(|(name, hash, ready)| Seen { name: (*name).into(), hash: *hash, ready: *ready }).collect()
    }

    fn delete(names: &[&str]) -> Step {
        Step { create: 0, delete: names.iter().map(|name| (*name).into()).collect() }
    }

    #[test]
    fn creates_all_that_are_missing_at_once() {
        assert_eq!(step(&[], 3, 1), Step { create: 3, delete: vec![] });
        assert_eq!(step(&pods(&[("a", 1, true)]), 3, 1), Step { create: 2, delete: vec![] });
    }

    #[test]
    fn scales_down_by_the_pods_that_are_not_ready() {
        assert_eq!(step(&pods(&[("a", 1, true), ("b", 1, false), ("c", 1, true)]), 2, 1), delete(&["b"]));
    }

    #[test]
    fn replaces_one_after_the_other_without_losing_a_ready_pod() {
        let first = step(&pods(&[("a", 1, true), ("b", 1, true)]), 2, 2);
        assert_eq!(first, Step { create: 1, delete: vec![] });
        let waits = step(&pods(&[("a", 1, true), ("b", 1, true), ("c", 2, false)]), 2, 2);
        assert_eq!(waits, Step::default());
        let second = step(&pods(&[("a", 1, true), ("b", 1, true), ("c", 2, true)]), 2, 2);
        assert_eq!(second, delete(&["a"]));
    }

    #[test]
    fn pods_of_an_old_template_that_never_got_ready_go_at_once() {
        assert_eq!(step(&pods(&[("a", 1, false)]), 1, 2), Step { create: 1, delete: vec!["a".into()] });
    }

    #[test]
    fn zero_replicas_leave_nothing() {
        assert_eq!(step(&pods(&[("a", 1, true), ("b", 2, true)]), 0, 1), delete(&["b", "a"]));
    }
}
