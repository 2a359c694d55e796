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

/// The CPUs of `threads` workers that are bound to one each, in ascending order.
///
/// # Errors
/// Why they are left to the system: [`allowed`] fails, or there are fewer CPUs than workers.
pub fn placement(threads: usize) -> Result<&'static [usize], String> {
    let cpus = allowed()?;
    cpus.get(..threads).ok_or_else(|| format!("{} CPUs are fewer than {threads} threads", cpus.len()))
}

/// Binds the calling thread to `cpu` until the value is dropped, by whichever thread.
///
/// # Errors
/// As [`bind`].
pub fn bind_for_now(cpu: usize) -> std::io::Result<Bound> {
    let bound = system::Before::now()?;
    bind(cpu)?;
    Ok(Bound(bound))
}

/// A thread that is bound for now.
pub struct Bound(system::Before);

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// The CPU that the calling thread runs on, where the system tells.
pub fn current() -> Option<usize> {
    system::current()
}

#[cfg(target_os = "linux")]
mod system {
    use std::{io, sync::OnceLock};

    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// A thread and the CPUs that it might use.
    pub struct Before {
        thread: Pid,
        cpus: CpuSet,
    }

    impl Before {
        /// Of the calling thread.
        pub fn now() -> io::Result<Self> {
            Ok(Self { thread: gettid(), cpus: sched_getaffinity(None)? })
        }

        /// Gives the thread its CPUs back. It may have ended: then there is nothing to restore.
        pub fn restore(&self) {
            let _ = sched_setaffinity(Some(self.thread), &self.cpus);
        }
    }

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

    pub struct Before;

    impl Before {
        pub fn now() -> io::Result<Self> {
            Ok(Self)
        }

        pub fn restore(&self) {}
    }

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
    fn a_thread_that_is_bound_for_now_is_free_again() {
        let Ok(cpus) = allowed() else { return };
        let last = *cpus.last().expect("a process has a CPU");
        let bound = bind_for_now(last).expect("an allowed CPU");
        assert_eq!((current(), std::thread::available_parallelism().map(Into::into).ok()), (Some(last), Some(1)));
        drop(bound);
        assert_eq!(std::thread::available_parallelism().map(Into::into).ok(), Some(cpus.len()));
        assert!(placement(cpus.len() + 1).is_err_and(|reason| reason.contains("fewer than")));
    }

    #[test]
    fn a_bound_thread_runs_on_its_cpu() {
        let Ok(cpus) = allowed() else { return };
        for &cpu in cpus {
            let found = std::thread::spawn(move || bind(cpu).map(|()| current()));
            assert_eq!(found.join().expect("no panic").expect("an allowed CPU"), Some(cpu));
        }
    }
}
