//! Segmentation as tests ask for it.

use septum::burst::SLOT;
use septum::port::Offloads;
use septum::wire::segment::fit;

/// What our segmentation makes of a frame.
pub(crate) fn fitted(frame: &[u8], offloads: Offloads) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut scratch = vec![0; SLOT];
    let count = fit(&mut frame.to_vec(), offloads, &mut scratch, |segment| segments.push(segment.to_vec()));
    assert_eq!(count, Ok(segments.len()));
    segments
}
