//! `septum run` as a process: started, signalled, listened to, and gone at the end whatever happens.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};

use crate::summary::Summary;

/// What the program has to do it does within this, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// Names another copy of the program under test.
pub(crate) const PROGRAM: &str = "SEPTUM_TEST_PROGRAM";

/// The program under test.
pub(crate) fn program() -> Command {
    Command::new(std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_septum").into()))
}

/// A running switch.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: Lines,
    errors: Lines,
    said_at_start: Vec<String>,
}

impl Running {
    /// Starts it, and waits until it forwards.
    pub(crate) fn start(policy: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        let mut command = program();
        command.arg("run").arg(policy).args(["--workers", "2"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let output = Lines::of(child.stdout.take().ok_or("no pipe")?);
        let errors = Lines::of(child.stderr.take().ok_or("no pipe")?);
        let mut running = Self { child, output, errors, said_at_start: Vec::new() };
        running.said_at_start = running.errors.until(|line| line.contains("forwarding for"))?;
        Ok(running)
    }

    /// What it said on standard error until it forwarded.
    pub(crate) fn said_at_start(&self) -> &[String] {
        &self.said_at_start
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failed> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Has it read its policy again; gives what it says about it.
    pub(crate) fn reload(&mut self) -> Result<String, Failed> {
        self.signal(Signal::HUP)?;
        let ends = ["the policy was read again", "the policy that is in force stays"];
        let said = self.errors.until(|line| ends.iter().any(|end| line.contains(end)))?;
        Ok(said.join("\n"))
    }

    /// Has it read a policy that it must take.
    pub(crate) fn reload_gladly(&mut self) -> Result<String, Failed> {
        let said = self.reload()?;
        if said.contains("the policy was read again") { Ok(said) } else { Err(said.into()) }
    }

    /// What it says on standard error, up to a line that is wanted.
    pub(crate) fn says(&mut self, wanted: &str) -> Result<Vec<String>, Failed> {
        self.errors.until(|line| line.contains(wanted))
    }

    /// Has it print its counters.
    pub(crate) fn counters(&mut self) -> Result<Summary, Failed> {
        self.signal(Signal::USR1)?;
        // Several lines of balance end a table that was read in mid-flight: the others are still to come.
        let mut is_table = false;
        Summary::parse(&self.output.until(|line| {
            is_table |= line.starts_with("port ");
            is_table && line.starts_with("balance: ")
        })?)
    }

    /// Ends it; gives what it said in the end, where every frame has one end.
    pub(crate) fn end(self, signal: Signal) -> Result<Summary, Failed> {
        let (summary, _) = self.end_and_tell(signal)?;
        Ok(summary)
    }

    /// Ends it; gives its last counters, and what else it said on standard error.
    pub(crate) fn end_and_tell(self, signal: Signal) -> Result<(Summary, Vec<String>), Failed> {
        let (output, said) = self.end_and_read(signal)?;
        let summary = Summary::parse(&output)?;
        summary.assert_balance();
        Ok((summary, said))
    }

    /// Ends it; gives the lines of standard output and standard error that were not read yet.
    pub(crate) fn end_and_read(mut self, signal: Signal) -> Result<(Vec<String>, Vec<String>), Failed> {
        self.signal(signal)?;
        let status = self.wait()?;
        let (output, said) = (self.output.rest(), self.errors.rest());
        if status.success() {
            Ok((output, said))
        } else {
            Err(format!("{status}: {}", said.join("\n")).into())
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, Failed> {
        await_end(&mut self.child)
    }
}

/// Waits until a process has ended.
pub(crate) fn await_end(child: &mut Child) -> Result<ExitStatus, Failed> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err("it did not end".into())
}

/// A command that ended by itself: its exit status, and what it said on standard error.
pub(crate) fn run_to_its_end(command: &mut Command) -> Result<(Option<i32>, String), Failed> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let errors = Lines::of(child.stderr.take().ok_or("no pipe")?);
    let ended = await_end(&mut child);
    // It has ended, or it is not refused as it should be.
    let _ = child.kill();
    let _ = child.wait();
    let said = errors.rest().join("\n");
    match ended {
        Ok(status) => Ok((status.code(), said)),
        Err(_) => Err(format!("it did not end:\n{said}").into()),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
#[derive(Debug)]
struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self(receiver)
    }

    /// Lines up to one that is wanted.
    fn until(&self, mut wanted: impl FnMut(&str) -> bool) -> Result<Vec<String>, Failed> {
        let deadline = Instant::now() + LIMIT;
        let mut lines = Vec::new();
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(why) => return Err(format!("{why}, after:\n{}", lines.join("\n")).into()),
            }
            if lines.last().is_some_and(|line| wanted(line)) {
                return Ok(lines);
            }
        }
    }

    /// What is left, up to the end.
    fn rest(&self) -> Vec<String> {
        self.0.iter().collect()
    }
}
