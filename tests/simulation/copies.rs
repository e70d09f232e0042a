//! Group frames: what arrives of them was sent, and whoever hears it listens and may; whoever has asked for it hears it.

use std::collections::VecDeque;

use septum::port::PortId;

use crate::checker::{Checker, Scene, Violation, group_mac, hex, not_late, own_source, sender_of};
use crate::model::groups::Listens;
use crate::transform;
use crate::view::{Packet, View, read};
use crate::world::{Host, atlas};

impl Checker {
    /// Judges the copies of group frames: what is left at other ports must be these, each where the evaluator admits it.
    pub(crate) fn copied(
        &mut self,
        scene: &Scene<'_>,
        left: &mut [(PortId, std::slice::Iter<'_, Vec<u8>>)],
        originals: &[&[u8]],
    ) -> Result<(), Violation> {
        if originals.is_empty() {
            return Ok(());
        }
        let sender = sender_of(scene)?;
        not_late(scene)?;
        let others = (0..atlas().hosts.len()).filter_map(|at| Some((at, scene.rig.ports[at]?)));
        for (at, port) in others.filter(|(_, port)| *port != scene.ingress) {
            let host = &atlas().hosts[at];
            let mut arrived =
                left.iter_mut().filter(|(there, _)| *there == port).flat_map(|(_, frames)| frames);
            let (mut sent, mut heard) = (originals.iter(), 0);
            // What is still to come of the group frame that has begun to arrive.
            let mut pending = VecDeque::new();
            for frame in arrived.by_ref() {
                if !pending.is_empty() && pending.front() != Some(frame) && scene.rig.build.queue >= 64 {
                    return Err(format!("at {} arrived a part of a group frame", host.name));
                }
                while pending.front() != Some(frame) {
                    let Some(original) = sent.next() else {
                        return Err(format!("at {} arrived what nobody sent: {}", host.name, hex(frame)));
                    };
                    let view =
                        read(original).map_err(|why| format!("copied what does not hold together: {why}"))?;
                    let Some(packet) = view.ip() else { return Err("copied what is no IP".into()) };
                    own_source(sender, &view, packet)?;
                    pending = transform::fitted(original, packet, scene.rig.build.offloads[at]).into();
                    if pending.front() == Some(frame) {
                        if view.destination != group_mac(packet.destination) {
                            return Err(format!(
                                "copied to {}, which is not its group's MAC",
                                view.destination
                            ));
                        }
                        may_be_copied(scene, sender, host, packet)?;
                        match self.model.groups.listens(at, packet.destination, scene.moment.tick) {
                            Listens::No => {
                                return Err(format!(
                                    "{} heard {}, for which it never asked",
                                    host.name, packet.destination
                                ));
                            }
                            Listens::Perhaps => {}
                            Listens::Surely => heard += 1,
                        }
                    }
                }
                pending.pop_front();
                self.tally.arrived += 1;
            }
            let must = |original: &&&[u8]| {
                let view = read(original).ok()?;
                Some(self.must_hear(scene, at, original, view.ip()?))
            };
            let wanted = originals.iter().filter(|original| must(original) == Some(true)).count();
            if heard < wanted {
                return Err(format!(
                    "{} heard {heard} of {wanted} group frames that it asked for",
                    host.name
                ));
            }
        }
        Ok(())
    }

    /// Judges a group frame that was dropped since nobody would hear it.
    pub(crate) fn unheard(
        &self,
        scene: &Scene<'_>,
        frame: &[u8],
        view: &View,
        packet: &Packet,
    ) -> Result<(), Violation> {
        let is_a_group_frame = view.destination == group_mac(packet.destination);
        let mut hosts = atlas().hosts.iter().enumerate();
        match hosts.find(|(at, _)| is_a_group_frame && self.must_hear(scene, *at, frame, packet)) {
            Some((_, host)) => {
                Err(format!("{} asked for {}, and hears nothing", host.name, packet.destination))
            }
            None => Ok(()),
        }
    }

    /// Whether nothing excuses that a host does not hear this group packet.
    fn must_hear(&self, scene: &Scene<'_>, at: usize, frame: &[u8], packet: &Packet) -> bool {
        let Some(sender) = scene.sender.map(|sender| &atlas().hosts[sender]) else { return false };
        let host = &atlas().hosts[at];
        scene.is_current
            && scene.sender != Some(at)
            && scene.rig.ports[at].is_some()
            && scene.rig.build.queue >= 64
            && may_be_copied(scene, sender, host, packet).is_ok()
            && transform::longest(frame, packet) <= host.mtu
            && self.model.groups.listens(at, packet.destination, scene.moment.tick) == Listens::Surely
    }
}

fn may_be_copied(
    scene: &Scene<'_>,
    sender: &Host,
    receiver: &Host,
    packet: &Packet,
) -> Result<(), Violation> {
    let is_broadcast = atlas().segments[sender.segment].broadcast == Some(packet.destination)
        || packet.destination.to_string() == "255.255.255.255";
    if !packet.destination.is_multicast() && !is_broadcast {
        return Err(format!("copied what is for {}", packet.destination));
    }
    if receiver.segment != sender.segment {
        return Err(format!("a group frame reached {} in another segment", receiver.name));
    }
    let Some(address) = receiver.address(packet.source.is_ipv4()) else {
        return Err(format!("{} has no address of the family", receiver.name));
    };
    if packet.fragment.is_some() || !atlas().admits(scene.moment.rules, packet.source, address, packet.layer4)
    {
        return Err(format!("a group frame that the evaluator refuses reached {}", receiver.name));
    }
    Ok(())
}
