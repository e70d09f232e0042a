//! `septum run FILE`: forward frames by a policy, until told to stop.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use crossbeam_channel::{Receiver, after, never, select, unbounded};
use septum_classifier::Budget;
use septum_rules::identity::WorkloadId;
use septum_rules::policy::{Policy, Uplink};
use septum_rules::source::Place;
use septum_rules::workload::{PortKind, PortSpec};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::failure::Failure;
use super::{policy_file, prove, reload, summary, test};
use crate::clock::{seconds_until, today};
use crate::directory::{trunk_port, uplink_port};
use crate::patience::Wait;
use crate::port::{AnyQueue, Device, Inside, Port, PortError, Substitute, close_all, open_all};
use crate::routes::UplinkId;
use crate::snapshot::CompiledPolicy;
use crate::switch::{NewPort, Options, Switch};
use crate::sys::uring::Ring;
use crate::sys::{cpu, limits};
use crate::worker::{Io, Report};

/// `septum run`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Forwarding threads, whatever the policy says
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Connections that may live at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1 << 18, value_parser = clap::value_parser!(u32).range(64..=1 << 26))]
    connections: u32,
    /// Write what is decided about flows as JSON lines to FILE, or to standard output (`-`)
    #[arg(long, value_name = "FILE|-")]
    events: Option<PathBuf>,
    /// How frames are read from TAP devices and written to them
    #[arg(long, value_enum, default_value_t = IoChoice::Auto)]
    io: IoChoice,
    /// How forwarding threads wait for frames
    #[arg(long, value_enum, default_value_t)]
    wait: Wait,
    /// Run although gates are open where no rule decides
    #[arg(long)]
    pub(super) allow_open: bool,
    /// Units of work, each some ten nanoseconds, that the proof of the policy may take
    #[arg(long, value_name = "UNITS", default_value_t = Budget::default().0)]
    pub(super) proof_budget: u64,
}

/// How frames are read and written, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum IoChoice {
    /// io_uring where the kernel lets it, else read and write
    Auto,
    /// io_uring, or not at all
    Uring,
    /// One system call a frame
    Readwrite,
}

impl IoChoice {
    /// The choice, if the system has it.
    ///
    /// # Errors
    /// Where io_uring is demanded and not to be had.
    pub(super) fn io(self) -> Result<Io, Failure> {
        match self {
            Self::Auto => Ok(Io::Auto),
            Self::Readwrite => Ok(Io::ReadWrite),
            Self::Uring => match Ring::new() {
                Ok(_) => Ok(Io::Auto),
                Err(error) => Err(Failure::because(Failure::ENVIRONMENT, "io_uring is not to be had", &error)
                    .fix("allow it (`sysctl kernel.io_uring_disabled=0`, no seccomp filter against it), or take --io auto")),
            },
        }
    }
}

/// Forwards until it is told to stop.
///
/// # Errors
/// When the policy is none that can run, or the system refuses what it needs; nothing half made is left behind.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    ready_to_run(&compiled, arguments.allow_open)?;
    let compiled = prove::before_it_is_in_force(compiled, arguments.proof_budget)?;
    // Before signals are served: opening a pipe waits for its reader, and only a signal's default ends that.
    let events = arguments.events.as_deref().map(open_events).transpose()?;
    // From here on a signal ends an orderly life, or one not yet begun.
    let signals = signals()?;
    // Hundreds of ports with a queue a worker exceed the usual soft limit. Where raising it is refused, opening a port
    // says which limit it met.
    let _ = limits::raise_open_files();
    let workers = arguments.workers.or(compiled.policy.settings.switch.workers);
    let workers = workers.map_or_else(|| cpu::available().map_or(1, |cpus| cpus.len()), usize::from);
    let mut running = Running { ports: HashMap::new(), workers };
    let workloads: Vec<WorkloadId> = (0..compiled.policy.workloads.len() as u32).map(WorkloadId).collect();
    let uplinks: Vec<UplinkId> = (0..compiled.policy.uplinks.len() as u16).map(UplinkId).collect();
    let attach = running.open(&compiled.policy, &workloads, &uplinks)?;
    let options = Options {
        workers,
        connections: arguments.connections as usize,
        ports: (attach.len() * 2).max(256),
        events,
        io: arguments.io.io()?,
        wait: arguments.wait,
    };
    let mut switch = Switch::start(compiled, attach, options)
        .map_err(|error| Failure::because(Failure::ENVIRONMENT, "the switch cannot start", &error))?;
    say(&format!(
        "forwarding for {} workloads{} on {workers} workers; policy {}; SIGHUP reads {} again, SIGUSR1 prints counters, SIGINT ends",
        workloads.len(),
        match uplinks.len() {
            0 => String::new(),
            1 => " and 1 uplink".to_owned(),
            several => format!(" and {several} uplinks"),
        },
        switch.compiled().standing,
        arguments.file.display()
    ));
    forward(arguments, &mut switch, &mut running, &signals);
    let standing = switch.compiled().standing;
    let counters = switch.stop();
    close_all(running.ports.into_values().collect());
    summary::print(&counters, standing, arguments.events.as_deref() == Some(Path::new("-")));
    Ok(0)
}

/// Serves signals, reports and the calendar until it is time to stop.
fn forward(
    arguments: &Arguments,
    switch: &mut Switch<AnyQueue>,
    running: &mut Running,
    signals: &Receiver<i32>,
) {
    let to_stderr = arguments.events.as_deref() == Some(Path::new("-"));
    loop {
        let midnight = match switch.compiled().classifier.valid_until() {
            // A little late rather than a little early, and never longer than a minute: clocks are set, machines sleep.
            Some(day) => after(Duration::from_secs(seconds_until(day).clamp(1, 60))),
            None => never(),
        };
        let reports = switch.reports().clone();
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGHUP) => match reload::reload(arguments, switch, running) {
                    Ok(what) => say(&what),
                    Err(failure) => {
                        failure.tell();
                        say("the policy that is in force stays");
                    }
                },
                Ok(SIGUSR1) => summary::print(&switch.counters(), switch.compiled().standing, to_stderr),
                _ => return,
            },
            recv(reports) -> report => if let Ok(report) = report { lose(switch, running, &report) },
            recv(midnight) -> _ => rebuild(switch, arguments.proof_budget),
        }
    }
}

/// Compiles the policy anew when a rule's last valid day is over.
fn rebuild(switch: &mut Switch<AnyQueue>, proof_budget: u64) {
    let today = today();
    if switch.compiled().classifier.valid_until().is_none_or(|day| today < day) {
        return;
    }
    let compiled = CompiledPolicy::compile(Arc::clone(&switch.compiled().policy), today);
    let changed = compiled
        .map_err(|error| error.to_string())
        .and_then(|compiled| compiled.prove(Budget(proof_budget)).map_err(|error| error.to_string()))
        .and_then(|compiled| switch.change(compiled, Vec::new(), &[]).map_err(|error| error.to_string()));
    match changed {
        Ok(()) => say("rules have expired; the policy was compiled for today"),
        Err(error) => {
            say(&format!("rules have expired, and the policy cannot be compiled for today: {error}"))
        }
    }
}

/// Takes note that a port is gone: said once, and taken off the switch, until the policy is read again.
fn lose(switch: &mut Switch<AnyQueue>, running: &mut Running, report: &Report) {
    let (port, error) = match report {
        Report::PortGone { port, error, .. } => (*port, error.0.to_string()),
        Report::PortUnservable { port, error } => (*port, error.to_string()),
    };
    // Every worker meets it; what the first one said is enough.
    let Some(workload) = switch.workload_at(port).cloned() else { return };
    say(&format!("the port of `{workload}` is gone ({error}); SIGHUP opens it anew"));
    running.ports.remove(&workload);
    let compiled = switch.compiled().clone();
    if let Err(error) = switch.change(compiled, Vec::new(), &[workload]) {
        say(&format!("it cannot be taken off the switch: {error}"));
    }
}

/// Says something on standard error.
pub(super) fn say(what: &str) {
    let _ = writeln!(io::stderr(), "septum: {what}");
}

/// Refuses a policy that means something, but cannot run: incomplete workloads, open gates, broken tests.
///
/// # Errors
/// All that is missing, each with its place.
pub(super) fn ready_to_run(compiled: &CompiledPolicy, allow_open: bool) -> Result<(), Failure> {
    let policy = &*compiled.policy;
    for workload in &policy.workloads {
        let lacks = [
            (workload.port.is_none(), "a port (`tap = \"NAME\"`, `packet = \"DEVICE\"`, `dgram` or `fd`)"),
            (workload.mac.is_none(), "a MAC (`mac = \"02:...\"`)"),
            (workload.addresses.is_empty(), "an address (`ip = [\"...\"]`)"),
        ];
        let missing: Vec<&str> =
            lacks.iter().filter(|(missing, _)| *missing).map(|(_, what)| *what).collect();
        if !missing.is_empty() {
            let reason =
                format_args!("`run` cannot serve `{}`: it lacks {}", workload.name, missing.join(" and "));
            return Err(Failure::new(Failure::INPUT, reason)
                .at(policy.sources.place(workload.span))
                .fix("add it, or take the workload out"));
        }
        let is_open = workload.open.ingress || workload.open.egress;
        if is_open && !allow_open {
            let reason = format_args!("a gate of `{}` is open when no rule decides", workload.name);
            return Err(Failure::new(Failure::INPUT, reason)
                .at(policy.sources.place(workload.span))
                .fix("remove `open`, or accept it with `--allow-open`"));
        }
    }
    if policy.settings.default_allow && !allow_open {
        return Err(Failure::new(
            Failure::INPUT,
            "all gates are open when no rule decides (`default = \"allow\"`)",
        )
        .fix("write `default = \"deny\"`, or accept it with `--allow-open`"));
    }
    match test::run_all(compiled)? {
        0 => Ok(()),
        broken => {
            Err(Failure::new(Failure::INPUT, format_args!("the policy breaks {broken} of its own tests"))
                .fix("mend the rules or the tests; `septum test` runs them alone"))
        }
    }
}

/// The ports that are open.
pub(super) struct Running {
    /// By workload.
    pub(super) ports: HashMap<Arc<str>, Port>,
    workers: usize,
}

impl Running {
    /// Opens the ports of some workloads and uplinks, and the trunks that are not open yet, and keeps them; gives their queues.
    ///
    /// # Errors
    /// The first that fails; then none of them is kept.
    pub(super) fn open(
        &mut self,
        policy: &Policy,
        workloads: &[WorkloadId],
        uplinks: &[UplinkId],
    ) -> Result<Vec<NewPort<AnyQueue>>, Failure> {
        let spec_of = |id: &WorkloadId| policy.workloads[id.index()].port.as_ref();
        let (behind_trunks, workloads): (Vec<_>, Vec<_>) =
            workloads.iter().partition(|id| spec_of(id).is_some_and(|spec| spec.trunk.is_some()));
        let described: Vec<_> = workloads
            .into_iter()
            .filter_map(|id: &WorkloadId| {
                let workload = &policy.workloads[id.index()];
                Some((workload, workload.port.as_ref()?, Inside::of(workload, policy.segment_of(*id))))
            })
            .collect();
        let ports = open_all(&described, |(workload, spec, inside)| {
            Port::open(spec, inside, self.workers, Substitute::IfNeeded)
                .map_err(|error| unopened(&workload.name, &error, policy.sources.place(spec.span)))
        })?;
        let mut substituted = Vec::new();
        let mut opened = Vec::new();
        for ((workload, ..), port) in described.iter().zip(ports) {
            if port.device() == Device::Veth {
                substituted.push(&*workload.name);
            }
            opened.push((Arc::clone(&workload.name), port));
        }
        for (name, spec) in trunks(policy).into_iter().filter(|(name, _)| !self.ports.contains_key(name)) {
            let port = Port::open(&spec, &Inside::default(), self.workers, Substitute::Never)
                .map_err(|error| unopened(&name, &error, policy.sources.place(spec.span)))?;
            opened.push((name, port));
        }
        for id in uplinks {
            let uplink = &policy.uplinks[id.index()];
            let spec = uplink_spec(uplink);
            let port = Port::open(&spec, &Inside::default(), self.workers, Substitute::Never)
                .map_err(|error| unopened(&uplink.name, &error, policy.sources.place(spec.span)))?;
            opened.push((uplink_port(&uplink.name), port));
        }
        if !substituted.is_empty() {
            let names = substituted.join(", ");
            say(&format!("/dev/net/tun may not be opened: veth pairs serve in place of TAPs for {names}"));
        }
        let take = |(workload, port): &mut (Arc<str>, Port)| NewPort {
            workload: Arc::clone(workload),
            queues: port.take_queues(),
        };
        let behind_trunks = behind_trunks.into_iter().map(|id| NewPort {
            workload: Arc::clone(&policy.workloads[id.index()].name),
            queues: Vec::new(),
        });
        let attach = opened.iter_mut().map(take).chain(behind_trunks).collect();
        self.ports.extend(opened);
        Ok(attach)
    }
}

/// Why a port cannot be opened, and where the file names it.
fn unopened(name: &str, error: &PortError, place: Place) -> Failure {
    let status = if error.is_bad_input() { Failure::INPUT } else { Failure::ENVIRONMENT };
    Failure::because(status, format_args!("the port of `{name}` cannot be opened"), error)
        .at(place)
        .fix(error.fix())
}

/// The trunks of a policy, by the names of their ports: each as wide as the widest of its workloads.
pub(super) fn trunks(policy: &Policy) -> BTreeMap<Arc<str>, PortSpec> {
    let mut trunks: BTreeMap<_, PortSpec> = BTreeMap::new();
    let specs = policy.workloads.iter().filter_map(|workload| workload.port.as_ref());
    for spec in specs.filter(|spec| spec.trunk.is_some()) {
        let trunk = trunks.entry(trunk_port(spec)).or_insert_with(|| spec.clone());
        trunk.mtu = trunk.mtu.max(spec.mtu);
    }
    trunks
}

/// The device of an uplink: one that exists, beside the switch.
pub(super) fn uplink_spec(uplink: &Uplink) -> PortSpec {
    PortSpec {
        kind: PortKind::Packet,
        device: Arc::clone(&uplink.device),
        namespace: None,
        configure: false,
        persistent: false,
        owner: None,
        group: None,
        mtu: uplink.mtu,
        trunk: None,
        span: uplink.span,
    }
}

/// The signals that the switch serves, one by one.
fn signals() -> Result<Receiver<i32>, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
        .map_err(|error| Failure::because(Failure::ENVIRONMENT, "signals cannot be received", &error))?;
    let (sender, receiver) = unbounded();
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
    Ok(receiver)
}

fn open_events(path: &Path) -> Result<Box<dyn Write + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    // Appended to: what an earlier run recorded is evidence.
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        let reason = format_args!("the event log `{}` cannot be written", path.display());
        Failure::because(Failure::INPUT, reason, &error).fix("name a file in a folder that you may write")
    })?;
    Ok(Box::new(file))
}
