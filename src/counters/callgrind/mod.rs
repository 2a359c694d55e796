//! What valgrind's callgrind simulates of one product: instructions, branches, and the misses of caches and
//! of a branch predictor of pinned geometry.
//!
//! The simulated CPU has no AVX-512 and no prefetcher, and ignores prefetch instructions. So the kernel says
//! itself whether it could run, and where prefetch is what an arm is about, misses of caches have no value.
//! Counts of instructions and branches of one program repeat exactly. Its misses do so nearly: caches and
//! predictor remember what the process did before, down to the addresses that the system gave it.

pub mod out_file;

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rayon::prelude::*;
use septet_kernels::{Isa, Level as _, Prefetch, Variant};

use self::out_file::OutFile;
use super::{
    Counted, NoCounters, Pass, Product, Value,
    child::{self, Ended},
    product::Event,
    row,
};
use crate::{
    plan::CounterSource,
    record::{CounterRow, CounterStatus},
    runner::RunError,
};

/// Weights of the product: 2^20 pair codes, more than the predictor can learn by heart, and more bytes in
/// every format than the last level holds.
const WEIGHTS: usize = 1 << 21;

/// Columns of its matrix.
const COLS: usize = 2048;

/// The simulated caches: bytes, ways, bytes of a line. The last level is smaller than the weights, so that
/// they stream through it as they do from memory.
pub const GEOMETRY: [&str; 3] = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=262144,8,64"];

/// The function whose calls are counted, with whatever mangling surrounds its name.
pub const TOGGLE: &str = "--toggle-collect=*counted_product*";

/// Longest time of one product.
const LIMIT: Duration = Duration::from_secs(180);

/// Variables that the process keeps; without the others, its stack lies where it lay the last time.
const ENVIRONMENT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "VALGRIND_LIB"];

/// What to do without valgrind.
const INSTALL: &str = "install valgrind, for example with apt install valgrind";

/// What counts where valgrind cannot.
const ELSEWHERE: &str = "name `single_step` in `[counters]`, or run on a machine with a PMU";

/// A simulated counter.
struct Counter {
    name: &'static str,
    read: fn(&Counts) -> u64,
    /// Whether a prefetch would change it.
    of_caches: bool,
}

/// Every one, in the order of `counters.csv`.
const COUNTERS: [Counter; 5] = [
    Counter { name: "simulated_instructions", read: |counts| counts.instructions, of_caches: false },
    Counter { name: "simulated_branches", read: |counts| counts.branches, of_caches: false },
    Counter { name: "simulated_branch_misses", read: |counts| counts.branch_misses, of_caches: false },
    Counter { name: "simulated_d1_misses", read: |counts| counts.d1_misses, of_caches: true },
    Counter { name: "simulated_ll_misses", read: |counts| counts.ll_misses, of_caches: true },
];

/// What was simulated of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub instructions: u64,
    /// Conditional jumps, and jumps and calls through a register or memory.
    pub branches: u64,
    /// Those that the predictor got wrong.
    pub branch_misses: u64,
    /// Loads and stores that missed the first-level data cache.
    pub d1_misses: u64,
    /// Loads and stores that missed the last level.
    pub ll_misses: u64,
}

impl Counts {
    /// The counts in a file; an error names an event that is not there.
    fn of(file: &OutFile) -> Result<Self, String> {
        let sum = |events: &[&str]| {
            let total = |event: &&str| file.total(event).ok_or_else(|| format!("the event {event} was not counted"));
            events.iter().map(total).sum::<Result<u64, String>>()
        };
        Ok(Self {
            instructions: sum(&["Ir"])?,
            branches: sum(&["Bc", "Bi"])?,
            branch_misses: sum(&["Bcm", "Bim"])?,
            d1_misses: sum(&["D1mr", "D1mw"])?,
            ll_misses: sum(&["DLmr", "DLmw"])?,
        })
    }
}

/// The valgrind of this machine.
#[derive(Clone, Debug)]
pub struct Simulator {
    valgrind: PathBuf,
    /// As valgrind says it: `valgrind-3.19.0`.
    pub version: String,
}

impl Simulator {
    /// The valgrind in `PATH`.
    ///
    /// # Errors
    /// No valgrind, or one that does not run.
    pub fn find() -> Result<Self, NoCounters> {
        let found = env::var_os("PATH").and_then(|folders| {
            env::split_paths(&folders).map(|folder| folder.join("valgrind")).find(|path| path.is_file())
        });
        let valgrind = found.ok_or_else(|| NoCounters::new("valgrind is not in PATH", INSTALL))?;
        let unusable = |what: String| NoCounters::new(format!("{} --version: {what}", valgrind.display()), INSTALL);
        match Command::new(&valgrind).arg("--version").output() {
            Ok(output) if output.status.success() => {
                let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                Ok(Self { version, valgrind })
            }
            Ok(output) => Err(unusable(output.status.to_string())),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.valgrind
    }

    /// Runs `product` once, by the `bench` at `program` (an absolute path), and counts what
    /// [`counted_product`](super::product::counted_product) does. The same program gives the same counts.
    ///
    /// # Errors
    /// Why there are no counts: a kernel whose instructions are not simulated, a process that dies, one
    /// that computes something else, a file that is not understood.
    pub fn count(&self, program: &Path, product: &Product) -> Result<Counts, NoCounters> {
        let folder = Folder::new().map_err(|error| {
            NoCounters::new(format!("no folder for the counts: {error}"), "free the folder of temporary files")
        })?;
        let file = folder.0.join("counts");
        let mut command = Command::new(&self.valgrind);
        command.args(["-q", "--tool=callgrind", "--cache-sim=yes", "--branch-sim=yes", TOGGLE]).args(GEOMETRY);
        command.arg(format!("--callgrind-out-file={}", file.display()));
        command.arg(program).args(product.arguments());
        // No `.valgrindrc`, no GLIBC_TUNABLES, and the same stack each time.
        command.current_dir(&folder.0).env_clear();
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        let Ended { status, stdout, stderr } = child::run(&mut command, LIMIT)?;
        // A process that died of an instruction leaves counts all the same: they are of nothing.
        if !status.success() {
            return Err(child::ended_early(status, &stderr));
        }
        self.check(product, &child::events(&stdout)?)?;
        let unreadable = |what: String| NoCounters::new(format!("callgrind's file: {what}"), INSTALL);
        let text = fs::read_to_string(&file).map_err(|error| unreadable(error.to_string()))?;
        let counts = Counts::of(&OutFile::parse(&text).map_err(|error| unreadable(error.to_string()))?);
        match counts.map_err(unreadable)? {
            Counts { instructions: 0, .. } => Err(NoCounters::new(
                "callgrind did not find the function that is counted",
                "build the program with its symbols (strip = false)",
            )),
            counts => Ok(counts),
        }
    }

    /// Counts of one product of each of `kernels` with a matrix of `rows × cols`, by the `bench` at `program`
    /// (an absolute path), in the order of `kernels`; several at a time. `done` is called after each. The first
    /// kernel of an instruction set that is not simulated speaks for all of them.
    pub fn count_each(
        &self,
        program: &Path,
        kernels: &[Variant],
        (rows, cols): (usize, usize),
        done: &(dyn Fn() + Sync),
    ) -> Vec<Result<Counts, NoCounters>> {
        let count = |kernel: Variant| self.count(program, &Product::of_kernel(kernel, rows, cols));
        let mut lacking: BTreeMap<Isa, NoCounters> = BTreeMap::new();
        for isa in Isa::ALL {
            let first = kernels.iter().find(|kernel| kernel.isa == *isa).map(|kernel| count(*kernel));
            let none = first.and_then(Result::err).filter(|none| none.lacks_instructions);
            lacking.extend(none.map(|none| (*isa, none)));
        }
        let count = |&kernel: &Variant| {
            let counts = lacking.get(&kernel.isa).map_or_else(|| count(kernel), |none| Err(none.clone()));
            done();
            counts
        };
        kernels.par_iter().map(count).collect()
    }

    /// Whether the process ran `product`, and computed it.
    fn check(&self, product: &Product, events: &[Event]) -> Result<(), NoCounters> {
        let wrong = |what: String| NoCounters::new(what, "run `bench check`");
        match events {
            [Event::Missing(what)] => {
                let reason = format!("{} does not simulate the instructions of the kernel: {what}", self.version);
                Err(NoCounters::lacking(reason, ELSEWHERE))
            }
            [Event::Ready { kernel, .. }, Event::Done { output_sha256 }] => {
                if *kernel != product.kernel.to_string() {
                    return Err(wrong(format!("{kernel} ran in place of {}", product.kernel)));
                }
                let expected = product.expected_sha256().map_err(|error| wrong(error.to_string()))?;
                if *output_sha256 == expected {
                    Ok(())
                } else {
                    Err(wrong(format!("{kernel} computed something else")))
                }
            }
            _ => Err(wrong(format!("the process of a product said {events:?}"))),
        }
    }

    /// How counts of `product` came about: its matrix and the simulated caches, and behind a semicolon the
    /// kernel that ran.
    fn how(&self, product: &Product) -> String {
        let geometry = GEOMETRY.map(|option| option.trim_start_matches('-')).join(" ");
        format!("{}, {}, {geometry}; {}", product.size(), self.version, product.way())
    }
}

/// What valgrind simulates.
pub struct Callgrind;

impl super::Source for Callgrind {
    fn kind(&self) -> CounterSource {
        CounterSource::Callgrind
    }

    /// One product for each kernel, whichever cells use it; counts for each weight.
    fn count(&self, pass: &Pass<'_>, cells: &[Counted<'_>]) -> Result<Vec<CounterRow>, RunError> {
        let (simulator, program) = (Simulator::find(), env::current_exe()?);
        let mut counted: BTreeMap<Product, Result<Counts, NoCounters>> = BTreeMap::new();
        let mut rows = Vec::new();
        for cell in cells {
            let product = simulator.as_ref().map_err(NoCounters::clone);
            let product = product.and_then(|simulator| Ok((simulator, Product::of_cell(cell, WEIGHTS, COLS)?)));
            let counts = product.and_then(|(simulator, product)| {
                let counts = counted.entry(product).or_insert_with(|| {
                    (pass.say)(&format!("simulating {}", product.way()));
                    simulator.count(&program, &product)
                });
                Ok((simulator.how(&product), product, counts.clone()?))
            });
            rows.extend(COUNTERS.iter().map(|&Counter { name, read, of_caches }| {
                let value: Value = match &counts {
                    Ok((_, Product { prefetch, .. }, _)) if of_caches && *prefetch != Prefetch::None => {
                        let reason = format!("{prefetch}: the simulator has no prefetcher and ignores prefetches");
                        Err(NoCounters::new(reason, "run on a machine with a PMU"))
                    }
                    Ok((how, product, counts)) => {
                        Ok((read(counts) as f64 / product.weights(), CounterStatus::Simulated, how.clone()))
                    }
                    Err(none) => Err(none.clone()),
                };
                row(cell, self.kind(), (name, "1/weight"), value)
            }));
        }
        Ok(rows)
    }
}

/// A folder of temporary files that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("septet-callgrind-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            let path = env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}
