//! Sets of layer-4 headers as unions of boxes in (protocol, source, destination), with exact subtraction.

use crate::port_range::PortRange;
use crate::proto::{Layer4, Protocol, Service};

/// A box: a range in each dimension, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cuboid {
    ranges: [(u16, u16); 3],
}

impl From<&Service> for Cuboid {
    fn from(service: &Service) -> Self {
        let protocol = service.protocol.map_or((0, 255), |Protocol(number)| (number.into(), number.into()));
        let range = |range: PortRange| (range.first(), range.last());
        Self { ranges: [protocol, range(service.source), range(service.destination)] }
    }
}

impl Cuboid {
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.ranges.iter().zip(&other.ranges).all(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
    }

    /// What is in both; they must overlap.
    fn common(&self, other: &Self) -> Self {
        let mut ranges = self.ranges;
        for (range, other) in ranges.iter_mut().zip(&other.ranges) {
            *range = (range.0.max(other.0), range.1.min(other.1));
        }
        Self { ranges }
    }

    /// Adds to `pieces` what is left of the box without `hole`: at most two slices a dimension.
    fn without(mut self, hole: &Self, pieces: &mut Vec<Self>) {
        if !self.overlaps(hole) {
            pieces.push(self);
            return;
        }
        for dimension in 0..self.ranges.len() {
            let (first, last) = self.ranges[dimension];
            let (hole_first, hole_last) = hole.ranges[dimension];
            if first < hole_first {
                let mut below = self;
                below.ranges[dimension] = (first, hole_first - 1);
                pieces.push(below);
            }
            if last > hole_last {
                let mut above = self;
                above.ranges[dimension] = (hole_last + 1, last);
                pieces.push(above);
            }
            self.ranges[dimension] = (first.max(hole_first), last.min(hole_last));
        }
    }

    /// A header in the box that a person recognises.
    pub(super) fn sample(&self) -> Layer4 {
        let [protocols, sources, destinations] = self.ranges;
        let usual = [Protocol::TCP, Protocol::UDP, Protocol::ICMP];
        let held =
            usual.into_iter().find(|protocol| (protocols.0..=protocols.1).contains(&protocol.0.into()));
        let protocol = held.unwrap_or(Protocol(protocols.0 as u8));
        if protocol.has_ports() {
            let ephemeral = 40_000.clamp(sources.0, sources.1);
            let destination = if destinations == (0, u16::MAX) { 80 } else { destinations.0 };
            Layer4::ports(protocol, ephemeral, destination)
        } else if protocol.has_icmp_type() {
            Layer4 { protocol, source: 0, destination: destinations.0 }
        } else {
            Layer4::bare(protocol)
        }
    }
}

/// Removes `hole` from `region`.
pub(super) fn subtract(region: &mut Vec<Cuboid>, hole: &Cuboid) {
    if region.iter().any(|cuboid| cuboid.overlaps(hole)) {
        let mut pieces = Vec::with_capacity(region.len() + 2);
        for cuboid in region.drain(..) {
            cuboid.without(hole, &mut pieces);
        }
        *region = pieces;
    }
}

/// A box that lies in both regions.
pub(super) fn overlap(a: &[Cuboid], b: &[Cuboid]) -> Option<Cuboid> {
    a.iter().find_map(|a| b.iter().find(|b| a.overlaps(b)).map(|b| a.common(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuboid(protocol: (u16, u16), source: (u16, u16), destination: (u16, u16)) -> Cuboid {
        Cuboid { ranges: [protocol, source, destination] }
    }

    #[test]
    fn subtraction_leaves_exactly_the_rest() {
        let mut region = vec![cuboid((0, 3), (0, 3), (0, 3))];
        let holes =
            [cuboid((1, 2), (0, 1), (2, 9)), cuboid((0, 0), (0, 3), (1, 1)), cuboid((3, 3), (2, 2), (0, 3))];
        for hole in &holes {
            subtract(&mut region, hole);
        }
        for point in (0..4).flat_map(|a| (0..4).flat_map(move |b| (0..4).map(move |c| (a, b, c)))) {
            let point = cuboid((point.0, point.0), (point.1, point.1), (point.2, point.2));
            let expected = usize::from(!holes.iter().any(|hole| hole.overlaps(&point)));
            assert_eq!(region.iter().filter(|piece| piece.overlaps(&point)).count(), expected, "{point:?}");
        }
    }

    #[test]
    fn a_hole_past_the_edges_leaves_nothing() {
        let mut region = vec![Cuboid::from(&Service::ANY)];
        subtract(&mut region, &cuboid((0, 255), (0, u16::MAX), (0, u16::MAX)));
        assert!(region.is_empty());
    }
}
