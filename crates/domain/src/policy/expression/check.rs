//! Checks the names and types of an expression before it is stored.

use super::{
    ExpressionError, functions,
    tree::{Kind, Literal, Loop, LoopKind, Node, Operator},
    types::{Type, VARIABLES, suggestion, variable},
};

/// Checks that the expression uses known variables, fields and functions in a way that can succeed, and is true or false.
pub(super) fn check(text: &str, node: &Node) -> Result<(), ExpressionError> {
    let mut checker = Checker { text, scope: Vec::new() };
    let found = checker.type_of(node)?;
    if found.may_be(Type::Bool) {
        return Ok(());
    }
    let message = format!(
        "the condition is {}, and must be true or false; compare it, like x >= 0.9",
        found.describe()
    );
    Err(checker.error(node, message))
}

struct Checker<'a> {
    text: &'a str,
    /// The names of macros, the innermost last.
    scope: Vec<(&'a str, Type)>,
}

type Checked = Result<Type, ExpressionError>;

impl<'a> Checker<'a> {
    fn error(&self, node: &Node, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.text, node.at, message)
    }

    fn type_of(&mut self, node: &'a Node) -> Checked {
        Ok(match &node.kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Double(_) => Type::Double,
                Literal::Text(_) => Type::Text,
            },
            Kind::Name(name) => self.variable(node, name)?,
            Kind::Field { of, name, is_test } => {
                let found = self.field(node, of, name)?;
                if *is_test { Type::Bool } else { found }
            }
            Kind::Index { of, key } => self.index(node, of, key)?,
            Kind::Call { name, target, arguments } => self.call(node, name, target.as_deref(), arguments)?,
            Kind::List(nodes) => self.common(nodes.iter())?.list(),
            Kind::Map(entries) => {
                for (key, _) in entries {
                    self.require(key, Type::Text, "the key of a map")?;
                }
                self.common(entries.iter().map(|(_, value)| value))?.map()
            }
            Kind::Not(of) => self.require(of, Type::Bool, "the operand of !")?,
            Kind::Negate(of) => {
                let found = self.type_of(of)?;
                if !found.is_number() && found != Type::Any && found != Type::Duration {
                    return Err(self.error(of, format!("{} has no negative", found.describe())));
                }
                found
            }
            Kind::All(nodes) | Kind::Any(nodes) => {
                let operator = if matches!(node.kind, Kind::All(_)) { "&&" } else { "||" };
                for operand in nodes {
                    self.require(operand, Type::Bool, &format!("an operand of {operator}"))?;
                }
                Type::Bool
            }
            Kind::Choice(nodes) => {
                let [condition, yes, no] = &**nodes;
                self.require(condition, Type::Bool, "the condition before ?")?;
                self.common([yes, no].into_iter())?
            }
            Kind::Binary(operator, nodes) => {
                let [left, right] = &**nodes;
                let types = [self.type_of(left)?, self.type_of(right)?];
                self.binary(node, *operator, types, [left, right])?
            }
            Kind::Loop(each) => self.each(each)?,
        })
    }

    fn variable(&self, node: &Node, name: &str) -> Checked {
        let known = self.scope.iter().rev().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        known.or_else(|| variable(name)).ok_or_else(|| {
            let names =
                VARIABLES.iter().map(|(name, _)| *name).chain(self.scope.iter().map(|(name, _)| *name));
            self.error(node, format!("there is no variable {name:?}{}", suggestion(name, names)))
        })
    }

    fn field(&mut self, node: &Node, of: &'a Node, name: &str) -> Checked {
        match self.type_of(of)? {
            Type::Any => Ok(Type::Any),
            Type::Map(element) => Ok(*element),
            Type::Object(shape) => shape.field(name).ok_or_else(|| {
                let known = shape.fields.iter().map(|(name, _)| *name);
                self.error(node, format!("{} has no field {name:?}{}", shape.name, suggestion(name, known)))
            }),
            other => Err(self.error(node, format!("{} has no fields, so no {name:?}", other.describe()))),
        }
    }

    fn index(&mut self, node: &Node, of: &'a Node, key: &'a Node) -> Checked {
        match self.type_of(of)? {
            Type::Any => self.type_of(key).map(|_| Type::Any),
            Type::Map(element) => self.require(key, Type::Text, "the key of a map").map(|_| *element),
            Type::List(element) => self.require(key, Type::Int, "the index of a list").map(|_| *element),
            other => Err(self.error(node, format!("{} takes no [ ]; write .field", other.describe()))),
        }
    }

    fn call(&mut self, node: &Node, name: &str, target: Option<&'a Node>, arguments: &'a [Node]) -> Checked {
        let is_method = target.is_some();
        let nodes: Vec<_> = target.into_iter().chain(arguments).collect();
        let mut types = Vec::with_capacity(nodes.len());
        for node in &nodes {
            types.push(self.type_of(node)?);
        }
        functions::check(name, is_method, &types)
            .and_then(|found| {
                let literals: Vec<_> = nodes.iter().map(|node| literal_text(node)).collect();
                functions::check_literals(name, &literals).map(|()| found)
            })
            .map_err(|message| self.error(node, message))
    }

    /// Checks that a node may have this type.
    fn require(&mut self, node: &'a Node, wanted: Type, what: &str) -> Checked {
        let found = self.type_of(node)?;
        if found.may_be(wanted) {
            return Ok(wanted);
        }
        let message = format!("{what} must be {}, and this is {}", wanted.describe(), found.describe());
        Err(self.error(node, message))
    }

    /// Returns the type that all of these have.
    fn common(&mut self, nodes: impl Iterator<Item = &'a Node>) -> Checked {
        let mut common = None;
        for node in nodes {
            let found = self.type_of(node)?;
            common = match common {
                None => Some(found),
                Some(known) if known == found => common,
                Some(known) if known.is_number() && found.is_number() => Some(Type::Double),
                Some(_) => Some(Type::Any),
            };
        }
        Ok(common.unwrap_or(Type::Any))
    }

    fn binary(
        &self,
        node: &Node,
        operator: Operator,
        [left, right]: [Type; 2],
        operands: [&Node; 2],
    ) -> Checked {
        use Type::{Any, Bool, Double, Duration, Int, List, Map, Object, Text, Time};
        let symbol = operator.symbol();
        let found = match operator {
            Operator::Equal | Operator::NotEqual => left.may_equal(right).then_some(Bool),
            Operator::In => match right {
                List(element) => left.may_equal(*element).then_some(Bool),
                Map(_) => left.may_be(Text).then_some(Bool),
                Any => Some(Bool),
                Object(shape) => {
                    let message = format!("{} is no list or map; write has(x.field)", shape.name);
                    return Err(self.error(node, message));
                }
                _ => None,
            },
            _ if operator.is_order() => match (left, right) {
                (Any, other) | (other, Any) => matches!(other, Any | Int | Double | Text | Time | Duration),
                (Text, Text) | (Time, Time) | (Duration, Duration) => true,
                (left, right) => left.is_number() && right.is_number(),
            }
            .then_some(Bool),
            Operator::Add => match (left, right) {
                (Any, _) | (_, Any) => Some(Any),
                (Text, Text) => Some(Text),
                (List(a), List(b)) => Some(if a == b { left } else { Any.list() }),
                (Time, Duration) | (Duration, Time) => Some(Time),
                (Duration, Duration) => Some(Duration),
                _ => number(left, right),
            },
            Operator::Subtract => match (left, right) {
                (Any, _) | (_, Any) => Some(Any),
                (Time, Time) | (Duration, Duration) => Some(Duration),
                (Time, Duration) => Some(Time),
                _ => number(left, right),
            },
            _ if left == Any || right == Any => Some(Any),
            _ => number(left, right),
        };
        found.ok_or_else(|| {
            let what = format!("{symbol} can't take {} and {}", left.describe(), right.describe());
            self.error(node, format!("{what}{}", hint([left, right], operands)))
        })
    }

    fn each(&mut self, each: &'a Loop) -> Checked {
        let element = match self.type_of(&each.over)? {
            Type::Any => Type::Any,
            Type::List(element) => *element,
            Type::Map(_) => Type::Text,
            other => {
                let message =
                    format!("{}() needs a list or a map, and this is {}", each.kind.name(), other.describe());
                return Err(self.error(&each.over, message));
            }
        };
        self.scope.push((&each.name, element));
        let what = format!("the condition of {}()", each.kind.name());
        if let Some(filter) = &each.filter {
            self.require(filter, Type::Bool, &what)?;
        }
        let found = match each.kind {
            LoopKind::Map => self.type_of(&each.body)?.list(),
            LoopKind::Filter => {
                self.require(&each.body, Type::Bool, &what)?;
                element.list()
            }
            _ => self.require(&each.body, Type::Bool, &what)?,
        };
        self.scope.pop();
        Ok(found)
    }
}

/// Returns the type of a calculation with two numbers.
fn number(left: Type, right: Type) -> Option<Type> {
    match (left, right) {
        (Type::Int, Type::Int) => Some(Type::Int),
        (left, right) if left.is_number() && right.is_number() => Some(Type::Double),
        _ => None,
    }
}

fn literal_text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Literal(Literal::Text(text)) => Some(text),
        _ => None,
    }
}

/// Returns what to write, if one operand is a literal of the wrong type.
fn hint(types: [Type; 2], operands: [&Node; 2]) -> String {
    for (index, operand) in operands.into_iter().enumerate() {
        let other = types.get(1 - index).copied().unwrap_or(Type::Any);
        let Some(text) = literal_text(operand) else {
            if other == Type::Text
                && matches!(operand.kind, Kind::Literal(Literal::Int(_) | Literal::Double(_)))
            {
                return "; write the text in quotes".to_owned();
            }
            continue;
        };
        return match other {
            Type::Int | Type::Double if text.parse::<f64>().is_ok() => {
                format!("; write {text} without quotes")
            }
            Type::Time => format!("; write timestamp({text:?})"),
            Type::Duration => format!("; write duration({text:?})"),
            _ => continue,
        };
    }
    String::new()
}
