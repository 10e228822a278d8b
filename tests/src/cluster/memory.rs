//! What processes of the cluster hold and how often they wake, as the kernel counts it: a page that several share is divided among them.

use std::collections::BTreeMap;
use std::fs;

use super::Cluster;

/// Pss in KiB, by what runs: the program's role and the pod that it runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<String, Vec<u64>>);

/// A process of the mesh in a pod.
struct Part {
    role: String,
    pid: u32,
    cgroup: String,
}

impl Cluster {
    /// The process that is the sidecar of the pod with that UID, once there is one.
    pub fn sidecar(&self, uid: &str) -> Option<u32> {
        self.parts().into_iter().find(|part| part.role == "proxy" && part.cgroup.contains(uid)).map(|part| part.pid)
    }

    /// Of every minimesh process in the nodes, by role (`proxy`, `control-plane`, …). The shop's services are no part of the mesh.
    pub fn mesh_memory(&self) -> Memory {
        let mut memory = Memory::default();
        for Part { role, pid, .. } in self.parts() {
            // a process that ended meanwhile holds nothing
            let Some(pss) = pss(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default()) else {
                continue;
            };
            memory.0.entry(role).or_default().push(pss);
        }
        memory
    }

    /// How often each sidecar has slept and woken so far, all its threads together, by its process.
    pub fn wake_ups(&self) -> BTreeMap<u32, u64> {
        let proxies = self.parts().into_iter().filter(|part| part.role == "proxy");
        proxies.map(|Part { pid, .. }| (pid, wake_ups(pid))).collect()
    }

    fn parts(&self) -> Vec<Part> {
        let pods: Vec<String> = self.nodes().into_iter().filter_map(|(_, init)| pods_of(init)).collect();
        let part = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            if !pods.iter().any(|pods| cgroup.contains(pods)) {
                return None;
            }
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<String> =
                command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            Some(Part { role: role(&words)?, pid, cgroup })
        };
        fs::read_dir("/proc").expect("this machine has processes").flatten().filter_map(part).collect()
    }
}

impl Memory {
    /// Of all of them.
    pub fn sum(&self) -> u64 {
        self.0.values().flatten().sum()
    }

    /// How many processes have that role.
    pub fn count(&self, role: &str) -> usize {
        self.0.get(role).map_or(0, Vec::len)
    }

    /// Of the largest process of that role.
    pub fn most(&self, role: &str) -> u64 {
        self.0.get(role).into_iter().flatten().max().copied().unwrap_or_default()
    }

    /// One line for each role.
    pub fn table(&self) -> String {
        let mut table = format!("{:<16} {:>6} {:>10} {:>10}\n", "role", "count", "sum KiB", "most KiB");
        for (role, each) in &self.0 {
            let (sum, most) = (each.iter().sum::<u64>(), each.iter().max().copied().unwrap_or_default());
            table.push_str(&format!("{role:<16} {:>6} {sum:>10} {most:>10}\n", each.len()));
        }
        table.push_str(&format!(
            "{:<16} {:>6} {:>10}\n",
            "all",
            self.0.values().map(Vec::len).sum::<usize>(),
            self.sum()
        ));
        table
    }
}

/// The cgroup of all pods of the node with that first process: nodes of another cluster on this machine may have the same names.
fn pods_of(init: u32) -> Option<String> {
    let cgroup = fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
    let own = cgroup.lines().find_map(|line| line.find("/minimesh-cluster/").map(|begin| &line[begin..]))?;
    Some(format!("{}/kubepods", own.trim_end_matches("/daemons")))
}

/// `minimesh proxy …` or a link named after the part.
fn role(words: &[String]) -> Option<String> {
    let program = words.first()?.rsplit('/').next()?;
    let role = match program.strip_prefix("minimesh-") {
        Some(part) => part,
        None if program == "minimesh" => words.get(1)?,
        None => return None,
    };
    (role != "sock-shop").then(|| role.to_owned())
}

fn wake_ups(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| slept(&fs::read_to_string(thread.path().join("status")).ok()?)).sum()
}

/// How often a thread went to sleep by itself: it was woken as often, but for the last time.
fn slept(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_command_lines() {
        let role = |line: &str| role(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(role("/minimesh proxy --x").as_deref(), Some("proxy"));
        assert_eq!(role("/minimesh-control-plane --kubernetes").as_deref(), Some("control-plane"));
        assert_eq!(role("minimesh sock-shop carts"), None);
        assert_eq!(role("/coredns"), None);
    }

    #[test]
    fn pss_is_read_from_the_kernels_sum() {
        assert_eq!(pss("Rss:  12 kB\nPss:   7 kB\nPss_Anon: 1 kB\n"), Some(7));
    }

    #[test]
    fn sleeps_are_those_that_nobody_forced() {
        assert_eq!(slept("voluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t7\n"), Some(41));
    }
}
