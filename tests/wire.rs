//! The wire: parsing, checksums, what the switch writes, segmentation. Etherparse and pnet are the independent
//! witnesses, the kernel is the one for segmentation.

#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/reasons.rs"]
mod reasons;
