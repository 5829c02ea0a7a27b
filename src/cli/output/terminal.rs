//! The terminal: width, character set, styles, and text cut to columns.

use std::{env, io};

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The width of charts in a file or pipe.
pub(in crate::cli) const DEFAULT_WIDTH: usize = 80;

pub(in crate::cli) const HEADER: Style = Style::new().bold();
pub(in crate::cli) const FAINT: Style = Style::new().dimmed();
pub(in crate::cli) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(in crate::cli) const DIFFERENT: Style = Style::new().bold();
pub(in crate::cli) const BAR: Style = AnsiColor::Cyan.on_default();

/// The terminal of stdout.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Terminal {
    /// Its columns; `None` for a pipe or a file, where nothing is cut.
    pub(in crate::cli) width: Option<usize>,
    /// True if it shows more than ASCII.
    pub(in crate::cli) unicode: bool,
}

impl Terminal {
    /// Detects the terminal of stdout, and its character set from the variables of the locale.
    pub(in crate::cli) fn of_stdout() -> Self {
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        Self { width: width.filter(|width| *width > 0), unicode: draws_unicode(|name| env::var(name).ok()) }
    }

    /// Returns the mark at the end of a cut text.
    pub(in crate::cli) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }
}

/// Returns true if the locale allows Unicode. As in the C library, the first of three variables that is set decides.
fn draws_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
    is_utf8 && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Returns `text` in `style`. An output without styles strips it again.
pub(in crate::cli) fn in_style(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns the columns of `text`.
pub(in crate::cli) fn width_of(text: &str) -> usize {
    text.width()
}

/// Returns `text`, cut with `ellipsis` if it is wider than `columns`.
pub(in crate::cli) fn cut(text: &str, columns: usize, ellipsis: &str) -> String {
    if width_of(text) <= columns {
        return text.to_owned();
    }
    let available = columns.saturating_sub(width_of(ellipsis));
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > available
    });
    let kept = &text[..end.map_or(text.len(), |(at, _)| at)];
    // A joiner at the end joins nothing.
    let kept = kept.trim_end_matches('\u{200d}').trim_end();
    if columns == 0 { String::new() } else { format!("{kept}{ellipsis}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_its_columns() {
        for (text, columns, expected) in [
            ("tiny", 4, "tiny"),
            ("tiny-gpt", 5, "tiny…"),
            ("tiny gpt", 6, "tiny…"),
            ("模型模型", 8, "模型模型"),
            ("模型模型", 7, "模型模…"),
            ("模型模型", 6, "模型…"),
            ("é́é́é́", 2, "é́…"),
            ("👩‍🚀👩‍🚀👩‍🚀", 4, "👩…"),
            ("tiny", 1, "…"),
            ("tiny", 0, ""),
        ] {
            let cut = cut(text, columns, "…");
            assert_eq!(cut, expected, "{text} {columns}");
            assert!(width_of(&cut) <= columns, "{text} {columns}");
        }
    }

    #[test]
    fn the_locale_decides_if_there_is_more_than_ascii() {
        for (variables, expected) in [
            (&[][..], false),
            (&[("LANG", "C.UTF-8")], true),
            (&[("LANG", "de_DE.utf8")], true),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LANG", "C"), ("LC_ALL", ""), ("LC_CTYPE", "en_US.UTF-8")], true),
            (&[("LANG", "C.UTF-8"), ("TERM", "dumb")], false),
            (&[("LANG", "C.UTF-8"), ("TERM", "xterm")], true),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(draws_unicode(variable), expected, "{variables:?}");
        }
    }
}
