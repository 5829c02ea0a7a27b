//! Texts in a drawing: what markup may hold, how wide a text comes out, how a number is written.

/// `text` as markup may hold it, in an attribute too. What XML has no way to write becomes U+FFFD.
pub(super) fn escaped(text: &str) -> String {
    let mut markup = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            '\t' | '\n' | '\r' => markup.push(' '),
            '\u{fffe}' | '\u{ffff}' => markup.push('\u{fffd}'),
            letter if letter.is_control() => markup.push('\u{fffd}'),
            letter => markup.push(letter),
        }
    }
    markup
}

/// About how wide `text` is at `size`, in whatever sans serif a reader's machine has.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let ems = text.chars().map(|letter| match letter {
        ' ' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' | 'i' | 'j' | 'l' | 'f' | 't' | 'r' | '(' | ')'
        | '/' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
        'A'..='Z' | '_' | '=' | '…' => 0.7,
        letter if letter >= '\u{1100}' => 1.05,
        _ => 0.59,
    });
    ems.sum::<f64>() * size
}

/// `text`, cut to a width with an ellipsis where it is longer.
pub(super) fn cut(text: &str, room: f64, size: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        kept.push(letter);
        if width(&kept, size) + width("…", size) > room {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

/// A number on a scale whose lines are `step` apart: as many decimals as tell them apart, thousands set off.
pub(super) fn number(value: f64, step: f64) -> String {
    if value.abs() >= 1e12 || (value != 0.0 && value.abs() < 1e-9) {
        return format!("{value:e}");
    }
    // A step of 0.2 is 0.19999… times ten somewhere; a thousandth of a decade makes up for it.
    let decimals = (-(step.abs().log10() + 1e-3).floor()).clamp(0.0, 12.0) as usize;
    let plain = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
    let mut text = String::new();
    if value < 0.0 && plain.contains(|digit| ('1'..='9').contains(&digit)) {
        text.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// Three digits of a number that stands by itself: `0.0123`, `4.57`, `1,230`.
pub(super) fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let last = 10_f64.powf(value.abs().log10().floor() - 2.0);
    number((value / last).round() * last, last)
}

/// A coordinate: a tenth of a pixel is more than anybody sees. What is no number is nowhere, so at the origin.
pub(super) fn place(at: f64) -> String {
    if !at.is_finite() {
        return "0".to_owned();
    }
    let tenths = (at * 10.0).round();
    if tenths % 10.0 == 0.0 { format!("{}", tenths / 10.0 + 0.0) } else { format!("{:.1}", tenths / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_lose_their_meaning() {
        assert_eq!(
            escaped("<a b='\"'>&\u{1b}[0m\n\0é"),
            "&lt;a b=&#39;&quot;&#39;&gt;&amp;\u{fffd}[0m \u{fffd}é"
        );
    }

    #[test]
    fn numbers_have_the_decimals_that_their_scale_needs() {
        for (value, step, text) in [
            (0.0, 1.0, "0"),
            (0.3, 0.1, "0.3"),
            (0.2 * 3.0, 0.2, "0.6"),
            (1234567.0, 100_000.0, "1,234,567"),
            (1000.5, 0.5, "1,000.5"),
            (-2500.0, 500.0, "−2,500"),
            (-0.0, 1.0, "0"),
            (1e300, 1e299, "1e300"),
            (0.001, 0.001, "0.001"),
        ] {
            assert_eq!(number(value, step), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (4.567, "4.57"),
            (99.96, "100.0"),
            (1234.0, "1,230"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_text_is_cut_where_the_room_ends() {
        assert_eq!(cut("metrics", 200.0, 12.0), "metrics");
        let short = cut("a label that nobody has room for", 80.0, 12.0);
        assert!(short.ends_with('…') && width(&short, 12.0) <= 80.0, "{short}");
        assert_eq!(cut("wide", 0.0, 12.0), "…");
    }

    #[test]
    fn coordinates_are_short_and_never_no_numbers() {
        for (at, text) in [(1.0, "1"), (1.25, "1.3"), (-0.01, "0"), (f64::NAN, "0"), (f64::INFINITY, "0")] {
            assert_eq!(place(at), text);
        }
    }
}
