//! Why a publication failed, and what that means for the publications after it.

use super::exit::Failure;
use crate::{
    artifact::{ArtifactError, TemplateError, objects::ObjectError},
    client::ClientError,
};

/// What a failure means for other publications and for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// Registry or store is unavailable: nothing can be published now, everything later.
    Outage,
    /// Another service answers at the registry's address. That is an outage if a registry answered before; otherwise
    /// the address is wrong.
    NotARegistry,
    /// This file can't be read or uploaded now, but perhaps later: it is still being written, or its disk fails.
    NotReady,
    /// This file will never be published as it is.
    Refused,
    /// A key, a bucket or an address is wrong: no file can be published.
    Setup,
    /// The user stopped the command.
    Interrupted,
}

/// The failure of a publication, with its class.
#[derive(Debug)]
pub(super) struct PublishError {
    pub(super) class: ErrorClass,
    pub(super) failure: Failure,
}

impl PublishError {
    /// Creates the error for a registry or store that holds something else.
    pub(super) fn conflict(message: String) -> Self {
        Self { class: ErrorClass::Refused, failure: Failure::conflict(message) }
    }

    /// Returns this error with `context` before its message.
    pub(super) fn after(self, context: &str) -> Self {
        Self { failure: self.failure.after(context), ..self }
    }
}

impl From<ClientError> for PublishError {
    fn from(error: ClientError) -> Self {
        Self { class: class_of(&error), failure: error.into() }
    }
}

/// Returns the class of an error of the registry's client.
pub(super) fn class_of(error: &ClientError) -> ErrorClass {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::AnswerLost { .. }
        | ClientError::OutcomeUnknown { .. }
        | ClientError::Unavailable { .. }
        | ClientError::ServerFailed { .. }
        // Timeout, too early, too many requests: the same request may succeed later.
        | ClientError::Refused { status: 408 | 425 | 429, .. } => ErrorClass::Outage,
        ClientError::BadUrl(_) | ClientError::BadKey(_) | ClientError::KeyRefused { .. } => ErrorClass::Setup,
        // The statuses by which a registry refuses a registration. It never answers one with 404, 405 or 415.
        ClientError::Conflict { .. } | ClientError::Refused { status: 400 | 413 | 422, .. } => {
            ErrorClass::Refused
        }
        ClientError::NotFound { .. }
        | ClientError::Refused { .. }
        | ClientError::TooOld { .. }
        | ClientError::NoSuchPath { .. }
        | ClientError::NotARegistry { .. } => ErrorClass::NotARegistry,
    }
}

impl From<ObjectError> for PublishError {
    fn from(error: ObjectError) -> Self {
        Self { class: class_of_object_error(&error), failure: error.into() }
    }
}

fn class_of_object_error(error: &ObjectError) -> ErrorClass {
    match error {
        ObjectError::Unreachable { .. }
        | ObjectError::Unavailable { .. }
        | ObjectError::CredentialsUnavailable { .. } => ErrorClass::Outage,
        ObjectError::BadSettings(_)
        | ObjectError::NoCredentials { .. }
        | ObjectError::CredentialsRefused { .. }
        | ObjectError::NoBucket { .. } => ErrorClass::Setup,
        // Another attempt looks at the object again.
        ObjectError::Missing { .. }
        | ObjectError::Replaced { .. }
        | ObjectError::Exists { .. }
        | ObjectError::File(_)
        | ObjectError::Failed { .. } => ErrorClass::NotReady,
        ObjectError::BadUri { .. } => ErrorClass::Refused,
        ObjectError::Interrupted { .. }
        | ObjectError::InterruptedDone { .. }
        | ObjectError::InterruptedUnsure { .. } => ErrorClass::Interrupted,
        ObjectError::PartsLeft { why, .. } => class_of_object_error(why),
    }
}

impl From<ArtifactError> for PublishError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Abandoned { .. } => Self {
                class: ErrorClass::Interrupted,
                failure: Failure::interrupted("interrupted; nothing was uploaded or registered"),
            },
            error => Self { class: ErrorClass::NotReady, failure: error.into() },
        }
    }
}

impl From<TemplateError> for PublishError {
    fn from(error: TemplateError) -> Self {
        Self { class: ErrorClass::Refused, failure: Failure::usage(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        artifact::objects::ObjectUri,
        cli::exit::{FAILED, INTERRUPTED},
    };

    #[test]
    fn an_error_that_left_parts_behind_keeps_its_class() {
        let uri = ObjectUri::parse("s3://b/k").unwrap();
        let file = ArtifactError::Changed { path: PathBuf::from("c") };
        for (why, class, code) in [
            (ObjectError::Interrupted { uri: uri.clone() }, ErrorClass::Interrupted, INTERRUPTED),
            (ObjectError::File(file), ErrorClass::NotReady, FAILED),
        ] {
            let error =
                ObjectError::PartsLeft { uri: uri.clone(), why: Box::new(why), reason: "r".to_owned() };
            let error = PublishError::from(error);
            assert_eq!((error.class, error.failure.code()), (class, code));
        }
    }
}
