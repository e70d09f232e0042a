//! Policies that people already have, as policy files: texts in, one TOML text out.
//!
//! An import is lossless or loud: what the policy language cannot say is an error with its place, or, where the
//! caller asks for it, a comment in the file that comes out. Nothing here reads files; what comes out is
//! meant to be read, kept and edited.

pub mod classbench;
pub mod kubernetes;
mod toml_text;
