//! Approvals: who agrees that a version gets a status or an alias.
//!
//! An approval is about a version as it was: it counts only while the version has the same artifact and the same scores.

use sha2::{Digest as _, Sha256};

use crate::{
    digest::Digest,
    json::canonical,
    limits::MAX_REASON_BYTES,
    refusal::Refusal,
    suites::recorded_scores,
    text_enum::text_enum,
    version::{Version, VersionId},
};

text_enum! {
    /// What somebody said of a version.
    ApprovalKind {
        /// It may get the target.
        Approval = "approval",
        /// Others should look at it.
        Request = "request",
    }
}

text_enum! {
    /// Which approvals to list.
    #[derive(Default)]
    ApprovalState {
        /// Those that wait: they count, and the version does not have the target.
        #[default]
        Open = "open",
        /// All, the newest first.
        All = "all",
    }
}

/// An approval, or a request for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Increases with time.
    pub id: i64,
    /// The version.
    pub version: VersionId,
    /// The status or the alias.
    pub target: String,
    /// What it is.
    pub kind: ApprovalKind,
    /// Who gave it.
    pub actor: String,
    /// What they said.
    pub comment: Option<String>,
    /// UTC.
    pub created_at: String,
    /// What it is about.
    pub subject: ApprovedState,
    /// UTC; `None` unless it was withdrawn.
    pub withdrawn_at: Option<String>,
}

/// The state of a version that an approval is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedState {
    /// The digest of the version's artifact, or else its location.
    pub artifact: String,
    /// The SHA-256 of its scores, 64 lower-case hex digits.
    pub scores: String,
}

impl ApprovedState {
    /// Returns the state of a version now. Who recorded a score and when is no part of it.
    #[must_use]
    pub fn of(version: &Version) -> Self {
        let artifact = [&version.digest, &version.checkpoint_sha256, &version.artifact_uri];
        let artifact = artifact.into_iter().flatten().next().cloned().unwrap_or_default();
        let scores = Sha256::digest(canonical(&recorded_scores(version.metrics.as_deref())));
        Self { artifact, scores: Digest::from_bytes(scores.into()).to_string() }
    }
}

impl Approval {
    /// Returns why it does not count for a version in this state; `None` if it counts.
    #[must_use]
    pub fn lapsed(&self, now: &ApprovedState) -> Option<&'static str> {
        if self.withdrawn_at.is_some() {
            Some("withdrawn")
        } else if self.subject.artifact != now.artifact {
            Some("the artifact changed")
        } else if self.subject.scores != now.scores {
            Some("the scores changed")
        } else {
            None
        }
    }
}

/// Checks the comment of an approval.
///
/// # Errors
/// [`Refusal::Invalid`] if it is blank or over [`MAX_REASON_BYTES`].
pub fn check_comment(comment: &str) -> Result<(), Refusal> {
    if comment.trim().is_empty() {
        return Err(Refusal::Invalid("comment is blank; leave it out, or say something".to_owned()));
    }
    if comment.len() > MAX_REASON_BYTES {
        return Err(Refusal::Invalid(format!(
            "comment has {} bytes, and at most {MAX_REASON_BYTES} are allowed; say it shorter",
            comment.len()
        )));
    }
    Ok(())
}

/// Checks that a caller is not the author of a version: the one who registered it, or the one it names as such.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn check_approver(actor: &str, version: &Version, registered_by: Option<&str>) -> Result<(), Refusal> {
    // `created_by` is what the author says: the name in the trail, or the name of the key.
    let names = [Some(actor), actor.strip_prefix("key:")];
    let is_actor = |author: Option<&str>| author.is_some() && names.contains(&author);
    if is_actor(version.created_by.as_deref()) || is_actor(registered_by) {
        return Err(Refusal::Forbidden(format!(
            "{actor} is the author of version {:?} of {:?}, so someone else must approve it",
            version.label, version.name
        )));
    }
    Ok(())
}

/// The maximum number of approvals and requests of a version that were not withdrawn.
pub const MAX_APPROVALS: usize = 256;

/// Checks that a version with this many approvals and requests may get another one.
///
/// # Errors
/// [`Refusal::Conflict`] at [`MAX_APPROVALS`].
pub fn check_count(approvals: usize) -> Result<(), Refusal> {
    if approvals < MAX_APPROVALS {
        return Ok(());
    }
    Err(Refusal::Conflict(format!(
        "the version has {approvals} approvals and requests, and at most {MAX_APPROVALS} are allowed; withdraw one first"
    )))
}

/// Returns the refusal for a second approval.
#[must_use]
pub fn already_given(kind: ApprovalKind, actor: &str, version: &Version, target: &str) -> Refusal {
    let what = match kind {
        ApprovalKind::Approval => "approved",
        ApprovalKind::Request => "asked for approval of",
    };
    Refusal::Conflict(format!(
        "{actor} has {what} version {:?} of {:?} for {target} already; withdraw that first",
        version.label, version.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::sample;

    #[test]
    fn an_approval_lapses_when_artifact_or_scores_change_and_not_with_the_rest() {
        let version = |digest: Option<&str>, metrics: &str, description: &str| Version {
            digest: digest.map(str::to_owned),
            metrics: Some(metrics.to_owned()),
            description: Some(description.to_owned()),
            ..sample()
        };
        let scores = r#"{"suites":{"core":{"score":0.9,"_meta":{"actor":"a"}}}}"#;
        let approved = version(Some("aa"), scores, "");
        let approval = |withdrawn: Option<&str>| Approval {
            id: 1,
            version: 1,
            target: "production".to_owned(),
            kind: ApprovalKind::Approval,
            actor: "bob".to_owned(),
            comment: None,
            created_at: String::new(),
            subject: ApprovedState::of(&approved),
            withdrawn_at: withdrawn.map(str::to_owned),
        };
        for (now, withdrawn, lapsed) in [
            (version(Some("aa"), scores, "new text"), None, None),
            (
                version(Some("aa"), r#"{"x":1,"suites":{"core":{"score":0.9,"_meta":{"actor":"b"}}}}"#, ""),
                None,
                None,
            ),
            (version(Some("bb"), scores, ""), None, Some("the artifact changed")),
            (version(None, scores, ""), None, Some("the artifact changed")),
            (
                version(Some("aa"), r#"{"suites":{"core":{"score":0.8}}}"#, ""),
                None,
                Some("the scores changed"),
            ),
            (version(Some("aa"), "{}", ""), None, Some("the scores changed")),
            (version(Some("aa"), scores, ""), Some("2026"), Some("withdrawn")),
        ] {
            assert_eq!(approval(withdrawn).lapsed(&ApprovedState::of(&now)), lapsed, "{now:?}");
        }
    }

    #[test]
    fn neither_the_registering_nor_the_named_author_approves() {
        let version = Version { created_by: Some("ann".to_owned()), ..sample() };
        for (actor, registered_by, good) in [
            ("bob", Some("ci"), true),
            ("ann", Some("ci"), false),
            ("key:ann", Some("ci"), false),
            ("ci", Some("ci"), false),
            ("ci", None, true),
        ] {
            assert_eq!(check_approver(actor, &version, registered_by).is_ok(), good, "{actor}");
        }
    }
}
