//! What processes cost, from /proc: read at both ends of the window by a thread that does nothing else.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Outcome, Window};

/// Processor time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// By the scheduler's own account of every thread that lives, seconds. Exact to a tick of the kernel.
    pub exact: f64,
    /// In user mode, seconds; threads that ended are in it. The split is by samples.
    pub user: f64,
    /// In the kernel, likewise.
    pub kernel: f64,
}

impl Cpu {
    /// The exact figure, unless threads have ended that it lacks.
    pub fn seconds(&self) -> f64 {
        let sampled = self.user + self.kernel;
        if sampled > self.exact + 3.0 * TICK { sampled } else { self.exact }
    }

    /// Of the process that has this folder in /proc.
    fn of(process: &str) -> Cpu {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let (user, kernel) = ticks(&stat).unwrap_or_default();
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let run = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Cpu { exact: run.sum::<u64>() as f64 / 1e9, user: user as f64 * TICK, kernel: kernel as f64 * TICK }
    }

    fn since(self, before: Cpu) -> Cpu {
        Cpu { exact: self.exact - before.exact, user: self.user - before.user, kernel: self.kernel - before.kernel }
    }
}

/// Resident memory of a process in KiB, from the sum of its mappings: the quick counters are up to 64 pages off per thread.
pub fn resident_kib(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and kernel time of a line of /proc/PID/stat. The program's name may hold anything but a closing parenthesis at its end.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Seconds that the whole machine was busy: everything but idle and waiting for disks.
fn machine() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let busy = fields.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks);
    busy.sum::<u64>() as f64 * TICK
}

/// Takes the time of processes, and what is counted, at both ends of the window.
pub(super) struct Watch {
    thread: JoinHandle<Outcome>,
    completed: Arc<AtomicU64>,
}

impl Watch {
    pub(super) fn start(window: Window, watched: Vec<u32>) -> Watch {
        let completed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&completed);
        let thread = std::thread::spawn(move || {
            let look = |at: Instant| {
                until(at);
                let cpu: Vec<Cpu> = watched.iter().map(|process| Cpu::of(&process.to_string())).collect();
                // not by its id: /proc is that of a PID namespace outside
                (Instant::now(), counter.load(Ordering::Relaxed), cpu, Cpu::of("self"), machine())
            };
            let (begin, end) = (look(window.begin), look(window.end));
            Outcome {
                completed: end.1 - begin.1,
                seconds: (end.0 - begin.0).as_secs_f64(),
                cpu: end.2.iter().zip(begin.2).map(|(end, begin)| end.since(begin)).collect(),
                own_cpu: end.3.since(begin.3).seconds(),
                machine_cpu: end.4 - begin.4,
                ..Outcome::default()
            }
        });
        Watch { thread, completed }
    }

    /// Where completed work is counted, in the window or not.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.completed)
    }

    /// When the window is over.
    pub(super) fn finish(self) -> Outcome {
        self.thread.join().expect("the watch does not panic")
    }
}

/// Returns at that time.
pub(super) fn until(instant: Instant) {
    while let Some(rest) = instant.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::park_timeout(rest);
    }
}

/// Linux counts in hundredths of a second towards programs, whatever its own clock.
const TICK: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_a_name_that_may_look_like_anything() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 1234 567 0 0 20 0 3 0 100";
        assert_eq!(ticks(stat), Some((1234, 567)));
        assert_eq!(ticks("nothing"), None);
    }

    #[test]
    fn time_of_threads_that_ended_is_not_lost() {
        assert_eq!(Cpu { exact: 1.0, user: 0.6, kernel: 0.41 }.seconds(), 1.0);
        assert_eq!(Cpu { exact: 1.0, user: 1.0, kernel: 0.5 }.seconds(), 1.5);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(resident_kib(std::process::id()) > 100);
        // the scheduler writes its account at its next tick
        assert!((0..1_000_000).any(|_| Cpu::of("self").exact > 0.0));
        assert!(machine() > 0.0);
        assert_eq!(Cpu::of("nobody"), Cpu::default());
    }
}
