//! Fields that lie: of a packet, of a frame, of what says that it is part of another.

use crate::craft::*;
use crate::hostile::Mint;
use crate::world::atlas;
use septum_rules::mac::MacAddress;

impl Mint<'_> {
    /// Lets a field of a packet lie that is still to be put into a frame.
    pub(crate) fn lie_in_draft(&mut self, draft: &mut Draft) {
        let ipv4 = draft.source.is_ipv4();
        let other = self.somebody();
        match self.random.below(13) {
            0 => draft.macs.0 = atlas().hosts[other].mac,
            1 => {
                let own = atlas().segment_of(self.from).gateway_mac;
                draft.macs.1 = *self.random.pick(&[own, atlas().hosts[other].mac, MacAddress::BROADCAST]);
            }
            2 => {
                let addresses = &atlas().hosts[other].addresses;
                let address = *self.random.pick(addresses);
                if address.is_ipv4() == ipv4 {
                    draft.source = address;
                }
            }
            3 => {
                let addresses = &atlas().hosts[other].addresses;
                let address = *self.random.pick(addresses);
                if address.is_ipv4() == ipv4 {
                    draft.destination = address;
                }
            }
            4 => {
                let gateways = &atlas().segments[self.random.below(atlas().segments.len())].gateways;
                if let Some(gateway) = gateways.iter().find(|gateway| gateway.is_ipv4() == ipv4) {
                    draft.destination = *gateway;
                    draft.macs.1 = atlas().segment_of(self.from).gateway_mac;
                }
            }
            5 => draft.ttl = self.random.below(3) as u8,
            6 => draft.protocol = self.random.byte(),
            7 if ipv4 => {
                let choices: [&[u8]; 5] = [
                    &[1, 1, 1, 0],
                    &[7, 7, 4, 0, 0, 0, 0, 0],
                    &[131, 7, 4, 10, 0, 0, 9, 0],
                    &[7, 1, 0, 0],
                    &[7, 9, 0, 0],
                ];
                draft.options = self.random.pick(&choices).to_vec();
            }
            8 if draft.protocol == TCP && draft.transport.len() > 13 => {
                draft.transport[13] = self.random.byte()
            }
            9 if draft.protocol == TCP && draft.transport.len() > 13 => {
                draft.transport[12] = self.random.byte()
            }
            10 => {
                let length = self.random.below(draft.transport.len() + 1);
                draft.transport.truncate(length);
            }
            11 if !draft.transport.is_empty() => {
                let at = self.random.below(draft.transport.len().min(24));
                draft.transport[at] = self.random.byte();
            }
            _ => {
                let strange = if ipv4 {
                    [
                        "127.0.0.1",
                        "0.0.0.0",
                        "224.0.0.251",
                        "255.255.255.255",
                        "240.0.0.1",
                        "192.0.2.1",
                        "10.20.0.255",
                    ]
                } else {
                    ["::1", "::", "ff02::fb", "ff01::1", "::ffff:10.20.0.11", "2001:db8::1", "fe80::1"]
                };
                let address = self.random.pick(&strange).parse().expect("an address");
                if self.random.once_in(2) { draft.source = address } else { draft.destination = address }
            }
        }
    }

    /// Lets a byte lie, or the virtio header, the tag, the length.
    pub(crate) fn lie_in_frame(&mut self, frame: &mut Vec<u8>) {
        match self.random.below(10) {
            0 => {
                let length = self.random.below(frame.len() + 1);
                frame.truncate(length);
            }
            1 => {
                let count = self.random.below(64);
                frame.extend(self.random.bytes(count));
            }
            2 => {
                let ethertype = *self.random.pick(&[0x8100, 0x88a8, 0x9100]);
                let tag = *self.random.pick(&[0, 0x6000, 10, 20, 4095]);
                *frame = with_tag(std::mem::take(frame), ethertype, tag);
            }
            3 => {
                // The virtio header lies.
                let at = self.random.below(VNET);
                frame[at] = self.random.byte();
            }
            4 => {
                frame[0] = *self.random.pick(&[1, 1, 1, 2, 3, 9]);
                frame[1] = *self.random.pick(&[0, 1, 4, 5, 0x81, 3, 0x21, 0x44]);
                let fields = [
                    self.random.below(2000),
                    *self.random.pick(&[34, 54, 14, 38]),
                    *self.random.pick(&[16, 6, 2, 0]),
                ];
                for (at, field) in [4, 6, 8].into_iter().zip(fields) {
                    frame[at..at + 2].copy_from_slice(&(field as u16).to_le_bytes());
                }
            }
            _ => {
                for _ in 0..=self.random.below(3) {
                    if frame.len() > VNET {
                        let at = VNET + self.random.below((frame.len() - VNET).min(80));
                        frame[at] = self.random.byte();
                    }
                }
                if self.random.once_in(2) && frame.len() > NETWORK + 20 && frame[VNET + 12..NETWORK] == [8, 0]
                {
                    fix_header_checksum(&mut frame[NETWORK..]);
                }
            }
        }
    }

    /// Some part of a packet, or what says that it is one.
    pub(crate) fn fragment(&mut self, draft: &Draft) -> Vec<u8> {
        let length =
            8 * self.random.below(20) + if self.random.once_in(6) { self.random.below(8) } else { 0 };
        let offset = match self.random.below(3) {
            0 => 0,
            1 => 8 * self.random.below(8),
            _ => 8 * self.random.below(8192),
        };
        match self.random.once_in(3) {
            true => draft.frame_of(Some((offset as u16, self.random.once_in(2))), &draft.transport),
            false => draft.fragment(offset.min(draft.transport.len()), length.max(8)),
        }
    }

    /// The packet behind extension headers, as many as there may be and more.
    pub(crate) fn extended(&mut self, draft: &Draft) -> Vec<u8> {
        let (mut chain, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.random.below(6) {
            chain.push(*self.random.pick(&[0u8, 43, 44, 60, 60, 135]));
        }
        for at in 0..chain.len() {
            let next = chain.get(at + 1).copied().unwrap_or(draft.protocol);
            let more = if self.random.once_in(5) { self.random.below(8) as u8 } else { 0 };
            match chain[at] {
                43 => bytes.extend([next, 0, *self.random.pick(&[0, 2, 3, 4, 9]), more, 0, 0, 0, 0]),
                44 => bytes.extend([next, 0, 0, more & 1, 0, 0, 0, 9]),
                _ => bytes.extend([next, 0, 1, 4 + more, 0, 0, 0, 0]),
            }
        }
        if self.random.once_in(6) {
            bytes.pop();
        }
        draft.frame_with_extensions(chain[0], &bytes)
    }
}
