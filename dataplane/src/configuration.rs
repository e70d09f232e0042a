//! What a workload is told when it asks for its configuration: its declared addresses, and how to leave its segment.
//!
//! DHCP and DHCPv6 grant what the policy declares, and nothing else, to whoever sits at the workload's port; a router
//! advertisement tells of the link. Nothing is leased out: there is one answer for each workload, so nothing is
//! remembered, and a request for another address is refused. So a guest boots with its address and no configuration of its own.
//!
//! IPv6 comes from the prefix where the one declared address is that which a kernel makes of it (EUI-64, RFC 4291 appendix A),
//! else from DHCPv6. Built with the directory; answers take no allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::address::Prefix;
use septum_rules::mac::MacAddress;
use septum_rules::segment::Segment;
use septum_rules::workload::Workload;

use crate::burst::{Burst, ETHERNET};
use crate::directory::{Directory, Member};
use crate::drop_reason::DropReason;
use crate::pipeline::End;
use crate::port::inside::{DefaultRoute, Inside};
use crate::responder::Asking;
use crate::wire::dhcp::{self, Answer, Kind, Wish};
use crate::wire::router_advertisement::{self, RouterAdvertisement};
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{IpPacket, dhcpv6};

/// Seconds for which addresses are granted: long enough to be asked for rarely, short enough to be gone soon with a
/// workload that moved.
const LEASE: u32 = 3600;

/// The server's address where the segment has no gateway of the family: a link-local one that no workload has.
const NAMELESS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What one workload is told.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    v4: Option<(Ipv4Addr, u8)>,
    /// The way out, and whether it lies outside of the address's prefix.
    router: Option<(Ipv4Addr, bool)>,
    v6: Box<[Ipv6Addr]>,
    /// IPv6 prefixes of its link.
    prefixes: Box<[Prefix]>,
    /// The gateway leads out, in IPv6.
    is_way_out: bool,
    /// Its IPv6 address is the one that its kernel makes of the prefix.
    makes_its_own: bool,
    names_v4: Box<[Ipv4Addr]>,
    names_v6: Box<[Ipv6Addr]>,
}

impl Configuration {
    /// What a workload of this segment is told.
    pub fn of(workload: &Workload, segment: &Segment) -> Self {
        let Inside { addresses, routes, .. } = Inside::of(workload, segment);
        let v4 = addresses.iter().find_map(|(address, length)| match address {
            IpAddr::V4(v4) if !v4.is_link_local() => Some((*v4, *length)),
            _ => None,
        });
        let v6: Box<[_]> = addresses
            .iter()
            .filter_map(|(address, _)| match address {
                IpAddr::V6(v6) if !v6.is_unicast_link_local() => Some(*v6),
                _ => None,
            })
            .collect();
        let router = routes.iter().find_map(|DefaultRoute { gateway, on_link }| match gateway {
            IpAddr::V4(v4) => Some((*v4, *on_link)),
            IpAddr::V6(_) => None,
        });
        let holds = |prefix: &&Prefix| v6.iter().any(|address| prefix.contains(IpAddr::V6(*address)));
        let prefixes: Box<[Prefix]> =
            segment.subnets.iter().filter(|prefix| !prefix.is_ipv4()).filter(holds).copied().collect();
        let makes_its_own = match (&*v6, &*prefixes, workload.mac) {
            ([address], [prefix], Some(mac)) => {
                prefix.len() == 64 && interface_of(*address) == interface(mac)
            }
            _ => false,
        };
        let names_v4 = segment.dns.iter().filter_map(|name| match name {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let names_v6 = segment.dns.iter().filter_map(|name| match name {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        });
        Self {
            v4,
            router,
            is_way_out: routes.iter().any(|route| route.gateway.is_ipv6()),
            v6,
            prefixes,
            makes_its_own,
            names_v4: names_v4.collect(),
            names_v6: names_v6.collect(),
        }
    }

    /// Whether there is something to say of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.is_way_out || !self.prefixes.is_empty()
    }
}

/// The lower half of an address.
fn interface_of(address: Ipv6Addr) -> u64 {
    address.to_bits() as u64
}

/// What a kernel makes of a MAC.
fn interface(mac: MacAddress) -> u64 {
    interface_of(mac.link_local())
}

impl Asking<'_> {
    /// Answers DHCP and DHCPv6.
    pub(crate) fn configure(&mut self, member: &Member, ip: &IpPacket) -> End {
        let mut out = [0; if dhcp::LONGEST > dhcpv6::LONGEST { dhcp::LONGEST } else { dhcpv6::LONGEST }];
        let frame = &self.burst.frame(self.index)[ETHERNET..];
        let payload = frame.get(usize::from(ip.payload)..ip.end as usize).unwrap_or_default();
        let answered = match ip.flow.source {
            IpAddr::V4(_) => dhcp(self.directory, member, ip, payload, &mut out),
            IpAddr::V6(source) => dhcpv6(self.directory, member, (ip, source), payload, &mut out),
        };
        match answered {
            Ok(_) if !self.take_service() => DropReason::ReplyLimited.into(),
            Ok(length) => {
                self.put(&out[..length]);
                End::Replied
            }
            Err(reason) => reason.into(),
        }
    }

    /// Answers a router solicitation.
    pub(crate) fn router_solicitation(&mut self, member: &Member, ip: &IpPacket) -> End {
        let IpAddr::V6(asker) = ip.flow.source else { return DropReason::Absorbed.into() };
        if !member.configuration.has_ipv6() {
            return DropReason::Absorbed.into();
        }
        if !self.take_service() {
            return DropReason::ReplyLimited.into();
        }
        let mut out = [0; router_advertisement::LONGEST];
        let length = advertisement(self.directory, member, asker).write(&mut out);
        self.put(&out[..length]);
        End::Replied
    }
}

/// Puts a router advertisement that nobody asked for into `burst`, so that the way out does not expire.
pub fn advertise(directory: &Directory, member: &Member, burst: &mut Burst) {
    let slot = burst.next_slot();
    VnetHeader::default().write(slot);
    let length = advertisement(directory, member, ALL_NODES).write(&mut slot[ETHERNET..]);
    burst.commit(ETHERNET + length);
}

fn advertisement<'a>(directory: &Directory, member: &'a Member, to: Ipv6Addr) -> RouterAdvertisement<'a> {
    let told = &member.configuration;
    RouterAdvertisement {
        router: directory.segment(member.segment).gateway_mac,
        // To all nodes, and yet to this one alone: what it says holds for nobody else.
        to: (member.mac, to),
        is_way_out: told.is_way_out,
        is_managed: !told.makes_its_own,
        mtu: member.mtu,
        prefixes: &told.prefixes,
        name_servers: &told.names_v6,
    }
}

fn dhcp(
    directory: &Directory,
    member: &Member,
    ip: &IpPacket,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, DropReason> {
    if ip.fragment.is_some() {
        return Err(DropReason::DhcpMalformed);
    }
    let request = dhcp::Request::parse(payload)?;
    if request.mac != member.mac {
        return Err(DropReason::SpoofDhcp);
    }
    let told = &member.configuration;
    let Some(address) = told.v4 else { return Err(DropReason::Absorbed) };
    let server = told.router.map_or(NAMELESS, |(router, _)| router);
    let (kind, lease) = match request.wish {
        Wish::Discover => (Kind::Offer, Some(LEASE)),
        // It takes another server's offer, and there is none.
        Wish::Request if request.server.is_some_and(|named| named != server) => {
            return Err(DropReason::Absorbed);
        }
        Wish::Request => {
            let current = Some(request.current).filter(|current| !current.is_unspecified());
            match request.requested.or(current) {
                Some(wanted) if wanted == address.0 => (Kind::Acknowledge, Some(LEASE)),
                Some(_) => (Kind::Refuse, None),
                None => return Err(DropReason::DhcpMalformed),
            }
        }
        Wish::Inform => (Kind::Acknowledge, None),
        Wish::Part => return Err(DropReason::Absorbed),
    };
    let mac = directory.segment(member.segment).gateway_mac;
    let (router, mtu) = (told.router, member.mtu);
    let answer =
        Answer { kind, server: (mac, server), address, lease, router, mtu, name_servers: &told.names_v4 };
    Ok(answer.write(&request, out))
}

fn dhcpv6(
    directory: &Directory,
    member: &Member,
    (ip, source): (&IpPacket, Ipv6Addr),
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, DropReason> {
    if ip.fragment.is_some() {
        return Err(DropReason::Dhcpv6Malformed);
    }
    let request = dhcpv6::Request::parse(payload)?;
    let server = directory.segment(member.segment).gateway_mac;
    if !request.is_for(server) {
        return Err(DropReason::Absorbed);
    }
    let told = &member.configuration;
    let answer = dhcpv6::Answer {
        server,
        client: (member.mac, source),
        addresses: &told.v6,
        lease: LEASE,
        name_servers: &told.names_v6,
    };
    Ok(answer.write(&request, out))
}
