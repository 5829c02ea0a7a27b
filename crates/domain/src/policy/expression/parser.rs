//! Parses an expression into its tree.

use super::{
    ExpressionError,
    lexer::{Token, tokens},
    tree::{Kind, Literal, Loop, LoopKind, Node, Operator},
};

/// How deep an expression may nest, so that neither reading nor evaluating it takes much of a stack.
const MAX_DEPTH: usize = 64;

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, depth: 0 };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.expected("an operator, or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Node, ExpressionError>;

impl Parser<'_> {
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    /// Reads `symbol` if it is next.
    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    fn require(&mut self, symbol: &str) -> Result<(), ExpressionError> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("{symbol:?}"))) }
    }

    fn error(&self, at: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.text, at, message)
    }

    fn expected(&self, what: &str) -> ExpressionError {
        let hint = match self.peek() {
            Token::Word(word) if word.eq_ignore_ascii_case("and") => "; write && for and",
            Token::Word(word) if word.eq_ignore_ascii_case("or") => "; write || for or",
            Token::Word(word) if word.eq_ignore_ascii_case("not") => "; write ! for not",
            _ => "",
        };
        self.error(self.at(), format!("expected {what}, found {}{hint}", self.peek().describe()))
    }

    fn node(&self, at: usize, kind: Kind) -> Parsed {
        let node = Node::new(at, kind);
        if node.height > MAX_DEPTH { Err(self.too_deep(at)) } else { Ok(node) }
    }

    fn too_deep(&self, at: usize) -> ExpressionError {
        let message =
            format!("the expression nests more than {MAX_DEPTH} levels; split it into several conditions");
        self.error(at, message)
    }

    /// Runs `parse` one level deeper.
    fn deeper(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_deep(self.at()));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn expression(&mut self) -> Parsed {
        self.deeper(|parser| {
            let at = parser.at();
            let condition = parser.alternatives()?;
            if !parser.symbol("?") {
                return Ok(condition);
            }
            let yes = parser.expression()?;
            parser.require(":")?;
            let no = parser.expression()?;
            parser.node(at, Kind::Choice(Box::new([condition, yes, no])))
        })
    }

    fn alternatives(&mut self) -> Parsed {
        let (at, first) = (self.at(), self.conjunction()?);
        let mut nodes = vec![first];
        while self.symbol("||") {
            nodes.push(self.conjunction()?);
        }
        if nodes.len() == 1 { Ok(nodes.remove(0)) } else { self.node(at, Kind::Any(nodes)) }
    }

    fn conjunction(&mut self) -> Parsed {
        let (at, first) = (self.at(), self.binary(1)?);
        let mut nodes = vec![first];
        while self.symbol("&&") {
            nodes.push(self.binary(1)?);
        }
        if nodes.len() == 1 { Ok(nodes.remove(0)) } else { self.node(at, Kind::All(nodes)) }
    }

    fn operator(&self) -> Option<Operator> {
        let symbol = match self.peek() {
            Token::Symbol(symbol) => symbol,
            Token::Word(word) => word.as_str(),
            _ => return None,
        };
        Operator::ALL.iter().find(|(known, _)| *known == symbol).map(|(_, operator)| *operator)
    }

    /// Reads operators that bind at least as strongly as `strength`. Equally strong ones bind from the left.
    fn binary(&mut self, strength: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some(operator) = self.operator().filter(|operator| operator.strength() >= strength) {
            let at = self.at();
            self.next += 1;
            let right = self.deeper(|parser| parser.binary(operator.strength() + 1))?;
            left = self.node(at, Kind::Binary(operator, Box::new([left, right])))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        if self.symbol("!") {
            let of = self.deeper(Self::unary)?;
            return self.node(at, Kind::Not(Box::new(of)));
        }
        if self.symbol("-") {
            let of = self.deeper(Self::unary)?;
            let kind = match of.kind {
                Kind::Literal(Literal::Int(number)) => Kind::Literal(Literal::Int(number.wrapping_neg())),
                Kind::Literal(Literal::Double(number)) => Kind::Literal(Literal::Double(-number)),
                _ => Kind::Negate(Box::new(of)),
            };
            return self.node(at, kind);
        }
        self.member()
    }

    fn member(&mut self) -> Parsed {
        let mut of = self.primary()?;
        loop {
            let at = self.at();
            if self.symbol(".") {
                let Token::Word(name) = self.peek().clone() else {
                    return Err(self.expected("the name of a field"));
                };
                self.next += 1;
                of = if self.symbol("(") {
                    let arguments = self.list(")")?;
                    self.call(at + 1, name, Some(of), arguments)?
                } else {
                    self.node(at, Kind::Field { of: Box::new(of), name, is_test: false })?
                };
            } else if self.symbol("[") {
                let key = self.expression()?;
                self.require("]")?;
                of = self.node(at, Kind::Index { of: Box::new(of), key: Box::new(key) })?;
            } else {
                return Ok(of);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let kind = match self.peek().clone() {
            Token::Int(number) => self.literal(Literal::Int(number)),
            Token::Double(number) => self.literal(Literal::Double(number)),
            Token::Text(text) => self.literal(Literal::Text(text)),
            Token::Word(word) => match word.as_str() {
                "in" => return Err(self.expected("a value")),
                "null" => self.literal(Literal::Null),
                "true" | "false" => self.literal(Literal::Bool(word == "true")),
                _ => {
                    self.next += 1;
                    if self.symbol("(") {
                        let arguments = self.list(")")?;
                        return self.call(at, word, None, arguments);
                    }
                    Kind::Name(word)
                }
            },
            Token::Symbol("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.require(")")?;
                return Ok(inner);
            }
            Token::Symbol("[") => {
                self.next += 1;
                Kind::List(self.list("]")?)
            }
            Token::Symbol("{") => {
                self.next += 1;
                Kind::Map(self.entries()?)
            }
            _ => return Err(self.expected("a value")),
        };
        self.node(at, kind)
    }

    /// Reads the next token, which is this literal.
    fn literal(&mut self, literal: Literal) -> Kind {
        self.next += 1;
        Kind::Literal(literal)
    }

    /// Reads expressions with commas between them up to `end`.
    fn list(&mut self, end: &str) -> Result<Vec<Node>, ExpressionError> {
        let mut nodes = Vec::new();
        while !self.symbol(end) {
            nodes.push(self.expression()?);
            if !self.symbol(",") && !matches!(self.peek(), Token::Symbol(next) if *next == end) {
                return Err(self.expected(&format!("\",\" or {end:?}")));
            }
        }
        Ok(nodes)
    }

    fn entries(&mut self) -> Result<Vec<(Node, Node)>, ExpressionError> {
        let mut entries = Vec::new();
        while !self.symbol("}") {
            let key = self.expression()?;
            self.require(":")?;
            entries.push((key, self.expression()?));
            if !self.symbol(",") && !matches!(self.peek(), Token::Symbol("}")) {
                return Err(self.expected("\",\" or \"}\""));
            }
        }
        Ok(entries)
    }

    /// Makes the node of a call, which may be a macro.
    fn call(&self, at: usize, name: String, target: Option<Node>, mut arguments: Vec<Node>) -> Parsed {
        if target.is_none() && name == "has" {
            return match (arguments.pop(), arguments.is_empty()) {
                (Some(Node { kind: Kind::Field { of, name, .. }, .. }), true) => {
                    self.node(at, Kind::Field { of, name, is_test: true })
                }
                _ => Err(self.error(at, "has() takes one field, like has(candidate.tags.team)")),
            };
        }
        let (kind, over) = match (LoopKind::parse(&name), target) {
            (Some(kind), Some(over)) => (kind, over),
            (_, target) => {
                return self.node(at, Kind::Call { name, target: target.map(Box::new), arguments });
            }
        };
        let usage = || {
            let message = format!("{name}() takes a name and an expression, like {name}(x, x > 0)");
            self.error(at, message)
        };
        if arguments.len() != 2 && !(kind == LoopKind::Map && arguments.len() == 3) {
            return Err(usage());
        }
        let body = arguments.pop().ok_or_else(usage)?;
        let filter = if arguments.len() == 2 { arguments.pop() } else { None };
        let Some(Node { kind: Kind::Name(name), .. }) = arguments.pop() else { return Err(usage()) };
        self.node(at, Kind::Loop(Box::new(Loop { kind, over, name, filter, body })))
    }
}
