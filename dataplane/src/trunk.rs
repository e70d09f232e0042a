//! Trunks: one device that carries several workloads, told apart by the 802.1Q tag of their frames.
//!
//! Behind a trunk each workload has a port slot of its own, as if it had a device: guard, connections, counters and shares know no
//! difference. What comes in is divided by tag, and each part is judged without it as what came in at that port; what goes out
//! gets the tag of its receiver. So nothing behind the parser ever sees a tag, and a frame can leave with no other than
//! its receiver's. Who a frame is from is what (device, id) say; what no workload is known by is refused, and counted at the trunk.
//!
//! Told apart here and nowhere else: no tag, an id that nobody has (0, which is a priority alone, among them), tags within tags
//! (802.1ad, QinQ): an outer tag would hide whose frame it is. The priority of a tag is not carried over.
//!
//! Cost: a copy of every frame, in and out. Ports that are no trunks pay nothing.

use crate::burst::{BURST, Burst, ETHERNET, SLOT};
use crate::directory::TrunkEntry;
use crate::drop_reason::DropReason;
use crate::port::PortId;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::ipv6::Ipv6Header;
use crate::wire::vlan::VlanTag;
use crate::wire::vnet_hdr::VnetHeader;

/// Where a tag stands, or would: behind virtio header and MACs.
const TAG_AT: usize = ETHERNET + 12;
/// Bytes of a tag and the EtherType that announces it.
const TAG: usize = VlanTag::LENGTH;
/// The id in a tag's 16 bits.
const ID: u16 = 0xfff;

/// What becomes of some frames of a burst.
pub enum Part<'a> {
    /// One, of so many bytes, is nobody's.
    Refused(u64, DropReason),
    /// These are of the workload at this port.
    Of(PortId, &'a mut Burst),
}

/// A worker's scratch memory for frames without their tags.
#[derive(Debug, Default)]
pub struct Divider {
    part: Burst,
}

impl Divider {
    /// Divides a burst that came in by a trunk, and hands its parts to `each`.
    pub fn divide(&mut self, trunk: &TrunkEntry, burst: &Burst, mut each: impl FnMut(Part<'_>)) {
        let mut ports = [trunk.port; BURST];
        let mut pending = 0_u64;
        for (index, port) in ports.iter_mut().enumerate().take(burst.len()) {
            let frame = burst.frame(index);
            match id_of(frame).and_then(|id| trunk.port_of(id).ok_or(DropReason::VlanUndeclared)) {
                Ok(of) => {
                    *port = of;
                    pending |= 1 << index;
                }
                Err(reason) => each(Part::Refused(frame.len().saturating_sub(ETHERNET) as u64, reason)),
            }
        }
        while pending != 0 {
            let port = ports[pending.trailing_zeros() as usize];
            self.part.clear();
            let mut rest = pending;
            while rest != 0 {
                let index = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if ports[index] == port {
                    pending &= !(1 << index);
                    let length = without_tag(burst.frame(index), self.part.next_slot());
                    self.part.commit(length);
                }
            }
            each(Part::Of(port, &mut self.part));
        }
    }
}

/// The id of the one tag that a frame has.
fn id_of(frame: &[u8]) -> Result<u16, DropReason> {
    let ethernet = frame.get(ETHERNET..).ok_or(DropReason::FrameSize)?;
    match EthernetHeader::parse(ethernet)?.ethertype {
        EtherType::VLAN => Ok(VlanTag::parse(&ethernet[EthernetHeader::LENGTH..])?.tag & ID),
        EtherType::SERVICE_VLAN | EtherType::OLD_SERVICE_VLAN => Err(DropReason::VlanStacked),
        _ => Err(DropReason::VlanMissing),
    }
}

/// Writes a frame without the tag that it has into `out`, and gives its length.
fn without_tag(frame: &[u8], out: &mut [u8]) -> usize {
    let length = frame.len() - TAG;
    out[..TAG_AT].copy_from_slice(&frame[..TAG_AT]);
    out[TAG_AT..length].copy_from_slice(&frame[TAG_AT + TAG..]);
    move_offsets(out, |offset| offset.saturating_sub(TAG as u16));
    length
}

/// Where the transport header of an untagged packet without IPv6 extension headers begins.
fn transport_of(ethernet: &[u8]) -> Option<usize> {
    let packet = ethernet.get(EthernetHeader::LENGTH..)?;
    let header = match packet.first()? {
        first @ 0x40..=0x4f => usize::from(first & 0xf) * 4,
        _ => Ipv6Header::LENGTH,
    };
    Some(EthernetHeader::LENGTH + header)
}

/// Writes a frame with this tag into `out`, and gives its length; `None` where it has no room.
pub(crate) fn with_tag(frame: &[u8], id: u16, out: &mut [u8]) -> Option<usize> {
    let length = frame.len() + TAG;
    if frame.len() < TAG_AT + 2 || length > SLOT {
        return None;
    }
    out[..TAG_AT].copy_from_slice(&frame[..TAG_AT]);
    out[TAG_AT..TAG_AT + 2].copy_from_slice(&EtherType::VLAN.0.to_be_bytes());
    out[TAG_AT + 2..TAG_AT + TAG].copy_from_slice(&id.to_be_bytes());
    out[TAG_AT + TAG..length].copy_from_slice(&frame[TAG_AT..]);
    move_offsets(out, |offset| offset.saturating_add(TAG as u16));
    Some(length)
}

/// Moves what the virtio header says of places in the frame. What a liar says is judged afterwards, as every frame's.
fn move_offsets(frame: &mut [u8], moved: impl Fn(u16) -> u16) {
    let Some(mut vnet) = VnetHeader::read(frame) else { return };
    let of_tunnel = (vnet.outer_transport, vnet.inner_network);
    vnet.move_offsets(moved);
    // Linux (6.18) does not count the tag that it puts into a frame among these two offsets (`virtio_net_hdr_tnl_from_skb`): they
    // are already those of the frame without it.
    if vnet.is_in_tunnel() && transport_of(&frame[ETHERNET..]) == Some(usize::from(of_tunnel.0)) {
        (vnet.outer_transport, vnet.inner_network) = of_tunnel;
    }
    vnet.write(frame);
}
