//! Output to stdout (results) and stderr (messages).
//!
//! Nothing here panics on a closed pipe, as `println!` would.

use std::{
    cell::RefCell,
    collections::HashSet,
    io::{self, ErrorKind, Write},
};

use indicatif::HumanCount;
use serde_json::Value;

use super::exit::Failure;
use crate::domain::{is_unsafe_to_display, text::is_bidi_control};

/// Formats `value` as indented JSON with a line break at its end.
pub(super) fn pretty(value: &Value) -> String {
    format!("{}\n", escaped_for_terminal(format!("{value:#}")))
}

/// Formats `value` as one line of JSON with a line break at its end.
pub(super) fn compact(value: &Value) -> String {
    format!("{}\n", escaped_for_terminal(value.to_string()))
}

/// Escapes the characters that JSON allows in strings but that a terminal interprets.
fn escaped_for_terminal(json: String) -> String {
    let is_unsafe = |c: char| matches!(c, '\u{7f}'..='\u{9f}') || is_bidi_control(c);
    if !json.contains(is_unsafe) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        match c {
            c if is_unsafe(c) => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Writes a JSON result to stdout.
pub(super) fn result(value: &Value) -> Result<(), Failure> {
    text(&pretty(value))
}

/// Writes a result of one line to stdout.
pub(super) fn result_line(line: &str) -> Result<(), Failure> {
    text(&format!("{}\n", one_line(line)))
}

/// Writes text to stdout. A reader that closes the pipe early, like `head`, is not an error.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    page(text).map(drop)
}

/// The state of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipe {
    Open,
    /// The reader closed it, so the command can stop.
    Closed,
}

/// Writes a part of the result to stdout. The stream strips styles if stdout is not a terminal, or colours are off.
///
/// # Errors
/// If stdout can't be written, for example on a full disk.
pub(super) fn page(text: &str) -> Result<Pipe, Failure> {
    let mut stdout = anstream::AutoStream::auto(io::stdout().lock());
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Pipe::Open),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Pipe::Closed),
        Err(error) => {
            Err(Failure::failed(format!("stdout can't be written: {error}; the work itself is done")))
        }
    }
}

/// Writes one line to stderr, and ignores errors.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stderr(), "{}", one_line(text));
}

/// Returns `text` with characters that are unsafe to display replaced by spaces. File names and answers may contain any.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_unsafe_to_display(c) { ' ' } else { c }).collect()
}

/// `1,234`
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", HumanCount(count))
}

/// `90.9 MB`: decimal, as disks and object stores count.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1000.0;
    let mut unit = 0;
    // Values that round to 1000.0 belong to the next unit.
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// Prints lines to stderr, each of them only once.
#[derive(Debug, Default)]
pub(super) struct OncePrinter(RefCell<HashSet<String>>);

impl OncePrinter {
    /// Prints `text`, unless it was printed before.
    pub(super) fn once(&self, text: &str) {
        if self.0.borrow_mut().insert(text.to_owned()) {
            line(text);
        }
    }

    /// Allows every line to be printed again.
    pub(super) fn reset(&self) {
        self.0.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (90_868_376, "90.9 MB"),
            (999_950, "1.0 MB"),
            (999_949, "999.9 kB"),
            (2_147_483_648, "2.1 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "error")), ["0 errors", "1 error", "2 errors"]);
    }

    #[test]
    fn one_line_has_no_unsafe_characters() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc\u{9b}é\r"), "a b [2Jc é ");
        assert_eq!(one_line("a\u{202e}b\u{2066}c\u{2028}d"), "a b c d");
    }

    #[test]
    fn json_keeps_its_meaning_without_unsafe_characters() {
        let value = serde_json::json!({"a\u{2028}": "x\u{9b}2J\u{7f}\u{1b}é\u{202e}b"});
        for text in [pretty(&value), compact(&value)] {
            assert!(!text.trim_end().contains(|c: char| is_unsafe_to_display(c) && c != '\n'), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
