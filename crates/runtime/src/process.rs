//! This process as metrics, from /proc/self at scrape time; and the build.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Registers the process metrics and `minimesh_build_info`.
pub fn register(registry: &mut Registry, role: &'static str) {
    registry.register_collector(Box::new(Process));
    let labels = vec![("version", env!("CARGO_PKG_VERSION")), ("role", role), ("arch", std::env::consts::ARCH)];
    registry.register("minimesh_build", "The program and the part of it that this process is", Info::new(labels));
}

/// Resident memory in bytes, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it (VmRSS).
    pub resident: u64,
    /// What is backed by no file (RssAnon): heap and stacks. The program's own pages are shared between processes.
    pub anonymous: u64,
}

/// The memory of this process; `None` without /proc.
pub fn memory() -> Option<Memory> {
    parse_memory(&fs::read_to_string("/proc/self/status").ok()?)
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(memory) = memory() {
            let (resident, anonymous) = (memory.resident, memory.anonymous);
            gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", resident as f64)?;
            let help = "Resident memory that is backed by no file";
            gauge(&mut encoder, "minimesh_process_rss_anon_bytes", help, anonymous as f64)?;
        }
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse_stat) {
            let cpu = ConstCounter::new(stat.cpu_ticks as f64 / TICKS_PER_SECOND);
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "CPU time, user and system",
                None,
                cpu.metric_type(),
            )?;
            cpu.encode(metric)?;
            gauge(&mut encoder, "process_threads", "Threads", stat.threads as f64)?;
            gauge(&mut encoder, "process_virtual_memory_bytes", "Address space", stat.virtual_bytes as f64)?;
            if let Some(booted) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(parse_boot_time) {
                let started = booted as f64 + stat.start_ticks as f64 / TICKS_PER_SECOND;
                gauge(&mut encoder, "process_start_time_seconds", "Start, in seconds since 1970", started)?;
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory being read.
            let open = entries.count().saturating_sub(1);
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", open as f64)?;
        }
        if let Some(limit) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(parse_max_fds) {
            gauge(&mut encoder, "process_max_fds", "Limit of open file descriptors", limit as f64)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
}

/// proc(5): the second field is the program's name in parentheses and may hold anything, so fields count from the last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
    })
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Memory { resident: kib("VmRSS:")? * 1024, anonymous: kib("RssAnon:")? * 1024 })
}

fn parse_boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn parse_max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// USER_HZ: 100 on every architecture that Linux has a 64-bit ABI for.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whose_name_has_parentheses_and_spaces() {
        let line = "42 (mini) (mesh) S 1 42 42 0 -1 4194560 1500 0 3 0 120 30 0 0 20 0 2 0 98765 12345678 900 18446744073709551615\n";
        let expected = Stat { cpu_ticks: 150, threads: 2, start_ticks: 98_765, virtual_bytes: 12_345_678 };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("42 (x) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn reads_memory_and_limits() {
        let status = "Name:\tx\nVmRSS:\t    9876 kB\nRssAnon:\t    1234 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { resident: 9876 * 1024, anonymous: 1234 * 1024 }));
        assert_eq!(
            parse_max_fds("Max open files            1024                 4096                 files\n"),
            Some(1024)
        );
        assert_eq!(parse_boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[test]
    fn every_series_is_there_on_this_machine() {
        let mut registry = Registry::default();
        register(&mut registry, "test");
        let text = crate::metrics::encode(&registry).expect("to a String");
        let names = [
            "process_resident_memory_bytes ",
            "minimesh_process_rss_anon_bytes ",
            "process_cpu_seconds_total ",
            "process_threads ",
            "process_virtual_memory_bytes ",
            "process_start_time_seconds ",
            "process_open_fds ",
            "process_max_fds ",
            "minimesh_build_info{version=\"",
        ];
        for name in names {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing in:\n{text}");
        }
    }
}
