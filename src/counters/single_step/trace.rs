//! The process of a product, stepped through from the first instruction of the region to its return.

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::Steps;
use crate::counters::{
    NoCounters, Product,
    child::{ended_early, event},
    product::Event,
};

/// Most instructions between the line that the process waits for and the region.
const APPROACH: u64 = 200_000;

/// How many steps lie between two signs of life.
const REPORT: u64 = 100_000;

/// As [`super::count`].
pub fn count(program: &Path, product: &Product, limit: u64, say: &dyn Fn(&str)) -> Result<Steps, NoCounters> {
    let mut traced = Traced::start(program, product)?;
    let entry = match traced.next_event()? {
        Event::Ready { entry, .. } => entry,
        Event::Missing(what) => return Err(NoCounters::lacking(what, "run on a CPU that has it")),
        other => return Err(unexpected(&other)),
    };
    traced.stop()?;
    traced.go()?;
    let what = product.way();
    say(&format!("stepping through {what}"));
    let mut at = traced.registers()?;
    for steps in 0.. {
        if at.rip == entry {
            break;
        }
        if steps == APPROACH {
            let reason = format!("the region was not reached within {APPROACH} instructions");
            return Err(NoCounters::new(reason, "build the program anew"));
        }
        at = traced.step()?;
    }
    let steps = traced.region(at, limit, &|steps| say(&format!("stepping through {what}: {steps} instructions")))?;
    traced.finish(product)?;
    Ok(steps)
}

/// Where a process stands.
#[derive(Clone, Copy)]
struct At {
    rip: u64,
    rsp: u64,
}

/// A process under control, ended with its owner.
struct Traced {
    child: Child,
    pid: Pid,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Traced {
    /// Starts the process of `product`, which waits for a line.
    fn start(program: &Path, product: &Product) -> Result<Self, NoCounters> {
        let mut command = Command::new(program);
        command.args(product.arguments()).arg("--wait");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |what: String| NoCounters::new(format!("{}: {what}", program.display()), "run `bench` again");
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|error| failed(error.to_string()))?);
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
        Ok(Self { child, pid, stdout: BufReader::new(stdout) })
    }

    /// What the process says next.
    fn next_event(&mut self) -> Result<Event, NoCounters> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        if read.is_ok_and(|bytes| bytes > 0) {
            return event(&line);
        }
        let status = self.child.wait().map_err(|error| broken(&error.to_string()))?;
        let mut said = String::new();
        // What cannot be read is missing from the message.
        let _ = self.child.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut said));
        Err(ended_early(status, &said))
    }

    /// Takes control of the process, which does not run from here on.
    fn stop(&self) -> Result<(), NoCounters> {
        ptrace::seize(self.pid, Options::PTRACE_O_EXITKILL).and_then(|()| ptrace::interrupt(self.pid)).map_err(
            |error| {
                let reason = format!("ptrace: {error}");
                NoCounters::new(reason, "allow ptrace: in a container --cap-add=SYS_PTRACE, kernel.yama.ptrace_scope=1")
            },
        )?;
        self.wait()
    }

    /// Lets the process know that it may multiply; it is still stopped.
    fn go(&mut self) -> Result<(), NoCounters> {
        let stdin = self.child.stdin.as_mut().ok_or_else(|| broken("it has no input"))?;
        stdin.write_all(b"\n").map_err(|error| broken(&error.to_string()))
    }

    /// Waits until the process has stopped for its tracer and for nothing else.
    fn wait(&self) -> Result<(), NoCounters> {
        match waitpid(self.pid, None).map_err(refused)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => Ok(()),
            other => Err(broken(&format!("{other:?}"))),
        }
    }

    fn registers(&self) -> Result<At, NoCounters> {
        let registers = ptrace::getregs(self.pid).map_err(refused)?;
        Ok(At { rip: registers.rip, rsp: registers.rsp })
    }

    /// Executes one instruction.
    fn step(&self) -> Result<At, NoCounters> {
        ptrace::step(self.pid, None).map_err(refused)?;
        self.wait()?;
        self.registers()
    }

    /// Eight bytes of its memory.
    fn read(&self, address: u64) -> Result<[u8; 8], NoCounters> {
        ptrace::read(self.pid, address as ptrace::AddressType).map(i64::to_le_bytes).map_err(refused)
    }

    /// The instruction at `address`.
    fn decode(&self, address: u64) -> Result<Instruction, NoCounters> {
        let mut bytes = self.read(address)?.to_vec();
        // The longest instruction has 15 bytes; the last one of a mapping may be shorter than two words.
        bytes.extend(self.read(address.wrapping_add(8)).into_iter().flatten());
        let instruction = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            let reason = format!("the instruction {bytes:02x?} is not known");
            return Err(NoCounters::new(reason, "see `bench asm` of the kernel"));
        }
        Ok(instruction)
    }

    /// Steps from the first instruction of a function to its return.
    fn region(&self, entry: At, limit: u64, say: &dyn Fn(u64)) -> Result<Steps, NoCounters> {
        let back = u64::from_le_bytes(self.read(entry.rsp)?);
        let mut known: HashMap<u64, Executed> = HashMap::new();
        let mut steps = Steps::default();
        let mut at = entry;
        while at.rip != back || at.rsp != entry.rsp.wrapping_add(8) {
            if steps.instructions == limit {
                let reason = format!("the product takes more than {limit} instructions");
                return Err(NoCounters::new(reason, "see callgrind, or a machine with a PMU"));
            }
            let executed = match known.entry(at.rip) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(place) => *place.insert(Executed::of(&self.decode(at.rip)?)),
            };
            let next = self.step()?;
            steps.add(executed, at.rip, next.rip);
            at = next;
            if steps.instructions.is_multiple_of(REPORT) {
                say(steps.instructions);
            }
        }
        Ok(steps)
    }

    /// Lets the process go on to its end, and holds its output to that of the reference.
    fn finish(&mut self, product: &Product) -> Result<(), NoCounters> {
        ptrace::detach(self.pid, None).map_err(refused)?;
        let expected = product.expected_sha256().map_err(|error| broken(&error.to_string()))?;
        match self.next_event()? {
            Event::Done { output_sha256 } if output_sha256 == expected => Ok(()),
            Event::Done { .. } => Err(NoCounters::new("the product differs from the reference", "run `bench check`")),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // One that has ended by itself need not be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has to be known of an instruction, each time that it is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Executed {
    next: u64,
    branch: bool,
    /// Whether it goes elsewhere each time.
    always: bool,
    /// Whether a step is one repetition of it.
    repeats: bool,
}

impl Executed {
    fn of(instruction: &Instruction) -> Self {
        let flow = instruction.flow_control();
        Self {
            next: instruction.next_ip(),
            branch: !matches!(flow, FlowControl::Next | FlowControl::Exception),
            always: !matches!(flow, FlowControl::Next | FlowControl::Exception | FlowControl::ConditionalBranch),
            repeats: instruction.has_rep_prefix() || instruction.has_repne_prefix(),
        }
    }
}

impl Steps {
    /// The instruction at `from` was executed, and `to` is next.
    fn add(&mut self, executed: Executed, from: u64, to: u64) {
        if executed.repeats && to == from {
            return;
        }
        self.instructions += 1;
        self.branches += u64::from(executed.branch);
        self.taken_branches += u64::from(executed.branch && (executed.always || to != executed.next));
    }
}

fn refused(error: Errno) -> NoCounters {
    NoCounters::new(format!("ptrace: {error}"), "allow ptrace (kernel.yama.ptrace_scope=1)")
}

fn broken(what: &str) -> NoCounters {
    NoCounters::new(format!("the process of the product broke off: {what}"), "run `bench product` by itself and see")
}

fn unexpected(event: &Event) -> NoCounters {
    broken(&format!("it said {event:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps along `path`, whose addresses are those of instructions in `code`, which begins at 0.
    fn walk(code: &[u8], path: &[u64]) -> Steps {
        let decode = |at: u64| Decoder::with_ip(64, &code[at as usize..], at, DecoderOptions::NONE).decode();
        let mut steps = Steps::default();
        for pair in path.windows(2) {
            steps.add(Executed::of(&decode(pair[0])), pair[0], pair[1]);
        }
        steps
    }

    #[test]
    fn branches_are_counted_whether_they_are_taken_or_not() {
        // `.loop: dec eax; jnz .loop; ret`
        let code = b"\xff\xc8\x75\xfc\xc3";
        let steps = walk(code, &[0, 2, 0, 2, 4, 100]);
        assert_eq!(steps, Steps { instructions: 5, branches: 3, taken_branches: 2 });
    }

    #[test]
    fn an_instruction_that_repeats_itself_counts_once() {
        // `rep movsb; jmp +0; nop`
        let code = b"\xf3\xa4\xeb\x00\x90";
        let steps = walk(code, &[0, 0, 0, 2, 4]);
        assert_eq!(steps, Steps { instructions: 2, branches: 1, taken_branches: 1 });
    }
}
