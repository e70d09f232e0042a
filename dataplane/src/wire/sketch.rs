//! The plainest whole frame of a flow: what a sender's first packet of it looks like.
//!
//! For packet tests of policies, benches and tests; nothing on a frame's way builds these.

use std::net::IpAddr;

use septum_rules::flow_key::FlowKey;
use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::checksum::Sum;
use super::crc32c::crc32c;
use super::ethernet::{EtherType, EthernetHeader};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::tcp_flag::SYN;
use super::{ORIGINATED_TTL, icmp};

/// Builds the Ethernet frame of a flow's opening packet, without payload, all checksums right: TCP with SYN, UDP,
/// SCTP with INIT, ICMP and ICMPv6 with identifier and sequence zero, others with four zero bytes.
///
/// # Panics
/// When the two addresses are not of one family.
pub fn opening(flow: &FlowKey, source: MacAddress, destination: MacAddress) -> Vec<u8> {
    let protocol = flow.layer4.protocol;
    let mut transport = transport(flow);
    let length = transport.len();
    let mut frame = vec![0; EthernetHeader::LENGTH];
    let ethernet = |ethertype| EthernetHeader { destination, source, ethertype };
    let pseudo_header = match (flow.source, flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet(EtherType::IPV4).emit(None, &mut frame);
            frame.resize(EthernetHeader::LENGTH + Ipv4Header::LENGTH, 0);
            Ipv4Header::emit(
                &mut frame[EthernetHeader::LENGTH..],
                (source, destination),
                protocol,
                0,
                length,
            );
            match protocol {
                Protocol::ICMP => Sum::default(),
                _ => Sum::pseudo_header_v4(source, destination, protocol, length as u16),
            }
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet(EtherType::IPV6).emit(None, &mut frame);
            frame.resize(EthernetHeader::LENGTH + Ipv6Header::LENGTH, 0);
            let network = &mut frame[EthernetHeader::LENGTH..];
            Ipv6Header::emit(network, (source, destination), protocol, ORIGINATED_TTL, length);
            Sum::pseudo_header_v6(source, destination, protocol, length as u32)
        }
        _ => panic!("a flow between two families"),
    };
    let checksum_at = match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP => Some(6),
        Protocol::ICMP | Protocol::ICMPV6 => Some(2),
        _ => None,
    };
    if let Some(at) = checksum_at {
        let checksum = pseudo_header.add_bytes(&transport).checksum_not_zero();
        transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    frame.extend(transport);
    frame
}

/// The transport header, its checksum still zero.
fn transport(flow: &FlowKey) -> Vec<u8> {
    let layer4 = flow.layer4;
    let ports = [layer4.source.to_be_bytes(), layer4.destination.to_be_bytes()].concat();
    match layer4.protocol {
        // Sequence and acknowledgement, data offset, flags, window, checksum, urgent pointer.
        Protocol::TCP => [&ports[..], &[0; 8], &[0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]].concat(),
        Protocol::UDP => [&ports[..], &[0, 8, 0, 0]].concat(),
        Protocol::SCTP => {
            // INIT (RFC 9260 section 3.3.2): tag 1, receiver window, one stream each way, first number.
            let init = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
            let mut packet = [&ports[..], &[0; 8], &init].concat();
            let checksum = crc32c(&packet).to_le_bytes();
            packet[8..12].copy_from_slice(&checksum);
            packet
        }
        protocol if protocol.has_icmp_type() => {
            let mut message = vec![0; icmp::HEADER];
            message[..2].copy_from_slice(&layer4.destination.to_be_bytes());
            message
        }
        // Something must be there: an IPv6 packet without payload would announce a jumbogram (RFC 2675).
        _ => vec![0; 4],
    }
}

#[cfg(test)]
mod tests {
    use septum_rules::identity::DomainId;
    use septum_rules::proto::Layer4;

    use super::*;
    use crate::wire::Content;
    use crate::wire::parse::parse;
    use crate::wire::vnet_hdr::VnetHeader;

    #[test]
    fn what_is_sketched_parses_to_the_same_flow() {
        let (near, far) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for layer4 in [
                Layer4::ports(Protocol::TCP, 40_000, 443),
                Layer4::ports(Protocol::UDP, 40_000, 53),
                Layer4::ports(Protocol::SCTP, 40_000, 80),
                Layer4::bare(Protocol::GRE),
            ] {
                let flow = FlowKey {
                    domain: DomainId::default(),
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                    layer4,
                };
                let headers = parse(&opening(&flow, near, far), &VnetHeader::default()).unwrap();
                let Content::Ip(packet) = headers.content else { panic!() };
                assert_eq!((packet.flow, headers.source, headers.destination), (flow, near, far));
            }
        }
    }
}
