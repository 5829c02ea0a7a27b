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

    /// Returns what the audit trail says of it, with as many messages as there is room for.
    fn summary(&self, room: &mut Room) -> Value {
        let mut summary = json!({
            "name": self.policy,
            "version": self.version,
            "action": self.action.as_str(),
            "result": if self.holds() { "passed" } else { "failed" },
        });
        if !self.holds() {
            let failed = room.take(self.failed().map(|failed| failed.to_string()));
            summary["failed"] = failed.into_iter().map(Value::from).collect();
        }
        summary
    }
}

/// Returns what the audit trail says of verdicts.
#[must_use]
pub fn summaries(verdicts: &[Verdict]) -> Value {
    let mut room = Room::default();
    verdicts.iter().map(|verdict| verdict.summary(&mut room)).collect()
}

/// Returns messages of a limited size: the first ones, each cut if it is long, and how many more there are.
#[must_use]
pub fn bounded(messages: impl IntoIterator<Item = String>) -> Vec<String> {
    Room::default().take(messages)
}

/// The bytes that messages may still take, with each byte that is not printable ASCII escaped as three.
struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(4 * 1024)
    }
}

impl Room {
    const MAX_MESSAGE_BYTES: usize = 512;

    /// Takes messages until one does not fit, and counts the rest.
    fn take(&mut self, messages: impl IntoIterator<Item = String>) -> Vec<String> {
        let (mut taken, mut more) = (Vec::new(), 0_usize);
        for message in messages {
            let (message, bytes) = Self::cut(message);
            match self.0.checked_sub(bytes) {
                Some(left) => {
                    self.0 = left;
                    taken.push(message);
                }
                None => {
                    self.0 = 0;
                    more += 1;
                }
            }
        }
        if more > 0 {
            taken.push(format!("and {more} more"));
        }
        taken
    }

    /// Cuts a message, and returns how many bytes it takes.
    fn cut(mut message: String) -> (String, usize) {
        const MARK: &str = "...";
        let (mut bytes, mut end) = (0, 0);
        for (at, letter) in message.char_indices() {
            let is_plain = matches!(letter, ' '..='~') && letter != '%';
            if bytes + MARK.len() <= Self::MAX_MESSAGE_BYTES {
                end = at;
            }
            bytes += if is_plain { 1 } else { 3 * letter.len_utf8() };
            if bytes > Self::MAX_MESSAGE_BYTES {
                message.truncate(end);
                message.push_str(MARK);
                return (message, Self::MAX_MESSAGE_BYTES);
            }
        }
        (message, bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_and_counted_beyond_their_limits() {
        let few = vec!["a".to_owned(), "é".repeat(85)];
        assert_eq!(bounded(few.clone()), few, "what fits stays as it is");
        let cut = bounded(["x".repeat(513), "é".repeat(86)]);
        assert_eq!(cut, [format!("{}...", "x".repeat(509)), format!("{}...", "é".repeat(84))]);
        let many = bounded((0..40).map(|_| "x".repeat(512)));
        assert_eq!((many.len(), many[8].as_str()), (9, "and 32 more"));
    }

    #[test]
    fn the_summaries_of_all_policies_share_one_limit() {
        let failed = Judged { expression: "false".to_owned(), message: "m".repeat(600), result: Ok(false) };
        let of = |name: &str| Verdict {
            policy: name.to_owned(),
            version: 1,
            action: Action::Warn,
            conditions: vec![failed.clone(); 6],
        };
        let said = summaries(&[of("a"), of("b"), of("c")]);
        let counts: Vec<_> = (0..3).map(|at| said[at]["failed"].as_array().map(Vec::len)).collect();
        assert_eq!(counts, [Some(6), Some(3), Some(1)]);
        assert_eq!(
            (&said[1]["failed"][2], &said[2]["failed"][0]),
            (&json!("and 4 more"), &json!("and 6 more"))
        );
        assert!(said.to_string().len() < 6_000);
    }
}
