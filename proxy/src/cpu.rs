//! How many CPUs this process may use, by its control group.

use std::fs;
use std::path::Path;

/// CPUs of the tightest limit, rounded up; `None`: no limit.
pub(crate) fn limit() -> Option<usize> {
    limit_below(Path::new("/"))
}

fn limit_below(root: &Path) -> Option<usize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let base = root.join("sys/fs/cgroup");
    // In a container the group's own files may be mounted at the top, whatever /proc says.
    let own = base.join(group.trim_start_matches('/'));
    let v2 = [own, base.clone()].iter().find_map(|folder| {
        let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        cpus(quota, period)
    });
    v2.or_else(|| {
        let folder = base.join("cpu");
        let read = |name| fs::read_to_string(folder.join(name)).ok();
        cpus(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
    })
}

/// "max" and -1 are no limit.
fn cpus(quota: &str, period: &str) -> Option<usize> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok().filter(|period| *period > 0)?;
    usize::try_from(quota.div_ceil(period)).ok().filter(|cpus| *cpus > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_up_and_absence_is_none() {
        assert_eq!(cpus("150000", "100000"), Some(2));
        assert_eq!(cpus("10000\n", "100000\n"), Some(1));
        for (quota, period) in [("max", "100000"), ("-1", "100000"), ("0", "100000"), ("5", "0"), ("", "")] {
            assert_eq!(cpus(quota, period), None, "{quota} {period}");
        }
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let root = std::env::temp_dir().join(format!("minimesh-cpu-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("inside the root")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
        write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(limit_below(&root), Some(3));
        write("proc/self/cgroup", "0::/pod/container\n");
        write("sys/fs/cgroup/pod/container/cpu.max", "50000 100000\n");
        assert_eq!(limit_below(&root), Some(1));
        let _ = fs::remove_dir_all(root);
    }
}
