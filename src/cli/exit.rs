//! How a command ends: exit codes for scripts, and the messages of a failure.

#[cfg(feature = "objects")]
use crate::artifact::objects::ObjectError;
use crate::{
    artifact::ArtifactError,
    client::{ClientError, DownloadError, mlflow::MlflowError},
};

/// The command succeeded.
pub(super) const DONE: u8 = 0;
/// A file, the configuration or a rule of the registry prevented it.
pub(super) const FAILED: u8 = 1;
/// The command line is invalid. The parser of the command line uses the same code.
pub(super) const USAGE: u8 = 2;
/// No registry or object store answers. Trying again later may help.
pub(super) const UNREACHABLE: u8 = 3;
/// Keys or credentials are missing, were refused, or lack a right.
pub(super) const KEY: u8 = 4;
/// The change contradicts what the registry holds, such as a version that exists already.
pub(super) const CONFLICT: u8 = 5;
/// Ctrl-C, SIGTERM or a closed terminal ended it, and it cleaned up. Shells use the same code: 128 plus SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// The exit codes for the help of a command.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  failed: a file, the configuration, or an error of the registry
  2  invalid command line
  3  registry or object store not reachable or unavailable; try again later
  4  API key or credentials missing, refused, or without this right
  5  conflict, such as a version that is registered already
  130  ended by Ctrl-C, SIGTERM or a closed terminal";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    /// One line each.
    messages: Vec<String>,
}

impl Failure {
    fn of(code: u8, message: impl ToString) -> Self {
        Self { code, messages: vec![message.to_string()] }
    }

    /// Creates a failure; `message` says what was wrong and what to do.
    pub fn failed(message: impl ToString) -> Self {
        Self::of(FAILED, message)
    }

    /// Creates the failure for an invalid command line.
    pub fn usage(message: impl ToString) -> Self {
        Self::of(USAGE, message)
    }

    /// Creates the failure for a key that is missing or can't be used.
    pub fn key(message: impl ToString) -> Self {
        Self::of(KEY, message)
    }

    /// Creates the failure for a registry or a store that can't be reached now.
    pub fn unreachable(message: impl ToString) -> Self {
        Self::of(UNREACHABLE, message)
    }

    /// Creates the failure for a request that contradicts what the registry or a store holds.
    pub fn conflict(message: impl ToString) -> Self {
        Self::of(CONFLICT, message)
    }

    /// Creates the failure for an interruption by the user; `message` says what was undone, or what remains.
    pub fn interrupted(message: impl ToString) -> Self {
        Self::of(INTERRUPTED, message)
    }

    /// Returns the exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Returns the messages, one line each.
    pub(super) fn messages(&self) -> &[String] {
        &self.messages
    }

    /// Returns all messages, in one line.
    pub fn text(&self) -> String {
        self.messages.join("; ")
    }

    /// Returns both failures, with the code of the first.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.messages.extend(other.messages);
        self
    }

    /// Returns this failure with `context` before its message.
    #[must_use]
    pub fn after(mut self, context: &str) -> Self {
        if let Some(first) = self.messages.first_mut() {
            *first = format!("{context}{first}");
        }
        self
    }

    /// Returns this failure with `next` after its message.
    #[must_use]
    pub fn followed_by(mut self, next: &str) -> Self {
        if let Some(last) = self.messages.last_mut() {
            last.push_str(next);
        }
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::BadUrl(_) => USAGE,
            ClientError::BadKey(_)
            | ClientError::KeyRefused { .. }
            | ClientError::Refused { status: 403, .. } => KEY,
            ClientError::Unreachable { .. }
            | ClientError::AnswerLost { .. }
            | ClientError::OutcomeUnknown { .. }
            | ClientError::Unavailable { .. } => UNREACHABLE,
            ClientError::Conflict { .. } => CONFLICT,
            ClientError::NotFound { .. }
            | ClientError::Refused { .. }
            | ClientError::ServerFailed { .. }
            | ClientError::TooOld { .. }
            | ClientError::NoSuchPath { .. }
            | ClientError::NotARegistry { .. } => FAILED,
        };
        Self::of(code, error)
    }
}

impl From<MlflowError> for Failure {
    fn from(error: MlflowError) -> Self {
        let code = match error {
            MlflowError::BadUrl(_) => USAGE,
            MlflowError::BadCredentials | MlflowError::KeyRefused { .. } => KEY,
            MlflowError::Unreachable { .. }
            | MlflowError::AnswerLost { .. }
            | MlflowError::Unavailable { .. } => UNREACHABLE,
            MlflowError::Refused { .. } | MlflowError::NotMlflow { .. } => FAILED,
        };
        Self::of(code, error)
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        let code = match error {
            DownloadError::Lost { .. } | DownloadError::Unavailable { .. } => UNREACHABLE,
            DownloadError::Refused { .. } => KEY,
            DownloadError::Missing { .. }
            | DownloadError::WrongSize { .. }
            | DownloadError::NoRanges { .. }
            | DownloadError::Failed { .. }
            | DownloadError::BadUrl { .. } => FAILED,
        };
        Self::of(code, error)
    }
}

#[cfg(feature = "objects")]
impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::of(code_of(&error), error)
    }
}

#[cfg(feature = "objects")]
fn code_of(error: &ObjectError) -> u8 {
    match error {
        ObjectError::BadUri { .. } | ObjectError::BadSettings(_) => USAGE,
        ObjectError::NoCredentials { .. } | ObjectError::CredentialsRefused { .. } => KEY,
        ObjectError::Unreachable { .. }
        | ObjectError::Unavailable { .. }
        | ObjectError::CredentialsUnavailable { .. } => UNREACHABLE,
        ObjectError::Interrupted { .. }
        | ObjectError::InterruptedDone { .. }
        | ObjectError::InterruptedUnsure { .. } => INTERRUPTED,
        ObjectError::Replaced { .. } | ObjectError::Exists { .. } => CONFLICT,
        ObjectError::PartsLeft { why, .. } => code_of(why),
        ObjectError::NoBucket { .. }
        | ObjectError::Missing { .. }
        | ObjectError::Failed { .. }
        | ObjectError::File(_) => FAILED,
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        Self::failed(error)
    }
}

/// Errors of several files, reported together so that the user can fix all of them at once.
#[derive(Debug, Default)]
pub(super) struct FileErrors(Vec<String>);

impl FileErrors {
    /// Returns the value, or records the error and returns `None`.
    pub(super) fn record<T>(&mut self, result: Result<T, ArtifactError>) -> Option<T> {
        result.map_err(|error| self.0.push(error.to_string())).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// All recorded errors, if there are any.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Failure { code: FAILED, messages: std::mem::take(&mut self.0) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_help_names_every_code() {
        for code in [DONE, FAILED, USAGE, UNREACHABLE, KEY, CONFLICT, INTERRUPTED] {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }

    #[test]
    fn file_errors_are_reported_together() {
        let missing = |name: &str| Err::<(), _>(ArtifactError::Missing { path: PathBuf::from(name) });
        let mut file_errors = FileErrors::default();
        assert_eq!(file_errors.record(Ok(7)), Some(7));
        assert!(file_errors.check().is_ok());
        assert_eq!((file_errors.record(missing("a")), file_errors.record(missing("b"))), (None, None));
        let failure = file_errors.check().unwrap_err();
        assert_eq!((failure.code, failure.messages.len()), (FAILED, 2));
    }
}
