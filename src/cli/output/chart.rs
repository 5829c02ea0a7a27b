//! Bars for a terminal, for `compare` and `stats`: one number in several versions.

use super::{
    table::{Cell, GAP, INDENT, indented},
    terminal::{BAR, DEFAULT_WIDTH, FAINT, Terminal, in_style, width_of},
};

const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const MAX_BAR_WIDTH: usize = 40;
const MIN_BAR_WIDTH: usize = 8;

/// One line of a chart.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Entry {
    pub(in crate::cli) label: String,
    /// The number and its original text. A version may have none.
    pub(in crate::cli) value: Option<(f64, String)>,
}

/// The numbers at both ends of the bars.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// Creates an axis that starts at zero if differences are visible then; otherwise a little below the smallest number.
    fn of(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low >= 0.0 && (low <= high / 2.0 || low == high) {
            return Self { from: 0.0, to: high };
        }
        // Divided first, since the difference may overflow.
        let margin = high / 4.0 - low / 4.0;
        let from = low - if margin > 0.0 { margin } else { low.abs() / 2.0 };
        Self { from: from.max(f64::MIN), to: high }
    }

    /// Returns the share of a bar that `value` fills.
    fn share(self, value: f64) -> f64 {
        let length = self.to / 2.0 - self.from / 2.0;
        if length > 0.0 { ((value / 2.0 - self.from / 2.0) / length).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Returns a title with the axis, and per entry a line with label, bar, value, and the change since the last value.
pub(in crate::cli) fn bars(title: &str, entries: &[Entry], terminal: Terminal) -> String {
    let values: Vec<f64> = entries.iter().filter_map(|entry| entry.value.as_ref()).map(|(v, _)| *v).collect();
    let axis = Axis::of(&values);
    let mut last = None;
    let mut change_to =
        |value: f64| last.replace(value).map(|before| change(before, value)).unwrap_or_default();
    let texts: Vec<(&str, String)> = entries
        .iter()
        .map(|entry| match &entry.value {
            None => ("-", String::new()),
            Some((value, text)) => (text.as_str(), change_to(*value)),
        })
        .collect();
    let around = [
        widest(entries.iter().map(|entry| entry.label.as_str())),
        widest(texts.iter().map(|(text, _)| *text)),
        widest(texts.iter().map(|(_, change)| change.as_str())),
    ];
    let around = INDENT.len() + around.iter().sum::<usize>() + around.len() * GAP;
    let available = terminal.width.unwrap_or(DEFAULT_WIDTH).saturating_sub(around);
    let bar_width = available.clamp(MIN_BAR_WIDTH, MAX_BAR_WIDTH);
    let row = |(entry, (text, change)): (&Entry, (&str, String))| {
        let share = entry.value.as_ref().map_or(0.0, |(value, _)| axis.share(*value));
        let bar = bar(share, bar_width, terminal.unicode);
        let rigid = |text: String| Cell { rigid: true, ..Cell::new(text) };
        vec![
            Cell::new(&entry.label),
            rigid(format!("{bar:bar_width$}")).styled(BAR),
            Cell { right: true, ..rigid(text.to_owned()) },
            rigid(change),
        ]
    };
    let rows: Vec<_> = entries.iter().zip(texts).map(row).collect();
    let range = if values.is_empty() {
        String::new()
    } else {
        in_style(FAINT, &format!("  bars from {} to {}", number(axis.from), number(axis.to)))
    };
    format!("{title}{range}\n{}", indented(&rows, terminal))
}

/// Returns a bar that fills `share` of `width` columns. Every share above 0 is visible.
pub(in crate::cli) fn bar(share: f64, width: usize, unicode: bool) -> String {
    if share <= 0.0 || share.is_nan() {
        return String::new();
    }
    if !unicode {
        let columns = (share * width as f64).round() as usize;
        return "#".repeat(columns.clamp(1, width));
    }
    let eighths = ((share * width as f64 * 8.0).round() as usize).clamp(1, width * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// `+0.1 (+14.3%)`
fn change(before: f64, now: f64) -> String {
    let difference = now - before;
    if difference == 0.0 {
        return "unchanged".to_owned();
    }
    let sign = if difference > 0.0 { "+" } else { "-" };
    // Divided first, since the difference may overflow.
    let share = (now / before.abs() - before.signum()) * 100.0;
    let share = if share.is_finite() { format!(" ({share:+.1}%)") } else { String::new() };
    if !difference.is_finite() {
        return share.trim_start().to_owned();
    }
    format!("{sign}{}{share}", number(difference.abs()))
}

/// Formats a number with at most six significant digits, so that there is no `0.10000000000000009`.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{}", value + 0.0);
    }
    // Parsing the six digits again drops the noise after them.
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    if (1e-4..1e15).contains(&rounded.abs()) { rounded.to_string() } else { format!("{rounded:e}") }
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(width_of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_begins_at_zero_unless_differences_would_vanish() {
        for (values, from, to) in [
            (&[0.2, 0.8][..], 0.0, 0.8),
            (&[0.8], 0.0, 0.8),
            (&[0.0, 0.0], 0.0, 0.0),
            (&[2.0, 2.5], 1.875, 2.5),
            (&[-1.0, 1.0], -1.5, 1.0),
            (&[-2.0], -3.0, -2.0),
        ] {
            assert_eq!(Axis::of(values), Axis { from, to }, "{values:?}");
        }
    }

    #[test]
    fn shares_stay_within_the_bar_for_any_numbers() {
        for values in [&[f64::MIN, f64::MAX][..], &[0.0], &[5e-324, 1e308], &[-1e308, -5e-324], &[3.0, 3.0]] {
            let axis = Axis::of(values);
            for value in values {
                assert!((0.0..=1.0).contains(&axis.share(*value)), "{values:?} {axis:?}");
            }
        }
    }

    #[test]
    fn bars_count_in_eighths_or_in_whole_columns() {
        for (share, unicode, expected) in [
            (0.0, true, ""),
            (1.0, true, "████"),
            (0.5, true, "██"),
            (0.53, true, "██▏"),
            (0.001, true, "▏"),
            (1.0, false, "####"),
            (0.4, false, "##"),
            (0.001, false, "#"),
            (f64::NAN, true, ""),
        ] {
            assert_eq!(bar(share, 4, unicode), expected, "{share}");
        }
    }

    #[test]
    fn numbers_have_no_noise() {
        for (value, text) in [
            (0.8 - 0.7, "0.1"),
            (0.0, "0"),
            (-2.5, "-2.5"),
            (1234.5678, "1234.57"),
            (123_456_789.0, "123456789"),
            (1.5e-7, "1.5e-7"),
            (1e300, "1e300"),
        ] {
            assert_eq!(number(value), text);
        }
        for (before, now, text) in [
            (0.7, 0.8, "+0.1 (+14.3%)"),
            (2.5, 2.0, "-0.5 (-20.0%)"),
            (0.0, 1.0, "+1"),
            (1.0, 1.0, "unchanged"),
            (-2.0, -1.0, "+1 (+50.0%)"),
            (1e308, -1e308, "(-200.0%)"),
            (-1e308, 1e308, "(+200.0%)"),
        ] {
            assert_eq!(change(before, now), text);
        }
    }
}
