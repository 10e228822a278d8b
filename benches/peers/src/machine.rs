//! What it ran on.

use std::fs;

/// Load average of a minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(f64::NAN)
}

/// Name and value, for people.
pub(crate) fn facts() -> Vec<(String, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named =
        |name: &str| cpu.lines().find_map(|line| line.strip_prefix(name)?.split_once(": ")).map(|(_, value)| value);
    let flags = named("flags").unwrap_or_default();
    let has = |flag: &&&str| flags.split(' ').any(|own| own == **flag);
    let crypto: Vec<&str> = ["aes", "vaes", "avx2", "avx512f", "hypervisor"].iter().filter(has).copied().collect();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<f64>().ok());
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("processor".to_owned(), format!("{} × {}", processors, named("model name").unwrap_or("unknown"))),
        ("of its features".to_owned(), crypto.join(" ")),
        ("memory".to_owned(), format!("{:.0} GiB", memory.unwrap_or(0.0) / 1024.0 / 1024.0)),
        ("kernel".to_owned(), kernel.trim().to_owned()),
        ("system".to_owned(), system.trim_matches('"').to_owned()),
        ("load average when it began".to_owned(), format!("{:.1}", load())),
    ]
}
