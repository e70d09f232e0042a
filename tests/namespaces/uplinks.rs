//! An uplink in the wild: a veth pair, and behind it a kernel that is a router and the world to the workloads.

use std::net::{IpAddr, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use septum::directory::{gateway_mac, uplink_port};
use septum::sys::namespace::NetworkNamespace;
use septum::sys::netlink::Netlink;
use septum_rules::mac::MacAddress;

use crate::forge::{Ends, arp};
use crate::host::{Host, Outcome, PATIENCE, SILENCE, tcp_echo};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::trio::trio_and;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("uplinks::both_ways_as_the_policy_says", both_ways_as_the_policy_says),
        Trial::test("uplinks::nobody_behind_it_is_one_of_us", nobody_behind_it_is_one_of_us),
        Trial::test("uplinks::it_comes_and_goes_with_the_policy", it_comes_and_goes_with_the_policy),
    ]
}

/// A network behind a device of this sandbox.
struct Outside {
    host: Host,
    device: String,
    near: Netlink,
    index: u32,
}

impl Outside {
    /// A veth pair whose far end is a kernel with these addresses, which sends everything to the switch.
    fn new(addresses: &[(&str, u8)]) -> Result<Self, Failed> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let device = format!("up{}-{}", process::id() % 10_000, NUMBER.fetch_add(1, Ordering::Relaxed));
        let namespace = NetworkNamespace::anonymous()?;
        let mut near = Netlink::open()?;
        near.add_veth(&device, "eth0", Some(std::os::fd::AsFd::as_fd(&namespace)))?;
        let index = near.link(&device)?.index;
        near.set_up(index, true)?;
        let mac = MacAddress([2, 0, 0, 0x99, 0, 1]);
        let mut parsed = Vec::new();
        for (address, length) in addresses {
            parsed.push((address.parse::<IpAddr>()?, *length));
        }
        namespace.run(|| -> std::io::Result<()> {
            // No duplicate address detection: the addresses are usable at once.
            for name in ["accept_dad", "dad_transmits"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/eth0/{name}"), "0")?;
            }
            let mut netlink = Netlink::open()?;
            let link = netlink.link("eth0")?;
            netlink.set_mac(link.index, mac)?;
            for (address, length) in &parsed {
                netlink.add_address(link.index, *address, *length)?;
            }
            let loopback = netlink.link("lo")?.index;
            netlink.set_up(loopback, true)?;
            netlink.set_up(link.index, true)?;
            netlink.link("eth0")?;
            // The gateways of the segments are neighbours out there: the switch answers for them.
            netlink.add_default_route(link.index, "10.1.0.1".parse().expect("an address"), true)?;
            netlink.add_default_route(link.index, "fd00:1::1".parse().expect("an address"), true)
        })??;
        let addresses = parsed.iter().map(|(address, _)| *address).collect();
        let host = Host { namespace, device: "eth0".to_owned(), mac, addresses };
        Ok(Self { host, device, near, index })
    }

    /// The policy with this network in it.
    fn policy(&self, rules: &str) -> String {
        trio_and(&format!(
            "[cidr]\ncorp = [\"10.99.0.0/16\", \"fd00:99::/32\"]\n\n[uplink.corp]\ndevice = \"{}\"\n\
             gateway = [\"10.99.0.1\", \"fd00:99::1\"]\ncidr = \"corp\"\n\n{rules}",
            self.device
        ))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The far end goes with it.
        let _ = self.near.delete_link(self.index);
    }
}

const ADDRESSES: [(&str, u8); 2] = [("10.99.0.1", 16), ("fd00:99::1", 32)];

const RULES: &str = r#"
[[rule]]
name  = "in"
from  = "cidr:corp"
to    = "name=b"
allow = ["tcp/80", "ping"]

[[rule]]
name  = "out"
from  = "name=a"
to    = "world"
allow = ["echo", "ping"]
"#;

/// What an echo request through an uplink meets. The switch asks for its routers as soon as it forwards; a packet that comes
/// before their answer becomes the question for them.
fn ping_through(from: &Host, to: IpAddr) -> std::io::Result<Heard> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let heard = from.ping(Ping { patience: SILENCE, ..Ping::new(to) })?;
        if heard != Heard::Silence || Instant::now() > deadline {
            return Ok(heard);
        }
    }
}

fn both_ways_as_the_policy_says() -> Result<(), Failed> {
    let outside = Outside::new(&ADDRESSES)?;
    let lab = Lab::new(&outside.policy(RULES))?;
    let running = lab.start()?;
    let (a, b, world) = (lab.host("a"), lab.host("b"), &outside.host);
    let _servers = (b.serve(&[80, 81], &[53])?, world.serve(&[80, 81], &[53])?);
    for ipv4 in [true, false] {
        let (inside, far) = (b.address(ipv4), world.address(ipv4));
        assert_eq!(ping_through(&a, far)?, Heard::Reply, "{far}");
        assert_eq!(a.tcp(far, 80, PATIENCE)?, Outcome::Echoed, "{far}");
        assert_eq!(a.udp(far, 53, PATIENCE)?, Outcome::Echoed, "{far}");
        assert_eq!(a.tcp(far, 81, SILENCE)?, Outcome::Silence, "{far}");
        assert_eq!(b.tcp(far, 80, SILENCE)?, Outcome::Silence, "{far}");
        // And in.
        assert_eq!(world.ping(Ping::new(inside))?, Heard::Reply, "{inside}");
        assert_eq!(world.tcp(inside, 80, PATIENCE)?, Outcome::Echoed, "{inside}");
        assert_eq!(world.tcp(inside, 81, SILENCE)?, Outcome::Silence, "{inside}");
        assert_eq!(world.udp(inside, 53, SILENCE)?, Outcome::Silence, "{inside}");
        assert_eq!(world.ping(Ping { patience: SILENCE, ..Ping::new(a.address(ipv4)) })?, Heard::Silence);
        // Much of it, in super-frames.
        let mut stream = a.connect(far, 80, PATIENCE)?;
        assert_eq!(tcp_echo(&mut stream, 2_000_000)?, Outcome::Echoed);
        // Hops are counted from both sides.
        let icmp_type = if ipv4 { 11 } else { 3 };
        let heard = world.ping(Ping { hops: 1, ..Ping::new(inside) })?;
        assert!(matches!(heard, Heard::Error { icmp_type: told, .. } if told == icmp_type), "{heard:?}");
        let gateway = if ipv4 { "10.1.0.1" } else { "fd00:1::1" }.parse()?;
        let heard = a.ping(Ping { hops: 1, ..Ping::new(far) })?;
        assert_eq!(heard, Heard::Error { from: gateway, icmp_type, code: 0 });
    }
    lab.await_event(&[("from", "a"), ("to", "uplink=corp"), ("rule", "out"), ("verdict", "forward")])?;
    lab.await_event(&[("from", "uplink=corp"), ("to", "b"), ("reason", "denied-ingress")])?;
    let summary = running.end(Signal::TERM)?;
    summary.assert_balance();
    lab.assert_empty()
}

fn nobody_behind_it_is_one_of_us() -> Result<(), Failed> {
    // Out there, somebody has taken addresses of ours.
    let stolen = [("10.1.0.10", 32), ("10.1.0.99", 32), ("fd00:1::a", 128)];
    let outside = Outside::new(&[&ADDRESSES[..], &stolen].concat())?;
    let lab = Lab::new(&outside.policy(RULES))?;
    let running = lab.start()?;
    let (a, b, world) = (lab.host("a"), lab.host("b"), &outside.host);
    let victim = b.run(|| UdpSocket::bind("[::]:53"))?;
    victim.set_read_timeout(Some(SILENCE))?;
    let switch = gateway_mac(&uplink_port("corp"));
    // By the stack's own sockets, bound to what was taken; by forged frames; by ARP.
    for (source, target) in [("10.1.0.10", "10.1.0.11"), ("fd00:1::a", "fd00:1::b")] {
        let (source, target): (IpAddr, IpAddr) = (source.parse()?, target.parse()?);
        let socket = world.run(|| UdpSocket::bind((source, 0)))?;
        socket.send_to(b"lie", (target, 53))?;
        let forged = Ends { macs: (world.mac, switch), addresses: (source, target) };
        world.send_raw(&forged.udp(5353, 53, b"lie"))?;
        // An address of the segment that nobody has, and the gateway's.
        let vacant: [IpAddr; 2] = match source.is_ipv4() {
            true => ["10.1.0.99".parse()?, "10.1.0.1".parse()?],
            false => ["fd00:1::99".parse()?, "fd00:1::1".parse()?],
        };
        for source in vacant {
            world.send_raw(&Ends { addresses: (source, target), ..forged }.udp(5353, 53, b"lie"))?;
        }
        // An address of no network that the uplink may bring in.
        let foreign = if source.is_ipv4() { "198.51.100.7" } else { "2001:db8::7" }.parse()?;
        world.send_raw(&Ends { addresses: (foreign, target), ..forged }.udp(5353, 53, b"lie"))?;
    }
    world.send_raw(&arp(world.mac, 2, (world.mac, "10.1.0.10".parse()?), "10.1.0.1".parse()?))?;
    assert!(victim.recv(&mut [0; 10]).is_err(), "the victim heard a lie");
    for (source, reason) in [
        ("10.1.0.10", "uplink-spoof"),
        ("10.1.0.99", "uplink-spoof"),
        ("10.1.0.1", "uplink-spoof"),
        ("fd00:1::a", "uplink-spoof"),
        ("fd00:1::99", "uplink-spoof"),
        ("198.51.100.7", "uplink-source"),
        ("2001:db8::7", "uplink-source"),
    ] {
        lab.await_event(&[("from", "uplink=corp"), ("source", source), ("reason", reason)])?;
    }
    // Nobody inside believes it.
    drop(victim);
    let _server = b.serve(&[80], &[])?;
    for ipv4 in [true, false] {
        assert_eq!(a.tcp(b.address(ipv4), 80, PATIENCE)?, Outcome::Echoed);
    }
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}

fn it_comes_and_goes_with_the_policy() -> Result<(), Failed> {
    let outside = Outside::new(&ADDRESSES)?;
    let mut lab = Lab::new(&trio_and(&RULES.replace("cidr:corp", "world")))?;
    let mut running = lab.start()?;
    let (a, far) = (lab.host("a"), outside.host.address(true));
    let unreachable = Heard::Error { from: "10.1.0.1".parse()?, icmp_type: 3, code: 0 };
    assert_eq!(a.ping(Ping::new(far))?, unreachable);
    lab.write(&outside.policy(RULES))?;
    running.reload_gladly()?;
    assert_eq!(ping_through(&a, far)?, Heard::Reply);
    // Another device under its name would be set up anew: refused, and what is there stays.
    lab.write(&outside.policy(RULES).replace(&outside.device, "lo"))?;
    let said = running.reload()?;
    assert!(said.contains("would have to be set up anew"), "{said}");
    assert_eq!(a.ping(Ping::new(far))?, Heard::Reply);
    lab.write(&trio_and(&RULES.replace("cidr:corp", "world")))?;
    running.reload_gladly()?;
    assert_eq!(a.ping(Ping::new(far))?, unreachable);
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}
