//! The gate to production, and the choice of versions to demote.

use crate::{
    json::Value,
    model::Holding,
    policy::{Action, Condition, Judged, Policy, REQUIRED_SUITE, StoredPolicy, Verdict},
    refusal::Refusal,
    status::Status,
    suites::suites,
    version::{Version, VersionId},
};

/// The condition that a version must meet to become the production version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// The suite for which it needs scores; `None` leaves the gate open.
    pub required_suite: Option<String>,
}

impl Gate {
    /// Checks that a version with the metrics `candidate` may replace one with the metrics `incumbent` in production.
    /// Both are JSON text; `incumbent` is `None` if there is no production version yet.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the suite is missing, or both have a numeric `score` in it and the candidate's is
    /// lower.
    pub fn admit(&self, candidate: Option<&str>, incumbent: Option<&str>) -> Result<(), Refusal> {
        let Some(suite) = &self.required_suite else { return Ok(()) };
        let candidate = suites(candidate);
        let Some(scores) = candidate.get(suite) else {
            return Err(Refusal::Conflict(format!(
                "a production version needs scores of the suite {suite:?}, and this one has none; record them first"
            )));
        };
        let incumbent = suites(incumbent);
        let current = incumbent.get(suite).and_then(score);
        if let (Some(score), Some(current)) = (score(scores), current)
            && score < current
        {
            return Err(Refusal::Conflict(format!(
                "the score of {score} in the suite {suite:?} is lower than the {current} of the production version"
            )));
        }
        Ok(())
    }
}

impl Gate {
    /// Returns the gate as a policy, which is listed beside those that are stored.
    #[must_use]
    pub fn policy(&self) -> Option<StoredPolicy> {
        let suite = self.required_suite.as_ref()?;
        let condition = |expression: String, message: String| Condition { expression, message };
        let scores = |of: &str| format!("{of}.scores[{suite:?}].score");
        let policy = Policy {
            name: REQUIRED_SUITE.to_owned(),
            models: "*".to_owned(),
            target: Status::Production.as_str().to_owned(),
            action: Action::Deny,
            description: Some(
                "Set by --promotion-required-suite (CAIA_REGISTRY_PROMOTION_REQUIRED_SUITE). It compares with the version \
                 that is in production now, and a score that is no number passes. It can't be changed or deleted here."
                    .to_owned(),
            ),
            conditions: vec![
                condition(
                    format!("{suite:?} in candidate.scores"),
                    format!(
                        "a production version needs scores of the suite {suite:?}, and this one has none; record them first"
                    ),
                ),
                condition(
                    format!("current == null || {} >= {}", scores("candidate"), scores("current")),
                    format!("the score in the suite {suite:?} is lower than the one of the production version"),
                ),
            ],
        };
        let (version, actor, created_at) = (0, None, String::new());
        Some(StoredPolicy { policy, version, actor, created_at, is_deleted: false })
    }

    /// Returns what [`Gate::admit`] says, condition by condition.
    #[must_use]
    pub fn verdict(&self, candidate: Option<&str>, incumbent: Option<&str>) -> Option<Verdict> {
        let policy = self.policy()?.policy;
        let refused = self.admit(candidate, incumbent).err();
        let lacks_suite = !suites(candidate).contains_key(self.required_suite.as_ref()?);
        let failed = refused.is_some().then_some(usize::from(!lacks_suite));
        let judge = |(index, condition): (usize, Condition)| Judged {
            expression: condition.expression,
            message: match &refused {
                Some(refusal) if failed == Some(index) => refusal.to_string(),
                _ => condition.message,
            },
            result: Ok(failed != Some(index)),
        };
        let conditions = policy.conditions.into_iter().enumerate().map(judge).collect();
        Some(Verdict { policy: policy.name, version: 0, action: policy.action, conditions })
    }
}

fn score(scores: &Value) -> Option<f64> {
    scores.get("score")?.as_number()?.to_string().parse().ok()
}

/// Chooses the versions to demote so that each name keeps one production version, for files that have several. The
/// version that changed last stays; on a tie, the one that was registered last.
///
/// Each row is `(name, updated_at, id)` of a production version. The result pairs each version to demote with the one
/// that stays.
#[must_use]
pub fn surplus(mut production: Vec<(String, String, VersionId)>) -> Vec<(VersionId, VersionId)> {
    production.sort_unstable();
    let mut demoted = Vec::new();
    let mut rest = production.as_slice();
    while let [.., (name, _, newest)] = rest {
        let start = rest.partition_point(|(other, ..)| other < name);
        let older = &rest[start..rest.len() - 1];
        demoted.extend(older.iter().map(|(_, _, id)| (*id, *newest)));
        rest = &rest[..start];
    }
    demoted.sort_unstable();
    demoted
}

/// Checks the version that a rollback puts back into production: `to`, or else the last one before `current`. `held` is the last
/// time in which `to`, or a version other than `current`, was in production.
///
/// # Errors
/// [`Refusal::Conflict`] if `to` is in production or never was, or no other version was there.
pub fn rollback_target(
    name: &str,
    held: Option<Holding>,
    to: Option<&Version>,
    current: Option<&Version>,
) -> Result<Holding, Refusal> {
    let Some(to) = to else {
        return held.ok_or_else(|| {
            Refusal::Conflict(format!(
                "{name:?} had no other version in production before; promote a version instead"
            ))
        });
    };
    if current.is_some_and(|current| current.id == to.id) {
        return Err(Refusal::Conflict(format!(
            "version {:?} of {name:?} is in production now; name another version",
            to.label
        )));
    }
    held.ok_or_else(|| {
        Refusal::Conflict(format!(
            "version {:?} of {name:?} was never in production; promote it instead",
            to.label
        ))
    })
}

/// Returns the reason for a demotion, as the audit trail records it.
#[must_use]
pub fn demotion_reason(successor: VersionId) -> String {
    format!("new production: {successor}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::sample;

    #[test]
    fn the_gate_requires_the_suite_and_no_lower_score() {
        let scored = |score: &str| format!(r#"{{"suites":{{"core":{{"score":{score}}}}}}}"#);
        let none = r#"{"suites":{"other":{"score":1}}}"#.to_owned();
        for (candidate, incumbent, admitted) in [
            (None, None, false),
            (Some(none.clone()), None, false),
            (Some(r#"{"suites":{"core":{}}}"#.to_owned()), Some(scored("0.9")), true),
            (Some(r#"{"suites":{"core":null}}"#.to_owned()), None, true),
            (Some(scored("0.5")), None, true),
            (Some(scored("0.5")), Some(none), true),
            (Some(scored("0.5")), Some(scored("0.5")), true),
            (Some(scored("0.5")), Some(scored("0.4")), true),
            (Some(scored("0.5")), Some(scored("0.9")), false),
            (Some(scored("1")), Some(scored("0.9")), true),
            (Some(scored("0")), Some(scored("1e400")), false),
            (Some(scored("\"n/a\"")), Some(scored("0.9")), true),
            (Some(scored("false")), Some(scored("0.9")), true),
            (Some(scored("0.1")), Some(scored("true")), true),
        ] {
            let gate = Gate { required_suite: Some("core".to_owned()) };
            let checked = gate.admit(candidate.as_deref(), incumbent.as_deref());
            assert_eq!(checked.is_ok(), admitted, "{candidate:?} after {incumbent:?}");
            let verdict = gate.verdict(candidate.as_deref(), incumbent.as_deref()).unwrap();
            assert_eq!(verdict.holds(), admitted, "{candidate:?} after {incumbent:?}");
            let failed: Vec<_> = verdict.failed().map(|failed| failed.message).collect();
            assert_eq!(
                failed,
                checked.err().map(|refusal| refusal.to_string()).into_iter().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_rollback_goes_to_the_version_before_or_to_one_that_was_in_production() {
        let version = |id| Version { id, number: id, label: id.to_string(), ..sample() };
        let held = |id: VersionId| Holding {
            alias: "production".to_owned(),
            version: id,
            number: id,
            label: id.to_string(),
            since: String::new(),
            until: None,
            actor: None,
            reason: None,
        };
        for (last, current, to, expected) in [
            (None, None, None, Err("no other version")),
            (None, Some(3), None, Err("no other version")),
            (Some(2), Some(3), None, Ok(2)),
            (Some(3), None, None, Ok(3)),
            (Some(1), Some(3), Some(1), Ok(1)),
            (None, Some(3), Some(3), Err("is in production now")),
            (None, Some(3), Some(4), Err("was never in production")),
        ] {
            let (current, to) = (current.map(version), to.map(version));
            let found = rollback_target("m", last.map(held), to.as_ref(), current.as_ref());
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.version, expected),
                (Err(refusal), Err(expected)) => {
                    assert!(refusal.to_string().contains(expected), "{refusal}");
                }
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn without_a_required_suite_the_gate_is_open() {
        assert_eq!(Gate::default().admit(None, None), Ok(()));
    }

    #[test]
    fn all_but_the_newest_production_version_of_a_name_are_demoted() {
        let row = |name: &str, time: &str, id| (name.to_owned(), time.to_owned(), id);
        for (rows, expected) in [
            (vec![], vec![]),
            (vec![row("a", "2026", 1)], vec![]),
            (vec![row("a", "2026", 1), row("b", "2026", 2)], vec![]),
            (
                vec![row("a", "2027", 1), row("a", "2026", 2), row("a", "2025", 3), row("b", "2020", 4)],
                vec![(2, 1), (3, 1)],
            ),
            (vec![row("b", "2026", 5), row("a", "2026", 1), row("a", "2026", 2)], vec![(1, 2)]),
        ] {
            assert_eq!(surplus(rows.clone()), expected, "{rows:?}");
        }
    }
}
