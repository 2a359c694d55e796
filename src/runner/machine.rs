//! What this machine is: the fingerprint of a run, and the sizes that plans depend on.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use septet_kernels::PREFETCH_DISTANCE;

use crate::digest::sha256;

/// The value of a fact that the machine does not tell.
pub const NOT_EXPOSED: &str = "not exposed";

/// Size assumed for the last-level cache where the machine does not tell: larger than most.
const UNKNOWN_CACHE: usize = 256 << 20;

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// A data or unified cache of CPU 0.
pub struct Cache {
    /// `L1`, `L2`, …
    pub name: String,
    pub bytes: usize,
    /// CPUs that it serves.
    pub sharers: usize,
}

/// Bytes of the largest cache of CPU 0.
pub fn last_level_cache() -> usize {
    caches().iter().map(|cache| cache.bytes).max().unwrap_or(UNKNOWN_CACHE)
}

/// Bytes of memory that can be allocated without swapping, if the machine tells.
pub fn available_memory() -> Option<usize> {
    memory("MemAvailable:")
}

/// Bytes in a line of `/proc/meminfo`.
fn memory(line: &str) -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|found| found.starts_with(line))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib << 10)
}

/// CPU 0's data and unified caches, those that the machine tells.
pub fn caches() -> Vec<Cache> {
    let folder = Path::new("/sys/devices/system/cpu/cpu0/cache");
    let mut caches = Vec::new();
    for index in 0.. {
        let read = |name: &str| read_trimmed(&folder.join(format!("index{index}/{name}")));
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size")) else { break };
        let bytes = size.strip_suffix('K').and_then(|kib| kib.parse::<usize>().ok()).map(|kib| kib << 10);
        let sharers = read("shared_cpu_list").and_then(|list| listed_cpus(&list)).unwrap_or(1);
        if let (Some(bytes), "Data" | "Unified") = (bytes, kind.as_str()) {
            caches.push(Cache { name: format!("L{level}"), bytes, sharers });
        }
    }
    caches
}

/// Number of CPUs in a list like `0-3,8`.
fn listed_cpus(list: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (last.parse::<usize>().ok()? + 1).checked_sub(first.parse().ok()?)
    };
    list.split(',').map(count).sum()
}

/// The fingerprint of this program on this machine: what the manifest calls the environment.
pub fn environment() -> BTreeMap<String, String> {
    let binary = env::current_exe().ok().and_then(|path| fs::read(path).ok());
    let program = [
        ("program", Some(format!("septet {}", env!("CARGO_PKG_VERSION")))),
        ("rustc", Some(env!("SEPTET_RUSTC").to_owned())),
        ("target", Some(env!("SEPTET_TARGET").to_owned())),
        ("profile", Some(env!("SEPTET_PROFILE").to_owned())),
        ("rustflags", Some(env!("SEPTET_RUSTFLAGS").to_owned())),
        ("lock_sha256", Some(env!("SEPTET_LOCK_SHA256").to_owned())),
        ("git_commit", Some(env!("SEPTET_GIT_COMMIT").to_owned())),
        ("git_dirty", Some(env!("SEPTET_GIT_DIRTY").to_owned())),
        ("binary_sha256", binary.map(|bytes| sha256([bytes.as_slice()]))),
        ("prefetch_distance", Some(format!("{PREFETCH_DISTANCE} bytes unless an arm says otherwise"))),
        ("argv", Some(env::args().skip(1).collect::<Vec<_>>().join(" "))),
    ];
    let mut environment = facts();
    environment.extend(told(program));
    environment
}

/// The part of the fingerprint that belongs to the machine.
pub fn facts() -> BTreeMap<String, String> {
    let file = |path: &str| read_trimmed(Path::new(path));
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let family = [cpu("cpu family"), cpu("model"), cpu("stepping")].map(|part| part.unwrap_or_default()).join("/");
    let devices = fs::read_dir("/sys/bus/event_source/devices").map(|entries| {
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.join(" ")
    });
    let caches: Vec<String> =
        caches().iter().map(|cache| format!("{} {} KiB", cache.name, cache.bytes >> 10)).collect();
    told([
        ("cpu", cpu("model name")),
        ("cpu_family_model_stepping", Some(family)),
        ("cpu_flags", cpu("flags")),
        ("microcode", cpu("microcode")),
        ("cores", Some(cores().to_string())),
        ("thread_siblings_of_cpu0", file("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")),
        ("caches", Some(caches.join(", "))),
        ("memory", memory("MemTotal:").map(|bytes| format!("{} MiB", bytes >> 20))),
        ("os_kernel", file("/proc/sys/kernel/osrelease")),
        ("libc", libc()),
        ("governor", file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        ("clocksource", file("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("transparent_hugepage", file("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("aslr", file("/proc/sys/kernel/randomize_va_space")),
        ("pmu_devices", devices.ok()),
        ("perf_event_paranoid", file("/proc/sys/kernel/perf_event_paranoid")),
        ("load", file("/proc/loadavg")),
    ])
}

/// The GNU C library, as it says: `glibc 2.36`.
fn libc() -> Option<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Facts with a value, or the words that there is none.
fn told<const N: usize>(facts: [(&str, Option<String>); N]) -> BTreeMap<String, String> {
    let text = |value: Option<String>| value.filter(|v| !v.is_empty()).unwrap_or_else(|| NOT_EXPOSED.to_owned());
    facts.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect()
}

fn read_trimmed(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_a_value() {
        let facts = environment();
        assert!(facts.len() >= 20);
        assert!(facts.values().all(|value| !value.is_empty()), "{facts:?}");
        assert!(facts["rustc"].starts_with("rustc "));
    }
    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(listed_cpus("0"), Some(1));
        assert_eq!(listed_cpus("0-3,8"), Some(5));
        assert_eq!(listed_cpus("3-0"), None);
        assert_eq!(listed_cpus(""), None);
    }
}
