//! The published shape of policy files, as JSON Schema (draft 2020-12).
//!
//! It says which keys there are and what their values look like; what a schema cannot say (names that exist,
//! addresses that are unique, selectors that parse) only reading the policy tells. Tests hold it to the decoder.

/// The schema, as a JSON document.
pub const SCHEMA: &str = include_str!("schema.json");
