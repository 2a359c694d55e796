//! Which CPUs a thread may run on.
//!
//! The CPUs of the process are those that the first question found: later answers must not depend
//! on what this program itself has bound meanwhile.

/// CPUs that this process may use, ascending; an error says why that is not known.
///
/// # Errors
/// Elsewhere than on Linux, or where the system refuses the question.
pub fn allowed() -> Result<&'static [usize], &'static str> {
    system::allowed()
}

/// Binds the calling thread to `cpu`.
///
/// # Errors
/// Where the system does not bind threads, or refuses to.
pub fn bind(cpu: usize) -> std::io::Result<()> {
    system::bind(&[cpu])
}

/// The CPU that the calling thread runs on, where the system tells.
pub fn current() -> Option<usize> {
    system::current()
}

#[cfg(target_os = "linux")]
mod system {
    use std::{io, sync::OnceLock};

    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    pub fn allowed() -> Result<&'static [usize], &'static str> {
        static ALLOWED: OnceLock<Option<Vec<usize>>> = OnceLock::new();
        let found = ALLOWED.get_or_init(|| {
            let set = sched_getaffinity(None).ok()?;
            Some((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
        });
        found.as_deref().ok_or("sched_getaffinity fails: this machine has more CPUs than its mask holds")
    }

    pub fn bind(cpus: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|&cpu| set.set(cpu));
        Ok(sched_setaffinity(None, &set)?)
    }

    pub fn current() -> Option<usize> {
        Some(sched_getcpu())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub fn allowed() -> Result<&'static [usize], &'static str> {
        Err("threads are bound to CPUs on Linux only")
    }

    pub fn bind(_: &[usize]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn current() -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_thread_runs_on_its_cpu() {
        let Ok(cpus) = allowed() else { return };
        for &cpu in cpus {
            let found = std::thread::spawn(move || bind(cpu).map(|()| current()));
            assert_eq!(found.join().expect("no panic").expect("an allowed CPU"), Some(cpu));
        }
    }
}
