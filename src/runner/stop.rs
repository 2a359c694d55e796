//! The wish to stop, from Ctrl-C or a termination signal.

use std::{
    path::{Path, PathBuf},
    process::{self, Child},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::session;

/// What a signal ends: the running block, or a run that has not begun to measure.
#[derive(Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
    /// The folder of a run whose manifest is not written yet: it cannot be resumed.
    beginning: Arc<Mutex<Option<PathBuf>>>,
}

/// Exit code of a process that was interrupted.
pub const INTERRUPTED: u8 = 130;

impl Stop {
    /// Listens for signals from now on. A process has one of these: a pilot and the run after it share it.
    pub fn install() -> Self {
        static INSTALLED: OnceLock<Stop> = OnceLock::new();
        INSTALLED.get_or_init(Self::listening).clone()
    }

    fn listening() -> Self {
        let stop = Self::default();
        let handler = stop.clone();
        // It fails only if a handler is there already: then that one decides.
        let _ = ctrlc::set_handler(move || {
            handler.requested.store(true, Ordering::Release);
            if let Some(dir) = lock(&handler.beginning).take() {
                session::discard(&dir);
                eprintln!("interrupted before the first sample; nothing was kept");
                process::exit(INTERRUPTED.into());
            }
            handler.kill();
        });
        stop
    }

    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// A run begins in `dir`, which this run created: until [`begun`](Self::begun), a signal removes
    /// it and ends the process at once.
    pub fn begin(&self, dir: &Path) {
        *lock(&self.beginning) = Some(dir.to_owned());
    }

    /// The run can be resumed from now on.
    pub fn begun(&self) {
        *lock(&self.beginning) = None;
    }

    /// Makes `child` the process that ends with the run.
    pub fn watch(&self, child: Child) {
        *lock(&self.child) = Some(child);
        if self.requested() {
            self.kill();
        }
    }

    /// Ends the process that is watched.
    pub fn kill(&self) {
        if let Some(child) = lock(&self.child).as_mut() {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }

    /// Waits for the process that is watched, and forgets it.
    ///
    /// # Errors
    /// The system cannot say how it ended.
    pub fn wait(&self) -> std::io::Result<String> {
        let mut child = lock(&self.child);
        let status = child.as_mut().map(Child::wait).transpose()?;
        *child = None;
        Ok(status.map_or_else(String::new, |status| status.to_string()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
