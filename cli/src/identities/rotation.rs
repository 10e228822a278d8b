//! The replacement of the root, step by step: a step is taken only when everybody who would be cut off by it has followed.
//!
//! 1. a new root is trusted beside the old one; wait until every replica and every proxy trusts both
//! 2. certificates are issued under the new root; wait until every proxy has one
//! 3. the old root is trusted no more
//!
//! Interrupted anywhere, another call goes on from there: the state is the cluster's. The control plane refuses a step that a
//! proxy connected to it has not followed, whoever asks.

use std::collections::BTreeSet;
use std::time::Duration;

use minimesh_api::model::{Identities, RotationPhase};
use tokio::time::{Instant, sleep};

use super::{leader, view};
use crate::Failure;
use crate::cluster::MeshedPod;

/// Whom the replacement asks and tells.
pub(crate) trait Mesh {
    /// What every replica says; an error where one does not answer.
    async fn identities(&self) -> Result<Vec<Identities>, Failure>;
    /// Every pod with a sidecar that runs.
    async fn meshed_pods(&self) -> Result<Vec<MeshedPod>, Failure>;
    /// Has that replica take the step from a phase.
    async fn take(&self, replica: &str, from: RotationPhase, force: bool) -> Result<RotationPhase, Failure>;
    /// Tells people.
    fn say(&self, line: &str);
}

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The longest that a step waits for those who have not followed.
    pub(crate) timeout: Duration,
    /// Wait for no proxy.
    pub(crate) force: bool,
}

/// Replaces the root, or goes on with a replacement that was begun.
pub(crate) async fn replace(mesh: &impl Mesh, patience: Patience) -> Result<(), Failure> {
    let mut at = None;
    let mut waiting = Waiting { since: Instant::now(), told: String::new() };
    loop {
        let step = match look(mesh, at, patience.force).await {
            Ok(Next::Take { replica, from }) => mesh.take(&replica, from, patience.force).await.map(Step::Taken),
            Ok(Next::Done { root }) => {
                mesh.say(&format!("done: the root {root} is the only one that is trusted"));
                return Ok(());
            }
            Ok(Next::Wait(reason)) => Ok(Step::None(reason)),
            Err(failure) => Err(failure),
        };
        let reason = match step {
            Ok(Step::Taken(to)) => {
                mesh.say(told(to));
                at = Some(to);
                waiting = Waiting { since: Instant::now(), told: String::new() };
                continue;
            }
            Ok(Step::None(reason)) => reason,
            // Nothing was done yet: whatever is wrong is said at once.
            Err(failure) if at.is_none() => return Err(failure),
            // A replica may end and another begin.
            Err(failure) => failure.message().to_owned(),
        };
        if waiting.since.elapsed() >= patience.timeout {
            return Err(stuck(at, &reason));
        }
        if waiting.told != reason {
            mesh.say(&format!("waiting: {reason}"));
            waiting.told = reason;
        }
        sleep(LOOK).await;
    }
}

async fn look(mesh: &impl Mesh, at: Option<RotationPhase>, force: bool) -> Result<Next, Failure> {
    let answers = mesh.identities().await?;
    let pods = mesh.meshed_pods().await?;
    Ok(next(&answers, &pods, at, force))
}

fn stuck(at: Option<RotationPhase>, reason: &str) -> Failure {
    let at = at.map_or("its beginning", view::phase);
    Failure::new(format!(
        "the replacement of the root waits at {at:?}: {reason}; mend that and call again, which goes on from here (--timeout waits \
         longer, --force goes on without those proxies, which others then refuse until they have followed)"
    ))
}

enum Step {
    Taken(RotationPhase),
    None(String),
}

struct Waiting {
    since: Instant,
    told: String,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Done { root: String },
    Take { replica: String, from: RotationPhase },
    Wait(String),
}

/// `at`: where the last step that was taken here has led.
fn next(answers: &[Identities], pods: &[MeshedPod], at: Option<RotationPhase>, force: bool) -> Next {
    let Some(leader) = leader(answers) else {
        return Next::Wait("no replica of the control plane writes yet".to_owned());
    };
    let phase = leader.phase;
    if at.is_some_and(|at| follows(phase) == at) {
        return Next::Wait(format!("replica {} has not read what it wrote", leader.replica));
    }
    let behind = |answer: &&Identities| (answer.phase, fingerprints(answer)) != (phase, fingerprints(leader));
    let behind: Vec<&str> = answers.iter().filter(behind).map(|answer| &*answer.replica).collect();
    if !behind.is_empty() {
        return Next::Wait(format!("replicas that have not followed: {}", behind.join(", ")));
    }
    if at.is_some() && phase == RotationPhase::Steady {
        return Next::Done { root: issuing(answers).unwrap_or_default() };
    }
    let held_up = match phase {
        RotationPhase::Steady => BTreeSet::new(),
        _ if force => BTreeSet::new(),
        RotationPhase::Added | RotationPhase::Switched => held_up(answers, pods, phase),
    };
    match held_up.is_empty() {
        true => Next::Take { replica: leader.replica.as_ref().to_owned(), from: phase },
        false => Next::Wait(listed(&held_up)),
    }
}

/// Who would be cut off by the step from that phase, and why.
fn held_up(answers: &[Identities], pods: &[MeshedPod], phase: RotationPhase) -> BTreeSet<String> {
    let issuing = issuing(answers);
    let connected = || answers.iter().flat_map(|answer| &answer.held).filter(|held| held.connected);
    let name = |namespace: &str, pod: &str| format!("{namespace}/{pod}");
    let behind = connected().filter(|held| match phase {
        RotationPhase::Switched => Some(&*held.root) != issuing.as_deref(),
        RotationPhase::Added | RotationPhase::Steady => !held.trusts_current,
    });
    let behind = behind.map(|held| name(&held.workload.namespace, &held.workload.pod));
    let known: BTreeSet<String> = connected().map(|held| name(&held.workload.namespace, &held.workload.pod)).collect();
    let pods = pods.iter().map(|pod| name(&pod.namespace, &pod.name)).filter(|pod| !known.contains(pod));
    behind.chain(pods.map(|pod| format!("{pod} (not connected)"))).collect()
}

fn listed(names: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len() - shown.len();
    let and = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("proxies that have not followed: {}{and}", shown.join(", "))
}

fn fingerprints(answer: &Identities) -> BTreeSet<&str> {
    answer.roots.iter().map(|root| &*root.fingerprint).collect()
}

/// The root that certificates are issued under.
fn issuing(answers: &[Identities]) -> Option<String> {
    let root = leader(answers)?.roots.iter().find(|root| root.issuer_expires_in.is_some())?;
    Some(root.fingerprint.as_ref().to_owned())
}

/// The phase after that one.
fn follows(phase: RotationPhase) -> RotationPhase {
    match phase {
        RotationPhase::Steady => RotationPhase::Added,
        RotationPhase::Added => RotationPhase::Switched,
        RotationPhase::Switched => RotationPhase::Steady,
    }
}

fn told(phase: RotationPhase) -> &'static str {
    match phase {
        RotationPhase::Added => "1/3 a new root is trusted beside the old one",
        RotationPhase::Switched => "2/3 certificates are issued under the new root",
        RotationPhase::Steady => "3/3 the old root is trusted no more",
    }
}

/// Between looks.
const LOOK: Duration = Duration::from_secs(1);
/// Names in one line.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::RotationPhase::{Added, Steady, Switched};
    use super::*;
    use crate::identities::testing::{answer, held};
    use minimesh_api::model::HeldCertificate;

    fn pod(name: &str) -> MeshedPod {
        MeshedPod { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn take(from: RotationPhase) -> Next {
        Next::Take { replica: "a".to_owned(), from }
    }

    fn wait(reason: &str) -> Next {
        Next::Wait(reason.to_owned())
    }

    #[test]
    fn nothing_begins_before_a_replica_writes() {
        let follower = answer("b", Steady, &["old"], vec![]);
        assert_eq!(next(&[follower], &[], None, true), wait("no replica of the control plane writes yet"));
    }

    #[test]
    fn a_step_waits_for_every_replica() {
        let answers = [answer("a", Added, &["old", "new"], vec![]), answer("b", Steady, &["old"], vec![])];
        assert_eq!(next(&answers, &[], Some(Added), false), wait("replicas that have not followed: b"));
        let answers = [answer("a", Steady, &["old"], vec![]), answer("b", Steady, &["old"], vec![])];
        assert_eq!(next(&answers, &[], Some(Added), false), wait("replica a has not read what it wrote"));
    }

    #[test]
    fn certificates_are_issued_under_the_new_root_once_every_proxy_trusts_it() {
        let behind = HeldCertificate { trusts_current: false, ..held("carts-1", "old") };
        let step = |held, pods: &[MeshedPod], force| {
            next(&[answer("a", Added, &["old", "new"], vec![held])], pods, Some(Added), force)
        };
        assert_eq!(step(behind.clone(), &[], false), wait("proxies that have not followed: shop/carts-1"));
        assert_eq!(step(behind, &[], true), take(Added));
        let pods = [pod("carts-1"), pod("cut-off-1")];
        let reason = "proxies that have not followed: shop/cut-off-1 (not connected)";
        assert_eq!(step(held("carts-1", "old"), &pods, false), wait(reason));
        assert_eq!(step(held("carts-1", "old"), &pods[..1], false), take(Added));
    }

    #[test]
    fn the_old_root_goes_once_nobody_presents_it() {
        let step = |root| {
            next(&[answer("a", Switched, &["old", "new"], vec![held("carts-1", root)])], &[], Some(Switched), false)
        };
        assert_eq!(step("old"), wait("proxies that have not followed: shop/carts-1"));
        assert_eq!(step("new"), take(Switched));
    }

    #[test]
    fn a_replacement_that_was_interrupted_goes_on_and_one_that_is_over_begins_anew() {
        assert_eq!(next(&[answer("a", Switched, &["old", "new"], vec![])], &[], None, false), take(Switched));
        assert_eq!(next(&[answer("a", Steady, &["new"], vec![])], &[], None, false), take(Steady));
        let done = Next::Done { root: "new".to_owned() };
        assert_eq!(next(&[answer("a", Steady, &["new"], vec![])], &[], Some(Steady), false), done);
    }

    #[test]
    fn many_who_are_behind_are_named_in_one_line() {
        let names = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(listed(&names), "proxies that have not followed: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }

    /// A mesh with one replica, whose only proxy needs two looks for each step, or never follows.
    struct Small {
        phase: Cell<RotationPhase>,
        looks: Cell<u32>,
        stuck: bool,
        said: RefCell<Vec<String>>,
    }

    impl Small {
        fn new(stuck: bool) -> Small {
            Small { phase: Cell::new(Steady), looks: Cell::new(0), stuck, said: RefCell::default() }
        }
    }

    impl Mesh for Small {
        async fn identities(&self) -> Result<Vec<Identities>, Failure> {
            let follows = self.looks.replace(self.looks.get() + 1) >= 2 && !self.stuck;
            let proxy = HeldCertificate {
                trusts_current: follows,
                ..held("carts-1", if follows && self.phase.get() == Switched { "new" } else { "old" })
            };
            let roots: &[&str] = if self.phase.get() == Steady { &["new"] } else { &["old", "new"] };
            Ok(vec![answer("a", self.phase.get(), roots, vec![proxy])])
        }

        async fn meshed_pods(&self) -> Result<Vec<MeshedPod>, Failure> {
            Ok(vec![pod("carts-1")])
        }

        async fn take(&self, _: &str, from: RotationPhase, _: bool) -> Result<RotationPhase, Failure> {
            assert_eq!(self.phase.replace(follows(from)), from);
            self.looks.set(0);
            Ok(self.phase.get())
        }

        fn say(&self, line: &str) {
            self.said.borrow_mut().push(line.to_owned());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_root_is_replaced_in_three_steps_that_wait_for_the_proxies() {
        let mesh = Small::new(false);
        replace(&mesh, Patience { timeout: Duration::from_secs(300), force: false }).await.unwrap();
        let waiting = "waiting: proxies that have not followed: shop/carts-1";
        assert_eq!(
            *mesh.said.borrow(),
            [
                told(Added),
                waiting,
                told(Switched),
                waiting,
                told(Steady),
                "done: the root new is the only one that is trusted"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_follows_is_named_and_what_to_do() {
        let mesh = Small::new(true);
        let patience = Patience { timeout: Duration::from_secs(300), force: false };
        let failure = replace(&mesh, patience).await.unwrap_err();
        let message = failure.message();
        assert!(message.contains("waits at \"added\": proxies that have not followed: shop/carts-1; "), "{message}");
        assert!(message.contains("--force"), "{message}");
        assert_eq!(mesh.phase.get(), Added, "nothing was cut off");
    }
}
