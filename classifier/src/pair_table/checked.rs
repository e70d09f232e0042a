//! A lookup in the table of pairs, without the trust that it is well formed.

use super::{BUCKET, FREE, PairTable, REACH, home};
use crate::rule_trie::Program;

impl PairTable {
    /// [`PairTable::get`]; `None` where it would leave the table.
    pub(crate) fn find(&self, key: u64) -> Option<Option<Program>> {
        let home = home(key, self.seed, self.homes);
        let reach = self.buckets.get(home..home.checked_add(REACH)?)?;
        for bucket in reach {
            for (known, program) in bucket.keys.iter().zip(&bucket.programs) {
                if *known == key {
                    return Some(Some(*program));
                }
            }
            if bucket.keys[BUCKET - 1] == FREE {
                break;
            }
        }
        Some(None)
    }
}
