//! What goes to the terminal. Results go to stdout as JSON, words for a person to stderr.
//!
//! Nothing here panics where the other end has been closed, as `println!` would.

use std::io::{self, ErrorKind, Write};

use serde_json::Value;

use super::exit::Failure;

/// `value` as indented JSON with a line break at its end.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Writes a result to stdout. A reader that has seen enough and left, like `head`, is no failure.
///
/// # Errors
/// Where stdout can't be written, for example to a full disk.
pub(super) fn result(value: &Value) -> Result<(), Failure> {
    self::text(&pretty(value))
}

/// Writes a result of one line to stdout.
///
/// # Errors
/// As [`result`].
pub(super) fn result_line(line: &str) -> Result<(), Failure> {
    self::text(&format!("{}\n", one_line(line)))
}

/// The same for a result in words, whose lines are complete.
///
/// # Errors
/// As [`result`].
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("stdout can't be written: {error}; the work itself is done")))
        }
        _ => Ok(()),
    }
}

/// Writes one line to stderr. Where that is closed there is nobody left to tell.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stderr(), "{}", one_line(text));
}

/// `text` without what could break the line or steer a terminal: file names and servers may hold anything.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `1 error`, `2 errors`.
pub(super) fn count(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// `90.9 MB`: decimal, as disks and object stores count.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to 1000.0 belongs to the next unit.
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
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
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|number| count(number, "error")), ["0 errors", "1 error", "2 errors"]);
    }

    #[test]
    fn nothing_breaks_the_line_or_steers_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc\u{9b}é\r"), "a b [2Jc é ");
    }
}
