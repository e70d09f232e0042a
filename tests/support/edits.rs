//! Edits of a text by chance: pieces cut out of it, and others put in their place.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;

/// Where, how many bytes go, and what comes instead.
pub(crate) type Edit<P> = (Index, usize, P);

/// So many edits that put in what `piece` gives, and each take out at most as many bytes.
pub(crate) fn edits<P: Strategy>(
    piece: P,
    removed: Range<usize>,
    count: Range<usize>,
) -> impl Strategy<Value = Vec<Edit<P::Value>>> {
    prop::collection::vec((any::<Index>(), removed, piece), count)
}

/// The text with these edits made behind its first `kept` bytes.
pub(crate) fn edited<P: AsRef<[u8]>>(text: &str, kept: usize, edits: &[Edit<P>]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, removed, inserted) in edits {
        let start = kept + at.index(bytes.len() + 1 - kept);
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, inserted.as_ref().iter().copied());
    }
    bytes
}
