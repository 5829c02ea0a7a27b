//! Splits a `filter_string` into clauses as MLflow's SQL parser does, so that what it refuses is refused here too.

use crate::refusal::Refusal;

/// A piece of a filter, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// Where it begins, in bytes.
    pub(super) start: usize,
}

/// The kind of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text between single quotes.
    Text,
    /// Names joined by points. Each may be between backticks or double quotes, so a text between double quotes is one too.
    Name,
    /// A word that SQL reserves.
    Keyword,
    Integer,
    Decimal,
    /// `=`, `!=`, `LIKE`, `NOT IN` and the like; also those that no filter may use.
    Comparator,
    /// From `(` to its `)`.
    Parenthesis,
    Other,
}

impl Token<'_> {
    /// Returns where the token ends, in bytes.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        self.kind == Kind::Keyword && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// Words that are no names unless a point is next to them. MLflow's parser knows hundreds; these are the ones that a user of
/// a registry may write.
const KEYWORDS: [&str; 16] = [
    "and", "or", "not", "in", "is", "null", "between", "true", "false", "version", "source", "type", "value",
    "key", "user", "order",
];
const PATTERN_COMPARATORS: [&str; 3] = ["like", "ilike", "rlike"];

/// Splits a filter into tokens without the blanks between them.
///
/// # Errors
/// [`Refusal::Invalid`] if a quote or a parenthesis is never closed.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Refusal> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        let start = at + (rest.len() - trimmed.len());
        let Some(first) = trimmed.chars().next() else { return Ok(tokens) };
        let (kind, length) = match first {
            '\'' => (Kind::Text, quoted(trimmed).ok_or_else(|| unclosed(text, "'"))?),
            '(' => (Kind::Parenthesis, parenthesis(trimmed).ok_or_else(|| unclosed(text, "("))?),
            '`' | '"' => (Kind::Name, path(trimmed).ok_or_else(|| unclosed(text, &first.to_string()))?),
            '<' | '>' | '=' | '!' | '~' => {
                (Kind::Comparator, trimmed.find(|c| !"<>=!~".contains(c)).unwrap_or(trimmed.len()))
            }
            first if first.is_alphabetic() || first == '_' => {
                word(trimmed).ok_or_else(|| unclosed(text, "`"))?
            }
            first if first.is_ascii_digit() || first == '-' || first == '.' => number(trimmed),
            first => (Kind::Other, first.len_utf8()),
        };
        let token = Token { kind, text: trimmed.get(..length).unwrap_or(trimmed), start };
        at = token.end();
        tokens.push(token);
    }
}

fn unclosed(text: &str, opened: &str) -> Refusal {
    Refusal::Invalid(format!("Error on parsing filter '{text}': {opened} is not closed"))
}

/// Returns the length of a quoted text. A quote that is doubled, or after `\`, does not end it.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + quote.len_utf8());
        }
    }
    None
}

/// Returns the length of a parenthesis with everything in it.
fn parenthesis(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let rest = text.get(at..)?;
        match rest.chars().next()? {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            '\'' | '"' => {
                at += quoted(rest)?;
                continue;
            }
            _ => {}
        }
        at += rest.chars().next()?.len_utf8();
    }
}

/// Returns the length of a path; `None` if a quote in it is not closed.
fn path(text: &str) -> Option<usize> {
    let may_have_dash = text.starts_with("scores.");
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        at += match rest.chars().next() {
            Some('`' | '"') => quoted(rest)?,
            _ => rest.find(|c| !(is_word(c) || may_have_dash && c == '-')).unwrap_or(rest.len()),
        };
        let after = text.get(at..)?.strip_prefix('.');
        if !after.is_some_and(|rest| rest.starts_with(|c| is_word(c) || c == '`' || c == '"')) {
            return Some(at);
        }
        at += 1;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns what a word begins, and its length.
fn word(text: &str) -> Option<(Kind, usize)> {
    let length = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let word = text.get(..length)?.to_ascii_lowercase();
    let after = text.get(length..)?;
    if after.starts_with('.') {
        return Some((Kind::Name, path(text)?));
    }
    if PATTERN_COMPARATORS.contains(&word.as_str()) || word == "in" {
        return Some((Kind::Comparator, length));
    }
    if word == "not" {
        // Both words are one comparator.
        let next = after.trim_start();
        let blanks = after.len() - next.len();
        let end = next.find(|c| !is_word(c)).unwrap_or(next.len());
        let next = next.get(..end)?.to_ascii_lowercase();
        if PATTERN_COMPARATORS.contains(&next.as_str()) || next == "in" {
            return Some((Kind::Comparator, length + blanks + end));
        }
    }
    Some((if KEYWORDS.contains(&word.as_str()) { Kind::Keyword } else { Kind::Name }, length))
}

/// Returns what a number or a sign begins, and its length.
fn number(text: &str) -> (Kind, usize) {
    let sign = usize::from(text.starts_with('-'));
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
    };
    let whole = digits(sign);
    let mut end = whole;
    let mut kind = Kind::Integer;
    if text.get(whole..).is_some_and(|rest| rest.starts_with('.')) {
        (kind, end) = (Kind::Decimal, digits(whole + 1));
    }
    let has_digits = text.get(sign..end).is_some_and(|digits| digits.contains(|c: char| c.is_ascii_digit()));
    if !has_digits {
        return (Kind::Other, 1);
    }
    let exponent = text.get(end..).and_then(|rest| rest.strip_prefix(['e', 'E']));
    if let Some(exponent) = exponent {
        let signed = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if signed.starts_with(|c: char| c.is_ascii_digit()) {
            return (Kind::Decimal, digits(text.len() - signed.len()));
        }
    }
    (kind, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_split_as_sql_is() {
        use Kind::{Comparator, Decimal, Integer, Keyword, Name, Other, Parenthesis, Text};
        let cases: [(&str, &[(Kind, &str)]); 16] = [
            ("", &[]),
            (" \n", &[]),
            ("name='a'", &[(Name, "name"), (Comparator, "="), (Text, "'a'")]),
            ("a LIKE 'it''s'", &[(Name, "a"), (Comparator, "LIKE"), (Text, "'it''s'")]),
            (r"a='b\'c' ", &[(Name, "a"), (Comparator, "="), (Text, r"'b\'c'")]),
            ("tags.`a b`!= \"x'y\"", &[(Name, "tags.`a b`"), (Comparator, "!="), (Name, "\"x'y\"")]),
            ("tags.\"a.b\".c", &[(Name, "tags.\"a.b\".c")]),
            ("tags.version", &[(Name, "tags.version")]),
            ("version = -1", &[(Keyword, "version"), (Comparator, "="), (Integer, "-1")]),
            ("1.5 .5 1e3 -", &[(Decimal, "1.5"), (Decimal, ".5"), (Decimal, "1e3"), (Other, "-")]),
            ("n NOT  in ('a', ')')", &[(Name, "n"), (Comparator, "NOT  in"), (Parenthesis, "('a', ')')")]),
            ("NOT name", &[(Keyword, "NOT"), (Name, "name")]),
            ("a<>b", &[(Name, "a"), (Comparator, "<>"), (Name, "b")]),
            ("((a) b)c", &[(Parenthesis, "((a) b)"), (Name, "c")]),
            ("tags.a-b", &[(Name, "tags.a"), (Other, "-"), (Name, "b")]),
            ("scores.smoke-v1.f1>=.9", &[(Name, "scores.smoke-v1.f1"), (Comparator, ">="), (Decimal, ".9")]),
        ];
        for (text, expected) in cases {
            let found = tokens(text).unwrap();
            let found: Vec<_> = found.iter().map(|token| (token.kind, token.text)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_is_never_closed_is_refused() {
        for text in
            ["name = 'a", "name = \"a", "tags.`a = 'b'", "name IN ('a'", "name IN ('a)", "`", "(", "'''"]
        {
            assert!(matches!(tokens(text), Err(Refusal::Invalid(_))), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_split_or_refused(text in ".*") {
            for token in tokens(&text).unwrap_or_default() {
                proptest::prop_assert_eq!(&text[token.start..token.end()], token.text);
            }
        }

        #[test]
        fn any_text_of_the_grammars_letters_is_split_or_refused(text in r#"[a.e1\-+'"`()=\\ ]{0,20}"#) {
            let _ = tokens(&text);
        }
    }
}
