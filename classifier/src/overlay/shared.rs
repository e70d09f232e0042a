//! A map and a list whose clones share all but what is changed afterwards.
//!
//! Both are cut into shares behind reference counts, and so is the list of shares. Cost of a clone: one count; of the first
//! change after it, the list of shares; of each change, the share in which it falls, if anybody else has it.

use std::hash::Hash;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

/// Shares of a map.
const SHARES: usize = 64;
/// Items of one share of a list.
const PAGE: usize = 64;

type Share<K, V> = Arc<HashTable<(K, V)>>;

/// A map.
#[derive(Clone, Debug)]
pub(crate) struct SharedMap<K, V> {
    hasher: RandomState,
    /// Empty until something is put in.
    shares: Arc<[Share<K, V>]>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shares: Arc::default(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        self.shares[share(hash)].find(hash, |(known, _)| known == key).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.shares.is_empty() {
            let empty = Arc::new(HashTable::new());
            self.shares = (0..SHARES).map(|_| Arc::clone(&empty)).collect();
        }
        let Self { hasher, shares, len } = self;
        let hash = hasher.hash_one(&key);
        let table = Arc::make_mut(&mut Arc::make_mut(shares)[share(hash)]);
        match table.find_mut(hash, |(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => {
                table.insert_unique(hash, (key, value), |(known, _)| hasher.hash_one(known));
                *len += 1;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.shares.iter().flat_map(|share| share.iter().map(|(_, value)| value))
    }

    #[cfg(test)]
    pub(crate) fn values_mut(&mut self) -> Vec<(K, &mut V)>
    where
        K: Ord,
    {
        let shares = Arc::make_mut(&mut self.shares).iter_mut();
        let mut items: Vec<(K, &mut V)> = shares
            .flat_map(|share| Arc::make_mut(share).iter_mut().map(|(key, value)| (key.clone(), value)))
            .collect();
        items.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        items
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.shares) + self.len * size_of::<(K, V)>()
    }
}

/// The highest bits choose it: the table uses the lowest, and the seven highest only to compare.
fn share(hash: u64) -> usize {
    (hash >> 48) as usize % SHARES
}

/// A list that only grows.
#[derive(Clone, Debug)]
pub(crate) struct SharedList<T> {
    pages: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Default for SharedList<T> {
    fn default() -> Self {
        Self { pages: Arc::default(), len: 0 }
    }
}

impl<T: Clone> SharedList<T> {
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    pub(crate) fn push(&mut self, item: T) {
        let pages = Arc::make_mut(&mut self.pages);
        if self.len.is_multiple_of(PAGE) {
            pages.push(Arc::default());
        }
        let page = pages.last_mut().expect("there is room for one more");
        Arc::make_mut(page).push(item);
        self.len += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        Arc::make_mut(&mut self.pages).iter_mut().flat_map(|page| Arc::make_mut(page).iter_mut())
    }

    pub(crate) fn memory(&self) -> usize {
        self.pages.len() * size_of::<Arc<Vec<T>>>() + self.len * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_had() {
        let (mut map, mut list) = (SharedMap::default(), SharedList::default());
        let mut kept = Vec::new();
        for number in 0..1000_u32 {
            if number % 100 == 0 {
                kept.push((map.clone(), list.clone(), number));
            }
            map.insert(number, number + 1);
            map.insert(7, number);
            list.push(number);
        }
        assert_eq!((map.len(), list.len()), (1000, 1000));
        for (map, list, number) in kept {
            let next = number.max(8);
            assert_eq!((map.get(&next), list.get(number as usize)), (None, None));
            assert_eq!(map.get(&7).copied(), number.checked_sub(1));
            assert!((8..number).all(|at| map.get(&at) == Some(&(at + 1))));
            assert!((0..number).all(|at| list.get(at as usize) == Some(&at)));
        }
    }
}
