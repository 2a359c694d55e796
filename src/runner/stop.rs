//! The wish to stop, from Ctrl-C or a termination signal.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{self, Child},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::session;

/// What a signal ends: the running blocks, or a run that has not begun to measure.
#[derive(Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    /// By the number of their process.
    children: Arc<Mutex<BTreeMap<u32, Child>>>,
    /// The folder of a run whose manifest is not written yet: it cannot be resumed.
    beginning: Arc<Mutex<Option<PathBuf>>>,
}

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(1);

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

    /// Makes `child` a process that ends with the run.
    pub fn watch(&self, child: Child) -> Watched {
        let number = child.id();
        lock(&self.children).insert(number, child);
        if self.requested() {
            self.kill();
        }
        Watched { children: Arc::clone(&self.children), number }
    }

    /// Ends every process that is watched.
    fn kill(&self) {
        for child in lock(&self.children).values_mut() {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }
}

/// A process that ends with the run.
pub struct Watched {
    children: Arc<Mutex<BTreeMap<u32, Child>>>,
    number: u32,
}

impl Watched {
    /// Ends it.
    pub fn kill(&self) {
        if let Some(child) = lock(&self.children).get_mut(&self.number) {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }

    /// Waits for its end, and says how it ended.
    ///
    /// # Errors
    /// The system cannot say how it ended.
    pub fn wait(self) -> io::Result<String> {
        loop {
            let mut children = lock(&self.children);
            let status = children.get_mut(&self.number).map(Child::try_wait).transpose()?;
            if let Some(status) = status.unwrap_or_default() {
                children.remove(&self.number);
                return Ok(status.to_string());
            }
            // A signal must find the list unlocked.
            drop(children);
            thread::sleep(POLL);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
