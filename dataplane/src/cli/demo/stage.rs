//! The stage: a namespace for each workload, a switch that joins them, servers that listen.
//!
//! Only anonymous namespaces: whatever `netns` the policy names is left alone, as root too. All of it ends when
//! the [`Stage`] is dropped or its process dies.

use std::error::Error;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use septum_classifier::Budget;
use septum_rules::date::Date;
use septum_rules::identity::WorkloadId;
use septum_rules::policy::Policy;
use septum_rules::workload::{Namespace, PortKind, PortSpec, Workload};

use super::actors::{Servers, serve};
use super::plan::{Attempt, Plan};
use super::why::Log;
use crate::cli::failure::Failure;
use crate::cli::prove;
use crate::port::{AnyQueue, Device, Inside, Port, Substitute};
use crate::snapshot::CompiledPolicy;
use crate::switch::{Counters, NewPort, Options, Switch};
use crate::sys::namespace::NetworkNamespace;

/// Forwarding threads: enough to show several, few enough to leave processors for the hosts.
const MOST_WORKERS: usize = 2;
/// What a workload's device is called where the policy names none.
const DEVICE: &str = "eth0";

/// Everything that runs while the demo does.
pub(super) struct Stage {
    pub(super) policy: Arc<Policy>,
    /// By workload.
    namespaces: Vec<NetworkNamespace>,
    switch: Switch<AnyQueue>,
    /// What the switch logged.
    pub(super) log: Log,
    pub(super) servers: Servers,
    /// They take their devices along when they go, so they go after the switch.
    ports: Vec<Port>,
}

impl Stage {
    /// Makes namespaces and devices, starts the switch and the servers.
    pub(super) fn open(policy: Arc<Policy>, plan: &Plan, today: Date) -> Result<Self, Failure> {
        allow_open_files();
        let compiled = CompiledPolicy::compile(Arc::clone(&policy), today).map_err(|error| {
            Failure::because(Failure::INPUT, "the policy exceeds a limit of the compiled form", &error)
        })?;
        let compiled = prove::before_it_is_in_force(compiled, Budget::default().0)?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        let mut namespaces = Vec::new();
        let mut ports = Vec::new();
        let mut queues = Vec::new();
        for workload in &policy.workloads {
            let namespace = NetworkNamespace::anonymous().map_err(|error| unset(workload, &error))?;
            let inside = Inside::of(workload, &policy.segments[workload.segment.index()]);
            let spec = placed(workload, policy.segments[workload.segment.index()].mtu);
            let mut port = Port::open_in(&spec, &namespace, &inside, workers, Substitute::IfNeeded)
                .map_err(|error| unset(workload, &error).fix(error.fix()))?;
            queues.push(NewPort { workload: Arc::clone(&workload.name), queues: port.take_queues() });
            namespaces.push(namespace);
            ports.push(port);
        }
        let log = Log::default();
        let options = Options { workers, events: Some(Box::new(log.clone())), ..Options::default() };
        let switch = Switch::start(compiled, queues, options)
            .map_err(|error| Failure::because(Failure::ENVIRONMENT, "the switch cannot start", &error))?;
        let mut stage = Self { policy, namespaces, switch, log, servers: Servers::default(), ports };
        stage.listen(&plan.attempts)?;
        Ok(stage)
    }

    fn listen(&mut self, attempts: &[Attempt]) -> Result<(), Failure> {
        for (workload, namespace) in self.policy.workloads.iter().zip(&self.namespaces) {
            let servers = &mut self.servers;
            let listening = namespace.run(|| serve(servers, &workload.addresses, attempts));
            listening.map_err(|error| unset(workload, &error))?.map_err(|error| unset(workload, &error))?;
        }
        Ok(())
    }

    /// The namespace of a workload.
    pub(super) fn namespace(&self, id: WorkloadId) -> &NetworkNamespace {
        &self.namespaces[id.index()]
    }

    /// The device of a workload, by its name inside the namespace.
    pub(super) fn device(&self, id: WorkloadId) -> &str {
        self.ports[id.index()].name()
    }

    /// What the switch counted so far.
    pub(super) fn counters(&self) -> Counters {
        self.switch.counters()
    }

    /// What joins the workloads.
    pub(super) fn device_kind(&self) -> Device {
        self.ports.first().map_or(Device::Tap, Port::device)
    }

    /// Stops the switch; its log is complete then.
    pub(super) fn stop(self) -> Counters {
        self.switch.stop()
    }
}

/// A workload cannot be joined, or cannot serve.
fn unset(workload: &Workload, error: &(dyn Error + 'static)) -> Failure {
    Failure::because(Failure::ENVIRONMENT, format_args!("cannot set up `{}`", workload.name), error)
}

/// The workload's port, in a namespace whatever the policy says. Which one, [`Port::open_in`] is told.
fn placed(workload: &Workload, mtu: u16) -> PortSpec {
    let described = workload.port.as_ref();
    // What is no device has no device's name.
    let named = described.filter(|port| matches!(port.kind, PortKind::Tap | PortKind::Packet));
    PortSpec {
        kind: PortKind::Tap,
        device: named.map_or_else(|| DEVICE.into(), |port| Arc::clone(&port.device)),
        namespace: Some(Namespace::Name(Arc::clone(&workload.name))),
        configure: true,
        persistent: false,
        owner: None,
        group: None,
        mtu: described.map_or(mtu, |port| port.mtu),
        trunk: None,
        span: workload.span,
    }
}

/// Hundreds of sockets wait at the same time: take what the user's hard limit grants.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where it is raised already.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
