//! The stage: a switch in this process, two hosts that measure, and others that only have a port.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use septum_rules::load::load_text;
use septum_rules::workload::{Namespace, PortKind, PortSpec, Workload};

use super::ends::{ECHO, End, Ends, FRAMES, PAIRS, STREAMS};
use crate::cli::failure::Failure;
use crate::clock::today;
use crate::patience::Wait;
use crate::port::{AnyQueue, Device, Inside, Port, Substitute, close_all, open_all};
use crate::snapshot::CompiledPolicy;
use crate::switch::{NewPort, Options, Switch};
use crate::sys::namespace::NetworkNamespace;
use crate::sys::netlink::Netlink;
use crate::worker::Io;

/// Addresses of the client and of the server: flows beyond one address's ports use the client's next, and pairs are of one of each.
const ADDRESSES: usize = 32;
/// Room for connections at least.
const CONNECTIONS: usize = 1 << 20;
const DEVICE: &str = "eth0";

/// What is varied of the switch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) rules: u32,
    pub(super) ports: u16,
    pub(super) workers: u16,
    pub(super) io: Io,
    pub(super) wait: Wait,
    /// The most flows that will be in rotation.
    pub(super) flows: u32,
    /// Whether every host may talk to every other one, at [`ECHO`].
    pub(super) talk: bool,
    /// Whether each pair of an address of the client and one of the server has a rule of its own, at [`PAIRS`].
    pub(super) pairs: bool,
}

/// A running switch and its hosts.
pub(super) struct Stage {
    switch: Switch<AnyQueue>,
    ends: Ends,
    device: Device,
    /// Hosts that have a port and no part in most figures.
    silent: Vec<NetworkNamespace>,
    ports: Vec<Port>,
}

impl Stage {
    /// Brings it all up.
    pub(super) fn open(setting: Setting) -> Result<Self, Failure> {
        let Hosts { compiled, ends, mut ports, silent } = Hosts::open(setting, Substitute::IfNeeded)?;
        let device = ports[0].device();
        let names = compiled.policy.workloads.iter().map(|workload| Arc::clone(&workload.name));
        let attach = names
            .zip(&mut ports)
            .map(|(workload, port)| NewPort { workload, queues: port.take_queues() })
            .collect();
        let options = Options {
            workers: usize::from(setting.workers),
            connections: CONNECTIONS.max(2 * setting.flows as usize),
            ports: usize::from(setting.ports),
            events: None,
            io: setting.io,
            wait: setting.wait,
        };
        let switch = Switch::start(compiled, attach, options)
            .map_err(|error| Failure::because(Failure::ENVIRONMENT, "the switch cannot start", &error))?;
        Ok(Self { switch, ends, device, silent, ports })
    }

    /// Stops the switch and takes its ports down.
    pub(super) fn close(self) {
        self.switch.stop();
        close_all(self.ports);
    }

    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// All hosts: where they are, and an address of each.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&NetworkNamespace, IpAddr)> {
        let workloads = &self.switch.compiled().policy.workloads;
        let namespaces =
            [&self.ends.client.namespace, &self.ends.server.namespace].into_iter().chain(&self.silent);
        namespaces.zip(workloads.iter().map(|workload| workload.addresses[0]))
    }

    /// What the ports are, in words.
    pub(super) fn devices(&self) -> &'static str {
        match self.device {
            Device::Veth => "veth pairs behind AF_PACKET",
            _ => "TAP devices",
        }
    }

    /// Frames that the switch has received.
    pub(super) fn received(&self) -> u64 {
        self.switch.counters().total.received
    }

    /// Connections that it remembers.
    pub(super) fn connections(&self) -> usize {
        self.switch.counters().connections
    }

    /// Processor time that the forwarding threads have used, to 10 ms. Zero where `/proc` does not tell.
    pub(super) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let ticks = tasks.filter_map(|task| {
            let status = fs::read_to_string(task.path().join("stat")).ok()?;
            let (name, rest) = status.rsplit_once(')')?;
            // proc_pid_stat(5): utime and stime are fields 14 and 15, the state behind the name is field 3.
            let mut times = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().unwrap_or(0));
            let used = times.next()? + times.next()?;
            name.contains("(septum-").then_some(used)
        });
        // Hundredths of a second on every machine (USER_HZ).
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }
}

/// The hosts and their ports, before any switch serves them.
pub(super) struct Hosts {
    pub(super) compiled: CompiledPolicy,
    pub(super) ends: Ends,
    /// In the order of the policy's workloads: client, server, the silent ones.
    pub(super) ports: Vec<Port>,
    silent: Vec<NetworkNamespace>,
}

impl Hosts {
    /// Makes them.
    pub(super) fn open(setting: Setting, substitute: Substitute) -> Result<Self, Failure> {
        let compiled = compiled(setting)?;
        let policy = Arc::clone(&compiled.policy);
        let unset = |workload: &Workload, error: &(dyn std::error::Error + 'static)| {
            let reason = format_args!("cannot set up `{}`", workload.name);
            Failure::because(Failure::ENVIRONMENT, reason, error)
        };
        let namespace = |workload| NetworkNamespace::anonymous().map_err(|error| unset(workload, &error));
        let mut namespaces = policy.workloads.iter().map(namespace).collect::<Result<Vec<_>, _>>()?;
        let places: Vec<_> = policy.workloads.iter().zip(&namespaces).collect();
        let ports = open_all(&places, |(workload, namespace)| {
            let segment = &policy.segments[workload.segment.index()];
            let spec = PortSpec {
                kind: PortKind::Tap,
                device: DEVICE.into(),
                namespace: Some(Namespace::Name(Arc::clone(&workload.name))),
                configure: true,
                persistent: false,
                owner: None,
                group: None,
                mtu: segment.mtu,
                trunk: None,
                span: workload.span,
            };
            let inside = Inside::of(workload, segment);
            Port::open_in(&spec, namespace, &inside, usize::from(setting.workers), substitute)
                .map_err(|error| unset(workload, &error).fix(error.fix()))
        })?;
        let silent = namespaces.split_off(2);
        let mut ends = policy.workloads.iter().zip(namespaces).map(|(workload, namespace)| {
            let index = namespace.run(|| Netlink::open()?.link(DEVICE).map(|link| link.index));
            let index = index.map_err(std::io::Error::other).and_then(|index| index).map_err(|error| {
                Failure::because(Failure::ENVIRONMENT, "a device that was made is not there", &error)
            })?;
            let addresses = workload.addresses.iter().filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            });
            Ok::<_, Failure>(End {
                namespace,
                device: DEVICE.to_owned(),
                index,
                mac: workload.mac.unwrap_or_default(),
                addresses: addresses.collect::<Vec<Ipv4Addr>>(),
            })
        });
        let (Some(client), Some(server)) = (ends.next(), ends.next()) else {
            unreachable!("the policy of a benchmark has two workloads or more")
        };
        let ends = Ends { client: client?, server: server? };
        Ok(Self { compiled, ends, ports, silent })
    }
}

/// The compiled policy.
///
/// # Errors
/// When it has too many rules.
pub(super) fn compiled(setting: Setting) -> Result<CompiledPolicy, Failure> {
    let loaded = load_text("bench.toml", &policy(setting))?;
    CompiledPolicy::compile(loaded.policy.into(), today()).map_err(|error| {
        let reason = "the policy exceeds a limit of the compiled form";
        Failure::because(Failure::INPUT, reason, &error).fix("choose fewer --rules")
    })
}

/// A client, a server, silent neighbours, the rules that let the two talk, and rules beside them.
fn policy(setting: Setting) -> String {
    let mut text = String::from("version = 1\n[segment.lan]\nsubnet = [\"10.77.0.0/16\"]\n");
    // One workload opens all that there is room for.
    text += "[conntrack]\nconnections_per_workload = 67108864\n";
    let workload = |name: &str, number: u16, addresses: String| {
        let [high, low] = number.to_be_bytes();
        format!(
            "[workload.{name}]\nsegment = \"lan\"\nmac = \"02:00:00:00:{high:02x}:{low:02x}\"\nip = [{addresses}]\nlabels = {{ app = \"{name}\", role = \"host\" }}\n"
        )
    };
    for (name, number) in [("client", 1), ("server", 2)] {
        let addresses: Vec<_> = (0..ADDRESSES).map(|at| format!("\"10.77.{at}.{number}\"")).collect();
        text += &workload(name, number, addresses.join(", "));
    }
    for number in 3..=setting.ports {
        let address = format!("\"10.77.{}.{}\"", 100 + number / 250, number % 250 + 1);
        text += &workload(&format!("silent-{number}"), number, address);
    }
    let networks = setting.rules.div_ceil(20);
    text += "[cidr]\n";
    for network in 0..networks {
        let _ = writeln!(text, "net{network} = [\"10.{}.{}.0/24\"]", 100 + network / 256, network % 256);
    }
    let pairs = if setting.pairs { ADDRESSES } else { 0 };
    for at in 0..pairs {
        let _ = writeln!(text, "client{at} = [\"10.77.{at}.1/32\"]\nserver{at} = [\"10.77.{at}.2/32\"]");
    }
    let mut rule = |name: &str, from: &str, to: &str, services: &str| {
        let _ = writeln!(
            text,
            "[[rule]]\nname = \"{name}\"\nfrom = \"{from}\"\nto = \"{to}\"\nallow = [{services}]"
        );
    };
    let services = format!("\"udp/{FRAMES}\", \"udp/{ECHO}\", \"tcp/{ECHO}\", \"tcp/{STREAMS}\"");
    rule("measured", "app=client", "app=server", &services);
    if setting.talk {
        rule("all", "role=host", "role=host", &format!("\"udp/{ECHO}\""));
    }
    let mut pairs = (0..pairs * pairs).map(|at| (at / ADDRESSES, at % ADDRESSES));
    // So many of them to every rule beside them, that they are spread over all.
    let every = (setting.rules as usize / pairs.len().max(1)).max(1);
    for beside in 0..setting.rules as usize {
        let (network, port) = (beside % networks as usize, 10_000 + beside % 4000);
        let service = format!("\"tcp/{port}\"");
        rule(&format!("beside-{beside}"), &format!("cidr:net{network}"), "app=server", &service);
        if beside % every == 0
            && let Some((client, server)) = pairs.next()
        {
            pair_rule(&mut rule, client, server);
        }
    }
    pairs.for_each(|(client, server)| pair_rule(&mut rule, client, server));
    text
}

/// The rule of two addresses.
fn pair_rule(rule: &mut impl FnMut(&str, &str, &str, &str), client: usize, server: usize) {
    let (from, to) = (format!("cidr:client{client}"), format!("cidr:server{server}"));
    rule(&format!("pair-{client}-{server}"), &from, &to, &format!("\"udp/{PAIRS}\""));
}
