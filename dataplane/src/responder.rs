//! The switch answering for itself: ARP and neighbour discovery from the directory, echo to a gateway, ICMP errors,
//! and the resets and prohibitions of policies that reject.
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
use crate::directory::{Directory, Member};
use crate::drop_reason::DropReason;
use crate::guard;
use crate::pipeline::End;
use crate::wire::icmp_error::{self, IcmpError};
use crate::wire::reply::{self, Advertisement};
use crate::wire::reset;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{Arp, Headers, IpPacket, Neighbour, checksum};

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

/// A frame at a port, waiting for the switch's answer to it.
pub struct Asking<'a> {
    /// The directory.
    pub directory: &'a Directory,
    /// Who asks.
    pub member: &'a Member,
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
    /// Answers an ARP request; takes note of nothing else.
    pub fn arp(&mut self, arp: &Arp) -> End {
        if !arp.is_request {
            return DropReason::Absorbed.into();
        }
        let mac = match self.who_has(arp.target.into()) {
            Ok((mac, _)) => mac,
            Err(reason) => return reason.into(),
        };
        if !self.answers.take(self.member.port.slot, self.now) {
            return DropReason::ReplyLimited.into();
        }
        let mut out = [0; reply::LONGEST];
        let length = reply::arp_reply(self.headers, arp, mac, &mut out);
        self.put(&out[..length]);
        End::Replied
    }

    /// Answers a neighbour solicitation.
    pub fn solicitation(&mut self, ip: &IpPacket, neighbour: &Neighbour) -> End {
        let (mac, is_router) = match self.who_has(neighbour.target.into()) {
            Ok(found) => found,
            Err(reason) => return reason.into(),
        };
        if !self.answers.take(self.member.port.slot, self.now) {
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
        if !self.answers.take(self.member.port.slot, self.now) {
            return DropReason::ReplyLimited.into();
        }
        let mac = self.directory.segment(self.member.segment).gateway_mac;
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

    /// Refuses a packet and says so to its sender, as the gateway of the sender's segment, where that is allowed.
    pub fn reject(&mut self, ip: &IpPacket, error: IcmpError, reason: DropReason) -> End {
        let segment = self.directory.segment(self.member.segment);
        let from =
            segment.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == ip.flow.source.is_ipv4());
        let about_size = matches!(error, IcmpError::TooBig { .. });
        let Some(from) = from.filter(|_| icmp_error::deserves_error(self.headers, about_size)) else {
            return End::Dropped(reason);
        };
        if !self.answers.take_refusal(self.member.port.slot, self.now) {
            return End::Dropped(reason);
        }
        let mut out = [0; icmp_error::LONGEST];
        let frame = &self.burst.frame(self.index)[ETHERNET..];
        let written =
            icmp_error::write(error, (frame, self.headers, ip), from, segment.gateway_mac, &mut out);
        let Some(length) = written else { return End::Dropped(reason) };
        self.put(&out[..length]);
        End::Rejected(reason)
    }

    /// Refuses a packet that the gates refuse, and tells its sender in its destination's name: by a reset where it is TCP,
    /// else as administratively prohibited. Nothing is told where an error may not be sent, or too many were.
    pub fn prohibit(&mut self, ip: &IpPacket, reason: DropReason) -> End {
        let is_answered = icmp_error::deserves_error(self.headers, false)
            && self.answers.take_refusal(self.member.port.slot, self.now);
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

    /// Puts a frame of the switch's own in the place of the one that asked.
    fn put(&mut self, frame: &[u8]) {
        let slot = self.burst.slot_mut(self.index);
        VnetHeader::default().write(slot);
        slot[ETHERNET..ETHERNET + frame.len()].copy_from_slice(frame);
        self.burst.set_length(self.index, ETHERNET + frame.len());
    }

    /// The MAC to answer with, and whether it is a router's.
    fn who_has(&self, address: IpAddr) -> Result<(MacAddress, bool), DropReason> {
        match self.neighbour(address) {
            Neighbourly::Gateway(mac) => Ok((mac, true)),
            Neighbourly::Member(mac) => Ok((mac, false)),
            Neighbourly::Own => Err(DropReason::Absorbed),
            Neighbourly::Isolated => Err(DropReason::Isolation),
            Neighbourly::Unknown => Err(DropReason::UnknownNeighbour),
        }
    }

    fn neighbour(&self, address: IpAddr) -> Neighbourly {
        let segment = self.directory.segment(self.member.segment);
        if IpAddr::V6(segment.gateway_mac.link_local()) == address {
            return Neighbourly::Gateway(segment.gateway_mac);
        }
        let Some(location) =
            self.directory.locate(address).filter(|found| found.segment == self.member.segment)
        else {
            return Neighbourly::Unknown;
        };
        let Some(port) = location.port else { return Neighbourly::Gateway(segment.gateway_mac) };
        let Some(owner) = self.directory.member(port.slot) else { return Neighbourly::Unknown };
        if owner.port == self.member.port {
            Neighbourly::Own
        } else if segment.isolated && !owner.promiscuous && !self.member.promiscuous {
            Neighbourly::Isolated
        } else {
            Neighbourly::Member(owner.mac)
        }
    }
}

/// Whether a packet is meant for the switch, and never for another workload: neighbour discovery, and what is absorbed.
pub fn is_for_switch(ip: &IpPacket) -> bool {
    ip.neighbour.is_some() || is_absorbed(ip)
}

/// Whether the switch keeps a packet for itself without an answer: claims that the guard found true, solicitations
/// of routers, listener reports, requests for configuration, IGMP.
pub fn is_absorbed(ip: &IpPacket) -> bool {
    ip.neighbour.is_some_and(|neighbour| neighbour.icmp_type != Neighbour::SOLICITATION)
        || guard::is_listener_discovery(ip)
        || guard::is_dhcp_request(ip)
        || ip.flow.layer4.protocol == Protocol::IGMP
}
