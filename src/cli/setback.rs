//! Why a publication did not come about, and what that means for whoever has more of them to make.

use super::exit::Failure;
use crate::{
    artifact::{ArtifactError, TemplateError, objects::ObjectError},
    client::ClientError,
};

/// What a failure means beyond this one publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The registry or the store can't be asked now: nothing can be published, and later everything can.
    Outage,
    /// Something else than a registry answers where it should be. If it was there before, that is an outage;
    /// if not, the address is wrong.
    Stranger,
    /// This file can't be had now, and perhaps later: it is still moving, or its disk fails.
    Unready,
    /// This file will not be published as it is, however often it is tried.
    Refused,
    /// A key, a bucket, an address is wrong: no file will be published.
    Setup,
    /// The user wanted it to end.
    Interrupted,
}

/// A failure, and what it means.
#[derive(Debug)]
pub(super) struct Setback {
    pub(super) kind: Kind,
    pub(super) failure: Failure,
}

impl Setback {
    /// What the registry or the store holds contradicts it.
    pub(super) fn conflict(message: String) -> Self {
        Self { kind: Kind::Refused, failure: Failure::conflict(message) }
    }

    /// The same, with what else there is to know said before it.
    pub(super) fn after(self, context: &str) -> Self {
        Self { failure: self.failure.after(context), ..self }
    }
}

impl From<ClientError> for Setback {
    fn from(error: ClientError) -> Self {
        let kind = meaning(&error);
        Self { kind, failure: error.into() }
    }
}

/// What an error of the registry's client means.
pub(super) fn meaning(error: &ClientError) -> Kind {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::AnswerLost { .. }
        | ClientError::Unavailable { .. }
        | ClientError::ServerFailed { .. }
        // Whoever says that it is too slow, too early or too much may be asked again.
        | ClientError::Refused { status: 408 | 425 | 429, .. } => Kind::Outage,
        ClientError::BadUrl(_) | ClientError::BadKey(_) | ClientError::KeyRefused { .. } => Kind::Setup,
        // All that a registry says of what it is sent. That it knows no such path, method or type it says
        // to nobody who publishes.
        ClientError::Conflict { .. } | ClientError::Refused { status: 400 | 413 | 422, .. } => Kind::Refused,
        ClientError::NotFound { .. } | ClientError::Refused { .. } | ClientError::NotARegistry { .. } => {
            Kind::Stranger
        }
    }
}

impl From<ObjectError> for Setback {
    fn from(error: ObjectError) -> Self {
        Self { kind: kind_of(&error), failure: error.into() }
    }
}

fn kind_of(error: &ObjectError) -> Kind {
    match error {
        ObjectError::Unreachable { .. }
        | ObjectError::Unavailable { .. }
        | ObjectError::CredentialsUnavailable { .. } => Kind::Outage,
        ObjectError::BadSettings(_)
        | ObjectError::NoCredentials { .. }
        | ObjectError::CredentialsRefused { .. }
        | ObjectError::NoBucket { .. } => Kind::Setup,
        // What lies there now is looked at anew when it is tried again.
        ObjectError::Missing { .. }
        | ObjectError::Replaced { .. }
        | ObjectError::Exists { .. }
        | ObjectError::NotTheFile { .. }
        | ObjectError::NotConfirmed { .. }
        | ObjectError::Failed { .. } => Kind::Unready,
        ObjectError::BadUri { .. } => Kind::Refused,
        ObjectError::File(error) => kind_of_file(error),
        ObjectError::Interrupted { .. }
        | ObjectError::InterruptedDone { .. }
        | ObjectError::InterruptedUnsure { .. }
        | ObjectError::InterruptedLate { .. } => Kind::Interrupted,
        ObjectError::PartsLeft { why, .. } | ObjectError::WithoutDigest { why, .. } => kind_of(why),
    }
}

fn kind_of_file(error: &ArtifactError) -> Kind {
    match error {
        ArtifactError::Abandoned { .. } => Kind::Interrupted,
        _ => Kind::Unready,
    }
}

impl From<ArtifactError> for Setback {
    fn from(error: ArtifactError) -> Self {
        let kind = kind_of_file(&error);
        let failure = match kind {
            Kind::Interrupted => Failure::interrupted("interrupted; nothing was uploaded or registered"),
            _ => Failure::failed(error.to_string()),
        };
        Self { kind, failure }
    }
}

impl From<TemplateError> for Setback {
    fn from(error: TemplateError) -> Self {
        Self { kind: Kind::Refused, failure: Failure::usage(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        artifact::objects::ObjectUri,
        cli::exit::{CONFLICT, FAILED, INTERRUPTED, KEY, UNREACHABLE},
    };

    #[test]
    fn each_failure_says_whether_others_can_still_succeed() {
        let url = || "http://h".to_owned();
        let text = String::new;
        for (error, kind, code) in [
            (
                ClientError::Unreachable { url: url(), reason: text(), refused: true },
                Kind::Outage,
                UNREACHABLE,
            ),
            (
                ClientError::ServerFailed { url: url(), status: 502, detail: text(), request_id: None },
                Kind::Outage,
                FAILED,
            ),
            (ClientError::KeyRefused { url: url(), found_in: None }, Kind::Setup, KEY),
            (ClientError::Conflict { detail: text() }, Kind::Refused, CONFLICT),
            (ClientError::Refused { status: 422, detail: text() }, Kind::Refused, FAILED),
            (ClientError::Refused { status: 429, detail: text() }, Kind::Outage, FAILED),
            (ClientError::Refused { status: 408, detail: text() }, Kind::Outage, FAILED),
            (ClientError::Refused { status: 404, detail: text() }, Kind::Stranger, FAILED),
            (ClientError::NotFound { detail: text() }, Kind::Stranger, FAILED),
            (ClientError::NotARegistry { url: url(), reason: text() }, Kind::Stranger, FAILED),
        ] {
            let said = format!("{error:?}");
            let setback = Setback::from(error);
            assert_eq!((setback.kind, setback.failure.code()), (kind, code), "{said}");
        }
    }

    #[test]
    fn a_failure_that_left_parts_behind_is_still_what_it_was() {
        let uri = ObjectUri::parse("s3://b/k").unwrap();
        let file = ArtifactError::Changed { path: PathBuf::from("c") };
        for (why, kind, code) in [
            (ObjectError::Interrupted { uri: uri.clone() }, Kind::Interrupted, INTERRUPTED),
            (ObjectError::File(file), Kind::Unready, FAILED),
        ] {
            let error =
                ObjectError::PartsLeft { uri: uri.clone(), why: Box::new(why), reason: "r".to_owned() };
            let setback = Setback::from(error);
            assert_eq!((setback.kind, setback.failure.code()), (kind, code));
        }
    }
}
