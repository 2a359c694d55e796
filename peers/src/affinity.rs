//! Binding threads that a library starts.

/// Binds the calling thread to `cpu` where the system does such things; elsewhere it stays free.
#[cfg(target_os = "linux")]
pub fn bind(cpu: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if cpu < CpuSet::MAX_CPU {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A system that refuses leaves the thread free, as it was.
        let _ = sched_setaffinity(None, &set);
    }
}

/// Binds the calling thread to `cpu` where the system does such things; elsewhere it stays free.
#[cfg(not(target_os = "linux"))]
pub fn bind(_: usize) {}
