//! Multicast: who has joined hears it, as the gates say; reports end at the switch, and nothing reaches another segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpHeaders, IpNumber, Ipv4Header, PacketBuilder};
use septum::announcer::Announcer;
use septum::burst::{Burst, ETHERNET};
use septum::clock::Tick;
use septum::drop_reason::DropReason;
use septum::memberships::PLACES;
use septum::wire::checksum::Sum;
use septum::wire::{Content, sketch};
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

use crate::fabric::{Fabric, headers, with_header};

/// Three in one segment, one in another, and a rule that admits everything.
const LAN: &str = r#"
version = 1
[segment.lan]
subnet = ["10.0.0.0/24", "fd00::/64"]
gateway = ["10.0.0.1", "fd00::1"]
[segment.other]
subnet = ["10.1.0.0/24", "fd01::/64"]
gateway = ["10.1.0.1", "fd01::1"]
[workload.a]
segment = "lan"
mac = "02:00:00:00:00:0a"
ip = ["10.0.0.10", "fd00::a"]
[workload.b]
segment = "lan"
mac = "02:00:00:00:00:0b"
ip = ["10.0.0.11", "fd00::b"]
[workload.c]
segment = "lan"
mac = "02:00:00:00:00:0c"
ip = ["10.0.0.12", "fd00::c"]
[workload.d]
segment = "other"
mac = "02:00:00:00:00:0d"
ip = ["10.1.0.10", "fd01::d"]
"#;

const ANY: &str = "[[rule]]\nname = \"any\"\nallow = [\"any\"]\n";

fn lan_with(rules: &str) -> Fabric {
    Fabric::new(&format!("{LAN}{rules}"))
}

/// RFC 1112 section 6.4, RFC 2464 section 7.
fn group_mac(group: IpAddr) -> MacAddress {
    match group {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            MacAddress([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            MacAddress([0x33, 0x33, a, b, c, d])
        }
    }
}

/// A datagram from a workload to a group.
fn to_group(fabric: &Fabric, from: &str, group: &str, port: u16) -> Vec<u8> {
    let group: IpAddr = group.parse().unwrap();
    let udp = Layer4::ports(Protocol::UDP, 40_000, port);
    let mut flow = fabric.flow(from, from, group.is_ipv4(), udp);
    flow.destination = group;
    with_header(&sketch::opening(&flow, fabric.mac(from), group_mac(group)))
}

/// Who of b, c and d hears what a says to a group; a reason where nobody does.
fn heard(fabric: &mut Fabric, group: &str) -> Result<[usize; 3], DropReason> {
    let frame = to_group(fabric, "a", group, 9000);
    fabric.outcome("a", &frame)?;
    Ok(["b", "c", "d"].map(|name| fabric.received(name).len()))
}

/// An IGMP message as a workload sends it.
fn igmp(fabric: &Fabric, from: &str, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let checksum = Sum::default().add_bytes(&message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let IpAddr::V4(source) = fabric.address(from, true) else { unreachable!("IPv4") };
    let group = Ipv4Addr::new(224, 0, 0, 22);
    let header =
        Ipv4Header::new(message.len() as u16, 1, IpNumber::IGMP, source.octets(), group.octets()).unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(fabric.mac(from).0, group_mac(group.into()).0)
        .ip(IpHeaders::Ipv4(header, Default::default()))
        .write(&mut frame, IpNumber::IGMP, &message)
        .unwrap();
    with_header(&frame)
}

/// An MLD message as a workload sends it: type, the four bytes behind the checksum, the rest.
fn mld(fabric: &Fabric, from: &str, kind: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    mld_from(fabric, from, (fabric.mac(from).link_local(), 1), kind, word, rest)
}

fn mld_from(
    fabric: &Fabric,
    from: &str,
    (source, hop_limit): (Ipv6Addr, u8),
    kind: u8,
    word: [u8; 4],
    rest: &[u8],
) -> Vec<u8> {
    let group: Ipv6Addr = "ff02::16".parse().unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(fabric.mac(from).0, group_mac(group.into()).0)
        .ipv6(source.octets(), group.octets(), hop_limit)
        .icmpv6_raw(kind, 0, word)
        .write(&mut frame, rest)
        .unwrap();
    with_header(&frame)
}

/// A record of IGMPv3 or MLDv2 with so many sources.
fn record(kind: u8, group: IpAddr, sources: u8) -> Vec<u8> {
    let mut record = vec![kind, 0, 0, sources];
    let length = match group {
        IpAddr::V4(v4) => {
            record.extend(v4.octets());
            4
        }
        IpAddr::V6(v6) => {
            record.extend(v6.octets());
            16
        }
    };
    record.extend(vec![1; length * usize::from(sources)]);
    record
}

fn igmp_report(fabric: &Fabric, from: &str, records: &[Vec<u8>]) -> Vec<u8> {
    let header = [&[0x22, 0, 0, 0, 0, 0][..], &(records.len() as u16).to_be_bytes()].concat();
    igmp(fabric, from, &[header, records.concat()].concat())
}

fn mld_report(fabric: &Fabric, from: &str, records: &[Vec<u8>]) -> Vec<u8> {
    let [high, low] = (records.len() as u16).to_be_bytes();
    mld(fabric, from, 143, [0, 0, high, low], &records.concat())
}

const GROUP_V4: &str = "239.1.2.3";
const GROUP_V6: &str = "ff15::1:2:3";

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// How b joins and leaves a group in each version of each protocol; version 1 of IGMP has no leave.
#[expect(clippy::type_complexity)]
fn versions(fabric: &Fabric) -> Vec<(&'static str, &'static str, Vec<u8>, Option<Vec<u8>>)> {
    let (g4, g6) = (v4(GROUP_V4), v6(GROUP_V6));
    let simple = |kind: u8| igmp(fabric, "b", &[&[kind, 0, 0, 0][..], &g4.octets()].concat());
    let listener = |kind: u8| mld(fabric, "b", kind, [0; 4], &g6.octets());
    let v3 = |kind: u8, sources: u8| igmp_report(fabric, "b", &[record(kind, g4.into(), sources)]);
    let mld2 = |kind: u8, sources: u8| mld_report(fabric, "b", &[record(kind, g6.into(), sources)]);
    vec![
        ("IGMPv1", GROUP_V4, simple(0x12), None),
        ("IGMPv2", GROUP_V4, simple(0x16), Some(simple(0x17))),
        ("IGMPv3, any source", GROUP_V4, v3(4, 0), Some(v3(3, 0))),
        ("IGMPv3, one source", GROUP_V4, v3(5, 1), Some(v3(1, 0))),
        ("MLDv1", GROUP_V6, listener(131), Some(listener(132))),
        ("MLDv2, any source", GROUP_V6, mld2(4, 0), Some(mld2(3, 0))),
        ("MLDv2, one source", GROUP_V6, mld2(5, 1), Some(mld2(1, 0))),
    ]
}

#[test]
fn who_has_joined_hears_until_it_leaves_and_nobody_else_does() {
    for (version, group, join, leave) in versions(&lan_with(ANY)) {
        let mut fabric = lan_with(ANY);
        assert_eq!(heard(&mut fabric, group), Err(DropReason::GroupNoReceiver), "{version}");
        assert_eq!(fabric.outcome("b", &join), Err(DropReason::Absorbed), "{version}");
        for name in ["a", "b", "c", "d"] {
            assert_eq!(fabric.received(name), Vec::<Vec<u8>>::new(), "{version}: {name} saw the report");
        }
        assert_eq!(heard(&mut fabric, group), Ok([1, 0, 0]), "{version}");
        let another = if group == GROUP_V4 { "239.1.2.4" } else { "ff15::1:2:4" };
        assert_eq!(heard(&mut fabric, another), Err(DropReason::GroupNoReceiver), "{version}");
        // Whoever does not hear may speak; the sender's own copy is not sent back.
        let own = to_group(&fabric, "b", group, 9000);
        assert_eq!(fabric.outcome("b", &own), Err(DropReason::GroupNoReceiver), "{version}");
        let Some(leave) = leave else { continue };
        assert_eq!(fabric.outcome("b", &leave), Err(DropReason::Absorbed), "{version}");
        assert_eq!(heard(&mut fabric, group), Err(DropReason::GroupNoReceiver), "{version}");
    }
}

#[test]
fn a_membership_that_nobody_renews_runs_out() {
    for (version, group, join, _) in versions(&lan_with(ANY)) {
        let mut fabric = lan_with(ANY);
        let _ = fabric.outcome("b", &join);
        fabric.now = fabric.now.plus(250 * Tick::PER_SECOND);
        assert_eq!(heard(&mut fabric, group), Ok([1, 0, 0]), "{version}");
        let _ = fabric.outcome("b", &join);
        fabric.now = fabric.now.plus(250 * Tick::PER_SECOND);
        assert_eq!(heard(&mut fabric, group), Ok([1, 0, 0]), "{version}: renewed");
        fabric.now = fabric.now.plus(20 * Tick::PER_SECOND);
        assert_eq!(heard(&mut fabric, group), Err(DropReason::GroupNoReceiver), "{version}");
    }
}

#[test]
fn listening_admits_nothing_that_a_gate_refuses() {
    let only_c = "[[rule]]\nname = \"c\"\nto = \"name=c\"\nallow = [\"any\"]\n";
    for (version, group, join, _) in versions(&lan_with(only_c)) {
        let mut fabric = lan_with(only_c);
        let _ = fabric.outcome("b", &join);
        assert_eq!(heard(&mut fabric, group), Err(DropReason::GroupNoReceiver), "{version}");
    }
}

#[test]
fn a_change_of_policy_forgets_no_listener() {
    let mut fabric = lan_with(ANY);
    let join = versions(&fabric).remove(1).2;
    let _ = fabric.outcome("b", &join);
    fabric.change(LAN);
    assert_eq!(heard(&mut fabric, GROUP_V4), Err(DropReason::GroupNoReceiver));
    fabric.change(&format!("{LAN}{ANY}"));
    assert_eq!(heard(&mut fabric, GROUP_V4), Ok([1, 0, 0]));
}

#[test]
fn groups_of_the_link_need_no_report() {
    let mut fabric = lan_with(ANY);
    for group in ["224.0.0.1", "224.0.0.251", "ff02::1"] {
        assert_eq!(heard(&mut fabric, group), Ok([1, 1, 0]), "{group}");
    }
    // The solicited-node group of b's addresses.
    assert_eq!(heard(&mut fabric, "ff02::1:ff00:b"), Ok([1, 0, 0]));
    for group in ["ff02::2", "ff02::fb", "ff02::1:ff12:3456"] {
        assert_eq!(heard(&mut fabric, group), Err(DropReason::GroupNoReceiver), "{group}");
    }
}

#[test]
fn a_report_before_there_is_an_address_counts() {
    let mut fabric = lan_with(ANY);
    let records = record(4, v6(GROUP_V6).into(), 0);
    let report = mld_from(&fabric, "b", (Ipv6Addr::UNSPECIFIED, 1), 143, [0, 0, 0, 1], &records);
    assert_eq!(fabric.outcome("b", &report), Err(DropReason::Absorbed));
    assert_eq!(heard(&mut fabric, GROUP_V6), Ok([1, 0, 0]));
}

#[test]
fn nobody_joins_in_anothers_name_and_nobody_asks_in_the_gateways() {
    let mut fabric = lan_with(ANY);
    let report = igmp_report(&fabric, "b", &[record(4, v4(GROUP_V4).into(), 0)]);
    assert_eq!(fabric.outcome("c", &report), Err(DropReason::SpoofMac));
    assert_eq!(heard(&mut fabric, GROUP_V4), Err(DropReason::GroupNoReceiver));
    let query = igmp(&fabric, "c", &[0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
    assert_eq!(fabric.outcome("c", &query), Err(DropReason::RogueQuerier));
    let query = mld(&fabric, "c", 130, [0; 4], &[0; 20]);
    assert_eq!(fabric.outcome("c", &query), Err(DropReason::RogueQuerier));
}

#[test]
fn a_report_that_does_not_hold_together_changes_nothing() {
    let mut fabric = lan_with(ANY);
    let group = v4(GROUP_V4).into();
    let good = igmp_report(&fabric, "b", &[record(4, group, 0)]);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let too_many = igmp(&fabric, "b", &[&[0x22, 0, 0, 0, 0, 0, 0, 2][..], &record(4, group, 0)].concat());
    let unicast = igmp_report(&fabric, "b", &[record(4, v4("10.0.0.10").into(), 0)]);
    let short = igmp(&fabric, "b", &[0x16, 0, 0, 0]);
    for frame in [bad, too_many, unicast, short] {
        assert_eq!(fabric.outcome("b", &frame), Err(DropReason::IgmpMalformed));
    }
    let (own, records) = (fabric.mac("b").link_local(), record(4, v6(GROUP_V6).into(), 0));
    let routed = mld_from(&fabric, "b", (own, 64), 143, [0, 0, 0, 1], &records);
    let global = mld_from(&fabric, "b", (v6("fd00::b"), 1), 143, [0, 0, 0, 1], &records);
    let too_many = mld(&fabric, "b", 143, [0, 0, 0, 9], &records);
    let short = mld(&fabric, "b", 131, [0; 4], &[0xff; 15]);
    for frame in [routed, global, too_many, short] {
        assert_eq!(fabric.outcome("b", &frame), Err(DropReason::MldMalformed));
    }
    assert_eq!(heard(&mut fabric, GROUP_V4), Err(DropReason::GroupNoReceiver));
    assert_eq!(heard(&mut fabric, GROUP_V6), Err(DropReason::GroupNoReceiver));
}

#[test]
fn a_share_that_is_used_up_costs_no_membership_and_nobody_else() {
    let mut fabric = lan_with(ANY);
    let records: Vec<_> = (0..PLACES as u16)
        .map(|at| record(4, Ipv4Addr::from_bits(0xef00_0000 | u32::from(at)).into(), 0))
        .collect();
    let report = igmp_report(&fabric, "b", &records);
    assert_eq!(fabric.outcome("b", &report), Err(DropReason::Absorbed));
    let another = igmp_report(&fabric, "b", &[record(4, v4(GROUP_V4).into(), 0)]);
    assert_eq!(fabric.outcome("b", &another), Err(DropReason::MembershipQuota));
    assert_eq!(heard(&mut fabric, "239.0.0.7"), Ok([1, 0, 0]));
    let others = igmp_report(&fabric, "c", &[record(4, v4(GROUP_V4).into(), 0)]);
    assert_eq!(fabric.outcome("c", &others), Err(DropReason::Absorbed));
    assert_eq!(heard(&mut fabric, GROUP_V4), Ok([0, 1, 0]));
    // Leaving one and joining another in one report is no matter of order.
    let swap = [record(4, v4(GROUP_V4).into(), 0), record(3, v4("239.0.0.7").into(), 0)];
    let report = igmp_report(&fabric, "b", &swap);
    assert_eq!(fabric.outcome("b", &report), Err(DropReason::Absorbed));
    assert_eq!(heard(&mut fabric, GROUP_V4), Ok([1, 1, 0]));
}

#[test]
fn the_gateway_asks_who_listens_at_once_soon_after_and_then_from_time_to_time() {
    let fabric = lan_with(ANY);
    let (directory, mut announcer, mut burst) =
        (&fabric.snapshot.directory, Announcer::default(), Burst::default());
    let member = directory.member(1).expect("b's port");
    let mut asked = Vec::new();
    for second in 0..400 {
        burst.clear();
        announcer.announce(directory, member, Tick(second * Tick::PER_SECOND), &mut burst);
        if !burst.is_empty() {
            asked.push(second);
            let sources: Vec<IpAddr> = (0..burst.len())
                .filter_map(|index| match headers(burst.frame(index)).content {
                    Content::Ip(ip) => Some(ip.flow.source),
                    Content::Arp(_) => None,
                })
                .collect();
            let gateway = fabric.gateway_mac("b");
            assert_eq!(sources, [IpAddr::from([10, 0, 0, 1]), gateway.link_local().into()]);
            assert_eq!(burst.frame(0)[ETHERNET + 6..ETHERNET + 12], gateway.0);
        }
    }
    assert_eq!(asked, [0, 32, 157, 282]);
}

/// mDNS and its like are traffic as any other: off until a rule admits them, and off again where one refuses them.
#[test]
fn multicast_dns_is_off_unless_a_rule_admits_it() {
    let allow = |service: &str| format!("[[rule]]\nname = \"allow\"\nallow = [\"{service}\"]\n");
    let but = "[[rule]]\nname = \"no-discovery\"\ntier = \"admin\"\ndeny = [\"udp/5353\", \"udp/5355\", \"udp/1900\"]\n";
    for (group, port) in [
        ("224.0.0.251", 5353),
        ("ff02::fb", 5353),
        ("224.0.0.252", 5355),
        ("ff02::1:3", 5355),
        ("239.255.255.250", 1900),
        ("ff02::c", 1900),
    ] {
        for (rules, hears) in [
            (String::new(), false),
            (allow("udp/443"), false),
            (allow(&format!("udp/{port}")), true),
            (allow("any"), true),
            (format!("{}{but}", allow("any")), false),
        ] {
            let mut fabric = lan_with(&rules);
            let address: IpAddr = group.parse().unwrap();
            let join = match address {
                IpAddr::V4(_) => igmp_report(&fabric, "b", &[record(4, address, 0)]),
                IpAddr::V6(_) => mld_report(&fabric, "b", &[record(4, address, 0)]),
            };
            assert_eq!(fabric.outcome("b", &join), Err(DropReason::Absorbed));
            let frame = to_group(&fabric, "a", group, port);
            let expected = if hears { Ok(()) } else { Err(DropReason::GroupNoReceiver) };
            assert_eq!(fabric.outcome("a", &frame), expected, "{group} port {port} under {rules}");
            assert_eq!(fabric.received("b").len(), usize::from(hears), "{group} port {port} under {rules}");
            assert!(fabric.received("d").is_empty());
        }
    }
}
