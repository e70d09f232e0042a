//! Just enough of pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng) to get at Ethernet frames.

const ETHERNET: u32 = 1;

type Word = fn([u8; 4]) -> u32;

fn word(bytes: &[u8], at: usize, order: Word) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| order(*four))
}

/// The frames of all interfaces whose link type is Ethernet; of a damaged file, those before the damage.
pub(crate) fn ethernet_frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    match bytes.first_chunk() {
        Some([0xa1, 0xb2, 0xc3, 0xd4 | 0xcd] | [0xa1, 0xb2, 0x3c, 0x4d]) => {
            classic(bytes, u32::from_be_bytes, &mut frames)
        }
        Some([0xd4 | 0xcd, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => {
            classic(bytes, u32::from_le_bytes, &mut frames)
        }
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => next_generation(bytes, &mut frames),
        _ => None,
    };
    frames
}

fn classic(bytes: &[u8], order: Word, frames: &mut Vec<Vec<u8>>) -> Option<()> {
    if word(bytes, 20, order)? & 0xffff != ETHERNET {
        return None;
    }
    let mut at = 24;
    loop {
        let length = word(bytes, at + 8, order)? as usize;
        frames.push(bytes.get(at + 16..at.checked_add(16 + length)?)?.to_vec());
        at += 16 + length;
    }
}

fn next_generation(bytes: &[u8], frames: &mut Vec<Vec<u8>>) -> Option<()> {
    const SECTION: u32 = 0x0a0d_0d0a;
    const INTERFACE: u32 = 1;
    const ENHANCED_PACKET: u32 = 6;
    let mut order: Word = u32::from_le_bytes;
    let mut link_types = Vec::new();
    let mut at = 0;
    loop {
        let kind = word(bytes, at, order)?;
        if kind == SECTION {
            order = match bytes.get(at + 8..at + 12)? {
                [0x1a, ..] => u32::from_be_bytes,
                _ => u32::from_le_bytes,
            };
            link_types.clear();
        }
        let length = word(bytes, at + 4, order)? as usize;
        let block = bytes.get(at..at.checked_add(length)?).filter(|block| block.len() >= 12)?;
        match kind {
            INTERFACE => {
                let [a, b] = *block.get(8..)?.first_chunk()?;
                let both = if order([1, 0, 0, 0]) == 1 { [a, b, 0, 0] } else { [0, 0, a, b] };
                link_types.push(order(both));
            }
            ENHANCED_PACKET => {
                let interface = word(block, 8, order)? as usize;
                let captured = word(block, 20, order)? as usize;
                if link_types.get(interface) == Some(&ETHERNET) {
                    frames.push(block.get(28..28usize.checked_add(captured)?)?.to_vec());
                }
            }
            _ => {}
        }
        at += length;
    }
}
