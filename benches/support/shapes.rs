//! Policies of known shapes and sizes for benches, as the texts that people would write, and packets for them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use septum_rules::date::Date;
use septum_rules::load::load_text;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};

/// The day for which benches compile.
pub(crate) fn today() -> Date {
    "2026-06-15".parse().expect("a date")
}

fn policy(text: &str) -> Policy {
    match load_text("bench.toml", text) {
        Ok(loaded) => loaded.policy,
        Err(diagnostics) => panic!("a bench's policy is refused: {diagnostics:?}"),
    }
}

/// Two workloads with twenty addresses, and `rules` rules between them and named networks of the world.
pub(crate) fn two_workloads(rules: usize) -> Policy {
    let mut text = String::from("version = 1\n[segment.lan]\nsubnet = [\"10.77.0.0/16\"]\n");
    let addresses: Vec<String> = (0..20).map(|at| format!("\"10.77.{at}.1\"")).collect();
    for (name, mac, ip) in [("a", 1, addresses.join(", ")), ("b", 2, "\"10.77.0.2\"".to_owned())] {
        writeln!(
            text,
            "[workload.{name}]\ntap = \"t{name}\"\nsegment = \"lan\"\nmac = \"02:00:00:00:00:0{mac}\"\nip = [{ip}]\nlabels = {{ app = \"{name}\" }}"
        )
        .expect("a string takes everything");
    }
    let networks = (rules / 20).max(1);
    text.push_str("[cidr]\n");
    for at in 0..networks {
        let [high, middle, low] = [100 + (at >> 14) % 100, (at >> 6) & 255, (at << 2) & 255];
        writeln!(text, "net{at} = [\"10.{high}.{middle}.{low}/30\"]").expect("a string takes everything");
    }
    for at in 0..rules {
        let action = if at.is_multiple_of(3) { "deny" } else { "allow" };
        let (to, protocol) = if at.is_multiple_of(2) { ("a", "tcp") } else { ("b", "udp") };
        let (network, port) = (at % networks, 1000 + at % 4000);
        writeln!(
            text,
            "[[rule]]\nname = \"r{at}\"\nfrom = \"cidr:net{network}\"\nto = \"app={to}\"\n{action} = [\"{protocol}/{port}\"]"
        )
        .expect("a string takes everything");
    }
    text.push_str("[[rule]]\nname = \"measured\"\nfrom = \"app=a\"\nto = \"app=b\"\nallow = [\"udp/9\", \"tcp/5201\"]\n");
    policy(&text)
}

/// `workloads` workloads, each of its own identity, and `rules` rules whose selectors each name a share of
/// them, in percent.
pub(crate) fn mesh(workloads: usize, rules: usize, percent: usize) -> Policy {
    let mut text = String::from("version = 1\n[segment.lan]\nsubnet = [\"10.0.0.0/8\"]\n");
    let groups = 100 / percent;
    for at in 0..workloads {
        let [high, low] = [at >> 8, at & 255];
        let labels: Vec<String> =
            (0..8).map(|key| format!("k{key} = \"v{}\"", mix(at * 8 + key) % groups)).collect();
        writeln!(
            text,
            "[workload.w{at}]\ntap = \"t{at}\"\nsegment = \"lan\"\nmac = \"02:00:00:00:{high:02x}:{low:02x}\"\nip = [\"10.1.{high}.{low}\"]\nlabels = {{ {} }}",
            labels.join(", ")
        )
        .expect("a string takes everything");
    }
    for at in 0..rules {
        let side = |salt: usize| format!("k{}=v{}", mix(at * 4 + salt) % 8, mix(at * 4 + salt + 1) % groups);
        let action = if mix(at).is_multiple_of(4) { "deny" } else { "allow" };
        let port = [22, 53, 80, 443, 5432, 6379, 8080, 8443, 9092, 27017][mix(at + 7) % 10];
        writeln!(
            text,
            "[[rule]]\nname = \"r{at}\"\nfrom = \"{}\"\nto = \"{}\"\n{action} = [\"tcp/{port}\"]",
            side(0),
            side(2)
        )
        .expect("a string takes everything");
    }
    policy(&text)
}

/// The text of a policy as a company has it: `workloads` replicas of services, twenty each, in segments of 200, and
/// `rules` rules that each admit one service to another on a port or two.
pub(crate) fn services_text(workloads: usize, rules: usize) -> String {
    const REPLICAS: usize = 20;
    const IN_A_SEGMENT: usize = 200;
    let services = workloads.div_ceil(REPLICAS);
    let mut text = String::from("version = 1\n");
    for at in 0..workloads.div_ceil(IN_A_SEGMENT) {
        writeln!(
            text,
            "[segment.s{at}]\nsubnet = [\"10.{at}.0.0/16\"]\ngateway = [\"10.{at}.255.254\"]\nlabels = {{ zone = \"z{}\" }}",
            at % 4
        )
        .expect("a string takes everything");
    }
    for at in 0..workloads {
        let (segment, host, service) = (at / IN_A_SEGMENT, at % IN_A_SEGMENT + 1, at / REPLICAS);
        writeln!(
            text,
            "[workload.w{at}]\ntap = \"t{at}\"\nsegment = \"s{segment}\"\nmac = \"02:00:00:00:{:02x}:{:02x}\"\nip = [\"10.{segment}.0.{host}\"]\nlabels = {{ app = \"a{service}\", env = \"e{}\" }}",
            at >> 8,
            at & 255,
            service % 3
        )
        .expect("a string takes everything");
    }
    for at in 0..rules {
        let (from, to) = (mix(at * 2) % services, mix(at * 2 + 1) % services);
        let (tcp, udp) = (1024 + mix(at + 7) % 40_000, 1024 + mix(at + 11) % 40_000);
        let allow = if at.is_multiple_of(2) {
            format!("\"tcp/{tcp}\"")
        } else {
            format!("\"tcp/{tcp}\", \"udp/{udp}\"")
        };
        writeln!(
            text,
            "[[rule]]\nname = \"r{at}\"\nfrom = \"app=a{from}\"\nto = \"app=a{to}\"\nallow = [{allow}]"
        )
        .expect("a string takes everything");
    }
    text
}

/// A fixed scatter of numbers (the finaliser of splitmix64).
pub(crate) fn mix(number: usize) -> usize {
    let mut mixed = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 1) as usize
}

/// Addresses of workloads, of named networks and of the rest of the world, scattered.
pub(crate) fn addresses(policy: &Policy, count: usize) -> Vec<IpAddr> {
    let workloads: Vec<IpAddr> =
        policy.workloads.iter().flat_map(|workload| workload.addresses.iter().copied()).collect();
    (0..count)
        .map(|at| match mix(at) % 3 {
            0 => workloads[mix(at + 1) % workloads.len()],
            1 if !policy.networks.is_empty() => {
                policy.networks[mix(at + 2) % policy.networks.len()].include[0].network()
            }
            _ => Ipv4Addr::from_bits(mix(at + 3) as u32).into(),
        })
        .collect()
}

/// TCP and UDP packets to scattered ports, most of which some rule names.
pub(crate) fn packet(at: usize) -> Layer4 {
    let protocol = if at.is_multiple_of(2) { Protocol::TCP } else { Protocol::UDP };
    let port = [80, 443, 8443, 1000 + (mix(at) % 4000) as u16, mix(at) as u16][mix(at + 5) % 5];
    Layer4::ports(protocol, 32_768 + (mix(at + 9) % 28_000) as u16, port)
}
