//! Splits an expression into tokens.

use super::ExpressionError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Word(String),
    Int(i64),
    Double(f64),
    Text(String),
    Symbol(&'static str),
    End,
}

impl Token {
    /// Describes the token for an error.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Int(number) => number.to_string(),
            Self::Double(number) => number.to_string(),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Symbol(symbol) => format!("{symbol:?}"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 24] = [
    "&&", "||", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// Splits an expression into tokens, each with the byte at which it begins. The last one is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut lexer = Lexer { text, at: 0 };
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = lexer.next()?;
        let is_end = token == Token::End;
        tokens.push((at, token));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, at: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.text, at, message)
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            let rest = match rest.strip_prefix("//") {
                Some(comment) => comment.split_once('\n').map_or("", |(_, next)| next),
                None => rest,
            };
            let at = self.text.len() - rest.len();
            if at == self.at {
                return;
            }
            self.at = at;
        }
    }

    fn next(&mut self) -> Result<Token, ExpressionError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let is_fraction = first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() || is_fraction {
            return self.number();
        }
        if matches!(first, '"' | '\'') {
            return self.quoted(false);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            if rest[word.len()..].starts_with(['"', '\'']) {
                match word {
                    "r" | "R" => {
                        self.at += 1;
                        return self.quoted(true);
                    }
                    "b" | "B" => {
                        return Err(self.error(self.at, "bytes aren't supported; leave out the b"));
                    }
                    _ => {}
                }
            }
            self.at += word.len();
            return Ok(Token::Word(word.to_owned()));
        }
        match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
            None => {
                let hint = match first {
                    '=' => "; write == to compare",
                    '&' => "; write && for and",
                    '|' => "; write || for or",
                    '“' | '”' | '‘' | '’' => "; write plain quotes",
                    _ => "",
                };
                Err(self.error(self.at, format!("{first:?} has no meaning here{hint}")))
            }
        }
    }

    fn number(&mut self) -> Result<Token, ExpressionError> {
        let (at, rest) = (self.at, self.rest());
        let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        let mut end = 0;
        let mut is_double = false;
        let mut previous = ' ';
        for c in rest.chars() {
            let belongs = c.is_ascii_alphanumeric()
                || c == '_'
                || (c == '.' && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit()))
                || (matches!(c, '+' | '-') && matches!(previous, 'e' | 'E') && hex.is_none());
            if !belongs {
                break;
            }
            is_double |= hex.is_none() && matches!(c, '.' | 'e' | 'E');
            end += 1;
            previous = c;
        }
        self.at += end;
        let text = &rest[..end];
        if text.ends_with(['u', 'U']) && hex.is_none() {
            return Err(self.error(at, "unsigned integers aren't supported; leave out the u"));
        }
        let number = if is_double {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Token::Double)
        } else if hex.is_some() {
            i64::from_str_radix(&text[2..], 16).ok().map(Token::Int)
        } else {
            text.parse().ok().map(Token::Int)
        };
        number.ok_or_else(|| self.error(at, format!("{text} is no number that fits into 64 bits")))
    }

    /// Reads a text in quotes; a raw one has no escapes.
    fn quoted(&mut self, is_raw: bool) -> Result<Token, ExpressionError> {
        let start = self.at;
        let rest = self.rest();
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote));
        let quote = quote.unwrap_or("\"");
        self.at += quote.len();
        let mut text = String::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(Token::Text(text));
            }
            match rest.chars().next() {
                None | Some('\n') if quote.len() == 1 || rest.is_empty() => {
                    return Err(
                        self.error(start, format!("the text that begins here lacks its closing {quote}"))
                    );
                }
                Some('\\') if !is_raw => text.push(self.escape()?),
                Some(c) => {
                    self.at += c.len_utf8();
                    text.push(c);
                }
                None => {}
            }
        }
    }

    fn escape(&mut self) -> Result<char, ExpressionError> {
        let (at, rest) = (self.at, &self.rest()[1..]);
        let plain = |c| match c {
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            '\\' | '"' | '\'' | '`' | '?' => Some(c),
            _ => None,
        };
        let first = rest.chars().next().unwrap_or(' ');
        if let Some(c) = plain(first) {
            self.at += 2;
            return Ok(c);
        }
        let digits = match first {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = rest.get(1..=digits).filter(|_| digits > 0);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        self.at += 2 + digits;
        code.ok_or_else(|| {
            ExpressionError::new(
                self.text,
                at,
                format!(
                    "\\{first} is no escape; write \\\\ for a backslash, or r\"…\" for a text without escapes"
                ),
            )
        })
    }
}
