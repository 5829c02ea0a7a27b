//! Patterns of names: `*` stands for any characters, also none, and everything else for itself.

use std::fmt;

use crate::{limits::MAX_NAME_BYTES, refusal::Refusal};

/// A pattern of names, such as `team-a/*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(String);

impl Glob {
    /// Reads a pattern. `field` names it in a refusal.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is blank, longer than a name, or has a control character.
    pub fn parse(field: &str, text: &str) -> Result<Self, Refusal> {
        if text.trim().is_empty() {
            return Err(Refusal::Invalid(format!("{field} has a blank pattern; give a name, or * for all")));
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(Refusal::Invalid(format!(
                "{field} has a pattern of {} bytes, and at most {MAX_NAME_BYTES} are allowed; give a shorter one",
                text.len()
            )));
        }
        if text.contains(char::is_control) {
            return Err(Refusal::Invalid(format!(
                "{field} has a pattern with a control character; remove it"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// Creates a pattern that matches all names.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Creates the pattern of this text alone, as far as it has no `*`.
    #[must_use]
    pub fn exactly(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the pattern matches a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        // The last star, and the first byte that it has not taken.
        let mut star: Option<(usize, usize)> = None;
        while read < name.len() {
            match (pattern.get(at), star) {
                (Some(b'*'), _) => {
                    star = Some((at, read));
                    at += 1;
                }
                (Some(byte), _) if Some(byte) == name.get(read) => (at, read) = (at + 1, read + 1),
                (_, Some((of, taken))) => {
                    star = Some((of, taken + 1));
                    (at, read) = (of + 1, taken + 1);
                }
                (_, None) => return false,
            }
        }
        pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
    }

    /// Returns true if the pattern matches whatever `other` matches.
    ///
    /// A star of `other` may stand for anything, so only a star of this pattern may take it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse("models", text).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters_and_the_rest_for_itself() {
        for (pattern, matching, others) in [
            ("*", &["", "a", "team/a"][..], &[][..]),
            ("a", &["a"], &["", "A", "ab", "ba"]),
            ("team-a/*", &["team-a/", "team-a/m", "team-a/x/y"], &["team-a", "team-b/m", "xteam-a/m"]),
            ("*-dev", &["-dev", "m-dev", "a-dev-dev"], &["m-dev2", "dev"]),
            ("a*b*c", &["abc", "axxbyyc", "abbc", "abcbc"], &["ab", "acb", "abcd"]),
            ("ü*", &["über"], &["uber"]),
            ("a.b?", &["a.b?"], &["axb1"]),
        ] {
            for name in matching {
                assert!(glob(pattern).matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!glob(pattern).matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_pattern_covers_those_that_match_no_more() {
        for (outer, inner, covers) in [
            ("*", "*", true),
            ("*", "a*b", true),
            ("a*", "a*", true),
            ("a*", "ab*", true),
            ("a*", "*", false),
            ("a*", "*a", false),
            ("a", "a*", false),
            ("a*", "a", true),
            ("*a*", "b*a*c", true),
            ("a*b", "a**b", true),
        ] {
            assert_eq!(glob(outer).covers(&glob(inner)), covers, "{outer} {inner}");
        }
    }

    #[test]
    fn a_pattern_is_neither_blank_nor_long_nor_invisible() {
        for text in [String::new(), " ".to_owned(), "x".repeat(MAX_NAME_BYTES + 1), "a\nb".to_owned()] {
            assert!(matches!(Glob::parse("models", &text), Err(Refusal::Invalid(_))), "{} bytes", text.len());
        }
        // The worst case is quadratic in lengths that are bounded.
        assert!(!glob(&"*a".repeat(500)).matches(&"b".repeat(1_000)));
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_matches_its_cover_matches_too(
            outer in "[ab*]{1,5}", inner in "[ab*]{1,5}", name in "[ab]{0,6}",
        ) {
            let (outer, inner) = (glob(&outer), glob(&inner));
            prop_assert!(!outer.covers(&inner) || !inner.matches(&name) || outer.matches(&name));
        }
    }
}
