//! `deny_with = "reject"`: refused senders hear so, as from the destination; read back by etherparse.

use etherparse::{Icmpv4Type, Icmpv6Type, NetHeaders, PacketHeaders, TransportHeader};
use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::responder::AnswerBudgets;
use septum::wire::tcp_flag::{ACK, FIN, PSH, RST, SYN};
use septum_rules::flow_key::FlowKey;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, mend_ipv4};

/// The shop, refusing aloud.
fn aloud() -> String {
    SHOP.replace("version = 1", "deny_with = \"reject\"\nversion = 1")
}

const CLOSED: Layer4 = Layer4::ports(Protocol::TCP, 40_000, 22);

/// A TCP frame of a flow: flags, sequence, acknowledgement, and payload.
fn segment(fabric: &Fabric, from: &str, flow: &FlowKey, flags: u8, payload: usize) -> Vec<u8> {
    let mut frame = fabric.opening(from, flow);
    frame.resize(frame.len() + payload, 7);
    let network = ETHERNET + 14;
    let transport = if flow.source.is_ipv4() {
        mend_ipv4(&mut frame);
        network + 20
    } else {
        let length = (frame.len() - network - 40) as u16;
        frame[network + 4..network + 6].copy_from_slice(&length.to_be_bytes());
        network + 40
    };
    let header = &mut frame[transport..];
    header[4..8].copy_from_slice(&0xffff_fff0_u32.to_be_bytes());
    header[8..12].copy_from_slice(&7000_u32.to_be_bytes());
    header[13] = flags;
    frame
}

/// The transport header of an answer, whose ends and checksums are those of an answer to `flow`.
fn answer(fabric: &mut Fabric, asker: &str, flow: &FlowKey) -> (TransportHeader, Vec<u8>) {
    let frames = fabric.received(asker);
    assert_eq!(frames.len(), 1, "one answer");
    assert_eq!(frames[0][..ETHERNET], [0; ETHERNET]);
    let ethernet = &frames[0][ETHERNET..];
    assert_eq!(ethernet[..6], fabric.mac(asker).0);
    let packet = PacketHeaders::from_ethernet_slice(ethernet).expect("a whole frame");
    let payload = packet.payload.slice().to_vec();
    let transport = packet.transport.expect("a transport header");
    let (ends, checksum) = match packet.net.expect("an IP header") {
        NetHeaders::Ipv4(header, _) => {
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let checksum = match &transport {
                TransportHeader::Tcp(tcp) => tcp.calc_checksum_ipv4(&header, &payload).unwrap(),
                TransportHeader::Icmpv4(icmp) => icmp.icmp_type.calc_checksum(&payload),
                other => panic!("{other:?}"),
            };
            ((header.source.into(), header.destination.into()), checksum)
        }
        NetHeaders::Ipv6(header, _) => {
            let checksum = match &transport {
                TransportHeader::Tcp(tcp) => tcp.calc_checksum_ipv6(&header, &payload).unwrap(),
                TransportHeader::Icmpv6(icmp) => {
                    icmp.icmp_type.calc_checksum(header.source, header.destination, &payload).unwrap()
                }
                other => panic!("{other:?}"),
            };
            ((header.source.into(), header.destination.into()), checksum)
        }
        NetHeaders::Arp(_) => panic!("an ARP packet"),
    };
    let own: (std::net::IpAddr, std::net::IpAddr) = ends;
    assert_eq!(own, (flow.destination, flow.source));
    let stated = match &transport {
        TransportHeader::Tcp(tcp) => tcp.checksum,
        TransportHeader::Icmpv4(icmp) => icmp.checksum,
        TransportHeader::Icmpv6(icmp) => icmp.checksum,
        other => panic!("{other:?}"),
    };
    assert_eq!(stated, checksum);
    (transport, payload)
}

#[test]
fn a_refused_connection_is_reset_with_the_numbers_that_its_sender_expects() {
    // RFC 9293 section 3.10.7.1: with ACK, <SEQ=SEG.ACK><CTL=RST>; without, <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>.
    // A neighbour (bridged) and a workload behind the gateway (routed).
    for (from, to) in [("api-1", "ops-1"), ("web-1", "api-1")] {
        for ipv4 in [true, false] {
            let mut fabric = Fabric::new(&aloud());
            let flow = fabric.flow(from, to, ipv4, CLOSED);
            for (payload, acknowledged) in [(0, 0xffff_fff1_u32), (100, 0x55)] {
                let frame = segment(&fabric, from, &flow, SYN, payload);
                assert_eq!(fabric.outcome(from, &frame), Err(DropReason::DeniedEgress));
                let (TransportHeader::Tcp(reset), rest) = answer(&mut fabric, from, &flow) else { panic!() };
                assert!(rest.is_empty() && reset.rst && reset.ack && !reset.syn);
                assert_eq!((reset.sequence_number, reset.acknowledgment_number), (0, acknowledged));
                assert_eq!((reset.source_port, reset.destination_port), (22, 40_000));
            }
            assert!(fabric.received(to).is_empty());
        }
    }
}

#[test]
fn a_live_connection_that_a_change_ends_is_reset_at_its_sender() {
    let api = Layer4::ports(Protocol::TCP, 40_000, 8080);
    let mut fabric = Fabric::new(&aloud());
    let flow = fabric.flow("web-1", "api-1", true, api);
    assert_eq!(fabric.try_flow("web-1", "api-1", true, api), Ok(()));
    fabric.change(&aloud().replace("tcp/8080", "tcp/8081"));
    let data = segment(&fabric, "web-1", &flow, ACK | PSH, 100);
    assert_eq!(fabric.outcome("web-1", &data), Err(DropReason::DeniedEgress));
    let (TransportHeader::Tcp(reset), _) = answer(&mut fabric, "web-1", &flow) else { panic!() };
    assert!(reset.rst && !reset.ack);
    assert_eq!(reset.sequence_number, 7000);
    // It is over: what comes now belongs to nothing, and no gate is asked.
    let late = segment(&fabric, "web-1", &flow, ACK | FIN, 0);
    assert_eq!(fabric.outcome("web-1", &late), Err(DropReason::TcpNoConnection));
    assert!(fabric.received("web-1").is_empty());
}

#[test]
fn what_is_no_tcp_hears_that_it_is_prohibited() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(&aloud());
        let echo = if ipv4 { (Protocol::ICMP, 8) } else { (Protocol::ICMPV6, 128) };
        for layer4 in [
            Layer4::ports(Protocol::UDP, 40_000, 53),
            Layer4::ports(Protocol::SCTP, 40_000, 53),
            Layer4::icmp(echo.0, echo.1, 0),
            Layer4::bare(Protocol::GRE),
        ] {
            let flow = fabric.flow("db-1", "pay-1", ipv4, layer4);
            let frame = fabric.opening("db-1", &flow);
            assert_eq!(fabric.outcome("db-1", &frame), Err(DropReason::DeniedEgress), "{layer4}");
            let (header, quote) = answer(&mut fabric, "db-1", &flow);
            match header {
                TransportHeader::Icmpv4(icmp) => assert!(
                    matches!(icmp.icmp_type, Icmpv4Type::DestinationUnreachable(code) if code.code_u8() == 13)
                ),
                TransportHeader::Icmpv6(icmp) => assert!(
                    matches!(icmp.icmp_type, Icmpv6Type::DestinationUnreachable(code) if code.code_u8() == 1)
                ),
                other => panic!("{other:?}"),
            }
            assert_eq!(quote, frame[ETHERNET + 14..]);
        }
    }
}

#[test]
fn one_rule_may_refuse_aloud_and_another_in_silence() {
    let rules = "\n[[rule]]\nname = \"aloud\"\ntier = \"admin\"\nfrom = \"app=api\"\nto = \"app=ops\"\ndeny = [\"tcp/22\"]\n\
                 deny_with = \"reject\"\n[[rule]]\nname = \"silent\"\ntier = \"admin\"\nfrom = \"app=api\"\nto = \"app=ops\"\n\
                 deny = [\"tcp/23\"]\ndeny_with = \"drop\"\n";
    for (policy, answers) in [(SHOP.to_owned(), [1, 0, 0]), (aloud(), [1, 0, 1])] {
        let mut fabric = Fabric::new(&format!("{policy}{rules}"));
        for (port, answers) in [22, 23, 24].into_iter().zip(answers) {
            let flow = fabric.flow("api-1", "ops-1", true, Layer4::ports(Protocol::TCP, 40_000, port));
            let frame = fabric.opening("api-1", &flow);
            assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
            assert_eq!(fabric.received("api-1").len(), answers, "{port}");
        }
    }
}

#[test]
fn nothing_answers_what_no_error_may_answer() {
    let mut fabric = Fabric::new(&aloud());
    let udp = Layer4::ports(Protocol::UDP, 40_000, 53);
    // A broadcast and a multicast that nobody may have.
    for (mac, address) in [([0xff; 6], "10.20.0.255"), ([1, 0, 0x5e, 0, 0, 251], "224.0.0.251")] {
        let mut flow = fabric.flow("api-1", "ops-1", true, udp);
        flow.destination = address.parse().unwrap();
        let mut frame = fabric.opening("api-1", &flow);
        frame[ETHERNET..ETHERNET + 6].copy_from_slice(&mac);
        assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::GroupNoReceiver));
    }
    // A reset, an ICMP error, a redirect's cousin, a later fragment: refused for reasons of their own, and in silence.
    let flow = fabric.flow("api-1", "ops-1", true, CLOSED);
    let reset = segment(&fabric, "api-1", &flow, RST, 0);
    assert_eq!(fabric.outcome("api-1", &reset), Err(DropReason::TcpNoConnection));
    let error = fabric.flow("api-1", "ops-1", true, Layer4::icmp(Protocol::ICMP, 3, 1));
    let frame = fabric.opening("api-1", &error);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::IcmpNoConnection));
    let mut later = fabric.opening("api-1", &fabric.flow("api-1", "ops-1", true, udp));
    later.resize(later.len() + 64, 0);
    later[ETHERNET + 14 + 6..][..2].copy_from_slice(&4_u16.to_be_bytes());
    mend_ipv4(&mut later);
    assert_eq!(fabric.outcome("api-1", &later), Err(DropReason::FragmentUntracked));
    // What the guard refuses comes from nobody that could be told.
    let mut stolen = fabric.flow("api-1", "ops-1", true, udp);
    stolen.source = fabric.address("db-1", true);
    let frame = fabric.opening("api-1", &stolen);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::SpoofIp));
    assert!(fabric.received("api-1").is_empty() && fabric.received("ops-1").is_empty());
}

#[test]
fn refusals_are_limited_for_each_port_alone_and_still_counted_by_their_reason() {
    let mut fabric = Fabric::new(&aloud());
    let flow = fabric.flow("api-1", "ops-1", true, CLOSED);
    let frame = fabric.opening("api-1", &flow);
    for _ in 0..AnswerBudgets::REFUSALS_PER_TICK {
        assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
        assert_eq!(fabric.received("api-1").len(), 1);
    }
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
    assert!(fabric.received("api-1").is_empty(), "over the limit: in silence");
    // Another port has its own, and services are not touched.
    let other = fabric.flow("ops-1", "api-1", true, Layer4::ports(Protocol::TCP, 40_000, 23));
    let other = fabric.opening("ops-1", &other);
    assert_eq!(fabric.outcome("ops-1", &other), Err(DropReason::DeniedEgress));
    assert_eq!(fabric.received("ops-1").len(), 1);
    fabric.now.0 += 1;
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
    assert_eq!(fabric.received("api-1").len(), 1);
}
