//! Behaviour of the balancer under a clock and randomness that the tests own.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use std::time::{Duration, Instant};

use minimesh_balance::{Budget, Outcome, Rng, Slot, pick_p2c};
use proptest::prelude::*;

#[test]
fn no_endpoints_no_choice() {
    assert_eq!(World::new(&[]).pick(), None);
}

#[test]
fn one_endpoint_is_taken_whatever_its_state() {
    let mut world = World::new(&[60_000]);
    for _ in 0..10 {
        assert_eq!(world.pick(), Some(0));
        world.slots[0].start();
    }
}

#[test]
fn of_two_the_less_loaded_is_taken_always() {
    let mut world = World::new(&[1, 50]);
    world.answer(0, 1, Outcome::Success);
    world.answer(1, 50, Outcome::Success);
    assert_eq!(world.shares(100), [100, 0]);
}

#[test]
fn an_endpoint_that_never_answered_is_asked_although_the_other_is_fast() {
    let mut world = World::new(&[1, 1]);
    world.answer(0, 1, Outcome::Success);
    let [known, new] = world.shares(100)[..] else { panic!("two endpoints") };
    // 50 expected, sigma 5
    assert!((30..=70).contains(&known) && (30..=70).contains(&new), "{known} {new}");
    // but not flooded while it owes its first answer
    world.slots[1].start();
    assert_eq!(world.shares(100), [100, 0]);
}

#[test]
fn requests_in_flight_count() {
    let mut world = World::new(&[1, 1]);
    world.slots[0].start();
    assert_eq!(world.shares(100), [0, 100]);
    world.slots[1].start();
    world.slots[1].start();
    assert_eq!(world.shares(100), [100, 0]);
}

#[test]
fn equal_endpoints_share_evenly() {
    let mut world = World::new(&[5; 4]);
    for share in world.shares(10_000) {
        // 2500 expected, sigma 43
        assert!((2_328..=2_672).contains(&share), "{share}");
    }
}

#[test]
fn traffic_converges_to_the_fast_endpoints() {
    let mut world = World::new(&[2, 2, 200]);
    world.run(200);
    let asked = world.run(2_000);
    assert!(asked[2] < 100, "{asked:?}");
    assert!(asked[0] > 500 && asked[1] > 500, "{asked:?}");
}

#[test]
fn an_endpoint_that_was_slow_comes_back() {
    let mut world = World::new(&[2, 2, 2]);
    world.run(300);
    world.answer(2, 5_000, Outcome::Success);
    assert_eq!(world.run(300)[2], 0);
    // 10 s × ln(5 s / 2 ms) = 78 s
    world.now += Duration::from_secs(90);
    let asked = world.run(2_000);
    assert!(asked[2] > 400, "{asked:?}");
}

#[test]
fn an_endpoint_that_fails_fast_does_not_attract_traffic() {
    let mut world = World::new(&[10, 10, 1]);
    world.failing = Some(2);
    world.run(200);
    let asked = world.run(2_000);
    assert!(asked[2] < 100, "{asked:?}");
}

#[test]
fn an_endpoint_that_failed_for_long_is_asked_again() {
    let mut world = World::new(&[10, 10, 1]);
    world.failing = Some(2);
    for _ in 0..100 {
        world.answer(2, 1, Outcome::Failure);
    }
    world.failing = None;
    // WORST is 60 s: 10 s × ln(60 s / 10 ms) = 87 s
    world.now += Duration::from_secs(100);
    let asked = world.run(2_000);
    assert!(asked[2] > 400, "{asked:?}");
}

#[test]
fn a_single_failure_is_forgotten_soon() {
    let mut world = World::new(&[10, 10]);
    world.run(200);
    let before = world.slots[0].latency(world.now);
    let started = world.now;
    world.slots[0].start();
    world.slots[0].finish(started, world.now, Outcome::Failure);
    assert!(world.slots[0].latency(world.now) > before);
    world.now += Duration::from_secs(8);
    assert!(world.slots[0].latency(world.now) < before);
}

#[test]
fn aborted_requests_teach_nothing() {
    let mut world = World::new(&[5, 5]);
    world.answer(0, 5, Outcome::Success);
    let load = world.slots[0].load(world.now);
    let started = world.now - Duration::from_secs(30);
    world.slots[0].start();
    world.slots[0].finish(started, world.now, Outcome::Aborted);
    assert_eq!(world.slots[0].load(world.now), load);
    assert_eq!(world.slots[0].in_flight(), 0);
}

#[test]
fn an_endpoint_whose_clients_give_up_is_as_slow_as_they_are_patient() {
    let mut world = World::new(&[5, 5]);
    world.answer(0, 5, Outcome::Success);
    let give_up = |world: &World, after| {
        world.slots[0].start();
        world.slots[0].finish(world.now - Duration::from_millis(after), world.now, Outcome::Unanswered);
        world.slots[0].latency(world.now)
    };
    assert_eq!(give_up(&world, 5_000), Duration::from_secs(5));
    // who gives up sooner than answers come says nothing
    assert_eq!(give_up(&world, 1), Duration::from_secs(5));
    assert_eq!(give_up(&world, 3_600_000), Duration::from_secs(60));
}

#[test]
fn a_new_endpoint_is_tried_and_not_flooded() {
    let mut world = World::new(&[30, 30]);
    world.run(200);
    world.latencies.push(30);
    world.slots.push(Slot::new(DEFAULT));
    let asked = world.run(300);
    assert!((50..=200).contains(&asked[2]), "{asked:?}");
}

#[test]
fn a_state_survives_a_longer_list() {
    let mut world = World::new(&[1, 100]);
    world.run(100);
    let before = world.slots[1].latency(world.now);
    world.slots.insert(1, Slot::new(DEFAULT));
    assert_eq!(world.slots[2].latency(world.now), before);
}

#[test]
fn draws_are_uniform() {
    let (mut rng, mut counts) = (Rng::new(7), [0u32; 10]);
    for _ in 0..100_000 {
        counts[rng.below(10)] += 1;
    }
    // 10 000 expected, sigma 95
    assert!(counts.iter().all(|count| (9_620..=10_380).contains(count)), "{counts:?}");
    assert_eq!(rng.below(0), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn estimates_stay_between_zero_and_the_worst_observed(
        steps in prop::collection::vec((0u64..100_000, 0u64..20_000, 0u8..4), 1..200),
    ) {
        let (slot, mut now) = (Slot::new(DEFAULT), Instant::now());
        let mut open: Vec<Instant> = Vec::new();
        for (wait, took, kind) in steps {
            now += Duration::from_millis(wait);
            slot.start();
            open.push(now);
            // clocks of callers may be read in any order: `now` may lie before the last observation
            let end = if kind == 2 { now } else { now + Duration::from_millis(took) };
            let outcome = [Outcome::Success, Outcome::Failure, Outcome::Aborted, Outcome::Unanswered][usize::from(kind)];
            if wait % 3 != 0 {
                slot.finish(open.pop().unwrap(), end, outcome);
            }
            let load = slot.load(now);
            prop_assert!(load.is_finite() && load >= 0.0);
            prop_assert!(slot.latency(now) <= Duration::from_secs(60));
            prop_assert_eq!(slot.in_flight() as usize, open.len());
        }
    }

    #[test]
    fn a_pick_is_one_of_the_two_and_never_the_worse(
        loads in prop::collection::vec(0u32..5, 2..8),
        seed in any::<u64>(),
    ) {
        let slots: Vec<Slot> = loads.iter().map(|load| {
            let slot = Slot::new(DEFAULT);
            (0..*load).for_each(|_| slot.start());
            slot
        }).collect();
        let picked = pick_p2c(slots.len(), |index| &slots[index], Instant::now(), &mut Rng::new(seed)).unwrap();
        let worst = *loads.iter().max().unwrap();
        let alone = loads.iter().filter(|load| **load == worst).count() == 1;
        prop_assert!(!(alone && loads[picked] == worst), "the only worst of {loads:?} was picked");
    }
}

const DEFAULT: Duration = Duration::from_millis(30);

/// Endpoints that answer after fixed times.
struct World {
    slots: Vec<Slot>,
    latencies: Vec<u64>,
    failing: Option<usize>,
    now: Instant,
    rng: Rng,
}

impl World {
    fn new(latencies: &[u64]) -> World {
        World {
            slots: latencies.iter().map(|_| Slot::new(DEFAULT)).collect(),
            latencies: latencies.to_vec(),
            failing: None,
            now: Instant::now(),
            rng: Rng::new(1),
        }
    }

    fn pick(&mut self) -> Option<usize> {
        pick_p2c(self.slots.len(), |index| &self.slots[index], self.now, &mut self.rng)
    }

    /// Picks `count` times without sending anything.
    fn shares(&mut self, count: usize) -> Vec<usize> {
        let mut shares = vec![0; self.slots.len()];
        (0..count).for_each(|_| shares[self.pick().unwrap()] += 1);
        shares
    }

    fn answer(&mut self, index: usize, millis: u64, outcome: Outcome) {
        let started = self.now;
        self.now += Duration::from_millis(millis);
        self.slots[index].start();
        self.slots[index].finish(started, self.now, outcome);
    }

    /// A request a millisecond, `count` of them; says how many each endpoint got.
    fn run(&mut self, count: usize) -> Vec<usize> {
        let mut asked = vec![0; self.slots.len()];
        let mut open: Vec<(Instant, Instant, usize)> = Vec::new();
        for _ in 0..count {
            self.now += Duration::from_millis(1);
            let now = self.now;
            open.retain(|(started, end, index)| {
                let over = *end <= now;
                if over {
                    let outcome = if self.failing == Some(*index) { Outcome::Failure } else { Outcome::Success };
                    self.slots[*index].finish(*started, now, outcome);
                }
                !over
            });
            let index = self.pick().unwrap();
            asked[index] += 1;
            self.slots[index].start();
            open.push((now, now + Duration::from_millis(self.latencies[index]), index));
        }
        for (started, end, index) in open {
            self.now = self.now.max(end);
            self.slots[index].finish(started, end, Outcome::Success);
        }
        asked
    }
}

#[test]
fn a_budget_lets_a_burst_pass_and_then_a_share() {
    let now = Instant::now();
    let budget = Budget::new(now);
    assert_eq!((0..200).filter(|_| budget.withdraw(now)).count(), 100);
    (0..10).for_each(|_| budget.deposit());
    assert_eq!((0..10).filter(|_| budget.withdraw(now)).count(), 2);
    let later = now + Duration::from_millis(500);
    assert_eq!((0..10).filter(|_| budget.withdraw(later)).count(), 5);
    // a clock that seems to go back brings nothing and breaks nothing
    assert!(!budget.withdraw(now));
}

proptest! {
    #[test]
    fn retries_never_exceed_the_budget(steps in proptest::collection::vec((any::<bool>(), 0u64..50), 0..2000)) {
        let start = Instant::now();
        let budget = Budget::new(start);
        let (mut now, mut requests, mut retries) = (start, 0u32, 0u32);
        for (retry, millis) in steps {
            now += Duration::from_millis(millis);
            if retry {
                retries += u32::from(budget.withdraw(now));
            } else {
                budget.deposit();
                requests += 1;
            }
            let most = 100.0 + 0.2 * f64::from(requests) + 10.0 * (now - start).as_secs_f64();
            prop_assert!(f64::from(retries) <= most + 1e-6, "{retries} of {most}");
        }
    }
}
