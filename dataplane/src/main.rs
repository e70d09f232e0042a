//! The `septum` command.
fn main() {}
