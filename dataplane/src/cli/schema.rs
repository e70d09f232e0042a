//! `septum schema`: the shape of policy files, as JSON Schema.

use std::io::{self, Write};

use septum_rules::schema::SCHEMA;

use super::failure::Failure;

/// Prints the schema.
///
/// # Errors
/// Never; verbs are alike.
pub(super) fn run() -> Result<u8, Failure> {
    // A reader that has seen enough closes the pipe: no failure.
    let _ = io::stdout().write_all(SCHEMA.as_bytes());
    Ok(0)
}
