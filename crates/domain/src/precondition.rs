//! Writing only over the state one has seen.

use super::{Model, Refusal};

/// What a writer wants to be true of a version before its write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The `updated_at` the caller has seen (0.2.0's way; its failure is a conflict).
    pub if_updated_at: Option<String>,
    /// The revisions the caller would write over (`If-Match`; its failure is a failed precondition).
    /// An empty list fits no version.
    pub if_match: Option<Vec<String>>,
}

impl Precondition {
    /// Whether `model` is in the state the caller wants it in.
    ///
    /// # Errors
    /// [`Refusal::PreconditionFailed`] or [`Refusal::Conflict`], see the fields.
    pub fn check<S: AsRef<str>>(&self, model: &Model<S>) -> Result<(), Refusal> {
        if let Some(wanted) = &self.if_match {
            let revision = model.revision();
            if !wanted.contains(&revision) {
                return Err(Refusal::PreconditionFailed(format!(
                    "model {} has changed: its ETag is now \"{revision}\"; read it again and repeat the change",
                    model.id
                )));
            }
        }
        let updated_at = model.updated_at.as_ref();
        match &self.if_updated_at {
            Some(seen) if seen != updated_at => Err(Refusal::Conflict(format!(
                "model {} has changed: its updated_at is now {updated_at:?}; read it again and repeat the change",
                model.id
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::sample;

    #[test]
    fn a_write_over_another_state_is_refused() {
        let now = "2026-01-31 13:05:09.250";
        let tag = "1-2026-01-31T13:05:09.250";
        for (if_updated_at, if_match, verdict) in [
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
                if_match: if_match.map(|tags| tags.into_iter().map(str::to_owned).collect()),
            };
            let judged = match precondition.check(&sample()) {
                Ok(()) => "goes",
                Err(Refusal::Conflict(_)) => "conflict",
                Err(Refusal::PreconditionFailed(_)) => "precondition",
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(judged, verdict, "{precondition:?}");
        }
    }
}
