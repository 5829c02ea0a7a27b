//! Conditions in the Common Expression Language: parsed, checked, and evaluated within a budget of steps.
//!
//! This is the part of CEL that conditions need: `true`, numbers, texts, lists and maps; `! && || ?: == != < <= > >= in + - * / %`;
//! fields and indexes; `has`, `all`, `exists`, `exists_one`, `filter` and `map`; and the functions of [`functions`]. Three things differ
//! from CEL, so that a condition that can't be judged is no success: integers and doubles mix in calculations, a division by zero
//! fails for doubles too, and a field of a fixed object that has no value is null, for which `has` is false.
//!
//! It is our own and not the crate `cel`, because it runs on the only thread that writes. That crate has no bound on memory that a
//! caller can set: `['a'].map(x, x+x)` repeated fills it. Its errors ("No such key", "No such overload") don't name what is missing, which
//! a denial must. And its ANTLR parser adds about 50 seconds of CPU time to a build from scratch.
//!
//! This module must not know policies, versions or JSON documents other than the inputs.

mod calculate;
mod check;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod tree;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use evaluate::{Budget, MAX_STEPS};

use self::{
    evaluate::{Evaluator, Failure},
    tree::{Kind, Node},
};
use crate::json::Object;

/// The longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 4 * 1024;

/// Why an expression is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {position}: {message}")]
pub struct ExpressionError {
    position: String,
    message: String,
}

impl ExpressionError {
    /// Creates the error for what begins at this byte.
    fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let position = if text.trim_end().contains('\n') {
            format!("line {line}, column {column}")
        } else {
            format!("column {column}")
        };
        Self { position, message: message.into() }
    }
}

/// A condition that was parsed and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Node,
}

impl Expression {
    /// Parses and checks a condition.
    ///
    /// # Errors
    /// [`ExpressionError`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            let message = format!(
                "the expression has {} bytes, and at most {MAX_EXPRESSION_BYTES} are allowed",
                text.len()
            );
            return Err(ExpressionError::new("", 0, message));
        }
        let root = parser::parse(text)?;
        check::check(text, &root)?;
        Ok(Self { root })
    }

    /// Evaluates the condition over the values of the variables.
    ///
    /// # Errors
    /// Why it can't be judged: something is missing or of the wrong type, or the budget is spent.
    pub fn holds(&self, inputs: &Object, budget: &mut Budget) -> Result<bool, String> {
        let result = Evaluator { inputs, budget, scope: Vec::new() }.condition(&self.root);
        result.map_err(|failure| match failure {
            Failure::Failed(message) => message,
            Failure::Exhausted => {
                format!("it takes more than the {MAX_STEPS} steps that all conditions share")
            }
        })
    }

    /// Returns true if the expression mentions a variable, or a field of anything, with this name.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        fn within(node: &Node, wanted: &str) -> bool {
            matches!(&node.kind, Kind::Field { name, .. } | Kind::Name(name) if name == wanted)
                || node.kind.children().into_iter().any(|child| within(child, wanted))
        }
        within(&self.root, name)
    }
}
