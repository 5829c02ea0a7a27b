//! Filters and sort keys on the command line, checked before anything is sent.

use std::ffi::OsStr;

use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};

use super::{output::terminal::width_of, print};
use crate::domain::{
    Filter, Order, SortKey,
    filter::{FilterError, Scope},
};

/// Characters of a filter on each side of a fault that an error shows.
const SHOWN_CHARS: usize = 50;

/// Parses a filter of versions. The error points to the fault.
#[derive(Clone)]
pub(super) struct FilterParser;

impl TypedValueParser for FilterParser {
    type Value = Filter;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Filter, clap::Error> {
        let text = value.to_str().unwrap_or("\u{fffd}");
        Filter::parse(text, Scope::Versions).map_err(|error| invalid(command, "filter", text, &error))
    }
}

/// A field to sort by, and a direction if one was given.
#[derive(Debug, Clone)]
pub(super) struct SortArg {
    pub(super) key: SortKey,
    pub(super) order: Option<Order>,
}

/// Parses `FIELD`, `FIELD:asc` or `FIELD:desc`. The error points to the fault.
#[derive(Clone)]
pub(super) struct SortParser;

impl TypedValueParser for SortParser {
    type Value = SortArg;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<SortArg, clap::Error> {
        let text = value.to_str().unwrap_or("\u{fffd}");
        let key = SortKey::parse(text, Scope::Versions)
            .map_err(|error| invalid(command, "sort key", text, &error))?;
        // A direction can't follow another one.
        let has_order = SortKey::parse(&format!("{text}:asc"), Scope::Versions).is_err();
        Ok(SortArg { order: has_order.then_some(key.order), key })
    }
}

fn invalid(command: &Command, what: &str, text: &str, error: &FilterError) -> clap::Error {
    let pointer = pointer(text, error.position);
    let message = format!("invalid {what} {}\n{pointer}\n", print::one_line(&error.to_string()));
    clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
}

/// Returns the text around a position, which counts characters from 1, and below it a caret.
fn pointer(text: &str, position: usize) -> String {
    let at = position.saturating_sub(1);
    let start = at.saturating_sub(SHOWN_CHARS);
    let before: String = text.chars().skip(start).take(at - start).collect();
    let after: String = text.chars().skip(at).take(SHOWN_CHARS).collect();
    let cut = |is_cut: bool| if is_cut { "..." } else { "" };
    let (before, after) = (print::one_line(&before), print::one_line(&after));
    let before = format!("  {}{before}", cut(start > 0));
    let is_cut = text.chars().nth(at + SHOWN_CHARS).is_some();
    format!("{before}{after}{}\n{}^", cut(is_cut), " ".repeat(width_of(&before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_fault() {
        for (text, position, expected) in [
            ("status = ", 10, "  status = \n           ^"),
            ("a", 1, "  a\n  ^"),
            ("", 1, "  \n  ^"),
            ("tags.模型 > 3", 9, "  tags.模型 > 3\n            ^"),
            ("a\n\u{1b}b = 1", 4, "  a  b = 1\n     ^"),
        ] {
            assert_eq!(pointer(text, position), expected, "{text:?}");
        }
        let long = format!("{}!{}", "a".repeat(60), "b".repeat(60));
        assert_eq!(
            pointer(&long, 61),
            format!("  ...{}!{}...\n{}^", "a".repeat(50), "b".repeat(49), " ".repeat(55))
        );
    }
}
