//! Windows, shares and fragments: each refusal by its own name, and nobody pays for another's flood.

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::wire::tcp_flag::{ACK, FIN, RST, SYN};
use septum_rules::flow_key::FlowKey;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, mend_ipv4};

const TRANSPORT: usize = ETHERNET + 14 + 20;

fn with(settings: &str) -> Fabric {
    Fabric::new(&format!("{SHOP}\n[conntrack]\n{settings}\n"))
}

fn api(port: u16) -> Layer4 {
    Layer4::ports(Protocol::TCP, port, 8080)
}

/// A TCP frame of web-1's connection from `port` to api-1, or, `back`, of the answers to it.
fn tcp(fabric: &Fabric, port: u16, back: bool, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let flow = fabric.flow("web-1", "api-1", true, api(port));
    let layer4 = Layer4 { source: 8080, destination: port, ..flow.layer4 };
    let answer = FlowKey { source: flow.destination, destination: flow.source, layer4, ..flow };
    let mut frame = if back { fabric.opening("api-1", &answer) } else { fabric.opening("web-1", &flow) };
    frame[TRANSPORT + 4..TRANSPORT + 8].copy_from_slice(&numbers.0.to_be_bytes());
    frame[TRANSPORT + 8..TRANSPORT + 12].copy_from_slice(&numbers.1.to_be_bytes());
    frame[TRANSPORT + 13] = flags;
    frame
}

fn connect(fabric: &mut Fabric, port: u16) {
    for (back, flags, numbers) in
        [(false, SYN, (1000, 0)), (true, SYN | ACK, (5000, 1001)), (false, ACK, (1001, 5001))]
    {
        let frame = tcp(fabric, port, back, flags, numbers);
        assert_eq!(fabric.outcome(if back { "api-1" } else { "web-1" }, &frame), Ok(()));
    }
}

#[test]
fn what_is_outside_the_window_ends_nothing_and_strictly_does_not_pass() {
    for (mode, outside) in [("loose", Ok(())), ("strict", Err(DropReason::TcpOutOfWindow))] {
        let mut fabric = with(&format!("tcp = \"{mode}\""));
        connect(&mut fabric, 40_000);
        for flags in [RST, FIN | ACK, ACK] {
            let far = tcp(&fabric, 40_000, true, flags, (0x7000_0000, 0x7000_0000));
            assert_eq!(fabric.outcome("api-1", &far), outside, "{mode} {flags:#x}");
        }
        // Inside, and not exact: it passes for the end to judge (RFC 5961).
        let near = tcp(&fabric, 40_000, true, RST, (5100, 0));
        assert_eq!(fabric.outcome("api-1", &near), Ok(()));
        // A SYN on the living connection passes too, as a new one would.
        let syn = tcp(&fabric, 40_000, false, SYN, (77_000, 0));
        assert_eq!(fabric.outcome("web-1", &syn), Ok(()));
        // An hour later it still lives, which no connection does that was reset or closed.
        let honest = tcp(&fabric, 40_000, false, ACK, (1001, 5001));
        assert_eq!(fabric.outcome("web-1", &honest), Ok(()));
        fabric.now = fabric.now.plus(3600 * 8);
        assert_eq!(fabric.outcome("web-1", &honest), Ok(()));
        let exact = tcp(&fabric, 40_000, true, RST, (5001, 0));
        assert_eq!(fabric.outcome("api-1", &exact), Ok(()));
        fabric.now = fabric.now.plus(11 * 8);
        assert_eq!(fabric.outcome("web-1", &honest), Err(DropReason::TcpNoConnection));
    }
}

#[test]
fn an_error_must_quote_what_was_sent_where_windows_are_strict() {
    for (mode, forged) in [("loose", Ok(())), ("strict", Err(DropReason::IcmpOutOfWindow))] {
        let mut fabric = with(&format!("tcp = \"{mode}\""));
        connect(&mut fabric, 40_000);
        let error = |fabric: &Fabric, sequence| {
            let quoted = tcp(fabric, 40_000, false, ACK, (sequence, 5001))[ETHERNET + 14..].to_vec();
            // Too big, at a smaller hop.
            let message = Layer4::icmp(Protocol::ICMP, 3, 4);
            let mut frame = fabric.opening("api-1", &fabric.flow("api-1", "web-1", true, message));
            frame.extend(quoted);
            mend_ipv4(&mut frame);
            frame
        };
        let honest = error(&fabric, 1000);
        assert_eq!(fabric.outcome("api-1", &honest), Ok(()), "{mode}");
        let blind = error(&fabric, 0x7000_0000);
        assert_eq!(fabric.outcome("api-1", &blind), forged, "{mode}");
    }
}

#[test]
fn a_flood_costs_its_sender_its_own_share() {
    let mut fabric = with("half_open_per_workload = 20");
    connect(&mut fabric, 40_000);
    let mut refused = 0;
    for port in 1..5000 {
        let syn = tcp(&fabric, port, false, SYN, (u32::from(port), 0));
        match fabric.outcome("web-1", &syn) {
            Ok(()) => {}
            Err(DropReason::HalfOpenQuota) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((refused, fabric.connections()), (4999 - 20, 21));
    let known = tcp(&fabric, 40_000, true, ACK, (5001, 1001));
    assert_eq!(fabric.outcome("api-1", &known), Ok(()), "what lives is not touched");
    fabric.received("api-1");
    assert_eq!(fabric.try_flow("web-2", "api-1", true, api(40_000)), Ok(()), "nor what others open");
    // When nobody has answered, there is room again.
    fabric.now = fabric.now.plus(140 * 8);
    for _ in 0..200 {
        fabric.outcome("api-1", &known).unwrap();
    }
    let syn = tcp(&fabric, 5000, false, SYN, (1, 0));
    assert_eq!(fabric.outcome("web-1", &syn), Ok(()));
}

#[test]
fn a_workload_has_so_many_connections_and_no_more() {
    let mut fabric = with("connections_per_workload = 2");
    let syslog = |port| Layer4::ports(Protocol::UDP, port, 514);
    for port in [1, 2] {
        assert_eq!(fabric.try_flow("web-1", "ops-1", true, syslog(port)), Ok(()));
    }
    assert_eq!(fabric.try_flow("web-1", "ops-1", true, syslog(3)), Err(DropReason::ConnectionQuota));
    assert_eq!(fabric.try_flow("web-2", "ops-1", true, syslog(3)), Ok(()));
}

#[test]
fn sctp_opens_with_init_alone() {
    let mut fabric = Fabric::new(SHOP);
    let mut frame =
        fabric.opening("web-1", &fabric.flow("web-1", "api-1", true, Layer4::ports(Protocol::SCTP, 1, 2)));
    assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::DeniedEgress));
    frame[TRANSPORT + 12] = 0;
    assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::SctpNoConnection));
}

/// Bytes `offset..offset + length` of a datagram from `from` to ops-1's syslog.
fn fragment(fabric: &Fabric, from: &str, number: u16, offset: u16, length: usize, more: bool) -> Vec<u8> {
    let syslog = Layer4::ports(Protocol::UDP, 40_000, 514);
    let opening = fabric.opening(from, &fabric.flow(from, "ops-1", true, syslog));
    let mut data = vec![0; length];
    if offset == 0 {
        data[..8].copy_from_slice(&opening[TRANSPORT..TRANSPORT + 8]);
        data[4..6].copy_from_slice(&1000u16.to_be_bytes());
    }
    let mut frame = [&opening[..TRANSPORT], &data].concat();
    let header = &mut frame[ETHERNET + 14..];
    header[4..6].copy_from_slice(&number.to_be_bytes());
    header[6..8].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
    mend_ipv4(&mut frame);
    frame
}

#[test]
fn fragments_that_contradict_each_other_end_their_packet() {
    let pieces: [(u16, usize, bool, Result<(), DropReason>); 6] = [
        (0, 64, true, Ok(())),
        (64, 64, true, Ok(())),
        (64, 64, true, Err(DropReason::FragmentDuplicate)),
        (192, 64, false, Ok(())),
        (256, 64, true, Err(DropReason::FragmentBeyondEnd)),
        (128, 64, true, Err(DropReason::FragmentOverlap)),
    ];
    let mut fabric = Fabric::new(SHOP);
    for (offset, length, more, expected) in pieces {
        let frame = fragment(&fabric, "web-1", 7, offset, length, more);
        assert_eq!(fabric.outcome("web-1", &frame), expected, "{offset}");
    }
}

#[test]
fn packets_in_fragments_have_bounds_too() {
    let mut fabric = with("fragments_per_workload = 1");
    let first = |fabric: &Fabric, from, number| fragment(fabric, from, number, 0, 64, true);
    let quota = (0..50).any(|number| {
        let frame = first(&fabric, "web-1", number);
        match fabric.outcome("web-1", &frame) {
            Ok(()) => false,
            Err(reason) => reason == DropReason::FragmentQuota,
        }
    });
    assert!(quota, "one of its own makes room only where it is in the way");
    let frame = first(&fabric, "web-2", 1);
    assert_eq!(fabric.outcome("web-2", &frame), Ok(()));

    let mut fabric = Fabric::new(SHOP);
    for number in 0..2000 {
        let frame = first(&fabric, "web-1", number);
        assert_eq!(fabric.outcome("web-1", &frame), Ok(()), "its own make room");
    }
    let frame = first(&fabric, "web-2", 1);
    assert_eq!(fabric.outcome("web-2", &frame), Err(DropReason::FragmentTableFull));
}

#[test]
fn a_restarted_switch_takes_up_what_was_under_way_for_as_long_as_it_is_told() {
    let mut fabric = with("pick_up = 30");
    fabric.forget();
    // Whichever side speaks first: as the opening packet, or as the answer to one.
    for (port, back) in [(40_000, false), (40_001, true)] {
        let own = tcp(&fabric, port, back, ACK, (1001, 5001));
        assert_eq!(fabric.outcome(if back { "api-1" } else { "web-1" }, &own), Ok(()), "{port}");
        let other = tcp(&fabric, port, !back, ACK, (5001, 1001));
        assert_eq!(fabric.outcome(if back { "web-1" } else { "api-1" }, &other), Ok(()), "{port}");
    }
    // What is ending, or answers a SYN that nobody saw, is not worth it; what no gate admits either way is refused by the gate.
    for flags in [FIN | ACK, RST, RST | ACK, SYN | ACK] {
        let last = tcp(&fabric, 40_002, false, flags, (1001, 5001));
        assert_eq!(fabric.outcome("web-1", &last), Err(DropReason::TcpNoConnection), "{flags:#x}");
    }
    let mut shell = tcp(&fabric, 40_003, false, ACK, (1001, 5001));
    shell[TRANSPORT + 2..TRANSPORT + 4].copy_from_slice(&22u16.to_be_bytes());
    assert_eq!(fabric.outcome("web-1", &shell), Err(DropReason::DeniedEgress));

    fabric.now = fabric.now.plus(31 * 8);
    let late = tcp(&fabric, 40_004, false, ACK, (1001, 5001));
    assert_eq!(fabric.outcome("web-1", &late), Err(DropReason::TcpNoConnection));
    let known = tcp(&fabric, 40_000, false, ACK, (1001, 5001));
    assert_eq!(fabric.outcome("web-1", &known), Ok(()), "what was taken up lives on");

    let mut fabric = Fabric::new(SHOP);
    let first = tcp(&fabric, 40_000, false, ACK, (1001, 5001));
    assert_eq!(fabric.outcome("web-1", &first), Err(DropReason::TcpNoConnection), "unless it is told, never");
}
