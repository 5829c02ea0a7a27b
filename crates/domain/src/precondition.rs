//! Optimistic concurrency: a change applies only to the state that its caller has seen.

use crate::{model::Model, refusal::Refusal, version::Version};

/// What must be true of a version for a change to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The `updated_at` that the caller has seen, as in 0.2.0; any other value is a conflict.
    pub if_updated_at: Option<String>,
    /// The revisions that the caller accepts; any other is a failed precondition. An empty list accepts none.
    pub revisions: Option<Vec<String>>,
}

impl Precondition {
    /// Checks that `version` is in a state that the caller accepts.
    ///
    /// # Errors
    /// [`Refusal::PreconditionFailed`] or [`Refusal::Conflict`], see the fields.
    pub fn check<S: AsRef<str>>(&self, version: &Version<S>) -> Result<(), Refusal> {
        self.check_revision(version.revision(), || format!("the version with id {}", version.id))?;
        let updated_at = version.updated_at.as_ref();
        match &self.if_updated_at {
            Some(seen) if seen != updated_at => Err(Refusal::Conflict(format!(
                "the version with id {} has changed: its updated_at is now {updated_at:?}; read it again and repeat the change",
                version.id
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that a registered model is in a state that the caller accepts.
    ///
    /// # Errors
    /// [`Refusal::PreconditionFailed`].
    pub fn check_model(&self, model: &Model) -> Result<(), Refusal> {
        self.check_revision(model.revision(), || format!("model {:?}", model.name))
    }

    fn check_revision(&self, revision: String, what: impl Fn() -> String) -> Result<(), Refusal> {
        if self.revisions.as_ref().is_none_or(|accepted| accepted.contains(&revision)) {
            return Ok(());
        }
        Err(Refusal::PreconditionFailed(format!(
            "{} has changed: its revision is now {revision:?}; read it again and repeat the change",
            what()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::sample;

    #[test]
    fn a_write_to_a_version_that_has_changed_is_refused() {
        let now = "2026-01-31 13:05:09.250";
        let tag = "1-2026-01-31T13:05:09.250";
        for (if_updated_at, revisions, verdict) in [
            (None, None, "goes"),
            (Some(now), None, "goes"),
            (Some(now), Some(vec![tag]), "goes"),
            (None, Some(vec!["1-older", tag]), "goes"),
            (Some("2001-01-01 00:00:00"), None, "conflict"),
            (Some("2001-01-01 00:00:00"), Some(vec![tag]), "conflict"),
            (None, Some(vec!["1-older"]), "precondition"),
            (None, Some(vec![]), "precondition"),
            (Some("2001-01-01 00:00:00"), Some(vec!["1-older"]), "precondition"),
        ] {
            let precondition = Precondition {
                if_updated_at: if_updated_at.map(str::to_owned),
                revisions: revisions.map(|tags| tags.into_iter().map(str::to_owned).collect()),
            };
            let checked = match precondition.check(&sample()) {
                Ok(()) => "goes",
                Err(Refusal::Conflict(_)) => "conflict",
                Err(Refusal::PreconditionFailed(_)) => "precondition",
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(checked, verdict, "{precondition:?}");
        }
    }
}
