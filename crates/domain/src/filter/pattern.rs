//! Patterns of `LIKE` and `ILIKE`.

use std::str::Chars;

use crate::text::fold;

/// A pattern of `LIKE` or `ILIKE` that a whole text matches: `%` stands for any text, `_` for one character.
///
/// `\` before `%`, `_` or `\` makes that character literal; before any other it is literal itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
    ignores_case: bool,
}

/// A piece of a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// `%`
    AnyText,
    /// `_`
    AnyChar,
    /// This character.
    Char(char),
}

impl Pattern {
    /// Parses a pattern. One that ignores case is folded, as is the text it is compared with (see [`fold`]), and `_`
    /// stands for one character of the folded text.
    #[must_use]
    pub fn new(text: &str, ignores_case: bool) -> Self {
        Self::parse(text, ignores_case, true)
    }

    /// Parses a pattern in which `\` is a character like any other, as in MLflow's.
    pub(super) fn without_escapes(text: &str, ignores_case: bool) -> Self {
        Self::parse(text, ignores_case, false)
    }

    fn parse(text: &str, ignores_case: bool, has_escapes: bool) -> Self {
        let folded;
        let text = if ignores_case {
            folded = fold(text);
            &folded
        } else {
            text
        };
        let mut pieces = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            pieces.push(match c {
                '%' => Piece::AnyText,
                '_' => Piece::AnyChar,
                '\\' if has_escapes => {
                    Piece::Char(characters.next_if(|c| ['%', '_', '\\'].contains(c)).unwrap_or('\\'))
                }
                c => Piece::Char(c),
            });
        }
        Self { pieces, ignores_case }
    }

    /// Returns the pieces; folded if the pattern ignores case.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns true for `ILIKE`.
    #[must_use]
    pub fn ignores_case(&self) -> bool {
        self.ignores_case
    }

    /// Returns the pattern as text, in which `\` escapes each literal `%`, `_` and `\`; folded if it ignores case.
    #[must_use]
    pub fn escaped(&self) -> String {
        let mut text = String::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::AnyText => text.push('%'),
                Piece::AnyChar => text.push('_'),
                Piece::Char(c) => {
                    if ['%', '_', '\\'].contains(c) {
                        text.push('\\');
                    }
                    text.push(*c);
                }
            }
        }
        text
    }

    /// Returns true if the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        if self.ignores_case { self.fits(&fold(text)) } else { self.fits(text) }
    }

    /// Matches greedily. Only the last `%` is tried again, so this takes at most pieces × characters steps.
    fn fits(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut next = 0;
        let mut last_any: Option<(usize, Chars<'_>)> = None;
        loop {
            match self.pieces.get(next) {
                Some(Piece::AnyText) => {
                    next += 1;
                    last_any = Some((next, rest.clone()));
                    continue;
                }
                Some(piece) => {
                    let mut after = rest.clone();
                    if after.next().is_some_and(|c| *piece == Piece::AnyChar || *piece == Piece::Char(c)) {
                        rest = after;
                        next += 1;
                        continue;
                    }
                }
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            let Some((after_any, start)) = &mut last_any else { return false };
            if start.next().is_none() {
                return false;
            }
            next = *after_any;
            rest = start.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_text_matches() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc", "ab", false),
            ("a%", "a", true),
            ("%b%", "abc", true),
            ("%b%", "ac", false),
            ("a_c", "abc", true),
            ("a_c", "aéc", true),
            ("a_c", "ac", false),
            ("%a%b", "aabab", true),
            ("%ab_", "abcabd", true),
            ("%%__", "a", false),
            ("%\n%", "a\nb", true),
            ("100\\%", "100%", true),
            ("100\\%", "100x", false),
            ("a\\_%", "a_b", true),
            ("a\\_%", "axb", false),
            ("a\\\\b", "a\\b", true),
            ("C:\\m%", "C:\\models", true),
            ("a\\", "a\\", true),
        ] {
            assert_eq!(Pattern::new(pattern, false).matches(text), matches, "{pattern:?} of {text:?}");
        }
    }

    #[test]
    fn case_is_ignored_as_in_a_text_search() {
        for (pattern, text, matches) in [
            ("HELLO%", "hello world", true),
            ("тег", "ТЕГ", true),
            ("ΟΔΟΣ", "οδος", true),
            ("%ΟΔΟΣ", "ΟΔΟΣΑ", false),
            ("modele", "modèle", false),
        ] {
            assert_eq!(Pattern::new(pattern, true).matches(text), matches, "{pattern:?} of {text:?}");
        }
        assert!(!Pattern::new("HELLO", false).matches("hello"));
    }

    /// Matches by trying each length of each `%`.
    fn tried(pieces: &[Piece], text: &[char]) -> bool {
        match (pieces, text) {
            ([], text) => text.is_empty(),
            ([Piece::AnyText, pieces @ ..], text) => {
                (0..=text.len()).any(|skipped| tried(pieces, &text[skipped..]))
            }
            ([Piece::AnyChar, pieces @ ..], [_, text @ ..]) => tried(pieces, text),
            ([Piece::Char(c), pieces @ ..], [first, text @ ..]) => c == first && tried(pieces, text),
            (_, []) => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn the_greedy_match_finds_what_trying_everything_finds(pattern in "[ab%_]{0,8}", text in "[ab]{0,10}") {
            let pattern = Pattern::new(&pattern, false);
            let letters: Vec<char> = text.chars().collect();
            proptest::prop_assert_eq!(pattern.matches(&text), tried(pattern.pieces(), &letters));
        }

        #[test]
        fn the_escaped_text_is_the_same_pattern(text in "[%_\\\\aÉςſİ]{0,8}", ignores_case: bool) {
            let pattern = Pattern::new(&text, ignores_case);
            proptest::prop_assert_eq!(Pattern::new(&pattern.escaped(), ignores_case), pattern);
        }
    }
}
