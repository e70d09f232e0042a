//! What a compromised web server tries: lies about who it is, in raw frames.
//!
//! Each [`Forgery`] is honest in everything but one claim, and wherever there is a choice it is aimed at a flow
//! that the policy opens for the one whose name is abused: only the guard stands between. The first is no lie at
//! all: it shows that honest frames made by the same hand do arrive, so that "nowhere" means something.
//!
//! What must become of each is written here, by hand, like the promises.

mod frames;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use septum_rules::identity::WorkloadId;
use septum_rules::mac::MacAddress;
use septum_rules::policy::Policy;

use self::frames::Link;
use super::plan::Family;
use crate::drop_reason::DropReason;

/// The workload that was broken into.
pub(super) const LIAR: &str = "web-1";
/// Its neighbour in the same segment.
const TWIN: &str = "web-2";
/// The one whose rights it would like to have.
const PRIVILEGED: &str = "pay-1";
/// Where both may send log lines.
const COLLECTOR: &str = "ops-1";
/// Who serves the liar's honest connections.
const SERVER: &str = "api-1";

const SYSLOG: u16 = 514;
const API: u16 = 8080;
/// A service that no probe tries, so that the flow log cannot be mistaken.
const DISCARD: u16 = 9;
/// The tag of the segment that it would like to be in.
const VLAN: u16 = 30;

/// One raw frame, and what must become of it.
#[derive(Clone, Debug)]
pub(super) struct Forgery {
    /// What it says, in a few words.
    pub(super) name: &'static str,
    /// From the Ethernet header on.
    pub(super) frame: Vec<u8>,
    /// Bytes by which it is known again, wherever it comes out.
    pub(super) mark: Vec<u8>,
    /// What must become of it.
    pub(super) expected: Fate,
}

/// What becomes of a raw frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes out at this workload, and nowhere else.
    Delivered(WorkloadId),
    /// It comes out nowhere, and the switch counts it under this reason.
    Dropped(DropReason),
}

/// All that are known of one workload.
#[derive(Clone, Copy)]
struct Host {
    id: WorkloadId,
    mac: MacAddress,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Host {
    fn named(policy: &Policy, name: &str) -> Option<Self> {
        let id = policy.workload_named(name)?;
        let workload = &policy.workloads[id.index()];
        let v4 = Family::V4.address(&workload.addresses).and_then(v4_of);
        let v6 = Family::V6.address(&workload.addresses).and_then(v6_of);
        Some(Self { id, mac: workload.mac?, v4, v6 })
    }
}

fn v4_of(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn v6_of(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}

/// Every forgery that the policy's addresses allow to be made. `gateway` is the MAC that the liar's segment knows
/// the switch by.
pub(super) fn forgeries(policy: &Policy, gateway: MacAddress) -> Vec<Forgery> {
    let mut made = Vec::new();
    let host = |name| Host::named(policy, name);
    let (Some(liar), Some(twin)) = (host(LIAR), host(TWIN)) else { return made };
    let gateways = &policy.segment_of(liar.id).gateways;
    let through = Link { to: gateway, from: liar.mac };
    let mut forge = |name, mark: Vec<u8>, expected, frame| made.push(Forgery { name, frame, mark, expected });
    let mut number = 0;
    let mut mark = || {
        number += 1;
        format!("septum-lie-{number:05}").into_bytes()
    };
    let log = |from: IpAddr, to: IpAddr, link: Link, mark: &[u8]| {
        link.udp(SocketAddr::new(from, 40_514), SocketAddr::new(to, SYSLOG), mark)
    };

    if let (Some(own), Some(collector)) = (liar.v4, host(COLLECTOR))
        && let Some(to) = collector.v4
    {
        let honest = mark();
        let frame = log(own.into(), to.into(), through, &honest);
        forge("no lie: a log line to ops-1", honest, Fate::Delivered(collector.id), frame);

        let disguised = mark();
        let frame = log(own.into(), to.into(), Link { from: twin.mac, ..through }, &disguised);
        forge("a log line with web-2's MAC", disguised, Fate::Dropped(DropReason::SpoofMac), frame);

        if let Some(theirs) = host(PRIVILEGED).and_then(|privileged| privileged.v4) {
            let stolen = mark();
            let frame = log(theirs.into(), to.into(), through, &stolen);
            forge("a log line with pay-1's IPv4", stolen, Fate::Dropped(DropReason::SpoofIp), frame);
        }
        if let Some(theirs) = twin.v4 {
            let twice = mark();
            let frame = log(theirs.into(), to.into(), Link { from: twin.mac, ..through }, &twice);
            forge("web-2's MAC and IPv4 together", twice, Fate::Dropped(DropReason::SpoofMac), frame);
        }
        let tag = mark();
        let frame = frames::tagged(&log(own.into(), to.into(), through, &tag), VLAN);
        forge("a tag of the card segment's VLAN", tag, Fate::Dropped(DropReason::VlanUnexpected), frame);
    }
    if let (Some(theirs), Some(to)) =
        (host(PRIVILEGED).and_then(|host| host.v6), host(COLLECTOR).and_then(|host| host.v6))
    {
        let stolen = mark();
        let frame = log(theirs.into(), to.into(), through, &stolen);
        forge("a log line with pay-1's IPv6", stolen, Fate::Dropped(DropReason::SpoofIp), frame);
    }
    if let (Some(own), Some(to)) = (liar.v4, host(SERVER).and_then(|host| host.v4)) {
        let stray = mark();
        let (from, to) = (SocketAddr::from((own, 40_080)), SocketAddr::from((to, API)));
        let frame = through.tcp_ack(from, to, &stray);
        forge("data of a connection never opened", stray, Fate::Dropped(DropReason::TcpNoConnection), frame);
    }

    if let (Some(own), Some(theirs)) = (liar.v4, twin.v4) {
        // Neither has a neighbour entry for the other, as the switch answers none; root needs none.
        let direct = mark();
        let ends = (SocketAddr::from((own, 40_009)), SocketAddr::from((theirs, DISCARD)));
        let frame = Link { to: twin.mac, ..through }.udp(ends.0, ends.1, &direct);
        forge("no lie, but straight to web-2", direct, Fate::Dropped(DropReason::Isolation), frame);
    }

    // Claims have no payload to mark: claimed address and liar's MAC, side by side, are the mark.
    let to_twin = Link { to: twin.mac, from: liar.mac };
    if let Some(theirs) = twin.v4 {
        let told = (theirs, twin.mac);
        let mark_of = |claimed: Ipv4Addr| [&liar.mac.0[..], &claimed.octets()].concat();
        if let Some(claimed) = Family::V4.address(gateways).and_then(v4_of) {
            let frame = to_twin.arp_claim(claimed, liar.mac, told);
            forge("ARP: \"I am the gateway\"", mark_of(claimed), Fate::Dropped(DropReason::SpoofArp), frame);
        }
        let broadcast = Link { to: MacAddress::BROADCAST, from: liar.mac };
        let frame = broadcast.arp_claim(theirs, liar.mac, told);
        forge("ARP: \"I am web-2\"", mark_of(theirs), Fate::Dropped(DropReason::SpoofArp), frame);
    }
    let link_local = (liar.mac.link_local(), liar.mac);
    let mark_of = |claimed: Ipv6Addr| [&claimed.octets()[..], &[2, 1], &liar.mac.0].concat();
    let claims = [
        ("ND: \"I am the gateway\"", Family::V6.address(gateways).and_then(v6_of)),
        ("ND: \"I am web-2\"", twin.v6),
    ];
    for (name, claimed) in claims {
        if let Some(claimed) = claimed {
            let frame = frames::neighbour_claim(link_local, claimed, liar.mac);
            forge(name, mark_of(claimed), Fate::Dropped(DropReason::SpoofNd), frame);
        }
    }
    let frame = frames::router_claim(link_local);
    let signature = frame[14 + 40..].to_vec();
    forge("\"I am a router\" (RA)", signature, Fate::Dropped(DropReason::RogueServer), frame);
    if let (Some(own), Some(theirs)) = (liar.v4, twin.v4) {
        let offer = mark();
        let link = Link { to: MacAddress::BROADCAST, from: liar.mac };
        let frame = link.dhcp_offer(own, theirs, &offer);
        forge("\"I am a DHCP server\"", offer, Fate::Dropped(DropReason::RogueServer), frame);
    }
    made
}

/// Whether `frame` carries the forgery's mark.
pub(super) fn is_seen_in(forgery: &Forgery, frame: &[u8]) -> bool {
    frame.windows(forgery.mark.len()).any(|window| window == forgery.mark)
}
