//! The switch answering for itself: ARP and neighbour discovery from the directory, echo to a gateway, ICMP errors,
//! and the resets and prohibitions of policies that reject. ([`crate::configuration`] answers who asks for its addresses,
//! [`crate::group`] hears who listens.)
//!
//! Answers need no rule, but come only after the guard, and each port may have only so many: of services so many, of
//! refusals so many, so that a sender who is refused a lot still resolves its neighbours. An answer is written
//! over the frame that asked for it. Who asks for an address learns of members of its own segment and of its
//! gateway, and of no member that isolation keeps from it; who asks for its own address is never answered.

use std::net::IpAddr;

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use crate::burst::{Burst, ETHERNET};
use crate::clock::Tick;
use crate::directory::{Directory, Location, Member, UplinkEntry};
use crate::drop_reason::DropReason;
use crate::forwarding::is_link_local;
use crate::guard;
use crate::pipeline::End;
use crate::port::PortId;
use crate::wire::icmp_error::{self, IcmpError};
use crate::wire::question;
use crate::wire::reply::{self, Advertisement};
use crate::wire::reset;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{Arp, Content, Headers, IpPacket, Neighbour, checksum};

/// How many answers each port may still have in this tick: a bucket for each kind, filled at every tick.
#[derive(Debug)]
pub struct AnswerBudgets {
    spent: Box<[Spent]>,
}

/// What a port was given in a tick.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    tick: Tick,
    services: u32,
    refusals: u32,
}

impl AnswerBudgets {
    /// Services (ARP, neighbour discovery, echo and the like) for one port in one tick of an eighth of a second: 2,048 a
    /// second and worker.
    pub const PER_TICK: u32 = 256;
    /// Refusals (ICMP errors, resets) for one port in one tick: 1,024 a second and worker (RFC 1812 section 4.3.2.8, RFC 4443
    /// section 2.4 (f) ask for a limit and leave its size open).
    pub const REFUSALS_PER_TICK: u32 = 128;

    /// Budgets for `slots` ports.
    pub fn new(slots: usize) -> Self {
        Self { spent: vec![Spent::default(); slots].into() }
    }

    /// Takes one service for the port, if it has one left.
    fn take(&mut self, slot: u16, now: Tick) -> bool {
        let services = &mut self.now(slot, now).services;
        *services = services.saturating_add(1);
        *services <= Self::PER_TICK
    }

    /// Takes one refusal for the port, if it has one left.
    fn take_refusal(&mut self, slot: u16, now: Tick) -> bool {
        let refusals = &mut self.now(slot, now).refusals;
        *refusals = refusals.saturating_add(1);
        *refusals <= Self::REFUSALS_PER_TICK
    }

    fn now(&mut self, slot: u16, now: Tick) -> &mut Spent {
        let spent = &mut self.spent[usize::from(slot)];
        if spent.tick != now {
            *spent = Spent { tick: now, ..Spent::default() };
        }
        spent
    }
}

/// Who is at a port.
#[derive(Clone, Copy, Debug)]
pub enum Station<'a> {
    /// A workload.
    Member(&'a Member),
    /// The network behind an uplink.
    Uplink(&'a UplinkEntry),
}

impl<'a> Station<'a> {
    /// Whoever is at a port; nobody at one that is not described, or whose slot has a new owner.
    pub fn at(directory: &'a Directory, port: PortId) -> Option<Self> {
        match directory.member(port.slot).filter(|member| member.port == port) {
            Some(member) => Some(Self::Member(member)),
            None => directory.uplink_at(port).map(Self::Uplink),
        }
    }

    /// The port.
    pub fn port(self) -> PortId {
        match self {
            Self::Member(member) => member.port,
            Self::Uplink(uplink) => uplink.port,
        }
    }

    /// The switch's MAC as this station knows it.
    fn gateway_mac(self, directory: &Directory) -> MacAddress {
        match self {
            Self::Member(member) => directory.segment(member.segment).gateway_mac,
            Self::Uplink(uplink) => uplink.mac,
        }
    }

    /// The address in whose name the switch speaks of a packet: the gateway's of the sender's segment, or the switch's own
    /// on the uplink, or else the gateway's where the packet is bound for.
    fn gateway(self, directory: &Directory, ip: &IpPacket) -> Option<IpAddr> {
        let ipv4 = ip.flow.source.is_ipv4();
        let of =
            |segment| directory.segment(segment).gateways.iter().copied().find(|it| it.is_ipv4() == ipv4);
        match self {
            Self::Member(member) => of(member.segment),
            Self::Uplink(uplink) => {
                uplink.own_address(ipv4).or_else(|| of(directory.locate(ip.flow.destination)?.segment))
            }
        }
    }
}

/// A frame at a port, waiting for the switch's answer to it.
pub struct Asking<'a> {
    /// The directory.
    pub directory: &'a Directory,
    /// Who asks.
    pub from: Station<'a>,
    /// The frame's headers.
    pub headers: &'a Headers,
    /// The burst that holds the frame.
    pub burst: &'a mut Burst,
    /// Which frame of it.
    pub index: usize,
    /// What each port may still have.
    pub answers: &'a mut AnswerBudgets,
    /// The moment of the burst.
    pub now: Tick,
}

/// What an address is to somebody who asks for it.
enum Neighbourly {
    /// The switch's own, in this segment.
    Gateway(MacAddress),
    /// A member's.
    Member(MacAddress),
    /// The asker's own.
    Own,
    /// Kept from the asker.
    Isolated,
    /// Nobody's here.
    Unknown,
}

impl Asking<'_> {
    /// Answers what asks the switch for something, and keeps to itself what tells it something.
    pub fn control(&mut self, content: &Content) -> End {
        match content {
            Content::Arp(arp) => self.arp(arp),
            Content::Ip(ip) => match (ip.neighbour, self.from) {
                (Some(neighbour), _) if neighbour.icmp_type == Neighbour::SOLICITATION => {
                    self.solicitation(ip, &neighbour)
                }
                (Some(neighbour), Station::Member(member))
                    if neighbour.icmp_type == Neighbour::ROUTER_SOLICITATION =>
                {
                    self.router_solicitation(member, ip)
                }
                (None, Station::Member(member)) if guard::is_dhcp_request(ip) => self.configure(member, ip),
                (None, Station::Member(member)) if guard::is_about_listeners(ip) => {
                    self.hear_listener(member, ip)
                }
                // Whoever has no address yet may only talk to the switch.
                _ => DropReason::Absorbed.into(),
            },
        }
    }

    /// Answers an ARP request; takes note of nothing else.
    fn arp(&mut self, arp: &Arp) -> End {
        if !arp.is_request {
            return DropReason::Absorbed.into();
        }
        let mac = match self.who_has(arp.target.into()) {
            Ok((mac, _)) => mac,
            Err(reason) => return reason.into(),
        };
        if !self.take_service() {
            return DropReason::ReplyLimited.into();
        }
        let mut out = [0; reply::LONGEST];
        let length = reply::arp_reply(self.headers, arp, mac, &mut out);
        self.put(&out[..length]);
        End::Replied
    }

    /// Answers a neighbour solicitation.
    fn solicitation(&mut self, ip: &IpPacket, neighbour: &Neighbour) -> End {
        let (mac, is_router) = match self.who_has(neighbour.target.into()) {
            Ok(found) => found,
            Err(reason) => return reason.into(),
        };
        if !self.take_service() {
            return DropReason::ReplyLimited.into();
        }
        let mut out = [0; reply::LONGEST];
        let answer = Advertisement { target: neighbour.target, mac, is_router };
        let length = reply::neighbour_advertisement(self.headers, ip, &answer, &mut out);
        self.put(&out[..length]);
        End::Replied
    }

    /// Answers an echo request to a gateway.
    pub fn echo(&mut self) -> End {
        if !self.take_service() {
            return DropReason::ReplyLimited.into();
        }
        let mac = self.from.gateway_mac(self.directory);
        let frame = self.burst.frame_mut(self.index);
        let Some(mut vnet) = VnetHeader::read(frame) else { return DropReason::FrameSize.into() };
        checksum::fill_partial(&mut frame[ETHERNET..], &mut vnet);
        VnetHeader::default().write(frame);
        if reply::echo_reply(&mut frame[ETHERNET..], self.headers, mac) {
            End::Replied
        } else {
            DropReason::GatewayNoService.into()
        }
    }

    /// Refuses a packet and says so to its sender, as its gateway, where that is allowed.
    pub fn reject(&mut self, ip: &IpPacket, error: IcmpError, reason: DropReason) -> End {
        let (from, mac) = (self.from.gateway(self.directory, ip), self.from.gateway_mac(self.directory));
        let about_size = matches!(error, IcmpError::TooBig { .. });
        let Some(from) = from.filter(|_| icmp_error::deserves_error(self.headers, about_size)) else {
            return End::Dropped(reason);
        };
        if !self.answers.take_refusal(self.from.port().slot, self.now) {
            return End::Dropped(reason);
        }
        let mut out = [0; icmp_error::LONGEST];
        let frame = &self.burst.frame(self.index)[ETHERNET..];
        let written = icmp_error::write(error, (frame, self.headers, ip), from, mac, &mut out);
        let Some(length) = written else { return End::Dropped(reason) };
        self.put(&out[..length]);
        End::Rejected(reason)
    }

    /// Refuses a packet that the gates refuse, and tells its sender in its destination's name: by a reset where it is TCP,
    /// else as administratively prohibited. Nothing is told where an error may not be sent, or too many were.
    pub fn prohibit(&mut self, ip: &IpPacket, reason: DropReason) -> End {
        let is_answered = icmp_error::deserves_error(self.headers, false)
            && self.answers.take_refusal(self.from.port().slot, self.now);
        if !is_answered {
            return End::Dropped(reason);
        }
        let mut out = [0; icmp_error::LONGEST];
        let frame = &self.burst.frame(self.index)[ETHERNET..];
        let written = if ip.flow.layer4.protocol == Protocol::TCP {
            reset::write(frame, self.headers, ip, &mut out)
        } else {
            let (from, mac) = (ip.flow.destination, self.headers.destination);
            let error = IcmpError::AdministrativelyProhibited;
            icmp_error::write(error, (frame, self.headers, ip), from, mac, &mut out)
        };
        let Some(length) = written else { return End::Dropped(reason) };
        self.put(&out[..length]);
        End::Rejected(reason)
    }

    /// Asks for the MAC of a next hop behind `uplink`, in the place of a packet that needs it.
    pub fn ask(&mut self, uplink: &UplinkEntry, next_hop: IpAddr) -> End {
        let mut out = [0; question::LONGEST];
        let length =
            question::who_has(next_hop, uplink.mac, uplink.own_address(next_hop.is_ipv4()), &mut out);
        self.put(&out[..length]);
        End::Asked(DropReason::NextHopUnresolved, uplink.port)
    }

    /// Takes one of the services that the port may still have.
    pub(crate) fn take_service(&mut self) -> bool {
        self.answers.take(self.from.port().slot, self.now)
    }

    /// Puts a frame of the switch's own in the place of the one that asked.
    pub(crate) fn put(&mut self, frame: &[u8]) {
        let slot = self.burst.slot_mut(self.index);
        VnetHeader::default().write(slot);
        slot[ETHERNET..ETHERNET + frame.len()].copy_from_slice(frame);
        self.burst.set_length(self.index, ETHERNET + frame.len());
    }

    /// The MAC to answer with, and whether it is a router's.
    fn who_has(&self, address: IpAddr) -> Result<(MacAddress, bool), DropReason> {
        let neighbour = match self.from {
            Station::Member(member) => self.neighbour(member, address),
            Station::Uplink(uplink) => return self.beyond(uplink, address),
        };
        match neighbour {
            Neighbourly::Gateway(mac) => Ok((mac, true)),
            Neighbourly::Member(mac) => Ok((mac, false)),
            Neighbourly::Own => Err(DropReason::Absorbed),
            Neighbourly::Isolated => Err(DropReason::Isolation),
            Neighbourly::Unknown => Err(DropReason::UnknownNeighbour),
        }
    }

    /// Behind an uplink, the switch answers for itself and for those whom it routes to.
    fn beyond(&self, uplink: &UplinkEntry, address: IpAddr) -> Result<(MacAddress, bool), DropReason> {
        if uplink.is_own(address) {
            return Ok((uplink.mac, true));
        }
        let routed = |location: &Location| {
            let routes = self.directory.segment(location.segment).routes(address.is_ipv4());
            routes && !is_link_local(address)
        };
        let location = self.directory.locate(address).filter(routed).ok_or(DropReason::UnknownNeighbour)?;
        Ok((uplink.mac, location.port.is_none()))
    }

    fn neighbour(&self, member: &Member, address: IpAddr) -> Neighbourly {
        let segment = self.directory.segment(member.segment);
        if IpAddr::V6(segment.gateway_mac.link_local()) == address {
            return Neighbourly::Gateway(segment.gateway_mac);
        }
        let Some(location) = self.directory.locate(address).filter(|found| found.segment == member.segment)
        else {
            return Neighbourly::Unknown;
        };
        let Some(port) = location.port else { return Neighbourly::Gateway(segment.gateway_mac) };
        let Some(owner) = self.directory.member(port.slot) else { return Neighbourly::Unknown };
        if owner.port == member.port {
            Neighbourly::Own
        } else if segment.isolated && !owner.promiscuous && !member.promiscuous {
            Neighbourly::Isolated
        } else {
            Neighbourly::Member(owner.mac)
        }
    }
}

/// Whether a packet is meant for the switch, and never for another workload: neighbour discovery, listeners' reports, requests
/// for configuration.
pub fn is_for_switch(ip: &IpPacket) -> bool {
    ip.neighbour.is_some() || guard::is_about_listeners(ip) || guard::is_dhcp_request(ip)
}
