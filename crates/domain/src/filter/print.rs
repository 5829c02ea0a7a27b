//! Prints filters and fields in their canonical form, which parses to the same filter.
//!
//! Parentheses are printed only if the tree needs them, so the form is never nested deeper than the text that was
//! parsed. It may be longer, because values and blanks are spelled out.

use std::fmt::{self, Display as _, Write as _};

use super::{
    field::Field,
    scanner::is_word_char,
    tree::{Condition, Filter, Test},
    value::Value,
};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(parts) => join(f, parts, " AND ", |part| matches!(part, Self::And(_) | Self::Or(_))),
            Self::Or(parts) => join(f, parts, " OR ", |part| matches!(part, Self::Or(_))),
            Self::Not(part) => {
                f.write_str("NOT ")?;
                group(f, part, matches!(**part, Self::And(_) | Self::Or(_)))
            }
            Self::Condition(condition) => condition.fmt(f),
        }
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    parts: &[Filter],
    separator: &str,
    grouped: impl Fn(&Filter) -> bool,
) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        group(f, part, grouped(part))?;
    }
    Ok(())
}

fn group(f: &mut fmt::Formatter<'_>, part: &Filter, grouped: bool) -> fmt::Result {
    if grouped { write!(f, "({part})") } else { part.fmt(f) }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, test } = self;
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match test {
            Test::Compare(comparator, value) => write!(f, "{field} {} {value}", comparator.as_str()),
            Test::Null { negated } => write!(f, "{field} IS {}NULL", not(negated)),
            Test::Like { pattern, negated } => {
                let like = if pattern.ignores_case() { "ILIKE" } else { "LIKE" };
                write!(f, "{field} {}{like} ", not(negated))?;
                quote(f, &pattern.escaped(), '\'')
            }
            Test::In { values, negated } => {
                write!(f, "{field} {}IN (", not(negated))?;
                for (index, value) in values.iter().enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{value}")?;
                }
                f.write_char(')')
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(attribute) => f.write_str(attribute.as_str()),
            Self::Tag(key) => {
                f.write_str("tags.")?;
                name(f, key)
            }
            Self::Score { suite, metric } => {
                f.write_str("scores.")?;
                name(f, suite)?;
                f.write_char('.')?;
                name(f, metric)
            }
        }
    }
}

fn name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if !name.is_empty() && name.chars().all(is_word_char) { f.write_str(name) } else { quote(f, name, '`') }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quote(f, text, '\''),
            Self::Integer(number) => number.fmt(f),
            // The shortest form that reads back exactly, with an exponent if that is shorter.
            Self::Number(number) => fmt::Debug::fmt(number, f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Time(time) => quote(f, &time.to_iso(), '\''),
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        if c == quote {
            f.write_char(quote)?;
        }
        f.write_char(c)?;
    }
    f.write_char(quote)
}
