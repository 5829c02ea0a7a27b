//! How a command ends: the exit codes that scripts go by, and the words on stderr.

use std::process::ExitCode;

use super::print;
use crate::{
    artifact::{ArtifactError, objects::ObjectError},
    client::ClientError,
};

/// Done.
pub const DONE: u8 = 0;
/// A file, a configuration or the registry's rules stood in the way.
pub const FAILED: u8 = 1;
/// The command line makes no sense. It is also what the parser of the command line ends with.
pub const USAGE: u8 = 2;
/// No registry or object store there, or none that can answer now. Trying again later may help.
pub const UNREACHABLE: u8 = 3;
/// No key or credentials, or some that the registry or the store refused.
pub const KEY: u8 = 4;
/// The registry holds something that this contradicts, such as the same version already.
pub const CONFLICT: u8 = 5;
/// Ctrl-C, SIGTERM or a closed terminal ended it; what was begun was undone. As shells count: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// The codes, as the help of a command shows them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed: a file, a configuration, or an error of the registry
  2  the command line makes no sense
  3  no registry or object store there, or it is unavailable; try again later
  4  no API key or credentials, or they were refused
  5  conflict, such as a version that is registered already
  130  ended by Ctrl-C, SIGTERM or a closed terminal";

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    /// One line each.
    messages: Vec<String>,
}

impl Failure {
    /// Something stood in the way; `message` says what, and what to do.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: FAILED, messages: vec![message.into()] }
    }

    /// The flags make no sense together.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, messages: vec![message.into()] }
    }

    /// There is no key.
    pub fn key(message: impl Into<String>) -> Self {
        Self { code: KEY, messages: vec![message.into()] }
    }

    /// What the registry or a store holds contradicts what was asked.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { code: CONFLICT, messages: vec![message.into()] }
    }

    /// The user ended it; `message` says what was undone, or what is left.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { code: INTERRUPTED, messages: vec![message.into()] }
    }

    /// One of the codes above.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What is wrong, in one line.
    pub fn text(&self) -> String {
        self.messages.join("; ")
    }

    /// Both failures; the first one's code counts.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.messages.extend(other.messages);
        self
    }

    /// The same failure, with what else there is to know said before it.
    #[must_use]
    pub fn after(mut self, context: &str) -> Self {
        if let Some(first) = self.messages.first_mut() {
            *first = format!("{context}{first}");
        }
        self
    }

    /// The same failure, with what else there is to know said behind it.
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
            ClientError::BadKey(_) | ClientError::KeyRefused { .. } => KEY,
            ClientError::Unreachable { .. }
            | ClientError::AnswerLost { .. }
            | ClientError::Unavailable { .. } => UNREACHABLE,
            ClientError::Conflict { .. } => CONFLICT,
            ClientError::NotFound { .. }
            | ClientError::Refused { .. }
            | ClientError::ServerFailed { .. }
            | ClientError::NotARegistry { .. } => FAILED,
        };
        Self { code, messages: vec![error.to_string()] }
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self { code: code_of(&error), messages: vec![error.to_string()] }
    }
}

fn code_of(error: &ObjectError) -> u8 {
    match error {
        ObjectError::BadUri { .. } | ObjectError::BadSettings(_) => USAGE,
        ObjectError::NoCredentials { .. } | ObjectError::CredentialsRefused { .. } => KEY,
        ObjectError::Unreachable { .. }
        | ObjectError::Unavailable { .. }
        | ObjectError::CredentialsUnavailable { .. } => UNREACHABLE,
        ObjectError::Interrupted { .. }
        | ObjectError::InterruptedDone { .. }
        | ObjectError::InterruptedUnsure { .. }
        | ObjectError::InterruptedLate { .. } => INTERRUPTED,
        ObjectError::Replaced { .. } | ObjectError::Exists { .. } => CONFLICT,
        ObjectError::PartsLeft { why, .. } | ObjectError::WithoutDigest { why, .. } => code_of(why),
        ObjectError::NoBucket { .. }
        | ObjectError::Missing { .. }
        | ObjectError::NotTheFile { .. }
        | ObjectError::NotConfirmed { .. }
        | ObjectError::Failed { .. }
        | ObjectError::File(_) => FAILED,
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Faults of files that are told together, so that nobody mends one only to hear of the next.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    /// What was found, or `None` once its fault is noted.
    pub(super) fn note<T>(&mut self, found: Result<T, ArtifactError>) -> Option<T> {
        found.map_err(|error| self.0.push(error.to_string())).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// All that were noted, where there are any.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Failure { code: FAILED, messages: std::mem::take(&mut self.0) })
    }
}

/// Tells a failure on stderr and turns the outcome into an exit code.
pub(super) fn report(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::from(DONE) };
    for message in &failure.messages {
        print::line(&format!("error: {message}"));
    }
    ExitCode::from(failure.code)
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
    fn faults_are_told_together() {
        let missing = |name: &str| Err::<(), _>(ArtifactError::Missing { path: PathBuf::from(name) });
        let mut faults = Faults::default();
        assert_eq!(faults.note(Ok(7)), Some(7));
        assert!(faults.settle().is_ok());
        assert_eq!((faults.note(missing("a")), faults.note(missing("b"))), (None, None));
        let failure = faults.settle().unwrap_err();
        assert_eq!((failure.code, failure.messages.len()), (FAILED, 2));
    }
}
