//! Policies: conditions that must hold before a version gets a status or an alias.
//!
//! [`expression`] has the language of the conditions, [`inputs`] what they see, and [`verdict`] what comes of it. This module must not
//! know how policies are stored, nor which changes they judge.

pub mod expression;
pub mod inputs;
pub mod verdict;

use serde::{Deserialize, Serialize};

use crate::{
    glob::Glob, limits::check_name, model::check_alias, refusal::Refusal, status::Status,
    text_enum::text_enum,
};

pub use expression::{Budget, Expression};
pub use inputs::{Actor, Inputs, Subject};
pub use verdict::{Judged, Parsed, Verdict};

/// The maximum number of conditions of a policy.
pub const MAX_CONDITIONS: usize = 32;
/// The maximum number of policies of a registry.
pub const MAX_POLICIES: usize = 256;
/// The longest pattern of models, in bytes.
pub const MAX_GLOB_BYTES: usize = 256;
/// The longest message of a condition, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024;
/// The longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 4 * 1024;
/// The largest policy as JSON, in bytes.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;
/// The name of the policy that `--promotion-required-suite` makes.
pub const REQUIRED_SUITE: &str = "required-suite";

text_enum! {
    /// What a policy does if a condition does not hold.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    Action {
        /// Refuses the change.
        #[default]
        Deny = "deny",
        /// Lets the change pass, and notes what did not hold.
        Warn = "warn",
    }
}

/// A condition of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// An expression that must be true.
    pub expression: String,
    /// What to tell a caller if it is not.
    pub message: String,
}

/// A policy. As JSON it is what a store keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Unique.
    pub name: String,
    /// Which models it is for: a pattern with `*`.
    pub models: String,
    /// The status or the alias whose new holders it judges. A name that is both means both.
    pub target: String,
    /// What happens if a condition does not hold.
    pub action: Action,
    /// Free text.
    pub description: Option<String>,
    /// At least one.
    pub conditions: Vec<Condition>,
}

/// One version of a policy, as it is stored. Versions never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    /// The policy.
    pub policy: Policy,
    /// 1, 2, 3 … for each name, also after a deletion. 0 for the policy of a setting.
    pub version: i64,
    /// Who wrote it.
    pub actor: Option<String>,
    /// UTC.
    pub created_at: String,
    /// True if this version says that the policy is deleted.
    pub is_deleted: bool,
}

impl Policy {
    /// Checks the policy: sizes, names, and that each condition can succeed and takes a bounded number of steps.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] says what is wrong, and in which condition.
    pub fn check(&self) -> Result<(), Refusal> {
        check_name("name", &self.name)?;
        if self.name == REQUIRED_SUITE {
            return Err(Refusal::Invalid(format!(
                "the name {REQUIRED_SUITE:?} belongs to the policy of a setting; choose another name"
            )));
        }
        if self.name == "test" {
            return Err(Refusal::Invalid("no policy can be named \"test\"; choose another name".to_owned()));
        }
        if self.name.contains(crate::is_unsafe_to_display) {
            return Err(Refusal::Invalid("name has a control character; remove it".to_owned()));
        }
        check_length("models", &self.models, MAX_GLOB_BYTES)?;
        Glob::parse("models", &self.models)?;
        check_target(&self.target)?;
        if let Some(description) = &self.description {
            check_length("description", description, MAX_DESCRIPTION_BYTES)?;
        }
        if self.conditions.is_empty() || self.conditions.len() > MAX_CONDITIONS {
            return Err(Refusal::Invalid(format!(
                "a policy has 1 to {MAX_CONDITIONS} conditions, and this one has {}",
                self.conditions.len()
            )));
        }
        let bytes = serde_json::to_string(self).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_POLICY_BYTES {
            return Err(Refusal::Invalid(format!(
                "the policy has {bytes} bytes as JSON, and at most {MAX_POLICY_BYTES} are allowed; split it"
            )));
        }
        let sample = inputs::sample();
        let mut budget = Budget::default();
        for (number, condition) in (1..).zip(&self.conditions) {
            let refuse = |why: &str| Refusal::Invalid(format!("condition {number} is refused {why}"));
            if condition.message.trim().is_empty() {
                return Err(Refusal::Invalid(format!(
                    "condition {number} has a blank message; say what must be done if it does not hold"
                )));
            }
            check_length(
                &format!("the message of condition {number}"),
                &condition.message,
                MAX_MESSAGE_BYTES,
            )?;
            let expression =
                Expression::parse(&condition.expression).map_err(|error| refuse(&error.to_string()))?;
            // Other failures may come from the sample.
            if let Err(why) = expression.holds(&sample, &mut budget)
                && budget.is_spent()
            {
                return Err(refuse(&format!("because, with a small sample, {why}")));
            }
        }
        Ok(())
    }

    /// Returns true if it judges versions of this model that get this status or alias.
    #[must_use]
    pub fn is_about(&self, model: &str, target: &str) -> bool {
        self.target == target && Glob::parse("models", &self.models).is_ok_and(|models| models.matches(model))
    }
}

/// Checks the name of a status or an alias that policies and approvals are about.
///
/// # Errors
/// [`Refusal::Invalid`] if it is neither, or the status in which versions begin.
pub fn check_target(target: &str) -> Result<(), Refusal> {
    match Status::parse(target) {
        Some(Status::Experimental) => Err(Refusal::Invalid(
            "target is experimental, where every version begins; name another status, or an alias".to_owned(),
        )),
        Some(_) => Ok(()),
        None => check_alias(target).map_err(|refusal| {
            Refusal::Invalid(format!("target is neither a status nor an alias: {refusal}"))
        }),
    }
}

fn check_length(field: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.len() <= most {
        return Ok(());
    }
    Err(Refusal::Invalid(format!(
        "{field} has {} bytes, and at most {most} are allowed; shorten it",
        text.len()
    )))
}

/// Checks that another policy may be added to this many.
///
/// # Errors
/// [`Refusal::Conflict`] at [`MAX_POLICIES`].
pub fn check_count(policies: usize) -> Result<(), Refusal> {
    if policies < MAX_POLICIES {
        return Ok(());
    }
    Err(Refusal::Conflict(format!(
        "there are {policies} policies, and at most {MAX_POLICIES} are allowed; delete one first"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            name: "quality".to_owned(),
            models: "team/*".to_owned(),
            target: "production".to_owned(),
            action: Action::Deny,
            description: None,
            conditions: vec![Condition {
                expression: "candidate.scores.core.score >= 0.9".to_owned(),
                message: "the score must be 0.9".to_owned(),
            }],
        }
    }

    fn with(expression: &str) -> Policy {
        let condition = Condition { expression: expression.to_owned(), message: "no".to_owned() };
        Policy { conditions: vec![condition], ..policy() }
    }

    #[test]
    fn a_policy_is_about_a_target_and_the_models_of_its_pattern() {
        for (model, target, is_about) in [
            ("team/m", "production", true),
            ("team/", "production", true),
            ("team", "production", false),
            ("team/m", "staging", false),
        ] {
            assert_eq!(policy().is_about(model, target), is_about, "{model} {target}");
        }
    }

    #[test]
    fn a_bad_policy_is_refused_with_what_is_wrong() {
        assert_eq!(policy().check(), Ok(()));
        let hundred = format!("[{}]", ["1"; 100].join(","));
        let loops = format!("{hundred}.all(a, {hundred}.all(b, {hundred}.all(c, true)))");
        for (bad, message) in [
            (Policy { name: " ".to_owned(), ..policy() }, "name is blank"),
            (Policy { name: "a\nb".to_owned(), ..policy() }, "control character"),
            (Policy { name: REQUIRED_SUITE.to_owned(), ..policy() }, "belongs to the policy of a setting"),
            (Policy { models: "x".repeat(1 << 20), ..policy() }, "models has 1048576 bytes, and at most 256"),
            (Policy { models: String::new(), ..policy() }, "blank pattern"),
            (Policy { target: "latest".to_owned(), ..policy() }, "neither a status nor an alias"),
            (Policy { target: "experimental".to_owned(), ..policy() }, "where every version begins"),
            (Policy { target: "12".to_owned(), ..policy() }, "reads as a version number"),
            (Policy { description: Some("x".repeat(5000)), ..policy() }, "description has 5000 bytes"),
            (Policy { conditions: Vec::new(), ..policy() }, "1 to 32 conditions, and this one has 0"),
            (
                Policy { conditions: vec![policy().conditions.remove(0); 33], ..policy() },
                "1 to 32 conditions, and this one has 33",
            ),
            (with("candidate.scores.core.score >"), "condition 1 is refused at column 30: expected a value"),
            (with("candidate.foo == 1"), "a version has no field \"foo\""),
            (with(&" ".repeat(5000)), "5000 bytes, and at most 4096"),
            (
                with(&loops),
                "condition 1 is refused because, with a small sample, it takes more than the 500000 steps",
            ),
            (
                Policy {
                    conditions: vec![Condition { message: " ".to_owned(), ..policy().conditions.remove(0) }],
                    ..policy()
                },
                "blank message",
            ),
            (
                Policy {
                    conditions: vec![
                        Condition {
                            expression: format!("true // {}", "x".repeat(4000)),
                            message: "no".to_owned()
                        };
                        20
                    ],
                    ..policy()
                },
                "bytes as JSON, and at most 65536",
            ),
        ] {
            let error = bad.check().unwrap_err();
            assert!(matches!(error, Refusal::Invalid(_)));
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
