//! Splits the text of a filter into words, quoted texts and symbols, and reports positions.
//!
//! The parser asks for what may come next, because `2024-01` is a name in a path but not in a value.

/// Characters of the filter that an error quotes at most.
const MAX_QUOTED_CHARS: usize = 40;

/// Why a filter or sort key is refused: what was expected, what was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct FilterError {
    /// The position in characters, starting with 1.
    pub position: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// Returns true if `c` may stand in a name without quotes.
pub(super) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// A position in the text of a filter.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// Bytes that were read.
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Skips blanks and returns the rest.
    pub(super) fn rest(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    /// Returns the place of the next character that is not blank, for [`Scanner::error_at`].
    pub(super) fn mark(&mut self) -> usize {
        self.rest();
        self.at
    }

    pub(super) fn error_at(&self, mark: usize, message: impl Into<String>) -> FilterError {
        let read = self.text.char_indices().take_while(|(start, _)| *start < mark).count();
        FilterError { position: read + 1, message: message.into() }
    }

    /// Creates the error for a next piece that is not what was expected.
    pub(super) fn expected(&mut self, what: &str) -> FilterError {
        let mark = self.mark();
        let found = self.found();
        self.error_at(mark, format!("expected {what}, found {found}"))
    }

    /// Describes the next piece.
    fn found(&mut self) -> String {
        let rest = self.rest();
        let word = word_of(rest);
        match rest.chars().next() {
            None => "the end".to_owned(),
            Some(symbol) if word.is_empty() => format!("{:?}", symbol.to_string()),
            Some(_) => quoted(word),
        }
    }

    /// Reads `symbol` if it is next.
    pub(super) fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    /// Reads `keyword`, in any case, if it is the next word.
    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let word = word_of(self.rest());
        let found = word.eq_ignore_ascii_case(keyword);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Reads a name, with or without quotes; `None` if something else is next.
    pub(super) fn name(&mut self) -> Result<Option<String>, FilterError> {
        let word = word_of(self.rest());
        if !word.is_empty() {
            self.at += word.len();
            return Ok(Some(word.to_owned()));
        }
        match self.quoted('`')? {
            Some(name) => Ok(Some(name)),
            None => self.quoted('"'),
        }
    }

    /// Reads a text between two of `quote`; `None` if something else is next. A doubled quote stands for one.
    pub(super) fn quoted(&mut self, quote: char) -> Result<Option<String>, FilterError> {
        let mark = self.mark();
        let Some(rest) = self.rest().strip_prefix(quote) else { return Ok(None) };
        let mut text = String::new();
        let mut characters = rest.char_indices().peekable();
        while let Some((start, c)) = characters.next() {
            if c != quote {
                text.push(c);
            } else if characters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.at = mark + quote.len_utf8() + start + quote.len_utf8();
                return Ok(Some(text));
            }
        }
        Err(self.error_at(mark, format!("expected {quote} after the text that starts here, found the end")))
    }

    /// Reads what may be a number: a run of word characters, points and signs.
    pub(super) fn numeral(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_word_char(c) && c != '.' && c != '+').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

/// Returns the word that `rest` starts with, which may be empty.
fn word_of(rest: &str) -> &str {
    let end = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
    &rest[..end]
}

/// Quotes a text for an error, shortened.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
