//! Hash-consing: equal slices are stored once, one behind the other, and named by a dense number.
//!
//! Numbers are given in the order of first appearance, so a build is deterministic although the hash is
//! seeded. Cost: one hash and one comparison for each call; memory: the distinct items and 14 bytes a slice. Half of
//! each hash is kept: growing reads no items, and hardly any item is compared that is not equal.

use std::hash::Hash;

use ahash::RandomState;
use hashbrown::HashTable;

use crate::limits::BuildError;

/// Stores each distinct slice once.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    name: &'static str,
    limit: usize,
    items: Vec<T>,
    /// Where each slice begins, and behind the last one its end.
    starts: Vec<u32>,
    /// Half a hash, and the number.
    table: HashTable<(u32, u32)>,
    hasher: RandomState,
}

impl<T: Copy + Eq + Hash> Interner<T> {
    /// An empty store; `name` and `limit` are for the error.
    pub(crate) fn new(name: &'static str, limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize - 1);
        let (items, starts) = (Vec::new(), vec![0]);
        Self { name, limit, items, starts, table: HashTable::new(), hasher: RandomState::new() }
    }

    /// The number of `slice`.
    ///
    /// # Errors
    /// [`BuildError::Table`] when it is new and the store is full.
    pub(crate) fn intern(&mut self, slice: &[T]) -> Result<u32, BuildError> {
        let Self { items, starts, table, hasher, .. } = self;
        let half = hasher.hash_one(slice) as u32;
        let equal = |(known, id): &(u32, u32)| *known == half && slice_of(items, starts, *id) == slice;
        if let Some((_, id)) = table.find(spread(half), equal) {
            return Ok(*id);
        }
        if items.len() + slice.len() > self.limit || starts.len() > self.limit {
            return Err(BuildError::Table { table: self.name, limit: self.limit });
        }
        let id = starts.len() as u32 - 1;
        items.extend_from_slice(slice);
        starts.push(items.len() as u32);
        table.insert_unique(spread(half), (half, id), |(half, _)| spread(*half));
        Ok(id)
    }

    /// The slice of that number.
    pub(crate) fn get(&self, id: u32) -> &[T] {
        slice_of(&self.items, &self.starts, id)
    }

    /// The slice of that number, where there is one and it lies in the store.
    pub(crate) fn find(&self, id: u32) -> Option<&[T]> {
        let (first, end) = (self.starts.get(id as usize)?, self.starts.get(id as usize + 1)?);
        self.items.get(*first as usize..*end as usize)
    }

    /// How many distinct slices there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// All items of all slices.
    pub(crate) fn item_count(&self) -> usize {
        self.items.len()
    }

    /// All slices, one behind the other.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// Where the slice begins among [`Interner::into_items`].
    pub(crate) fn start(&self, id: u32) -> u32 {
        self.starts[id as usize]
    }

    /// The slices, one behind the other.
    pub(crate) fn into_items(mut self) -> Box<[T]> {
        self.items.shrink_to_fit();
        self.items.into_boxed_slice()
    }
}

/// The table looks at the highest and at the lowest bits of a hash.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
impl<T: crate::cells::AsCell> Interner<T> {
    pub(crate) fn cells<'t>(&'t mut self, name: &'static str, tables: &mut crate::cells::Tables<'t>) {
        tables.push((name, crate::cells::each(&mut self.items)));
        tables.push((name, crate::cells::each(&mut self.starts)));
    }
}

fn slice_of<'a, T>(items: &'a [T], starts: &[u32], id: u32) -> &'a [T] {
    &items[starts[id as usize] as usize..starts[id as usize + 1] as usize]
}
