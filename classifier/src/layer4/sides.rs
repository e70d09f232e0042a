//! What each side of a packet adds to its class, for every port.
//!
//! For the proof: nothing is taken to be well formed. Cost: 65,536 ports a side.

use septum_rules::proto::Protocol;

use super::{Layer4Classes, PAGE};

/// Which of a packet's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

impl Layer4Classes {
    /// What a port of this side adds to the class of a packet of this protocol, as stretches in order; `None` where a
    /// lookup would leave its table. Neighbours differ.
    pub(crate) fn side(&self, protocol: Protocol, side: Side) -> Vec<(u16, Option<u32>)> {
        let pages = self.groups[usize::from(protocol.0)] as usize
            + match side {
                Side::Source => 0,
                Side::Destination => PAGE,
            };
        let mut found: Vec<(u16, Option<u32>)> = Vec::new();
        for port in 0..=u16::MAX {
            let [page, inside] = port.to_be_bytes();
            let start = self.pages.get(pages + usize::from(page));
            let value =
                start.and_then(|start| self.values.get(*start as usize + usize::from(inside))).copied();
            if found.last().is_none_or(|(_, last)| *last != value) {
                found.push((port, value));
            }
        }
        found
    }
}
