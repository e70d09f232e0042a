//! A rule trie keyed by workload identity.
//!
//! A [`Classifier`] is a policy compiled for one day: an immutable object that answers, in a time that hardly
//! knows how many rules there are, what becomes of the packet that opens a flow, which rule at which gate decided
//! it, and what is to be recorded. The meaning is the reference evaluator's ([`septum_rules::oracle::Oracle`]),
//! and nothing here may differ from it for any packet.
//!
//! # Why identities
//!
//! A rule speaks of *who* ("app=web may reach app=pay on tcp/8443"), not of addresses. So addresses are resolved
//! first, to identities: the distinct combinations of all that any gate reads of an endpoint. A policy of ten
//! thousand workloads of a few kinds has a few identities, and its rules are compiled over these. The switch
//! knows the source's identity from the port, and the destination's from its directory; only addresses of the
//! world are looked up here.
//!
//! # Stages
//!
//! Compiling (`builder`), each stage in a module of its own:
//!
//! 1. `in_force`: the rules that have not expired, in the order of evaluation; equal selectors, alternatives and
//!    service lists become numbers.
//! 2. `layer4`: the edges of all services cut (protocol, source port, destination port) into classes.
//! 3. `interval`, `addresses`, `identities`: the named networks cut each family's addresses into stretches with
//!    equal sets of networks (all containing networks count; most-specific-wins does not exist); workloads and
//!    gateways are single addresses in them. Equal combinations are one identity.
//! 4. `endpoint_class`: identities that no `from` tells apart are one source class; likewise destinations.
//! 5. `split`: rules that apply to many pairs of classes are wide; in a policy with many classes, those that apply to
//!    few are narrow. Wide rules alone cut the identities into coarse classes.
//! 6. `walk`: for each pair of coarse classes, and for each pair of classes that a narrow rule names, the rules that
//!    apply to it and do not come too late (`undecided`), their holes cut out (`items`); `program`: their painting
//!    over the layer-4 classes, gate by gate, tier by tier.
//! 7. `rule_trie` (`pair_matrix`, `perfect_table`, `pattern`), `verdict_table`: all of it as flat tables with `u32`
//!    offsets, every repeated part stored once.
//!
//! Looking up (`lookup`):
//!
//! ```text
//! address ----------- address_map -------------> identity      1 line for 64 addresses, a byte before it where they are scattered, or 1 to 4 nodes of address_trie
//! protocol, ports --- layer4: two page tables -> class         6 loads, two independent chains
//! identity pair ----- rule_trie: pair table ---> program       a byte and 1 line, if a narrow rule names the pair,
//!                                pair matrix                   else 7 loads more
//! program, class ---- rule_trie: pattern, list -> verdict      3 loads, 4 where there are thousands of ports
//! ```
//!
//! There is no branch on the number of rules, no allocation, no lock, and every index is checked; an identity or verdict
//! that came from the same object is always in range. Where a policy has a million pairs, a flow costs the lines that it
//! misses. So there is one: pairs stand in a perfect hash table (`perfect_table`), keyed by identity where that makes not many more
//! of them; what else is read by address or by identity is kept in blocks and pages of 64 that share what their members have in common
//! (`address_map`, `paged`), and stays in the second cache. A burst (`lookup/burst`) goes stage by stage, and a stage asks
//! for the lines of the next between work that needs none of them, so that its flows wait together; large tables lie in huge pages,
//! and the arithmetic is compiled for the vector registers at hand (`simd`).
//!
//! Changing ([`update`]): an object is never changed; another is made, which shares the tables and has an `overlay` of few
//! answers before them, proved where it differs.
//!
//! Comparing ([`diff`]): two objects, for every packet; each region that differs comes with a packet that shows it.
//!
//! Proving (`proof`): the object against its policy, for every packet; a mismatch comes with a packet that shows it.
//!
//! # Cost
//!
//! *Time*: building costs the sum of what it writes: the sets of networks of each stretch, one word for each
//! (source class, rule, destination class) that belong together, and the distinct programs. *Memory*: the pair
//! matrix grows with coarse source classes x coarse destination classes, in shared blocks, the pair table with 21
//! bytes for each pair that narrow rules name; programs grow with the distinct combinations of rules, patterns
//! with the edges of the distinct shapes. [`Limits`] bound all of it.
//!
//! # Filter sets
//!
//! [`filter`] compiles sets of raw 5-tuples, as routers have them, that know no identities. It is a compiler and tables of its
//! own beside those above; `simd` holds what its lookups read and the kernels that read it, and hints about memory: the only `unsafe` code of the
//! crate.
//!
//! # What it does not do
//!
//! It reads no clock ([`Classifier::valid_until`] says when to build again), starts no thread but those that its caller
//! grants a proof ([`Classifier::prove_on`]), and knows neither connections nor routes.

mod address_map;
mod address_trie;
mod addresses;
mod bits;
mod builder;
#[cfg(test)]
mod cells;
pub mod diff;
mod endpoint_class;
mod explain;
pub mod filter;
mod identities;
mod in_force;
mod intern;
mod interval;
mod invariants;
mod items;
mod layer4;
mod limits;
mod lookup;
mod overlay;
mod paged;
mod pair_matrix;
mod parts;
mod pattern;
mod perfect_table;
#[cfg(test)]
#[path = "../../tests/support/policies.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests, which use the rest")]
mod policies;
mod program;
mod proof;
mod reach;
mod rule_trie;
#[allow(unsafe_code, reason = "vector loads have no checked form; see the module")]
mod simd;
mod split;
mod stats;
mod tables;
mod undecided;
pub mod update;
mod verdict_table;
mod walk;

use std::sync::Arc;

use septum_rules::date::Date;
use septum_rules::identity::{IdentityId, IdentityKey};
use septum_rules::policy::Policy;

use self::tables::Tables;

pub use self::builder::Builder;
pub use self::explain::Explanation;
pub use self::invariants::{AdmittedFlow, InvariantChecker};
pub use self::limits::{BuildError, Limits};
pub use self::proof::{Answer, Budget, Certificate, Count, Digest, Proof, ProofError, Witness};
pub use self::reach::{ReachRow, Reachability};
pub use self::simd::SimdPath;
pub use self::stats::{MemoryUsage, Stats};
pub use self::verdict_table::{GateEntry, VerdictEntry, VerdictId};

/// A compiled policy. Immutable, `Send` and `Sync`; share it in an `Arc`.
///
/// A clone shares the tables; see [`update`] for what makes another object of one without a compile.
/// Identities and verdicts of one object mean nothing in another.
#[derive(Clone)]
pub struct Classifier {
    pub(crate) tables: Arc<Tables>,
    /// What has changed since the tables were compiled.
    pub(crate) overlay: Option<Arc<overlay::Overlay>>,
}

impl Classifier {
    /// Compiles `policy` as it is on the day `now` (UTC), with default [`Limits`]; see [`Builder`].
    ///
    /// # Errors
    /// [`BuildError`] when the policy exceeds a limit.
    pub fn build(policy: &Policy, now: Date) -> Result<Self, BuildError> {
        Builder::new(policy, now).build()
    }

    /// The day for which it was compiled.
    pub fn now(&self) -> Date {
        self.now
    }

    /// The first day on which a rule that holds here holds no more: from then on another object is due.
    pub fn valid_until(&self) -> Option<Date> {
        self.overlay.as_ref().map_or(self.tables.valid_until, |overlay| overlay.valid_until)
    }

    /// The number of identities; their ids run from zero below it.
    pub fn identity_count(&self) -> usize {
        self.trie.identities() + self.overlay.as_ref().map_or(0, |overlay| overlay.identities.len())
    }

    /// The stable key of an identity: equal in every object that tells the same things apart.
    ///
    /// # Panics
    /// When the identity is of another object and out of range.
    pub fn identity_key(&self, identity: IdentityId) -> IdentityKey {
        match &self.overlay {
            Some(overlay) if identity.0 >= overlay.first_identity => {
                let at = identity.0 - overlay.first_identity;
                overlay.identities.get(at as usize).expect("an identity of this object").1
            }
            _ => self.keys[identity.index()],
        }
    }
}
