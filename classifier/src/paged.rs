//! A value for each number from zero up, in pages of 64, equal pages stored once.
//!
//! What most numbers have in common costs a page of it and four bytes for each 64 numbers, so that it stays in the first cache
//! where a plain table would not. Cost of a lookup: two loads.

use std::hash::Hash;

use crate::intern::Interner;
use crate::limits::BuildError;

/// Numbers of one page.
const PAGE: usize = 64;

/// The finished table.
#[derive(Clone, Debug)]
pub(crate) struct Paged<T> {
    /// Starts in `values`.
    pages: Box<[u32]>,
    values: Box<[T]>,
    len: usize,
}

impl<T: Copy + Eq + Hash> Paged<T> {
    /// The table of these values. `name` and `limit` are for the error.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn build(name: &'static str, limit: usize, values: &[T]) -> Result<Self, BuildError> {
        let mut pages = Interner::new(name, limit);
        let mut starts = Vec::with_capacity(values.len().div_ceil(PAGE));
        for page in values.chunks(PAGE) {
            let page: [T; PAGE] = std::array::from_fn(|at| page.get(at).copied().unwrap_or(page[0]));
            let page = pages.intern(&page)?;
            starts.push(pages.start(page));
        }
        Ok(Self { pages: starts.into_boxed_slice(), values: pages.into_items(), len: values.len() })
    }

    /// The value of a number below [`Paged::len`].
    ///
    /// # Panics
    /// Where there is no page of it.
    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> T {
        self.values[self.pages[number as usize / PAGE] as usize + number as usize % PAGE]
    }

    /// [`Paged::get`], without the trust that the table is well formed.
    pub(crate) fn find(&self, number: u32) -> Option<T> {
        let page = self.pages.get(number as usize / PAGE).filter(|_| (number as usize) < self.len)?;
        self.values.get(*page as usize + number as usize % PAGE).copied()
    }

    /// How many numbers have values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.pages) + size_of_val(&*self.values)
    }
}

#[cfg(test)]
impl<T> Paged<T> {
    pub(crate) fn cells<'t>(
        &'t mut self,
        name: &'static str,
        value: impl Fn(&'t mut T) -> Vec<crate::cells::Cell<'t>>,
        tables: &mut crate::cells::Tables<'t>,
    ) {
        tables.push((name, crate::cells::each(&mut self.pages)));
        tables.push((name, self.values.iter_mut().flat_map(value).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_value_and_equal_pages_are_one() {
        for len in [1, 63, 64, 65, 1000] {
            let values: Vec<u32> = (0..len).map(|at| if at == 700 { 7 } else { 3 }).collect();
            let table = Paged::build("test", 1 << 20, &values).expect("within limits");
            assert_eq!(table.len(), values.len());
            for (number, value) in (0..).zip(&values) {
                assert_eq!((table.get(number), table.find(number)), (*value, Some(*value)), "{number}");
            }
            assert_eq!(table.find(len), None);
            assert!(table.memory() <= 4 * (2 * PAGE + 16), "{} bytes", table.memory());
        }
        assert!(Paged::build("test", 63, &[1]).is_err());
    }
}
