//! Why a frame ended without being forwarded. One reason a cause, none shared, each counted.
//!
//! The names are stable: they are what tests, event logs and counters say. The order is that of the pipeline.

use std::fmt;

macro_rules! reasons {
    ($(#[$meta:meta])* $enum:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $enum { $($(#[doc = $doc])+ $variant,)+ }

        impl $enum {
            /// Every reason, in the order of the pipeline; `ALL[reason.index()] == reason`.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The index into arrays of counters.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The reason of that stable name.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|reason| reason.name() == name)
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

reasons! {
    /// Why an ingress frame was dropped.
    DropReason {
        /// The frame is longer than any slot, or its virtio header is missing.
        FrameSize = "frame-size",
        /// The virtio header contradicts the frame (offsets outside it, a segment size of zero, a type that does not fit).
        OffloadHeader = "offload-header",
        /// Shorter than an Ethernet header.
        EthernetTruncated = "ethernet-truncated",
        /// An 802.3 length field, or an EtherType that the switch does not carry.
        EthertypeUnknown = "ethertype-unknown",
        /// The tag is cut off.
        VlanTruncated = "vlan-truncated",
        /// A tag within a tag (802.1ad, QinQ).
        VlanStacked = "vlan-stacked",
        /// A tagged frame on an access port.
        VlanUnexpected = "vlan-unexpected",
        /// A frame without a tag on a trunk.
        VlanMissing = "vlan-missing",
        /// A frame on a trunk whose VLAN id is that of none of its workloads' segments.
        VlanUndeclared = "vlan-undeclared",
        /// The ARP packet is cut off, or is not Ethernet over IPv4.
        ArpMalformed = "arp-malformed",
        /// Neither an ARP request nor a reply.
        ArpOperation = "arp-operation",
        /// The IPv4 header is cut off.
        Ipv4Truncated = "ipv4-truncated",
        /// The version field is not 4.
        Ipv4Version = "ipv4-version",
        /// The header length is below 20 bytes or beyond the packet.
        Ipv4HeaderLength = "ipv4-header-length",
        /// The total length contradicts the header or the frame.
        Ipv4TotalLength = "ipv4-total-length",
        /// The header checksum is wrong.
        Ipv4Checksum = "ipv4-checksum",
        /// An option that the switch refuses (source routing), or a malformed one.
        Ipv4Options = "ipv4-options",
        /// The IPv6 header is cut off.
        Ipv6Truncated = "ipv6-truncated",
        /// The version field is not 6.
        Ipv6Version = "ipv6-version",
        /// The payload length contradicts the frame, or announces a jumbogram.
        Ipv6PayloadLength = "ipv6-payload-length",
        /// More extension headers than the switch walks, or one in a place where it may not stand.
        Ipv6Extensions = "ipv6-extensions",
        /// An option of an extension header that is cut off.
        Ipv6Options = "ipv6-options",
        /// An extension header is cut off.
        Ipv6ExtensionTruncated = "ipv6-extension-truncated",
        /// A routing header that is forbidden (type 0), unknown, or not used up.
        Ipv6RoutingHeader = "ipv6-routing-header",
        /// A fragment that is too small to be honest, or whose length is impossible.
        FragmentMalformed = "fragment-malformed",
        /// The TCP header is cut off.
        TcpTruncated = "tcp-truncated",
        /// The TCP data offset is below 20 bytes or beyond the segment.
        TcpDataOffset = "tcp-data-offset",
        /// A combination of TCP flags that no stack sends (none, SYN with FIN or RST, FIN without ACK ...).
        TcpFlags = "tcp-flags",
        /// The UDP header is cut off.
        UdpTruncated = "udp-truncated",
        /// The UDP length contradicts the packet.
        UdpLength = "udp-length",
        /// The SCTP header is cut off.
        SctpTruncated = "sctp-truncated",
        /// The ICMP header is cut off.
        IcmpTruncated = "icmp-truncated",
        /// The ICMPv6 header is cut off.
        Icmpv6Truncated = "icmp6-truncated",
        /// ICMP over IPv6, or ICMPv6 over IPv4: it would be judged by a type that it does not have.
        IcmpFamily = "icmp-family",
        /// A neighbour discovery message that RFC 4861 or 6980 says to ignore (hop limit, code, checksum, options, fragment).
        NdMalformed = "nd-malformed",
        /// Source and destination are the same address.
        Land = "land",
        /// A source that no packet may have: multicast, broadcast, loopback, unspecified outside its uses.
        MartianSource = "martian-source",
        /// A destination that no packet may have: loopback, unspecified, reserved.
        MartianDestination = "martian-destination",
        /// The port has no described workload: everything is refused.
        Undescribed = "undescribed",
        /// The source MAC is not the workload's; at an uplink, it is a group's or the switch's own.
        SpoofMac = "spoof-mac",
        /// The source address is not the workload's.
        SpoofIp = "spoof-ip",
        /// An ARP sender that is not the workload's own pair of addresses.
        SpoofArp = "spoof-arp",
        /// A neighbour discovery claim for an address or MAC that is not the workload's.
        SpoofNd = "spoof-nd",
        /// A DHCP message that is cut off, comes through a relay, or that no client sends (RFC 2131).
        DhcpMalformed = "dhcp-malformed",
        /// A DHCPv6 message that is cut off, or that no client sends (RFC 8415).
        Dhcpv6Malformed = "dhcp6-malformed",
        /// DHCP in the name of a hardware address that is not the workload's.
        SpoofDhcp = "spoof-dhcp",
        /// A router advertisement or a DHCP server's message from a workload.
        RogueServer = "rogue-server",
        /// An IGMP or MLD query from a workload: who listens is told to the switch alone.
        RogueQuerier = "rogue-querier",
        /// An IGMP message that is cut off, a fragment, about no group, or whose checksum is wrong.
        IgmpMalformed = "igmp-malformed",
        /// An MLD message that RFC 2710 or 3810 says to ignore (hop limit, source, checksum), or that is cut off or about no group.
        MldMalformed = "mld-malformed",
        /// The workload listens to as many groups as it may.
        MembershipQuota = "membership-quota",
        /// What came in by an uplink claims to be from an address of a workload, a segment or the switch.
        UplinkSpoof = "uplink-spoof",
        /// The source lives behind none of the networks that the uplink may bring in, or another uplink is nearer to it.
        UplinkSource = "uplink-source",
        /// A broadcast or multicast of the network behind an uplink: never carried into a segment.
        UplinkGroup = "uplink-group",
        /// It came in by an uplink and would leave by one: the switch carries nothing past its own workloads.
        UplinkTransit = "uplink-transit",
        /// The workload has sent more packets a second than its `limit` lets it.
        LimitPackets = "limit-packets",
        /// The workload has sent more bytes a second than its `limit` lets it.
        LimitBytes = "limit-bytes",
        /// The destination MAC belongs to nobody in the segment: unknown unicast is not flooded.
        UnknownDestination = "unknown-destination",
        /// The destination is the port that the frame came from.
        Hairpin = "hairpin",
        /// A layer-2 control protocol (spanning tree, LLDP, flow control ...): never carried.
        ReservedMulticast = "reserved-multicast",
        /// The MAC is one member's, the address another's, or an address outside the segment.
        AddressMismatch = "address-mismatch",
        /// No segment, workload or uplink has the destination address.
        NoRoute = "no-route",
        /// The time to live ran out on the way through the gateway.
        TtlExceeded = "ttl-exceeded",
        /// Larger than the egress port's MTU; the switch never fragments.
        TooBig = "too-big",
        /// The next hop behind an uplink has not told its MAC: it was just asked, or does not answer.
        NextHopUnresolved = "next-hop-unresolved",
        /// ARP or neighbour discovery for an address that nobody in the segment has.
        UnknownNeighbour = "unknown-neighbour",
        /// Asks the gateway for something that it does not serve.
        GatewayNoService = "gateway-no-service",
        /// `fragments = "drop"`: no fragment passes.
        FragmentsRefused = "fragments-refused",
        /// The fragment's first part was never seen, was refused, or is forgotten.
        FragmentUntracked = "fragment-untracked",
        /// The very fragment has passed already.
        FragmentDuplicate = "fragment-duplicate",
        /// The fragment, or an earlier one of its packet, overlapped another (RFC 5722).
        FragmentOverlap = "fragment-overlap",
        /// The fragment, or an earlier one of its packet, lies behind the last.
        FragmentBeyondEnd = "fragment-beyond-end",
        /// The workload has as many packets on their way in fragments as it may have.
        FragmentQuota = "fragment-quota",
        /// There is no room to follow the fragments of another packet.
        FragmentTableFull = "fragment-table-full",
        /// TCP that opens nothing and belongs to no connection.
        TcpNoConnection = "tcp-no-connection",
        /// `tcp = "strict"`: a segment outside the windows of its connection.
        TcpOutOfWindow = "tcp-out-of-window",
        /// SCTP that is no INIT and belongs to no association.
        SctpNoConnection = "sctp-no-connection",
        /// An ICMP error that quotes no live connection of its receiver.
        IcmpNoConnection = "icmp-no-connection",
        /// `tcp = "strict"`: an ICMP error that quotes a segment which its receiver cannot have sent.
        IcmpOutOfWindow = "icmp-out-of-window",
        /// A reply (echo reply and the like) that nobody asked for.
        ReplyUnsolicited = "reply-unsolicited",
        /// The workload has opened more connections a second than its `limit` lets it.
        LimitConnections = "limit-connections",
        /// The table of connections has no room for this one.
        ConnectionTableFull = "connection-table-full",
        /// The workload has as many connections as it may have.
        ConnectionQuota = "connection-quota",
        /// The workload has as many connections whose handshake is not complete as it may have.
        HalfOpenQuota = "half-open-quota",
        /// The source's gate refuses.
        DeniedEgress = "denied-egress",
        /// The destination's gate refuses.
        DeniedIngress = "denied-ingress",
        /// Two members of one isolated segment.
        Isolation = "isolation",
        /// A broadcast or multicast that no member of the segment may receive.
        GroupNoReceiver = "group-no-receiver",
        /// The compiled policy is past its date and its successor is not there yet.
        PolicyStale = "policy-stale",
        /// Answers of the switch are rate limited, and this one was over the limit.
        ReplyLimited = "reply-limited",
        /// Consumed by the switch, which has no answer to give.
        Absorbed = "absorbed",
    }
}

reasons! {
    /// Why a frame that was handed to an egress port was not transmitted.
    UndeliveredReason {
        /// The device's queue is full.
        QueueFull = "queue-full",
        /// The device is down.
        PortDown = "port-down",
        /// The device has disappeared.
        PortGone = "port-gone",
        /// The device refused the frame (its errno is in the log).
        DeviceRefused = "device-refused",
        /// The frame does not fit the port's MTU and could not be segmented.
        PortTooBig = "port-too-big",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_found_again() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for reason in DropReason::ALL {
            assert_eq!(DropReason::ALL[reason.index()], reason);
            assert_eq!(DropReason::by_name(reason.name()), Some(reason));
            assert!(reason.describe().ends_with('.'), "{reason}");
        }
    }
}
