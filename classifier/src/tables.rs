//! The tables that a compile makes: all of an object but what was changed since.
//!
//! They are shared by every object that is made from them, and so never change.

use septum_rules::date::Date;
use septum_rules::identity::IdentityKey;
use septum_rules::proto::Layer4;

use crate::addresses::Addresses;
use crate::layer4::Layer4Classes;
use crate::rule_trie::RuleTrie;
use crate::verdict_table::VerdictTable;

/// What was compiled.
#[derive(Clone)]
pub struct Tables {
    pub(crate) now: Date,
    pub(crate) valid_until: Option<Date>,
    pub(crate) addresses: Addresses,
    /// By identity.
    pub(crate) keys: Box<[IdentityKey]>,
    pub(crate) layer4: Layer4Classes,
    /// By layer-4 class: its lowest packet.
    pub(crate) representatives: Box<[Layer4]>,
    pub(crate) trie: RuleTrie,
    pub(crate) verdicts: VerdictTable,
    pub(crate) rules_in_force: usize,
    pub(crate) source_classes: usize,
    pub(crate) destination_classes: usize,
}

impl std::ops::Deref for crate::Classifier {
    type Target = Tables;

    #[inline(always)]
    fn deref(&self) -> &Tables {
        &self.tables
    }
}

/// For tests that spoil an object.
#[cfg(test)]
impl std::ops::DerefMut for crate::Classifier {
    fn deref_mut(&mut self) -> &mut Tables {
        std::sync::Arc::make_mut(&mut self.tables)
    }
}
