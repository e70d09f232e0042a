//! Protocol and ports to a *service class*: packets of one class match the same services of the set.
//!
//! Each of the three fields is cut where a service begins or ends, and pieces in which the same services stand
//! are one. Their cross product is joined once more: of all its combinations, those with the same services are
//! one class. Policies' layer-4 classes (`layer4`) are a sum without this last table; here sets name hundreds of
//! source and destination ports, and few of their combinations differ.

use hashbrown::HashMap;
use septum_rules::proto::Service;

use super::FilterError;
use super::limits::FilterLimits;
use crate::intern::Interner;
use crate::simd::ServiceParts;

/// The classes while compiling.
#[derive(Debug)]
pub(super) struct ServiceClasses {
    pub(super) parts: ServiceParts,
    /// How many classes there are; class zero is that of no service.
    pub(super) count: u32,
    /// By service: its classes, a bit each.
    pub(super) members: Vec<Vec<u64>>,
}

/// A field cut into pieces: where each begins, and which services stand in it (interned).
struct Field {
    firsts: Vec<u32>,
    piece_of: Vec<u32>,
    pieces: Interner<u64>,
}

impl Field {
    fn cut(
        services: &[Service],
        limit: usize,
        range: impl Fn(&Service) -> (u32, u32),
    ) -> Result<Self, FilterError> {
        let mut events: Vec<(u32, u32)> = Vec::with_capacity(2 * services.len());
        for (number, service) in (0..).zip(services) {
            let (first, last) = range(service);
            events.push((first, number));
            events.push((last + 1, number));
        }
        events.sort_unstable();
        let mut standing = vec![0_u64; services.len().div_ceil(64).max(1)];
        let mut field = Self { firsts: vec![], piece_of: vec![], pieces: Interner::new("services", limit) };
        // No service stands before the first event.
        field.begin(0, &standing)?;
        let mut events = events.into_iter().peekable();
        while let Some((at, service)) = events.next() {
            standing[service as usize / 64] ^= 1 << (service % 64);
            if events.peek().is_none_or(|(next, _)| *next != at) {
                field.begin(at, &standing)?;
            }
        }
        Ok(field)
    }

    fn begin(&mut self, at: u32, standing: &[u64]) -> Result<(), FilterError> {
        let piece = self.pieces.intern(standing).map_err(|_| FilterError::Services)?;
        if self.firsts.last() == Some(&at) {
            self.piece_of.pop();
            self.firsts.pop();
        }
        self.firsts.push(at);
        self.piece_of.push(piece);
        Ok(())
    }

    fn len(&self) -> usize {
        self.pieces.len()
    }

    /// For each value below `count`: its piece.
    fn spread(&self, count: usize, scale: usize) -> Vec<u32> {
        let mut values = Vec::with_capacity(count);
        for (at, (first, piece)) in self.firsts.iter().zip(&self.piece_of).enumerate() {
            let end = self.firsts.get(at + 1).map_or(count, |next| *next as usize);
            debug_assert_eq!(values.len(), *first as usize);
            values.resize(end.min(count), *piece * scale as u32);
        }
        values
    }
}

/// The classes of the given distinct services.
///
/// # Errors
/// [`FilterError::Services`] when their cross product exceeds the limit.
pub(super) fn compile(services: &[Service], limits: &FilterLimits) -> Result<ServiceClasses, FilterError> {
    let words = services.len().div_ceil(64).max(1);
    let limit = limits.table_entries;
    let ports = |range: septum_rules::port_range::PortRange| (range.first().into(), range.last().into());
    let sources = Field::cut(services, limit, |service| ports(service.source))?;
    let destinations = Field::cut(services, limit, |service| ports(service.destination))?;
    let protocols = Field::cut(services, limit, |service| {
        service.protocol.map_or((0, 255), |protocol| (protocol.0.into(), protocol.0.into()))
    })?;
    let per_protocol = sources.len() * destinations.len();
    let combinations = per_protocol * protocols.len();
    if per_protocol > 1 << 16 || combinations > limits.service_combinations || combinations * words > limit {
        return Err(FilterError::Services);
    }

    let mut sets: Interner<u64> = Interner::new("service classes", limit);
    sets.intern(&vec![0; words]).map_err(|_| FilterError::Services)?;
    let mut cross: Vec<u16> = Vec::with_capacity(combinations);
    // Equal (protocol, source) sets have equal rows.
    let mut rows: HashMap<Vec<u64>, usize, ahash::RandomState> = HashMap::default();
    let mut both = vec![0; words];
    let mut all = vec![0; words];
    for protocol in 0..protocols.len() as u32 {
        for source in 0..sources.len() as u32 {
            let standing = protocols.pieces.get(protocol).iter().zip(sources.pieces.get(source));
            both.iter_mut().zip(standing).for_each(|(both, (left, right))| *both = left & right);
            let start = cross.len();
            if let Some(known) = rows.get(&both) {
                cross.extend_from_within(*known..*known + destinations.len());
                continue;
            }
            for destination in 0..destinations.len() as u32 {
                let standing = both.iter().zip(destinations.pieces.get(destination));
                all.iter_mut().zip(standing).for_each(|(all, (left, right))| *all = left & right);
                let class = sets.intern(&all).map_err(|_| FilterError::Services)?;
                cross.push(u16::try_from(class).map_err(|_| FilterError::Services)?);
            }
            rows.insert(both.clone(), start);
        }
    }

    let count = sets.len();
    let mut members = vec![vec![0_u64; count.div_ceil(64)]; services.len()];
    for class in 0..count {
        for (word, bits) in sets.get(class as u32).iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let service = word * 64 + bits.trailing_zeros() as usize;
                members[service][class / 64] |= 1 << (class % 64);
                bits &= bits - 1;
            }
        }
    }
    let parts = ServiceParts {
        protocols: protocols.spread(256, per_protocol),
        sources: sources.spread(1 << 16, destinations.len()),
        destinations: destinations.spread(1 << 16, 1),
        cross,
    };
    Ok(ServiceClasses { parts, count: count as u32, members })
}
