//! The judge: looks at what left the switch, and says what must not have been.
//!
//! It knows what was sent, by whom, under which policy; it believes nothing that the switch says of itself but how a frame
//! ended, and holds that against what arrived, byte by byte.

use std::net::IpAddr;

use septum::drop_reason::{DropReason, UndeliveredReason};
use septum::pipeline::End;
use septum::port::PortId;
use septum_rules::mac::MacAddress;

use crate::answers::{answer_is_right, question_is_right};
use crate::limits::Allowance;
use crate::model::{Model, Moment, Right};
use crate::rig::{Outcome, Rig};
use crate::tally::Tally;
use crate::transform;
use crate::view::{Content, Packet, View, read};
use crate::world::{ENDING, Host, atlas};

/// Something that must not be, in words.
pub(crate) type Violation = String;

/// What the checker remembers, and has counted.
pub(crate) struct Checker {
    pub(crate) model: Model,
    pub(crate) tally: Tally,
    /// By host, where it has limits.
    allowances: Vec<Option<Allowance>>,
}

impl Default for Checker {
    fn default() -> Self {
        let allowances = atlas().hosts.iter().map(|host| Allowance::of(host.limits)).collect();
        Self { model: Model::default(), tally: Tally::default(), allowances }
    }
}

/// What is the same for all frames of a burst.
pub(crate) struct Scene<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) ingress: PortId,
    pub(crate) sender: Option<usize>,
    pub(crate) moment: Moment,
    /// The worker has the newest snapshot.
    pub(crate) is_current: bool,
}

impl Checker {
    /// A host has a new port: what it had used of its limits is forgotten.
    pub(crate) fn new_allowance(&mut self, host: usize) {
        self.allowances[host] = Allowance::of(atlas().hosts[host].limits);
        self.model.new_port(host);
    }

    /// Judges a burst: `frames` were sent at `ingress`, and `outcome` is what came of them.
    pub(crate) fn judge(
        &mut self,
        rig: &Rig,
        (worker, ingress): (usize, PortId),
        frames: &[&[u8]],
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let (rules, newest) = rig.rules(worker);
        let moment = Moment { rules, newest, tick: rig.tick };
        let scene =
            Scene { rig, ingress, sender: rig.host_at(ingress), moment, is_current: !rig.lags(worker) };
        if outcome.ends.len() != frames.len() {
            return Err(format!("{} frames came in, {} ended", frames.len(), outcome.ends.len()));
        }
        let mut left: Vec<(PortId, std::slice::Iter<'_, Vec<u8>>)> =
            outcome.arrivals.iter().map(|(port, frames)| (*port, frames.iter())).collect();
        let mut copies = Vec::new();
        for (frame, end) in frames.iter().zip(&outcome.ends) {
            self.tally.sent += 1;
            match end {
                End::Forward(port) => {
                    self.tally.forwarded += 1;
                    let expected = self.forwarded(&scene, frame, *port)?;
                    self.take(rig, &mut left, *port, &expected)?;
                }
                End::Copied => {
                    self.tally.forwarded += 1;
                    copies.push(*frame);
                }
                End::Replied => {
                    self.tally.replied += 1;
                    self.answered(&scene, &mut left, frame, false)?;
                }
                End::Rejected(reason) => {
                    self.dropped(&scene, frame, *reason)?;
                    self.answered(&scene, &mut left, frame, true)?;
                }
                End::Dropped(reason) => self.dropped(&scene, frame, *reason)?,
                End::Asked(reason, port) => {
                    self.dropped(&scene, frame, *reason)?;
                    self.asked(&scene, &mut left, frame, *port)?;
                }
            }
        }
        self.copied(&scene, &mut left, &copies)?;
        if let Some((port, frames)) = left.iter_mut().find(|(_, frames)| frames.len() != 0) {
            return Err(format!("{} frames nobody sent arrived at {}", frames.len(), name_at(rig, *port)));
        }
        Ok(())
    }

    fn dropped(&mut self, scene: &Scene<'_>, frame: &[u8], reason: DropReason) -> Result<(), Violation> {
        self.tally.dropped[reason.index()] += 1;
        let is_first = |packet: &Packet| packet.fragment.is_some_and(|(_, offset, ..)| offset == 0);
        let Ok(view) = read(frame) else { return Ok(()) };
        let Content::Ip(packet) = &view.content else { return Ok(()) };
        let is_admitted = match reason {
            DropReason::GroupNoReceiver => return self.unheard(scene, frame, &view, packet),
            DropReason::Absorbed | DropReason::MembershipQuota => {
                if let Some(sender) = scene.sender {
                    let whole = reason == DropReason::Absorbed;
                    self.model.groups.told(sender, packet, frame, whole, scene.moment.tick);
                }
                false
            }
            DropReason::DeniedEgress | DropReason::DeniedIngress | DropReason::Isolation => {
                self.model.refused(packet, scene.moment);
                false
            }
            // Admitted, and then too long or too old to go on, or without a next hop.
            DropReason::TtlExceeded | DropReason::TooBig | DropReason::NextHopUnresolved => true,
            // Admitted, but there is no room to follow its fragments.
            DropReason::FragmentTableFull | DropReason::FragmentQuota | DropReason::FragmentOverlap => {
                is_first(packet)
            }
            _ => false,
        };
        // Of these, only a question for a next hop opens a connection; all of them go on with one that is there.
        if is_admitted
            && let Ok(right) = self.model.right(packet, frame, scene.moment)
            && (right != Right::Opens || reason == DropReason::NextHopUnresolved)
        {
            // What is dropped takes nobody's share by this count.
            let _ = self.model.passed(&Packet { fragment: None, ..packet.clone() }, &right, scene.moment);
        }
        Ok(())
    }

    /// Says what must arrive at `port` of a frame that was forwarded there, if it may have been at all.
    fn forwarded(
        &mut self,
        scene: &Scene<'_>,
        frame: &[u8],
        port: PortId,
    ) -> Result<Vec<Vec<u8>>, Violation> {
        let sender = sender_of(scene)?;
        not_late(scene)?;
        let view = read(frame).map_err(|why| format!("forwarded what does not hold together: {why}"))?;
        let Some(packet) = view.ip() else { return Err("forwarded what is no IP".into()) };
        own_source(sender, &view, packet)?;
        let Some(receiver) = atlas().owner(packet.destination) else {
            return Err(format!("forwarded to {}", packet.destination));
        };
        let host = &atlas().hosts[receiver];
        if scene.is_current && scene.rig.ports[receiver] != Some(port) {
            return Err(format!("what is for {} went to a port that it has not", host.name));
        }
        if let Some(there) = scene.rig.host_at(port)
            && there != receiver
        {
            return Err(format!("what is for {} went to {}", host.name, atlas().hosts[there].name));
        }
        if Some(receiver) == scene.sender {
            return Err("forwarded to where it came from".into());
        }
        let expected = if host.segment == sender.segment && view.destination == host.mac {
            frame.to_vec()
        } else {
            if view.destination != atlas().segments[sender.segment].gateway_mac {
                return Err("routed without having been sent to the gateway".into());
            }
            if host.segment == sender.segment
                && atlas().segments[sender.segment].isolated
                && !host.promiscuous
                && !sender.promiscuous
            {
                return Err("routed between members of an isolated segment".into());
            }
            if is_link_local(packet.source) || is_link_local(packet.destination) {
                return Err("routed a link-local address".into());
            }
            if packet.ttl < 2 {
                return Err("forwarded at the end of its time to live".into());
            }
            transform::routed(frame, packet, atlas().segments[host.segment].gateway_mac, host.mac)
        };
        if transform::longest(frame, packet) > host.mtu {
            return Err(format!("forwarded beyond the MTU of {}", host.name));
        }
        let right = self.model.right(packet, frame, scene.moment).map_err(|why| {
            let rules = atlas().rules[scene.moment.rules].name;
            format!("{} -> {} {} under {rules:?}: {why}", packet.source, packet.destination, packet.layer4)
        })?;
        if let Some(allowance) = scene.sender.and_then(|sender| self.allowances[sender].as_mut()) {
            let connections = u64::from(right == Right::Opens && Model::is_connection(packet));
            let [packets, bytes] = transform::weight(frame, packet);
            let charged = allowance.charge([packets, bytes, connections], scene.moment.tick);
            charged.map_err(|why| format!("{} sends {why}", sender.name))?;
        }
        self.model.passed(packet, &right, scene.moment)?;
        let expected = if sender.id.or(host.id).is_some() { transform::by_trunk(expected) } else { expected };
        Ok(transform::fitted(&expected, packet, scene.rig.build.offloads[receiver]))
    }

    /// Takes from what arrived at `port` the frames that had to, byte by byte. A port that is gone or full may lack them.
    fn take(
        &mut self,
        rig: &Rig,
        left: &mut [(PortId, std::slice::Iter<'_, Vec<u8>>)],
        port: PortId,
        expected: &[Vec<u8>],
    ) -> Result<(), Violation> {
        let mut arrived = left.iter_mut().find(|(there, _)| *there == port).map(|(_, frames)| frames);
        for frame in expected {
            let next = arrived.as_mut().and_then(|frames| frames.next());
            match next {
                Some(next) if next == frame => self.tally.arrived += 1,
                Some(next) => {
                    return Err(format!(
                        "at {} arrived other bytes than were sent:\n expected {}\n arrived  {}",
                        name_at(rig, port),
                        hex(frame),
                        hex(next)
                    ));
                }
                None if rig.host_at(port).is_none() => self.lost(UndeliveredReason::PortGone),
                None if rig.build.queue < 64 => self.lost(UndeliveredReason::QueueFull),
                None => return Err(format!("a frame forwarded to {} never arrived", name_at(rig, port))),
            }
        }
        Ok(())
    }

    fn lost(&mut self, reason: UndeliveredReason) {
        self.tally.undelivered[reason.index()] += 1;
    }

    /// Judges the question for a next hop that left in place of `frame`: its sender may go there.
    fn asked(
        &mut self,
        scene: &Scene<'_>,
        left: &mut [(PortId, std::slice::Iter<'_, Vec<u8>>)],
        frame: &[u8],
        port: PortId,
    ) -> Result<(), Violation> {
        let asked = read(frame).map_err(|why| format!("asked for what does not hold together: {why}"))?;
        let packet = asked.ip().ok_or("asked for what is no IP")?;
        own_source(sender_of(scene)?, &asked, packet)?;
        self.model.right(packet, frame, scene.moment)?;
        let arrived = left.iter_mut().find(|(there, _)| *there == port);
        let Some(question) = arrived.and_then(|(_, frames)| frames.next()) else {
            let may_lack = scene.rig.build.queue < 64 || scene.rig.host_at(port).is_none();
            return if may_lack { Ok(()) } else { Err("a question never arrived".into()) };
        };
        self.tally.arrived += 1;
        question_is_right(scene.rig.host_at(port), packet.destination, question)
            .map_err(|why| format!("{why}\n question {}", hex(question)))
    }

    /// Judges what the switch itself sent back to the sender of `frame`.
    fn answered(
        &mut self,
        scene: &Scene<'_>,
        left: &mut [(PortId, std::slice::Iter<'_, Vec<u8>>)],
        frame: &[u8],
        is_refusal: bool,
    ) -> Result<(), Violation> {
        let arrived = left.iter_mut().find(|(there, _)| *there == scene.ingress);
        let Some(answer) = arrived.and_then(|(_, frames)| frames.next()) else {
            let may_lack = scene.rig.build.queue < 64 || scene.sender.is_none();
            return if may_lack { Ok(()) } else { Err("an answer never arrived".into()) };
        };
        self.tally.arrived += 1;
        answer_is_right(scene, frame, answer, is_refusal)
            .map_err(|why| format!("{why}\n answer {}", hex(answer)))
    }
}

/// Who has the port that a frame came in by.
pub(crate) fn sender_of(scene: &Scene<'_>) -> Result<&'static Host, Violation> {
    let sender = scene.sender.ok_or("forwarded from a port that nobody has")?;
    Ok(&atlas().hosts[sender])
}

pub(crate) fn not_late(scene: &Scene<'_>) -> Result<(), Violation> {
    match scene.rig.is_late && scene.moment.rules == ENDING {
        true => Err("forwarded by a policy whose last day is over".into()),
        false => Ok(()),
    }
}

/// RFC 1112 section 6.4, RFC 2464 section 7.
pub(crate) fn group_mac(address: IpAddr) -> MacAddress {
    match address {
        IpAddr::V4(v4) if v4.is_multicast() => {
            let octets = v4.octets();
            MacAddress([1, 0, 0x5e, octets[1] & 0x7f, octets[2], octets[3]])
        }
        IpAddr::V4(_) => MacAddress::BROADCAST,
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            MacAddress([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

/// Whether the source is the sender's own, at both layers.
pub(crate) fn own_source(sender: &Host, view: &View, packet: &Packet) -> Result<(), Violation> {
    if !sender.has_mac(view.source) {
        return Err(format!("{} passes as {}", sender.name, view.source));
    }
    if !sender.has(packet.source) {
        return Err(format!("{} passes as {}", sender.name, packet.source));
    }
    Ok(())
}

pub(crate) fn name_at(rig: &Rig, port: PortId) -> String {
    match rig.host_at(port) {
        Some(host) => atlas().hosts[host].name.clone(),
        None if port == rig.stray => "the stray port".into(),
        None => format!("{port:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
