//! The syntax tree of an expression.

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Where it begins: bytes from the start.
    pub(super) at: usize,
    /// The levels of the tree below and including this node.
    pub(super) height: usize,
    pub(super) kind: Kind,
}

impl Node {
    pub(super) fn new(at: usize, kind: Kind) -> Self {
        let below = kind.children().into_iter().map(|child| child.height).max().unwrap_or_default();
        Self { at, height: below + 1, kind }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Literal(Literal),
    /// A variable.
    Name(String),
    /// `of.name`; with `is_test`, `has(of.name)`.
    Field {
        of: Box<Node>,
        name: String,
        is_test: bool,
    },
    /// `of[key]`
    Index {
        of: Box<Node>,
        key: Box<Node>,
    },
    /// `name(arguments)` or `target.name(arguments)`
    Call {
        name: String,
        target: Option<Box<Node>>,
        arguments: Vec<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Two or more, joined by `&&` or `||`.
    All(Vec<Node>),
    Any(Vec<Node>),
    /// `condition ? yes : no`
    Choice(Box<[Node; 3]>),
    Binary(Operator, Box<[Node; 2]>),
    Loop(Box<Loop>),
}

impl Kind {
    /// Returns the nodes directly below.
    pub(super) fn children(&self) -> Vec<&Node> {
        match self {
            Self::Literal(_) | Self::Name(_) => Vec::new(),
            Self::Field { of, .. } | Self::Not(of) | Self::Negate(of) => vec![of],
            Self::Index { of, key } => vec![of, key],
            Self::Call { target, arguments, .. } => target.as_deref().into_iter().chain(arguments).collect(),
            Self::List(nodes) | Self::All(nodes) | Self::Any(nodes) => nodes.iter().collect(),
            Self::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Choice(nodes) => nodes.iter().collect(),
            Self::Binary(_, nodes) => nodes.iter().collect(),
            Self::Loop(each) => [&each.over, &each.body].into_iter().chain(&each.filter).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) const ALL: [(&'static str, Self); 12] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
        ("in", Self::In),
        ("+", Self::Add),
        ("-", Self::Subtract),
        ("*", Self::Multiply),
        ("/", Self::Divide),
        ("%", Self::Remainder),
    ];

    pub(super) fn symbol(self) -> &'static str {
        Self::ALL.iter().find(|(_, operator)| *operator == self).map_or("", |(symbol, _)| symbol)
    }

    /// Returns how strongly it binds; `&&` and `||` bind less.
    pub(super) fn strength(self) -> u8 {
        match self {
            Self::Add | Self::Subtract => 2,
            Self::Multiply | Self::Divide | Self::Remainder => 3,
            _ => 1,
        }
    }

    pub(super) fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

/// A macro over the elements of a list, or the keys of a map: `over.kind(name, body)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Node,
    pub(super) name: String,
    /// Of `map` with three arguments: only elements for which this holds.
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl LoopKind {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("all", Self::All),
        ("exists", Self::Exists),
        ("exists_one", Self::ExistsOne),
        ("filter", Self::Filter),
        ("map", Self::Map),
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}
