//! Evaluates an expression within a budget of steps.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    functions,
    tree::{Kind, Literal, Loop, LoopKind, Node},
    types::{suggestion, variable},
    value::{Elements, Text, Value},
};
use crate::json::Object;

/// The steps that evaluations may still take.
///
/// A step is about one node of an expression, one element of a list, or some bytes of a text. Steps are counted, and not time,
/// so that a busy machine decides as an idle one does.
#[derive(Debug, Clone)]
pub struct Budget(usize);

/// The steps that all conditions of a promotion share.
pub const MAX_STEPS: usize = 500_000;

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_STEPS)
    }
}

impl Budget {
    /// Returns how many steps were taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        MAX_STEPS - self.0
    }

    /// Returns true if no step is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.0 == 0
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        match self.0.checked_sub(steps) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Failure::Exhausted)
            }
        }
    }
}

/// Why an evaluation has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// `&&` and `||` may do without the operand that failed.
    Failed(String),
    /// The budget is spent.
    Exhausted,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// What it takes to compare a missing key with one that is there.
const SEARCH_STEPS: usize = 8;

pub(super) type Evaluated<'a> = Result<Value<'a>, Failure>;

pub(super) struct Evaluator<'a, 'b> {
    /// The values of the variables.
    pub(super) inputs: &'a Object,
    pub(super) budget: &'b mut Budget,
    /// The names of macros, the innermost last.
    pub(super) scope: Vec<(&'a str, Value<'a>)>,
}

pub(super) fn failed<'a, T>(message: impl Into<String>) -> Result<T, Failure>
where
    T: 'a,
{
    Err(Failure::Failed(message.into()))
}

impl<'a> Evaluator<'a, '_> {
    /// Evaluates a condition.
    pub(super) fn condition(&mut self, node: &'a Node) -> Result<bool, Failure> {
        match self.value(node)? {
            Value::Bool(holds) => Ok(holds),
            other => failed(format!("{} is {}, not true or false", path(node), other.describe())),
        }
    }

    fn value(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.budget.spend(1)?;
        match &node.kind {
            Kind::Literal(literal) => Ok(match literal {
                Literal::Null => Value::Null,
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Int(number) => Value::Int(*number),
                Literal::Double(number) => Value::Double(*number),
                Literal::Text(text) => Value::Text(Text::Borrowed(text)),
            }),
            Kind::Name(name) => self.variable(name),
            Kind::Field { of, name, is_test } => self.field(of, name, *is_test),
            Kind::Index { of, key } => self.index(of, key),
            Kind::Call { name, target, arguments } => {
                let mut values = Vec::with_capacity(arguments.len() + 1);
                for node in target.as_deref().into_iter().chain(arguments) {
                    values.push(self.value(node)?);
                }
                let mut is_exhausted = false;
                let result = functions::call(name, &values, &mut |steps| {
                    self.budget.spend(steps).map_err(|_| {
                        is_exhausted = true;
                        String::new()
                    })
                });
                result.map_err(|message| if is_exhausted { Failure::Exhausted } else { message.into() })
            }
            Kind::List(nodes) => {
                let mut values = Vec::with_capacity(nodes.len());
                for node in nodes {
                    values.push(self.value(node)?);
                }
                Ok(Value::List(Rc::new(values)))
            }
            Kind::Map(entries) => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    let Value::Text(name) = self.value(key)? else {
                        return failed(format!("{} is no text, and keys are texts", path(key)));
                    };
                    map.insert(name, self.value(value)?);
                }
                Ok(Value::Map(Rc::new(map)))
            }
            Kind::Not(of) => Ok(Value::Bool(!self.condition(of)?)),
            Kind::Negate(of) => match self.value(of)? {
                Value::Int(number) => number.checked_neg().map(Value::Int),
                Value::Double(number) => Some(Value::Double(-number)),
                Value::Duration(millis) => millis.checked_neg().map(Value::Duration),
                other => {
                    return failed(format!("{} is {}, which has no negative", path(of), other.describe()));
                }
            }
            .map_or_else(|| failed("the number is too large"), Ok),
            Kind::All(nodes) => self.operands(nodes, false),
            Kind::Any(nodes) => self.operands(nodes, true),
            Kind::Choice(nodes) => {
                let [condition, yes, no] = &**nodes;
                if self.condition(condition)? { self.value(yes) } else { self.value(no) }
            }
            Kind::Binary(operator, nodes) => {
                let [left, right] = &**nodes;
                let values = [self.value(left)?, self.value(right)?];
                self.binary(*operator, &values, [left, right])
            }
            Kind::Loop(each) => self.each(each),
        }
    }

    fn variable(&self, name: &str) -> Evaluated<'a> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        match (self.inputs.get(name), variable(name)) {
            (Some(json), Some(kind)) => Ok(Value::view(json, kind)),
            (None, Some(_)) => Ok(Value::Null),
            _ => failed(format!("there is no variable {name:?}")),
        }
    }

    fn field(&mut self, of: &'a Node, name: &str, is_test: bool) -> Evaluated<'a> {
        let owner = self.value(of)?;
        match (&owner, owner.get(name)) {
            (Value::Object(..), found) if is_test => {
                Ok(Value::Bool(found.is_some_and(|value| !matches!(value, Value::Null))))
            }
            (Value::Map(_) | Value::InputMap(..), found) if is_test => Ok(Value::Bool(found.is_some())),
            (_, Some(value)) => Ok(value),
            _ => self.absent(of, &owner, name),
        }
    }

    fn index(&mut self, of: &'a Node, key: &'a Node) -> Evaluated<'a> {
        let (owner, key) = (self.value(of)?, self.value(key)?);
        match (&owner, &key) {
            (Value::Map(_) | Value::InputMap(..), Value::Text(name)) => {
                owner.get(name).map_or_else(|| self.absent(of, &owner, name), Ok)
            }
            (Value::List(_) | Value::InputList(..), Value::Int(index)) => {
                let elements = self.elements(&owner)?;
                let count = elements.as_ref().map_or(0, Elements::len);
                let found = usize::try_from(*index).ok().and_then(|index| elements?.get(index));
                found.map_or_else(
                    || failed(format!("{} has {count} elements, and no number {index}", path(of))),
                    Ok,
                )
            }
            _ => failed(format!("{} is {}, which has no {}", path(of), owner.describe(), key.describe())),
        }
    }

    /// Says that a value lacks a field or key, after paying for the search for a similar key.
    fn absent(&mut self, of: &Node, owner: &Value<'a>, name: &str) -> Evaluated<'a> {
        self.budget.spend(owner.key_count().saturating_mul(SEARCH_STEPS))?;
        failed(match owner {
            Value::Map(map) => {
                format!("{} has no {name:?}{}", path(of), suggestion(name, map.keys().map(|key| &**key)))
            }
            Value::InputMap(map, _) => {
                format!("{} has no {name:?}{}", path(of), suggestion(name, map.keys().map(String::as_str)))
            }
            other => format!("{} is {}, so it has no {name:?}", path(of), other.describe()),
        })
    }

    /// Evaluates operands until one is `end`, which decides. An operand that failed matters only if none decides.
    fn operands(&mut self, nodes: &'a [Node], end: bool) -> Evaluated<'a> {
        let mut failure = None;
        for node in nodes {
            match self.condition(node) {
                Ok(holds) if holds == end => return Ok(Value::Bool(end)),
                Ok(_) => {}
                Err(Failure::Exhausted) => return Err(Failure::Exhausted),
                Err(failed) => failure = failure.or(Some(failed)),
            }
        }
        failure.map_or(Ok(Value::Bool(!end)), Err)
    }

    /// Returns the elements of a list, or the keys of a map, after paying for the keys, which are copied.
    pub(super) fn elements<'v>(&mut self, of: &'v Value<'a>) -> Result<Option<Elements<'v, 'a>>, Failure> {
        self.budget.spend(of.key_count())?;
        Ok(of.elements())
    }

    fn each(&mut self, each: &'a Loop) -> Evaluated<'a> {
        let over = self.value(&each.over)?;
        let Some(elements) = self.elements(&over)? else {
            let message = format!(
                "{} is {}, which {}() can't go through",
                path(&each.over),
                over.describe(),
                each.kind.name()
            );
            return failed(message);
        };
        let (mut kept, mut matched, mut failure) = (Vec::new(), 0, None);
        for index in 0..elements.len() {
            self.budget.spend(1)?;
            let Some(element) = elements.get(index) else { break };
            self.scope.push((&each.name, element.clone()));
            let result = self.round(each);
            self.scope.pop();
            match (each.kind, result) {
                (_, Err(Failure::Exhausted)) => return Err(Failure::Exhausted),
                (LoopKind::All | LoopKind::Exists, Err(failed)) => failure = failure.or(Some(failed)),
                (_, Err(failed)) => return Err(failed),
                (LoopKind::All, Ok(Some(Value::Bool(false)))) => return Ok(Value::Bool(false)),
                (LoopKind::Exists, Ok(Some(Value::Bool(true)))) => return Ok(Value::Bool(true)),
                (LoopKind::ExistsOne, Ok(Some(Value::Bool(true)))) => matched += 1,
                (LoopKind::Filter, Ok(Some(Value::Bool(true)))) => kept.push(element),
                (LoopKind::Map, Ok(Some(value))) => kept.push(value),
                _ => {}
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        Ok(match each.kind {
            LoopKind::All => Value::Bool(true),
            LoopKind::Exists => Value::Bool(false),
            LoopKind::ExistsOne => Value::Bool(matched == 1),
            LoopKind::Filter | LoopKind::Map => Value::List(Rc::new(kept)),
        })
    }

    /// Evaluates the body for one element; `None` if the filter leaves it out.
    fn round(&mut self, each: &'a Loop) -> Result<Option<Value<'a>>, Failure> {
        if let Some(filter) = &each.filter
            && !self.condition(filter)?
        {
            return Ok(None);
        }
        Ok(Some(match each.kind {
            LoopKind::Map => self.value(&each.body)?,
            _ => Value::Bool(self.condition(&each.body)?),
        }))
    }
}

/// Returns how an error names a part of the expression.
pub(super) fn path(node: &Node) -> String {
    match &node.kind {
        Kind::Name(name) => name.clone(),
        Kind::Field { of, name, is_test: false } => format!("{}.{name}", path(of)),
        Kind::Index { of, key } => match &key.kind {
            Kind::Literal(Literal::Text(key)) => format!("{}[{key:?}]", path(of)),
            Kind::Literal(Literal::Int(index)) => format!("{}[{index}]", path(of)),
            _ => format!("{}[…]", path(of)),
        },
        Kind::Call { name, target: Some(target), .. } => format!("{}.{name}()", path(target)),
        Kind::Call { name, .. } => format!("{name}()"),
        Kind::Loop(each) => format!("{}.{}()", path(&each.over), each.kind.name()),
        Kind::Literal(_) => "the other".to_owned(),
        _ => "a part".to_owned(),
    }
}
