//! A generator for every reason to drop a frame: what a sender does to be refused by it.
//!
//! A new reason needs a row here; the test that runs them says so, and writes the page of all reasons from this table.

use std::net::IpAddr;

use septum::drop_reason::{DropReason, UndeliveredReason};
use septum_rules::mac::MacAddress;

use crate::craft::*;
use crate::hostile::Mint;
use crate::world::{ENDING, NO_FRAGMENTS, atlas};

/// What must be so for a reason to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// This policy.
    Rules(usize),
    /// A policy whose last day is over.
    Stale,
    /// A connection table with few entries.
    SmallTable,
    /// A port that the policy does not describe.
    StrayPort,
}

/// How one reason is provoked.
pub(crate) struct Provocation {
    pub(crate) reason: DropReason,
    /// For the page of reasons: what is sent.
    pub(crate) how: &'static str,
    pub(crate) needs: Needs,
    /// By a host of this name; by any where none is named.
    pub(crate) host: Option<&'static str>,
    /// The frames of one burst.
    pub(crate) make: fn(&mut Mint<'_>) -> Vec<Vec<u8>>,
    /// In how many draws it is drawn once: what is long is drawn seldom.
    pub(crate) rarity: usize,
    /// Bursts in one moment.
    pub(crate) bursts: usize,
}

use DropReason::*;

const fn row(reason: DropReason, how: &'static str, make: fn(&mut Mint<'_>) -> Vec<Vec<u8>>) -> Provocation {
    Provocation { reason, how, needs: Needs::Nothing, host: None, make, rarity: 1, bursts: 1 }
}

impl Provocation {
    const fn by(mut self, host: &'static str) -> Self {
        self.host = Some(host);
        self
    }

    const fn when(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn repeated(mut self, bursts: usize) -> Self {
        self.bursts = bursts;
        self
    }

    const fn seldom(mut self, rarity: usize) -> Self {
        self.rarity = rarity;
        self
    }
}

/// A UDP packet over IPv4 to somebody with whom there is a way.
fn v4(mint: &mut Mint<'_>) -> Draft {
    loop {
        let draft = mint.packet_of(UDP);
        if draft.source.is_ipv4() {
            return draft.sealed();
        }
    }
}

/// The same over IPv6.
fn v6(mint: &mut Mint<'_>) -> Draft {
    loop {
        let draft = mint.packet_of(UDP);
        if !draft.source.is_ipv4() {
            return draft.sealed();
        }
    }
}

fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn with_fixed_header(mut frame: Vec<u8>) -> Vec<u8> {
    fix_header_checksum(&mut frame[NETWORK..]);
    frame
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

fn one(draft: &Draft) -> Vec<Vec<u8>> {
    vec![draft.frame()]
}

fn carrying(mut draft: Draft, protocol: u8, transport: Vec<u8>) -> Draft {
    (draft.protocol, draft.transport) = (protocol, transport);
    draft
}

fn extended(mint: &mut Mint<'_>, first: u8, extensions: &[u8]) -> Vec<Vec<u8>> {
    vec![v6(mint).frame_with_extensions(first, extensions)]
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A packet from a host to another by name, over IPv4.
fn between(mint: &mut Mint<'_>, to: &str, protocol: u8, transport: Vec<u8>) -> Draft {
    let (from, to) = (mint.from, atlas().host_named(to));
    Draft {
        macs: (atlas().hosts[from].mac, atlas().next_hop(from, to)),
        source: atlas().hosts[from].addresses[0],
        destination: atlas().hosts[to].addresses[0],
        ttl: 64,
        protocol,
        identification: mint.random.next() as u32,
        transport,
        options: Vec::new(),
    }
    .sealed()
}

fn syn_to(mint: &mut Mint<'_>, port: u16) -> Vec<u8> {
    tcp((mint.random.port(), port), (mint.random.next() as u32, 0), SYN, &[])
}

fn gateway_of(mint: &Mint<'_>, ipv4: bool) -> IpAddr {
    let gateways = &atlas().segment_of(mint.from).gateways;
    *gateways.iter().find(|gateway| gateway.is_ipv4() == ipv4).expect("a gateway of the family")
}

/// Every reason, in the order in which they are declared.
pub(crate) const PROVOCATIONS: &[Provocation] = &[
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
    row(FragmentsRefused, "a fragment, where the policy refuses them", |mint| {
        vec![v4(mint).frame_of(Some((800, false)), &[0; 64])]
    })
    .when(Needs::Rules(NO_FRAGMENTS)),
    row(FragmentUntracked, "a later fragment whose first was never sent", |mint| {
        let mut draft = v4(mint);
        draft.identification = mint.random.next() as u32;
        vec![draft.frame_of(Some((800, false)), &[0; 64])]
    }),
    row(FragmentOverlap, "a later fragment that reaches back into its first", |mint| {
        let transport = udp((40_000, 53), &[0; 120]);
        let draft = between(mint, "lab-2", UDP, transport);
        vec![draft.fragment(0, 64), draft.frame_of(Some((32, true)), &[0; 64])]
    })
    .by("lab-1"),
    row(TcpNoConnection, "an ACK that belongs to nothing", |mint| {
        let numbers = (mint.random.next() as u32, mint.random.next() as u32);
        let ports = (mint.random.port(), 8080);
        one(&carrying(v4(mint), TCP, tcp(ports, numbers, ACK, b"hello")).sealed())
    }),
    row(IcmpNoConnection, "an ICMP error about a packet that was never sent", |mint| {
        let draft = v4(mint);
        let mut quoted = draft.clone();
        (quoted.source, quoted.destination) = (draft.destination, draft.source);
        let quoted = quoted.sealed().frame()[NETWORK..].to_vec();
        one(&carrying(draft, ICMP, icmp(3, 3, [0; 4], &quoted)).sealed())
    }),
    row(ReplyUnsolicited, "an echo reply that nobody asked for", |mint| {
        let [high, low] = mint.random.port().to_be_bytes();
        one(&carrying(v4(mint), ICMP, icmp(0, 0, [high, low, 0, 1], &[])).sealed())
    }),
    row(LimitConnections, "more new connections than its limit lets it", |mint| {
        let open = |mint: &mut Mint<'_>| {
            let syn = syn_to(mint, 22);
            between(mint, "lab-2", TCP, syn).frame()
        };
        (0..4).map(|_| open(mint)).collect()
    })
    .by("lab-3"),
    row(ConnectionTableFull, "more connections than the table has room for", |mint| {
        let open = |mint: &mut Mint<'_>| {
            let syn = syn_to(mint, 22);
            between(mint, "lab-2", TCP, syn).frame()
        };
        (0..16).map(|_| open(mint)).collect()
    })
    .by("lab-1")
    .when(Needs::SmallTable)
    .seldom(4),
    row(DeniedEgress, "what the sender's gate refuses", |mint| {
        let syn = syn_to(mint, 1);
        one(&between(mint, "pay-1", TCP, syn))
    })
    .by("db-1"),
    row(DeniedIngress, "what the receiver's gate refuses", |mint| {
        let syn = syn_to(mint, 1);
        one(&between(mint, "db-1", TCP, syn))
    })
    .by("ops-1"),
    row(Isolation, "one member of an isolated segment to another", |mint| {
        let syn = syn_to(mint, 80);
        one(&between(mint, "web-2", TCP, syn))
    })
    .by("web-1"),
    row(GroupNoReceiver, "a broadcast that nobody may receive", |mint| {
        let transport = udp((40_000, 1900), b"anybody?");
        let mut draft = between(mint, "pay-1", UDP, transport);
        draft.destination = address("255.255.255.255");
        draft.macs.1 = MacAddress::BROADCAST;
        one(&draft.sealed())
    })
    .by("db-1"),
    row(PolicyStale, "anything, when the policy's last day is over", |mint| one(&v4(mint)))
        .when(Needs::Stale),
    row(ReplyLimited, "more questions in a moment than the switch answers", |mint| {
        let own = &atlas().hosts[mint.from];
        let target = gateway_of(mint, true);
        let ask = arp((own.mac, MacAddress::BROADCAST), 1, (own.mac, own.addresses[0]), target);
        vec![ask; 60]
    })
    .by("ops-1")
    .repeated(5)
    .seldom(40),
    row(Absorbed, "an ARP announcement of one's own address", |mint| {
        let own = &atlas().hosts[mint.from];
        vec![arp((own.mac, MacAddress::BROADCAST), 2, (own.mac, own.addresses[0]), own.addresses[0])]
    }),
];

/// How a reason is provoked.
pub(crate) fn provocation_of(reason: DropReason) -> Option<&'static Provocation> {
    PROVOCATIONS.iter().find(|provocation| provocation.reason == reason)
}

/// The policy that a need asks for, if it does.
pub(crate) fn rules_for(needs: Needs) -> Option<usize> {
    match needs {
        Needs::Rules(rules) => Some(rules),
        Needs::Stale => Some(ENDING),
        _ => None,
    }
}

/// Why a frame that was handed over is not transmitted, and the test that makes it so.
pub(crate) const UNDELIVERED: &[(UndeliveredReason, &str, &str)] = &[
    (
        UndeliveredReason::QueueFull,
        "dataplane/src/port/memory.rs",
        "frames_pass_in_order_and_a_full_ring_loses_the_rest",
    ),
    (UndeliveredReason::PortDown, "tests/ports/devices.rs", "UndeliveredReason::PortDown"),
    (UndeliveredReason::PortGone, "tests/ports/devices.rs", "UndeliveredReason::PortGone"),
];
