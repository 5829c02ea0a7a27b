//! Parses the text of a filter by recursive descent, within bounds that keep parsing and SQL small.

use super::{
    field::{Field, Operator, Scope},
    pattern::Pattern,
    scanner::{FilterError, Scanner},
    tree::{Comparator, Condition, Filter, Test},
    value::Value,
};

/// The maximum length of a filter in bytes.
pub const MAX_FILTER_BYTES: usize = 8_192;
/// The maximum number of parentheses and `NOT`s around a condition.
pub const MAX_DEPTH: usize = 50;
/// The maximum number of conditions in a filter.
pub const MAX_CONDITIONS: usize = 100;
/// The maximum number of values in a list.
pub const MAX_LIST_VALUES: usize = 1_000;
/// Characters of a pattern at most: matching takes the product of its length and the text's.
pub const MAX_PATTERN_CHARS: usize = 256;

impl Filter {
    /// Parses a filter over `scope`. A caller treats an absent filter as "all"; blank text is an error.
    ///
    /// # Errors
    /// [`FilterError`] if the text is not a filter, or over a bound of this module.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, FilterError> {
        let mut parser = Parser { scanner: Scanner::new(text), scope, depth: 0, conditions: 0 };
        if text.len() > MAX_FILTER_BYTES {
            let bytes = text.len();
            let message = format!("the filter has {bytes} bytes, and at most {MAX_FILTER_BYTES} are allowed");
            return Err(parser.scanner.error_at(MAX_FILTER_BYTES, message));
        }
        let filter = parser.disjunction()?;
        if !parser.scanner.rest().is_empty() {
            return Err(parser.scanner.expected("AND, OR or the end"));
        }
        Ok(filter)
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    scope: Scope,
    depth: usize,
    conditions: usize,
}

impl Parser<'_> {
    fn disjunction(&mut self) -> Result<Filter, FilterError> {
        self.joined("OR", Self::conjunction, Filter::Or)
    }

    fn conjunction(&mut self) -> Result<Filter, FilterError> {
        self.joined("AND", Self::negation, Filter::And)
    }

    fn joined(
        &mut self,
        keyword: &str,
        part: fn(&mut Self) -> Result<Filter, FilterError>,
        join: fn(Vec<Filter>) -> Filter,
    ) -> Result<Filter, FilterError> {
        let first = part(self)?;
        if !self.scanner.keyword(keyword) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.scanner.keyword(keyword) {
            parts.push(part(self)?);
        }
        Ok(join(parts))
    }

    fn negation(&mut self) -> Result<Filter, FilterError> {
        let mark = self.scanner.mark();
        if self.scanner.keyword("NOT") {
            let part = self.nested(mark, Self::negation)?;
            return Ok(Filter::Not(Box::new(part)));
        }
        if self.scanner.symbol("(") {
            let part = self.nested(mark, Self::disjunction)?;
            if !self.scanner.symbol(")") {
                return Err(self.scanner.expected("AND, OR or )"));
            }
            return Ok(part);
        }
        self.condition().map(Filter::Condition)
    }

    fn nested(
        &mut self,
        mark: usize,
        part: fn(&mut Self) -> Result<Filter, FilterError>,
    ) -> Result<Filter, FilterError> {
        if self.depth == MAX_DEPTH {
            let message = format!("at most {MAX_DEPTH} parentheses and NOTs may be nested");
            return Err(self.scanner.error_at(mark, message));
        }
        self.depth += 1;
        let filter = part(self);
        self.depth -= 1;
        filter
    }

    fn condition(&mut self) -> Result<Condition, FilterError> {
        let mark = self.scanner.mark();
        if self.conditions == MAX_CONDITIONS {
            let message = format!("a filter has at most {MAX_CONDITIONS} conditions");
            return Err(self.scanner.error_at(mark, message));
        }
        self.conditions += 1;
        let field = Field::scan(&mut self.scanner, self.scope)?;
        let mark = self.scanner.mark();
        let operator = self.operator()?;
        if !field.allows(operator) {
            let allowed = Operator::ALL.into_iter().filter(|operator| field.allows(*operator));
            let names: Vec<_> = allowed.map(Operator::as_str).collect();
            let message =
                format!("{field} can't be tested with {}; expected {}", operator.as_str(), names.join(", "));
            return Err(self.scanner.error_at(mark, message));
        }
        let test = self.test(&field, operator)?;
        Ok(Condition { field, test })
    }

    fn operator(&mut self) -> Result<Operator, FilterError> {
        let scanner = &mut self.scanner;
        for (foreign, operator) in [("==", "="), ("<>", "!=")] {
            if scanner.rest().starts_with(foreign) {
                let mark = scanner.mark();
                return Err(scanner.error_at(mark, format!("expected {operator}, found {foreign:?}")));
            }
        }
        // The longer ones first.
        for name in ["!=", "<=", ">=", "=", "<", ">"] {
            if scanner.symbol(name) {
                return Operator::parse(name).ok_or_else(|| scanner.expected("an operator"));
            }
        }
        let start = scanner.clone();
        if scanner.keyword("IS") {
            let negated = scanner.keyword("NOT");
            if scanner.keyword("NULL") {
                return Ok(if negated { Operator::IsNotNull } else { Operator::IsNull });
            }
            return Err(scanner.expected(if negated { "NULL" } else { "NULL or NOT NULL" }));
        }
        let negated = scanner.keyword("NOT");
        for (name, operator, negation) in [
            ("LIKE", Operator::Like, Operator::NotLike),
            ("ILIKE", Operator::ILike, Operator::NotILike),
            ("IN", Operator::In, Operator::NotIn),
        ] {
            if scanner.keyword(name) {
                return Ok(if negated { negation } else { operator });
            }
        }
        if negated {
            return Err(scanner.expected("LIKE, ILIKE or IN"));
        }
        *scanner = start;
        Err(scanner.expected("an operator (=, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT, IS)"))
    }

    /// Reads what follows the operator.
    fn test(&mut self, field: &Field, operator: Operator) -> Result<Test, FilterError> {
        if let Some(comparator) = Comparator::parse(operator.as_str()) {
            return Ok(Test::Compare(comparator, Value::scan(&mut self.scanner, field)?));
        }
        match operator {
            Operator::IsNull => Ok(Test::Null { negated: false }),
            Operator::IsNotNull => Ok(Test::Null { negated: true }),
            Operator::In | Operator::NotIn => {
                Ok(Test::In { values: self.list(field)?, negated: operator == Operator::NotIn })
            }
            _ => {
                let ignores_case = matches!(operator, Operator::ILike | Operator::NotILike);
                let mark = self.scanner.mark();
                let text = Value::scan_text(&mut self.scanner)?;
                if text.chars().count() > MAX_PATTERN_CHARS {
                    let message = format!("a pattern has at most {MAX_PATTERN_CHARS} characters");
                    return Err(self.scanner.error_at(mark, message));
                }
                let pattern = Pattern::new(&text, ignores_case);
                Ok(Test::Like {
                    pattern,
                    negated: matches!(operator, Operator::NotLike | Operator::NotILike),
                })
            }
        }
    }

    fn list(&mut self, field: &Field) -> Result<Vec<Value>, FilterError> {
        if !self.scanner.symbol("(") {
            return Err(self.scanner.expected("a list of values between parentheses"));
        }
        let mut values = Vec::new();
        loop {
            let mark = self.scanner.mark();
            if values.len() == MAX_LIST_VALUES {
                let message = format!("a list has at most {MAX_LIST_VALUES} values");
                return Err(self.scanner.error_at(mark, message));
            }
            values.push(Value::scan(&mut self.scanner, field)?);
            if self.scanner.symbol(")") {
                return Ok(values);
            }
            if !self.scanner.symbol(",") {
                return Err(self.scanner.expected("a comma or )"));
            }
        }
    }
}
