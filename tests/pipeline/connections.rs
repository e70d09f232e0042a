//! Connections: replies pass without a rule, nothing unsolicited does, and a change of policy is felt at once.

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::wire::tcp_flag::{ACK, FIN, RST, SYN};
use septum_rules::flow_key::FlowKey;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, mend_ipv4};

const API: Layer4 = Layer4::ports(Protocol::TCP, 40_000, 8080);

fn reply_to(flow: &FlowKey) -> FlowKey {
    let layer4 = Layer4 { source: flow.layer4.destination, destination: flow.layer4.source, ..flow.layer4 };
    FlowKey { source: flow.destination, destination: flow.source, layer4, ..*flow }
}

/// A TCP frame of a flow with other flags.
fn tcp(fabric: &Fabric, from: &str, flow: &FlowKey, flags: u8) -> Vec<u8> {
    let mut frame = fabric.opening(from, flow);
    let transport = ETHERNET + 14 + if flow.source.is_ipv4() { 20 } else { 40 };
    frame[transport + 13] = flags;
    frame
}

/// web-1 opens a connection to api-1, through the handshake.
fn connect(fabric: &mut Fabric, ipv4: bool) -> FlowKey {
    let flow = fabric.flow("web-1", "api-1", ipv4, API);
    let back = reply_to(&flow);
    for (from, flow, flags) in [("web-1", &flow, SYN), ("api-1", &back, SYN | ACK), ("web-1", &flow, ACK)] {
        let frame = tcp(fabric, from, flow, flags);
        assert_eq!(fabric.outcome(from, &frame), Ok(()));
    }
    fabric.received("web-1");
    fabric.received("api-1");
    flow
}

#[test]
fn replies_need_no_rule_and_unsolicited_packets_have_none() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(SHOP);
        let flow = fabric.flow("web-1", "api-1", ipv4, API);
        let back = reply_to(&flow);
        for flags in [SYN | ACK, ACK, RST, FIN | ACK] {
            let frame = tcp(&fabric, "api-1", &back, flags);
            assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::TcpNoConnection), "{flags:#x}");
            let frame = tcp(&fabric, "web-1", &flow, flags);
            assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::TcpNoConnection), "{flags:#x}");
        }
        connect(&mut fabric, ipv4);
        let frame = tcp(&fabric, "api-1", &back, ACK);
        assert_eq!(fabric.outcome("api-1", &frame), Ok(()));
        // The answering side opens nothing by itself, on the very ports of the connection neither.
        let frame = tcp(&fabric, "api-1", &back, SYN);
        assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
    }
}

#[test]
fn datagrams_are_answered_and_echo_replies_need_a_request() {
    let mut fabric = Fabric::new(SHOP);
    let log = fabric.flow("web-1", "ops-1", true, Layer4::ports(Protocol::UDP, 40_000, 514));
    let answer = fabric.opening("ops-1", &reply_to(&log));
    assert_eq!(fabric.outcome("ops-1", &answer), Err(DropReason::DeniedEgress));
    assert_eq!(fabric.try_flow("web-1", "ops-1", true, log.layer4), Ok(()));
    assert_eq!(fabric.outcome("ops-1", &answer), Ok(()));
    assert_eq!(fabric.received("web-1").len(), 1);

    let reply = Layer4::icmp(Protocol::ICMP, 0, 0);
    assert_eq!(fabric.try_flow("api-1", "web-1", true, reply), Err(DropReason::ReplyUnsolicited));
    assert_eq!(fabric.try_flow("web-1", "api-1", true, Layer4::icmp(Protocol::ICMP, 8, 0)), Ok(()));
    assert_eq!(fabric.try_flow("api-1", "web-1", true, reply), Ok(()));
}

#[test]
fn an_error_passes_only_to_the_sender_of_a_live_packet_from_its_other_end() {
    let mut fabric = Fabric::new(SHOP);
    let log = fabric.flow("web-1", "ops-1", true, Layer4::ports(Protocol::UDP, 40_000, 514));
    let quoted = fabric.opening("web-1", &log)[ETHERNET + 14..].to_vec();
    let error = |fabric: &Fabric, from: &str, to: &str| {
        let mut frame =
            fabric.opening(from, &fabric.flow(from, to, true, Layer4::icmp(Protocol::ICMP, 3, 3)));
        frame.extend(&quoted);
        mend_ipv4(&mut frame);
        frame
    };
    let honest = error(&fabric, "ops-1", "web-1");
    assert_eq!(fabric.outcome("ops-1", &honest), Err(DropReason::IcmpNoConnection));
    assert_eq!(fabric.try_flow("web-1", "ops-1", true, log.layer4), Ok(()));
    assert_eq!(fabric.outcome("ops-1", &honest), Ok(()));
    for (from, to) in [("api-1", "web-1"), ("ops-1", "web-2"), ("ops-1", "api-1")] {
        let frame = error(&fabric, from, to);
        assert_eq!(fabric.outcome(from, &frame), Err(DropReason::IcmpNoConnection), "{from} -> {to}");
    }
}

/// The shop without the rule that lets web servers reach the API.
fn without_web_to_api(established: &str) -> String {
    SHOP.replace("name  = \"web-to-api\"\n", "name  = \"web-to-api\"\nexpires = 2020-01-01\n")
        .replace("established = \"recheck\"", &format!("established = \"{established}\""))
}

#[test]
fn a_live_connection_whose_rule_went_ends_at_its_next_packet_from_either_side() {
    for from_opener in [true, false] {
        let mut fabric = Fabric::new(SHOP);
        let flow = connect(&mut fabric, true);
        let back = reply_to(&flow);
        fabric.change(&without_web_to_api("recheck"));
        let (from, flow) = if from_opener { ("web-1", &flow) } else { ("api-1", &back) };
        let frame = tcp(&fabric, from, flow, ACK);
        assert_eq!(fabric.outcome(from, &frame), Err(DropReason::DeniedEgress));
        assert_eq!(fabric.outcome(from, &frame), Err(DropReason::TcpNoConnection));
        // The rule comes back; the connection does not.
        fabric.change(SHOP);
        assert_eq!(fabric.outcome(from, &frame), Err(DropReason::TcpNoConnection));
    }
}

#[test]
fn a_kept_connection_lives_until_a_policy_that_rechecks() {
    let mut fabric = Fabric::new(SHOP);
    let flow = connect(&mut fabric, true);
    fabric.change(&without_web_to_api("keep"));
    let frame = tcp(&fabric, "web-1", &flow, ACK);
    assert_eq!(fabric.outcome("web-1", &frame), Ok(()));
    let other = Layer4::ports(Protocol::TCP, 40_001, 8080);
    assert_eq!(fabric.try_flow("web-1", "api-1", true, other), Err(DropReason::DeniedEgress));
    fabric.change(&without_web_to_api("recheck"));
    assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::DeniedEgress));
}

#[test]
fn a_change_that_leaves_the_rule_leaves_the_connection() {
    let mut fabric = Fabric::new(SHOP);
    let flow = connect(&mut fabric, false);
    let back = reply_to(&flow);
    fabric.change(&SHOP.replace("tcp/5432", "tcp/5433"));
    for (from, flow) in [("api-1", &back), ("web-1", &flow)] {
        let frame = tcp(&fabric, from, flow, ACK);
        assert_eq!(fabric.outcome(from, &frame), Ok(()));
    }
    assert_eq!(fabric.connections(), 1);
}

/// A UDP packet cut in two at a multiple of eight bytes.
fn fragments(fabric: &Fabric, layer4: Layer4, at: usize) -> (Vec<u8>, Vec<u8>) {
    let frame = fabric.opening("web-1", &fabric.flow("web-1", "ops-1", true, layer4));
    let mut data = [&frame[ETHERNET + 34..ETHERNET + 42], &[7; 40]].concat();
    data[4..6].copy_from_slice(&48u16.to_be_bytes());
    let piece = |offset: usize, data: &[u8], more: bool| {
        let mut frame = [&frame[..ETHERNET + 34], data].concat();
        let header = &mut frame[ETHERNET + 14..];
        header[4..6].copy_from_slice(&77u16.to_be_bytes());
        header[6..8].copy_from_slice(&((offset as u16 / 8) | (u16::from(more) << 13)).to_be_bytes());
        mend_ipv4(&mut frame);
        frame
    };
    (piece(0, &data[..at], true), piece(at, &data[at..], false))
}

#[test]
fn later_fragments_follow_the_first_ones_verdict() {
    let mut fabric = Fabric::new(SHOP);
    let syslog = Layer4::ports(Protocol::UDP, 40_000, 514);
    let (first, later) = fragments(&fabric, syslog, 24);
    assert_eq!(
        fabric.outcome("web-1", &later),
        Err(DropReason::FragmentUntracked),
        "the first was never seen"
    );
    assert_eq!(fabric.outcome("web-1", &first), Ok(()));
    assert_eq!(fabric.outcome("web-1", &later), Ok(()));
    assert_eq!(fabric.received("ops-1").len(), 2);
    assert_eq!(fabric.outcome("web-1", &later), Err(DropReason::FragmentUntracked), "the packet is complete");
    let (_, overlapping) = fragments(&fabric, syslog, 16);
    assert_eq!(fabric.outcome("web-1", &first), Ok(()));
    assert_eq!(fabric.outcome("web-1", &overlapping), Err(DropReason::FragmentOverlap));
    assert_eq!(fabric.outcome("web-1", &later), Err(DropReason::FragmentOverlap), "nothing of it passes");

    let mut fabric = Fabric::new(SHOP);
    let (first, later) = fragments(&fabric, Layer4::ports(Protocol::UDP, 40_000, 515), 24);
    assert_eq!(fabric.outcome("web-1", &first), Err(DropReason::DeniedEgress));
    assert_eq!(fabric.outcome("web-1", &later), Err(DropReason::FragmentUntracked), "the first was refused");

    let mut fabric = Fabric::new(&format!("{SHOP}\n[switch]\nfragments = \"drop\"\n"));
    let (first, later) = fragments(&fabric, syslog, 24);
    for fragment in [first, later] {
        assert_eq!(fabric.outcome("web-1", &fragment), Err(DropReason::FragmentsRefused));
    }
}
