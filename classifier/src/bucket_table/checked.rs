//! What a table says of every key, without the trust that it is well formed.

use super::{BucketTable, Key, REACH, Value, home, search};

impl<K: Key + Default, V: Value, const N: usize> BucketTable<K, V, N> {
    /// [`BucketTable::get`]; `None` where it would leave the table.
    pub(crate) fn find(&self, key: K) -> Option<Option<V>> {
        let home = home(key, self.seed, self.homes);
        Some(search(self.buckets.get(home..home.checked_add(REACH)?)?, key))
    }

    /// All keys for which [`BucketTable::find`] may find a value, in no order that means anything, some twice; `None`
    /// where it would leave the table for some key.
    pub(crate) fn keys(&self) -> Option<impl Iterator<Item = K> + '_> {
        let is_whole = self.is_empty() || self.homes.checked_add(REACH)? <= self.buckets.len();
        is_whole.then(|| self.buckets.iter().flat_map(|bucket| bucket.keys))
    }
}

#[cfg(test)]
impl<K: crate::cells::AsCell, V, const N: usize> BucketTable<K, V, N> {
    pub(crate) fn cells<'t>(
        &'t mut self,
        name: &'static str,
        value: impl Fn(&'t mut V) -> Vec<crate::cells::Cell<'t>>,
        tables: &mut crate::cells::Tables<'t>,
    ) {
        use crate::cells::{AsCell, Cell};
        if self.buckets.is_empty() {
            return;
        }
        let buckets = self.buckets.iter_mut().flat_map(|bucket| {
            let keys = bucket.keys.iter_mut().map(AsCell::as_cell);
            keys.chain(bucket.values.iter_mut().flat_map(&value))
        });
        tables.push((name, buckets.collect()));
        tables.push((name, vec![Cell::Size(&mut self.homes), Cell::Long(&mut self.seed)]));
    }
}
