//! The example policy, told again in a table of its own: who reaches whom, tried with real sockets by everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::host::{Host, Outcome, PATIENCE};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};

const EXAMPLE: &str = include_str!("../../examples/three-tier.toml");

const HOSTS: [&str; 6] = ["web-1", "web-2", "api-1", "ops-1", "pay-1", "db-1"];

const TCP: [u16; 4] = [22, 5432, 8080, 8443];
const UDP: [u16; 1] = [514];

/// How long a probe that must fail may wait for an answer that must not come.
const REFUSED: Duration = Duration::from_millis(1500);

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("promises::everybody_reaches_whom_the_example_says", everybody_reaches_whom_it_says)]
}

/// One attempt of one host to use a service of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Tcp(u16),
    Udp(u16),
    Ping,
}

/// What the comments of the example say in words.
fn is_promised(from: &str, to: &str, service: Service) -> bool {
    let is_web = |name: &str| name.starts_with("web-");
    let is_card_data = |name: &str| name == "pay-1" || name == "db-1";
    match service {
        Service::Tcp(8080) => is_web(from) && to == "api-1",
        Service::Tcp(8443) => from == "api-1" && to == "pay-1",
        Service::Tcp(5432) => from == "pay-1" && to == "db-1",
        Service::Tcp(22) => from == "ops-1" && !is_card_data(to),
        Service::Udp(514) => to == "ops-1",
        Service::Ping => {
            let into_card_data = is_card_data(to) && !is_card_data(from);
            from != "db-1" && !into_card_data && !(is_web(from) && is_web(to))
        }
        _ => false,
    }
}

/// Hosts that may not even find each other: a kernel that asks for a neighbour in vain gives up by itself, after a while.
fn is_isolated(from: &str, to: &str) -> bool {
    from.starts_with("web-") && to.starts_with("web-")
}

/// Every pair, every service, both families; refused attempts of one host run at the same time.
fn everybody_reaches_whom_it_says() -> Result<(), Failed> {
    let lab = Lab::new(EXAMPLE)?;
    let running = lab.start()?;
    let hosts: BTreeMap<&str, Arc<Host>> = HOSTS.into_iter().map(|name| (name, lab.host(name))).collect();
    let _servers = hosts.values().map(|host| host.serve(&TCP, &UDP)).collect::<std::io::Result<Vec<_>>>()?;

    let services: Vec<Service> =
        TCP.map(Service::Tcp).into_iter().chain(UDP.map(Service::Udp)).chain([Service::Ping]).collect();
    let mut refused = 0;
    thread::scope(|scope| -> Result<(), Failed> {
        let mut attempts = Vec::new();
        for (from, to) in HOSTS.iter().flat_map(|from| HOSTS.iter().map(move |to| (*from, *to))) {
            for (service, ipv4) in services.iter().flat_map(|service| [(*service, true), (*service, false)]) {
                if from != to {
                    let promised = is_promised(from, to, service);
                    let (sender, receiver) = (&hosts[from], &hosts[to]);
                    let attempt = scope.spawn(move || attempt(sender, receiver, service, ipv4, promised));
                    attempts.push((from, to, service, ipv4, promised, attempt));
                }
            }
        }
        for (from, to, service, ipv4, promised, attempt) in attempts {
            let outcome = attempt.join().map_err(|_| "an attempt panicked")??;
            let is_right = match outcome {
                Outcome::Echoed => promised,
                Outcome::Silence => !promised,
                Outcome::Refused => !promised && is_isolated(from, to),
            };
            if !is_right {
                let family = if ipv4 { "IPv4" } else { "IPv6" };
                return Err(format!("{from} -> {to} {service:?} {family}: {outcome:?}").into());
            }
            refused += u64::from(!promised);
        }
        Ok(())
    })?;

    let denied = |from: &str, to: &str, reason: &str| {
        lab.await_event(&[("from", from), ("to", to), ("reason", reason)])
    };
    let boundary = denied("web-1", "pay-1", "denied-egress")?;
    assert_eq!((&boundary["rule"], &boundary["verdict"]), (&"cde-boundary".into(), &"drop".into()));
    denied("db-1", "pay-1", "denied-egress")?;
    denied("api-1", "ops-1", "denied-egress")?;

    let summary = running.end(Signal::TERM)?;
    let at_gates = summary.dropped("denied-egress") + summary.dropped("denied-ingress");
    assert!(at_gates + summary.dropped("isolation") >= refused, "{refused} refused: {summary:#?}");
    assert!(summary.dropped("isolation") > 0, "{summary:#?}");
    assert_eq!(summary.ports.len(), HOSTS.len() + 1);
    lab.assert_empty()
}

fn attempt(from: &Host, to: &Host, service: Service, ipv4: bool, promised: bool) -> std::io::Result<Outcome> {
    let address = to.address(ipv4);
    let patience = if promised { PATIENCE } else { REFUSED };
    match service {
        Service::Tcp(port) => from.tcp(address, port, patience),
        Service::Udp(port) => from.udp(address, port, patience),
        Service::Ping => from.ping(Ping { patience, ..Ping::new(address) }).map(|heard| match heard {
            Heard::Reply => Outcome::Echoed,
            Heard::Error { .. } => Outcome::Refused,
            Heard::Silence => Outcome::Silence,
        }),
    }
}
