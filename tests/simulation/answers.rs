//! What the switch itself says: answers to those who ask, refusals, and its own questions to neighbours behind uplinks.

use std::net::IpAddr;

use septum_rules::mac::MacAddress;

use crate::checker::{Scene, Violation, sender_of};
use crate::craft::{VNET, octets};
use crate::view::{Content, View, read};
use crate::world::{Host, Segment, atlas};

/// Whether who asks claims nothing that is not its own.
fn own_claims(sender: &Host, asked: &View) -> Result<(), Violation> {
    let (mac, address) = match &asked.content {
        Content::Arp(_, mac, address, _) => (*mac, *address),
        Content::Ip(packet) => (asked.source, packet.source),
    };
    let is_own = sender.has(address) || address.is_unspecified();
    let is_its_mac = mac == asked.source || sender.network.is_some();
    match sender.has_mac(asked.source) && is_its_mac && is_own {
        true => Ok(()),
        false => Err(format!("an answer to {}, which claims to be {address} at {mac}", sender.name)),
    }
}

/// Whether the switch answers for an address in a segment: for its own there, and on an uplink's link for all that it routes to.
fn is_reached_by(asker: &Host, segment: &Segment, address: IpAddr) -> bool {
    let is_inside = || {
        let gateways = atlas().segments.iter().flat_map(|segment| &segment.gateways);
        atlas().owner(address).is_some_and(|owner| atlas().hosts[owner].network.is_none())
            || gateways.into_iter().any(|gateway| *gateway == address)
    };
    segment.gateways.contains(&address) || (asker.network.is_some() && is_inside())
}

/// Whether a question for `target`, which arrived at `host`'s port, is the switch's own, and about who may live there.
pub(crate) fn question_is_right(
    host: Option<usize>,
    target: IpAddr,
    question: &[u8],
) -> Result<(), Violation> {
    let host = &atlas().hosts[host.ok_or("a question to nobody")?];
    let link = &atlas().segments[host.segment];
    if !host.has(target) {
        return Err(format!("{} was asked for {target}", host.name));
    }
    let view = read(question).map_err(|why| format!("a question that does not hold together: {why}"))?;
    if view.source != link.gateway_mac || !view.destination.is_group() {
        return Err(format!("a question from {} to {}", view.source, view.destination));
    }
    let is_right = match &view.content {
        Content::Arp(operation, mac, address, asked) => {
            (*operation, *mac, *asked) == (1, link.gateway_mac, target) && link.gateways.contains(address)
        }
        Content::Ip(packet) => {
            let is_solicitation = packet.layer4.icmp_type_code() == Some((135, 0)) && packet.ttl == 255;
            let named = question.get(packet.transport + 8..packet.transport + 24);
            is_solicitation && named == Some(&octets(target)) && packet.checksum_holds(question)
        }
    };
    if is_right { Ok(()) } else { Err("a question that is none".into()) }
}

/// Whether `answer` is one that may be given to who sent `asked`.
pub(crate) fn answer_is_right(
    scene: &Scene<'_>,
    asked: &[u8],
    answer: &[u8],
    is_refusal: bool,
) -> Result<(), Violation> {
    let sender = sender_of(scene)?;
    let segment = &atlas().segments[sender.segment];
    let view = read(answer).map_err(|why| format!("an answer that does not hold together: {why}"))?;
    if answer[..VNET] != [0; VNET] {
        return Err("an answer is whole".into());
    }
    let is_neighbour = |mac: MacAddress| {
        mac == segment.gateway_mac
            || atlas().hosts.iter().any(|host| {
                host.mac == mac
                    && host.segment == sender.segment
                    && (!segment.isolated || host.promiscuous || sender.promiscuous || is_refusal)
            })
    };
    if !is_neighbour(view.source) {
        return Err(format!("an answer from {}", view.source));
    }
    let asked = read(asked).map_err(|why| format!("an answer to what does not hold together: {why}"))?;
    own_claims(sender, &asked)?;
    // On an uplink's link, whoever asks is believed who it is.
    let is_claimed = matches!(&asked.content, Content::Arp(_, mac, ..)
        if sender.network.is_some() && view.destination == *mac);
    if view.destination != asked.source && !view.destination.is_group() && !is_claimed {
        return Err("an answer to somebody else's MAC".into());
    }
    match &view.content {
        Content::Arp(operation, mac, address, _) => {
            let is_owner = match *mac == segment.gateway_mac {
                true => is_reached_by(sender, segment, *address),
                false => atlas().hosts.iter().any(|host| host.mac == *mac && host.has(*address)),
            };
            if *operation != 2 || !is_neighbour(*mac) || !is_owner {
                return Err(format!("an ARP reply that {mac} has {address}"));
            }
        }
        Content::Ip(packet) => {
            if !packet.checksum_holds(answer) {
                return Err("an answer with a wrong checksum".into());
            }
            let to_sender = sender.has(packet.destination);
            if !to_sender && !packet.destination.is_multicast() {
                return Err(format!("an answer to {}", packet.destination));
            }
            if sender.has(packet.source) {
                return Err("an answer in the asker's own name".into());
            }
            if let Content::Ip(question) = &asked.content
                && is_refusal
                && packet.source != question.destination
                && !segment.gateways.contains(&packet.source)
            {
                return Err(format!("a refusal in the name of {}", packet.source));
            }
        }
    }
    Ok(())
}
