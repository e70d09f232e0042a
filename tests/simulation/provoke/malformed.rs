//! Frames that do not hold together, or that nobody may send.

use septum::drop_reason::DropReason::*;
use septum_rules::mac::MacAddress;

use super::drafts::*;
use super::{Needs, Provocation, row};
use crate::craft::*;
use crate::world::atlas;

pub(super) const MALFORMED: &[Provocation] = &[
    row(FrameSize, "less than a virtio header", |mint| vec![mint.random.bytes(11)]),
    row(OffloadHeader, "a partial checksum over the ports", |mint| {
        vec![with(v4(mint).frame(), 0, &[1, 0, 0, 0, 0, 0, 34, 0, 2, 0])]
    }),
    row(EthernetTruncated, "13 bytes", |mint| vec![cut(v4(mint).frame(), VNET + 13)]),
    row(EthertypeUnknown, "MPLS", |mint| vec![with(v4(mint).frame(), VNET + 12, &[0x88, 0x47])]),
    row(VlanTruncated, "half a tag", |mint| vec![cut(with_tag(v4(mint).frame(), 0x8100, 7), VNET + 16)]),
    row(VlanStacked, "a tag within a tag", |mint| {
        vec![with_tag(with_tag(v4(mint).frame(), 0x8100, 7), 0x88a8, 9)]
    }),
    row(VlanUnexpected, "a tagged frame at an access port", |mint| {
        vec![with_tag(v4(mint).frame(), 0x8100, 7)]
    }),
    row(VlanMissing, "a frame without a tag at a trunk", |mint| one(&v4(mint))).when(Needs::Trunk),
    row(VlanUndeclared, "an id at a trunk that none of its workloads has", |mint| {
        vec![with_tag(v4(mint).frame(), 0x8100, 8)]
    })
    .when(Needs::Trunk),
    row(ArpMalformed, "ARP of another hardware", |mint| {
        let own = &atlas().hosts[mint.from];
        let frame = arp((own.mac, MacAddress::BROADCAST), 1, (own.mac, own.addresses[0]), own.addresses[0]);
        vec![with(frame, NETWORK, &[0, 6])]
    }),
    row(ArpOperation, "reverse ARP", |mint| {
        let own = &atlas().hosts[mint.from];
        vec![arp((own.mac, MacAddress::BROADCAST), 3, (own.mac, own.addresses[0]), own.addresses[0])]
    }),
    row(Ipv4Truncated, "19 bytes of header", |mint| vec![cut(v4(mint).frame(), NETWORK + 19)]),
    row(Ipv4Version, "version 6 behind IPv4's EtherType", |mint| {
        vec![with(v4(mint).frame(), NETWORK, &[0x65])]
    }),
    row(Ipv4HeaderLength, "a header of 16 bytes", |mint| vec![with(v4(mint).frame(), NETWORK, &[0x44])]),
    row(Ipv4TotalLength, "a length beyond the frame", |mint| {
        vec![with_fixed_header(with(v4(mint).frame(), NETWORK + 2, &[0xff, 0xff]))]
    }),
    row(Ipv4Checksum, "a header whose checksum is wrong", |mint| {
        let frame = v4(mint).frame();
        let wrong = !frame[NETWORK + 10];
        vec![with(frame, NETWORK + 10, &[wrong])]
    }),
    row(Ipv4Options, "loose source routing", |mint| {
        let mut draft = v4(mint);
        draft.options = vec![131, 7, 4, 10, 0, 0, 9, 0];
        one(&draft)
    }),
    row(Ipv6Truncated, "39 bytes of header", |mint| vec![cut(v6(mint).frame(), NETWORK + 39)]).by("lab-1"),
    row(Ipv6Version, "version 4 behind IPv6's EtherType", |mint| {
        vec![with(v6(mint).frame(), NETWORK, &[0x40])]
    })
    .by("lab-1"),
    row(Ipv6PayloadLength, "a length beyond the frame", |mint| {
        vec![with(v6(mint).frame(), NETWORK + 4, &[0xff, 0xff])]
    })
    .by("lab-1"),
    row(Ipv6Extensions, "two routing headers", |mint| {
        extended(mint, 43, &[43, 0, 4, 0, 0, 0, 0, 0, 17, 0, 4, 0, 0, 0, 0, 0])
    })
    .by("lab-1"),
    row(Ipv6Options, "an option longer than its header", |mint| {
        extended(mint, 0, &[17, 0, 1, 9, 0, 0, 0, 0])
    })
    .by("lab-1"),
    row(Ipv6ExtensionTruncated, "an extension header that is cut off", |mint| {
        let draft = carrying(v6(mint), 60, vec![17, 9, 1, 4, 0, 0, 0, 0]);
        one(&draft)
    })
    .by("lab-1"),
    row(Ipv6RoutingHeader, "routing header type 0", |mint| extended(mint, 43, &[17, 0, 0, 1, 0, 0, 0, 0]))
        .by("lab-1"),
    row(FragmentMalformed, "a first fragment too small for TCP's header", |mint| {
        let syn = syn_to(mint, 22);
        vec![carrying(v4(mint), TCP, syn).fragment(0, 8)]
    }),
    row(TcpTruncated, "19 bytes of TCP", |mint| one(&carrying(v4(mint), TCP, vec![0; 19]))),
    row(TcpDataOffset, "a data offset of 16 bytes", |mint| {
        let syn = syn_to(mint, 22);
        one(&carrying(v4(mint), TCP, with(syn, 12, &[0x40])))
    }),
    row(TcpFlags, "SYN and FIN", |mint| {
        let syn = syn_to(mint, 22);
        one(&carrying(v4(mint), TCP, with(syn, 13, &[SYN | FIN])))
    }),
    row(UdpTruncated, "7 bytes of UDP", |mint| one(&carrying(v4(mint), UDP, vec![0; 7]))),
    row(UdpLength, "a UDP length of 7", |mint| {
        let draft = v4(mint);
        let transport = with(draft.transport.clone(), 4, &[0, 7]);
        one(&carrying(draft, UDP, transport))
    }),
    row(SctpTruncated, "11 bytes of SCTP", |mint| one(&carrying(v4(mint), SCTP, vec![0; 11]))),
    row(IcmpTruncated, "7 bytes of ICMP", |mint| one(&carrying(v4(mint), ICMP, vec![8, 0, 0, 0, 0, 0, 0]))),
    row(Icmpv6Truncated, "7 bytes of ICMPv6", |mint| {
        one(&carrying(v6(mint), ICMPV6, vec![128, 0, 0, 0, 0, 0, 0]))
    })
    .by("lab-1"),
    row(IcmpFamily, "ICMPv6 over IPv4", |mint| one(&carrying(v4(mint), ICMPV6, icmp(128, 0, [0; 4], &[])))),
    row(NdMalformed, "a solicitation that has crossed a router", |mint| {
        let own = &atlas().hosts[mint.from];
        let frame = mint.discovery(135, own.address(false), Some(address("fd00:40::99")), own.mac);
        vec![with(frame, NETWORK + 7, &[254])]
    })
    .by("lab-1"),
    row(Land, "a packet from an address to itself", |mint| {
        let mut draft = v4(mint);
        draft.destination = draft.source;
        one(&draft.sealed())
    }),
    row(MartianSource, "from loopback", |mint| {
        let mut draft = v4(mint);
        draft.source = address("127.0.0.1");
        one(&draft.sealed())
    }),
    row(MartianDestination, "to loopback", |mint| {
        let mut draft = v4(mint);
        draft.destination = address("127.0.0.1");
        one(&draft.sealed())
    }),
];
