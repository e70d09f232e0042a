//! False claims, limits of what may be sent, and destinations that are none.

use std::net::IpAddr;

use septum::drop_reason::DropReason::*;
use septum::memberships::PLACES;
use septum_rules::mac::MacAddress;

use super::drafts::*;
use super::{Needs, Provocation, row};
use crate::craft::*;
use crate::world::atlas;

/// What lives behind the uplink.
const WAN: &str = "uplink=wan";

pub(super) const CLAIMS: &[Provocation] = &[
    row(Undescribed, "anything from a port that no policy describes", |mint| one(&v4(mint)))
        .when(Needs::StrayPort),
    row(SpoofMac, "another's MAC", |mint| {
        let mut draft = v4(mint);
        draft.macs.0 = MacAddress([2, 0, 0, 0, 0, 7]);
        one(&draft)
    }),
    row(SpoofIp, "another's address", |mint| {
        let mut draft = v4(mint);
        draft.source = address("10.77.0.1");
        one(&draft.sealed())
    }),
    row(SpoofArp, "an ARP reply for another's address", |mint| {
        let own = &atlas().hosts[mint.from];
        vec![arp((own.mac, MacAddress::BROADCAST), 2, (own.mac, address("10.77.0.1")), own.addresses[0])]
    }),
    row(SpoofNd, "an advertisement for another's address", |mint| {
        let own = &atlas().hosts[mint.from];
        vec![mint.discovery(136, own.address(false), Some(address("fd00:40::c")), own.mac)]
    })
    .by("lab-1"),
    row(DhcpMalformed, "a DHCP request that is none", |mint| {
        let draft = v4(mint);
        one(&carrying(draft, UDP, udp((68, 67), b"no request")).sealed())
    }),
    row(Dhcpv6Malformed, "a DHCPv6 solicitation from nobody", |mint| {
        let draft = v6(mint);
        one(&carrying(draft, UDP, udp((546, 547), &[1, 0, 0, 1])).sealed())
    })
    .by("lab-1"),
    row(SpoofDhcp, "a DHCP request for another's hardware address", |mint| {
        let mut request = vec![1, 1, 6];
        request.resize(28, 0);
        request.extend([2, 9, 9, 9, 9, 9]);
        request.resize(236, 0);
        request.extend([99, 130, 83, 99, 53, 1, 1, 255]);
        let draft = v4(mint);
        one(&carrying(draft, UDP, udp((68, 67), &request)).sealed())
    }),
    row(RogueServer, "a DHCP server's answer", |mint| {
        let draft = v4(mint);
        one(&carrying(draft, UDP, udp((67, 68), b"an offer")).sealed())
    }),
    row(RogueQuerier, "a query who listens", |mint| one(&igmp(mint, &[0x11, 10, 0, 0, 0, 0, 0, 0])))
        .by("lab-1"),
    row(IgmpMalformed, "a report with fewer records than it says", |mint| {
        one(&igmp(mint, &[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0]))
    })
    .by("lab-1"),
    row(MldMalformed, "a report that has crossed a router", |mint| {
        let mut draft = listener_report(mint, "ff02::fb");
        draft.ttl = 63;
        one(&draft.sealed())
    })
    .by("lab-1"),
    row(MembershipQuota, "a report of more groups than one workload may listen to", |mint| {
        let records = (0..=PLACES as u8).flat_map(|at| [4, 0, 0, 0, 239, 9, 9, at]);
        let header = [0x22, 0, 0, 0, 0, 0, 0, PLACES as u8 + 1];
        one(&igmp(mint, &header.into_iter().chain(records).collect::<Vec<_>>()))
    })
    .by("lab-1")
    .seldom(6),
    row(UplinkSpoof, "an address of this side, claimed from behind an uplink", |mint| {
        let mut draft = inbound(mint);
        draft.source = address("10.10.0.12");
        one(&draft.sealed())
    })
    .by(WAN),
    row(UplinkSource, "an address that lives behind no network of the uplink", |mint| {
        let mut draft = inbound(mint);
        draft.source = address("198.51.100.7");
        one(&draft.sealed())
    })
    .by(WAN),
    row(UplinkGroup, "a broadcast from behind an uplink", |mint| {
        let mut draft = inbound(mint);
        draft.macs.1 = MacAddress::BROADCAST;
        draft.destination = address("255.255.255.255");
        one(&draft.sealed())
    })
    .by(WAN),
    row(UplinkTransit, "from behind an uplink to behind an uplink", |mint| {
        let mut draft = inbound(mint);
        draft.destination = address("10.99.2.2");
        one(&draft.sealed())
    })
    .by(WAN),
    row(LimitPackets, "more packets than its limit lets it", |mint| {
        let transport = udp((40_000, 7), &[]);
        vec![between(mint, "lab-2", UDP, transport).frame(); 50]
    })
    .by("lab-3")
    .seldom(8),
    row(LimitBytes, "more bytes than its limit lets it", |mint| {
        let transport = udp((40_000, 7), &[0; 1400]);
        vec![between(mint, "lab-2", UDP, transport).frame(); 10]
    })
    .by("lab-3"),
    row(UnknownDestination, "a MAC that nobody has", |mint| {
        let mut draft = v4(mint);
        draft.macs.1 = MacAddress([2, 0, 0, 0, 0, 9]);
        one(&draft)
    }),
    row(Hairpin, "one's own other address", |mint| {
        let mut draft = v4(mint);
        draft.source = address("10.20.0.11");
        draft.destination = address("10.20.0.200");
        draft.macs.1 = atlas().segment_of(mint.from).gateway_mac;
        one(&draft.sealed())
    })
    .by("api-1"),
    row(ReservedMulticast, "LLDP's address", |mint| {
        vec![with(v4(mint).frame(), VNET, &[1, 0x80, 0xc2, 0, 0, 0x0e])]
    }),
    row(AddressMismatch, "one neighbour's MAC and another's address", |mint| {
        let transport = udp((40_000, 514), b"to whom?");
        let mut draft = between(mint, "ops-1", UDP, transport);
        draft.macs.1 = atlas().hosts[atlas().host_named("api-2")].mac;
        one(&draft)
    })
    .by("api-1"),
    row(NoRoute, "an address that lives nowhere", |mint| {
        let mut draft = v4(mint);
        draft.destination = address("192.0.2.1");
        draft.macs.1 = atlas().segment_of(mint.from).gateway_mac;
        one(&draft.sealed())
    })
    .by("ops-1"),
    row(TtlExceeded, "the last hop of what must be routed", |mint| {
        let syn = syn_to(mint, 22);
        let mut draft = between(mint, "pay-1", TCP, syn);
        draft.ttl = 1;
        one(&draft)
    })
    .by("ops-1"),
    row(TooBig, "1,500 bytes for a segment whose MTU is 1,280", |mint| {
        let payload = vec![0; 1472];
        let transport = udp((40_000, 9000), &payload);
        let mut draft = between(mint, "db-1", UDP, transport);
        draft.source = address("10.20.0.200");
        one(&draft.sealed())
    })
    .by("api-1"),
    row(
        NextHopUnresolved,
        "the first packet to a neighbour behind an uplink that was never asked for",
        |mint| {
            let number = mint.random.byte();
            let mut draft = if mint.random.once_in(2) { v4(mint) } else { v6(mint) };
            draft.destination = match draft.source {
                IpAddr::V4(_) => address(&format!("10.99.0.{}", number | 64)),
                IpAddr::V6(_) => address(&format!("fd00:99::{number:x}:1")),
            };
            draft.macs.1 = atlas().segment_of(mint.from).gateway_mac;
            one(&draft.sealed())
        },
    )
    .by("ops-1"),
    row(UnknownNeighbour, "ARP for an address that nobody has", |mint| {
        let own = &atlas().hosts[mint.from];
        vec![arp((own.mac, MacAddress::BROADCAST), 1, (own.mac, own.addresses[0]), address("10.77.0.1"))]
    }),
    row(GatewayNoService, "a connection to the gateway", |mint| {
        let syn = syn_to(mint, 443);
        let mut draft = carrying(v4(mint), TCP, syn);
        draft.destination = gateway_of(mint, true);
        draft.macs.1 = atlas().segment_of(mint.from).gateway_mac;
        one(&draft.sealed())
    })
    .by("ops-1"),
];
