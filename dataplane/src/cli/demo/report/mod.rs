//! The findings, for people and for programs.

mod json;
mod matrix;
mod refusals;
mod text;

pub(super) use self::json::document;
pub(super) use self::text::text;
