//! What each side of a packet adds to its class, for every port.
//!
//! For the proof: nothing is taken to be well formed. Cost: 65,536 ports a side, most of them several at a time.

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
        for page in 0..=u8::MAX {
            let start = self.pages.get(pages + usize::from(page)).map(|start| *start as usize);
            let last = found.last().and_then(|(_, last)| *last);
            // Most pages are all of one value, that of the page before.
            let values = start.and_then(|start| self.values.get(start..start + PAGE));
            if values.is_some_and(|values| values.iter().all(|value| Some(*value) == last)) {
                continue;
            }
            for inside in 0..=u8::MAX {
                let value = start.and_then(|start| self.values.get(start + usize::from(inside))).copied();
                if found.last().is_none_or(|(_, last)| *last != value) {
                    found.push((u16::from_be_bytes([page, inside]), value));
                }
            }
        }
        found
    }
}

#[cfg(test)]
impl Layer4Classes {
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        tables.push(("protocols", crate::cells::each(&mut *self.groups)));
        tables.push(("pages of ports", crate::cells::each(&mut self.pages)));
        tables.push(("ports", crate::cells::each(&mut self.values)));
    }
}

#[cfg(test)]
impl Layer4Classes {
    /// [`Layer4Classes::class`], as far as it leads.
    pub(crate) fn step(&self, layer4: septum_rules::proto::Layer4) -> Option<u32> {
        let group = self.groups[usize::from(layer4.protocol.0)] as usize;
        let value = |side: usize, port: u16| {
            let [page, inside] = port.to_be_bytes();
            let start = *self.pages.get(group + side + usize::from(page))? as usize;
            self.values.get(start + usize::from(inside)).copied()
        };
        value(0, layer4.source)?.checked_add(value(PAGE, layer4.destination)?)
    }
}
