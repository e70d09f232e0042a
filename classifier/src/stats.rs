//! How large a compiled object is, in entries and in bytes, stage by stage.

use std::fmt;

use crate::Classifier;

/// Sizes of a compiled object in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Rules that have not expired.
    pub rules_in_force: usize,
    /// Distinct identities, the undescribed one included.
    pub identities: usize,
    /// Identities told apart as sources.
    pub source_classes: usize,
    /// Identities told apart as destinations.
    pub destination_classes: usize,
    /// Classes of protocol and ports.
    pub layer4_classes: usize,
    /// Distinct things that wide rules let a pair of classes do with layer 4.
    pub programs: usize,
    /// Pairs of classes with a program of their own, made by narrow rules.
    pub pairs: usize,
    /// Distinct outcomes.
    pub verdicts: usize,
    /// Nodes of the IPv4 address trie.
    pub ipv4_nodes: usize,
    /// Nodes of the IPv6 address trie.
    pub ipv6_nodes: usize,
}

/// Sizes of a compiled object in bytes on the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Address tries and the identities of workloads.
    pub addresses: usize,
    /// Protocol and ports to class.
    pub layer4: usize,
    /// Identity pair to program.
    pub pairs: usize,
    /// Program and class to verdict.
    pub programs: usize,
    /// The verdict table.
    pub verdicts: usize,
    /// What only questions need: identity keys, a packet of each layer-4 class.
    pub cold: usize,
    /// What has changed since the compile.
    pub overlay: usize,
}

impl MemoryUsage {
    /// All of it.
    pub const fn total(&self) -> usize {
        self.addresses + self.layer4 + self.pairs + self.programs + self.verdicts + self.cold + self.overlay
    }
}

impl Classifier {
    /// Sizes in entries.
    pub fn stats(&self) -> Stats {
        Stats {
            rules_in_force: self.rules_in_force,
            identities: self.trie.identities(),
            source_classes: self.source_classes,
            destination_classes: self.destination_classes,
            layer4_classes: self.layer4.count() as usize,
            programs: self.trie.programs().0,
            pairs: self.trie.programs().1,
            verdicts: self.verdict_count(),
            ipv4_nodes: self.addresses.ipv4.size().0,
            ipv6_nodes: self.addresses.ipv6.size().0,
        }
    }

    /// Sizes in bytes.
    pub fn memory_usage(&self) -> MemoryUsage {
        let (pairs, programs) = self.trie.memory();
        MemoryUsage {
            addresses: self.addresses.memory(),
            layer4: self.layer4.memory(),
            pairs,
            programs,
            verdicts: self.verdicts.memory(),
            cold: size_of_val(&*self.keys) + size_of_val(&*self.representatives),
            overlay: self.overlay.as_ref().map_or(0, |overlay| overlay.memory()),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rules, {} identities ({} as source, {} as destination), {} layer-4 classes, {} programs and {} single pairs, {} verdicts",
            self.rules_in_force,
            self.identities,
            self.source_classes,
            self.destination_classes,
            self.layer4_classes,
            self.programs,
            self.pairs,
            self.verdicts
        )
    }
}

/// The sizes: the tables themselves are too long to print.
impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("now", &self.now)
            .field("valid_until", &self.valid_until)
            .field("stats", &self.stats())
            .field("memory", &self.memory_usage())
            .finish()
    }
}
