//! What the conditions of a policy say of a change.

use serde_json::json;

use super::{Action, Budget, Condition, Expression, StoredPolicy};
use crate::{
    json::{Object, Value},
    refusal::{Denial, FailedCondition, Refusal},
    version::Version,
};

/// A condition and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The expression.
    pub expression: String,
    /// What to tell a caller if it does not hold.
    pub message: String,
    /// Whether it holds, or why that can't be said.
    pub result: Result<bool, String>,
}

/// A policy and what its conditions say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub policy: String,
    /// Its version; 0 for one that is not stored.
    pub version: i64,
    /// What it does if a condition does not hold.
    pub action: Action,
    /// All of its conditions.
    pub conditions: Vec<Judged>,
}

/// A policy whose conditions are parsed.
#[derive(Debug)]
pub struct Parsed {
    stored: StoredPolicy,
    expressions: Vec<Result<Expression, String>>,
}

impl Parsed {
    /// Parses the conditions of a policy. One that can't be parsed any more can't be judged either.
    #[must_use]
    pub fn of(stored: StoredPolicy) -> Self {
        let parse = |condition: &Condition| {
            Expression::parse(&condition.expression).map_err(|error| error.to_string())
        };
        let expressions = stored.policy.conditions.iter().map(parse).collect();
        Self { stored, expressions }
    }

    /// Returns true if a condition mentions a variable or a field with this name.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.expressions.iter().flatten().any(|expression| expression.mentions(name))
    }

    /// Evaluates all conditions.
    #[must_use]
    pub fn judge(&self, inputs: &Object, budget: &mut Budget) -> Verdict {
        let conditions = self.stored.policy.conditions.iter().zip(&self.expressions);
        let judge = |(condition, parsed): (&Condition, &Result<Expression, String>)| Judged {
            expression: condition.expression.clone(),
            message: condition.message.clone(),
            result: parsed.as_ref().map_err(Clone::clone).and_then(|parsed| parsed.holds(inputs, budget)),
        };
        Verdict {
            policy: self.stored.policy.name.clone(),
            version: self.stored.version,
            action: self.stored.policy.action,
            conditions: conditions.map(judge).collect(),
        }
    }
}

impl Verdict {
    /// Returns true if all conditions hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.conditions.iter().all(|condition| condition.result == Ok(true))
    }

    /// Returns the conditions that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = FailedCondition> + '_ {
        let failed = self.conditions.iter().filter(|condition| condition.result != Ok(true));
        failed.map(|condition| FailedCondition {
            policy: self.policy.clone(),
            version: self.version,
            message: condition.message.clone(),
            error: condition.result.clone().err(),
        })
    }

    /// Returns what the audit trail says of it.
    #[must_use]
    pub fn summary(&self) -> Value {
        let mut summary = json!({
            "name": self.policy,
            "version": self.version,
            "action": self.action.as_str(),
            "result": if self.holds() { "passed" } else { "failed" },
        });
        if !self.holds() {
            summary["failed"] = self.failed().map(|failed| Value::from(failed.to_string())).collect();
        }
        summary
    }
}

/// Checks what policies say of a version that gets a status or an alias.
///
/// # Errors
/// [`Refusal::Denied`] if a policy that denies has a condition that does not hold.
pub fn check(verdicts: &[Verdict], version: &Version, target: &str) -> Result<(), Refusal> {
    let denying = verdicts.iter().filter(|verdict| verdict.action == Action::Deny);
    let failed: Vec<_> = denying.flat_map(Verdict::failed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Refusal::Denied(Box::new(Denial {
        model: version.name.clone(),
        label: version.label.clone(),
        target: target.to_owned(),
        failed,
    })))
}
