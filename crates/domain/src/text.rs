//! Case folding for searches, and characters that change how a text is displayed.

/// Returns the text in lower case, letter by letter: lower-casing a whole text would write a sigma at the end of
/// a word differently from one inside it.
#[must_use]
pub fn fold(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

/// Returns true if `c` breaks a line, controls a terminal, or reorders the characters around it. Names and
/// descriptions may contain any character; output that shows them on one line must replace these.
#[must_use]
pub fn is_unsafe_to_display(c: char) -> bool {
    c.is_control() || is_bidi_control(c)
}

/// Returns true for bidirectional controls, and for the line and paragraph separators. JSON and YAML writers escape
/// control characters but not these.
#[must_use]
pub fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_distinguished_from_those_that_only_look_odd() {
        let unsafe_ones =
            "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{200f}";
        assert!(unsafe_ones.chars().all(is_unsafe_to_display));
        assert!("aé 模·\u{a0}\u{200b}\u{feff}😀\u{e000}".chars().all(|c| !is_unsafe_to_display(c)));
    }
}
