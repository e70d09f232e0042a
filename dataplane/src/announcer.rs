//! What the switch says at a workload's port without being asked: where the way out is, and who listens.
//!
//! **The switch is the querier** of every segment (RFC 3376 section 6, RFC 3810 section 7). Guests report by themselves when they join, but
//! a guest that was there before the switch (a restart, a device that persists) only speaks when it is asked, a report may be
//! lost, and one that has died says no farewell: with queries, what nobody renews runs out. The question comes from the gateway, once
//! when a port is new, once more soon after, then every 125 seconds; a workload that asks in the gateway's stead is refused.
//!
//! One worker owns this; ports are looked at with every burst of theirs, and once a second.

use std::net::{IpAddr, Ipv4Addr};

use crate::burst::{Burst, ETHERNET};
use crate::clock::Tick;
use crate::configuration::advertise;
use crate::directory::{Directory, Member};
use crate::port::PortId;
use crate::wire::query;
use crate::wire::vnet_hdr::VnetHeader;

/// Ticks between two router advertisements that nobody asked for: ten minutes (RFC 4861 section 6.2.1, MaxRtrAdvInterval).
const ADVERTISE_EVERY: u32 = 600 * Tick::PER_SECOND;
/// Ticks between two queries.
const ASK_EVERY: u32 = query::INTERVAL as u32 * Tick::PER_SECOND;
/// Ticks between the first query and the second (RFC 3376 section 8.6, RFC 3810 section 9.6: a quarter of the others).
const ASK_AGAIN: u32 = ASK_EVERY / 4;

/// What each port, by slot, was last told.
#[derive(Debug, Default)]
pub struct Announcer {
    ports: Vec<Option<Told>>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    port: PortId,
    advertised: Tick,
    asked: Tick,
    /// Ticks until it is asked again.
    ask_in: u32,
}

impl Announcer {
    /// Puts what is due at a member's port into `burst`.
    pub fn announce(&mut self, directory: &Directory, member: &Member, now: Tick, burst: &mut Burst) {
        let slot = usize::from(member.port.slot);
        if self.ports.len() <= slot {
            self.ports.resize(slot + 1, None);
        }
        let port = member.port;
        let Some(told) = self.ports[slot].as_mut().filter(|told| told.port == port) else {
            // Whoever is new there asks for the way out by itself.
            self.ports[slot] = Some(Told { port, advertised: now, asked: now, ask_in: ASK_AGAIN });
            return ask(directory, member, burst);
        };
        if now.since(told.asked) >= told.ask_in {
            (told.asked, told.ask_in) = (now, ASK_EVERY);
            member.memberships.expire(now);
            ask(directory, member, burst);
        }
        if member.configuration.has_ipv6() && now.since(told.advertised) >= ADVERTISE_EVERY {
            told.advertised = now;
            advertise(directory, member, burst);
        }
    }
}

/// Asks who listens, in the families that the member has.
fn ask(directory: &Directory, member: &Member, burst: &mut Burst) {
    let segment = directory.segment(member.segment);
    let mut put = |write: &dyn Fn(&mut [u8]) -> usize| {
        let slot = burst.next_slot();
        VnetHeader::default().write(slot);
        let length = write(&mut slot[ETHERNET..]);
        burst.commit(ETHERNET + length);
    };
    if member.first_of_family(true).is_some() {
        let own = segment.gateways.iter().find_map(|gateway| match gateway {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        put(&|out| query::igmp(segment.gateway_mac, own.unwrap_or(Ipv4Addr::UNSPECIFIED), out));
    }
    if member.first_of_family(false).is_some() {
        put(&|out| query::mld(segment.gateway_mac, out));
    }
}
