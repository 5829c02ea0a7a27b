//! Texts as PostgreSQL stores them. It has no U+0000, so that is escaped.
//!
//! U+0000 becomes U+0001 U+FFFE, and U+0001 becomes U+0001 U+FFFF, which keeps the order of texts. JSON text has
//! neither, since it escapes control characters itself, so it is stored byte for byte.

use std::borrow::Cow;

const ESCAPE: char = '\u{1}';
const NUL: char = '\u{fffe}';
const ESCAPED: char = '\u{ffff}';

/// Returns a text as it is stored.
pub(super) fn encoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\0' => stored.extend([ESCAPE, NUL]),
            ESCAPE => stored.extend([ESCAPE, ESCAPED]),
            letter => stored.push(letter),
        }
    }
    Cow::Owned(stored)
}

/// Returns the text that was stored as `stored`.
pub(super) fn decoded(stored: &str) -> Cow<'_, str> {
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut letters = stored.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ESCAPE => text.push(if letters.next() == Some(NUL) { '\0' } else { ESCAPE }),
            letter => text.push(letter),
        }
    }
    Cow::Owned(text)
}

/// Returns SQL for a stored text in which each letter is one letter, so that `_` of LIKE matches it: U+0000 is U+FFFE,
/// which no text should contain.
pub(super) fn by_letter(value: &str) -> String {
    format!("replace(replace({value}, E'\\u0001\\uFFFE', E'\\uFFFE'), E'\\u0001\\uFFFF', E'\\u0001')")
}

/// Returns a pattern for what [`by_letter`] yields.
pub(super) fn pattern_by_letter(pattern: &str) -> String {
    pattern.replace('\0', "\u{fffe}")
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_text_is_read_back_and_keeps_its_order(
            one in "[\\x00-\\x03a\u{fffe}\u{ffff}]{0,6}", other in "[\\x00-\\x03a\u{fffe}\u{ffff}]{0,6}"
        ) {
            let stored = encoded(&one);
            proptest::prop_assert_eq!(decoded(&stored), one.as_str());
            proptest::prop_assert!(!stored.contains('\0'));
            proptest::prop_assert_eq!(stored.cmp(&encoded(&other)), one.cmp(&other));
        }
    }
}
