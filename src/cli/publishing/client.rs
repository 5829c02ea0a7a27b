//! The registry's client, made interruptible: a call returns once the user interrupts the command. It also remembers if a
//! registry has answered.

use std::{cell::Cell, thread, time::Duration};

use crossbeam_channel::{bounded, select};

use crate::{
    cli::{
        exit::Failure,
        interrupt::Interrupt,
        publish_error::{ErrorClass, PublishError, class_of},
    },
    client::{Client, ClientError},
};

/// How long the answer to a registration is awaited after an interruption, so that its outcome is mostly known.
pub(super) const LAST_ANSWER: Duration = Duration::from_secs(2);

/// A client whose calls end on an interruption.
pub(in crate::cli) struct InterruptibleClient {
    client: Client,
    interrupt: Interrupt,
    has_answered: Cell<bool>,
}

/// Why a call has no useful answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The registry refused the call, or could not be reached.
    Client(ClientError),
    /// The command was interrupted first; the call may still be executed.
    Interrupted,
}

impl InterruptibleClient {
    pub(in crate::cli) fn new(client: Client, interrupt: Interrupt) -> Self {
        Self { client, interrupt, has_answered: Cell::new(false) }
    }

    /// Returns true if a registry has answered in this run. After that, a different answer comes from a proxy that
    /// replaces an unavailable registry.
    pub(in crate::cli) fn has_answered(&self) -> bool {
        self.has_answered.get()
    }

    /// Makes a call. After an interruption its answer is awaited for `grace`.
    pub(super) fn call<T: Send + 'static>(
        &self,
        grace: Duration,
        call: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, CallError> {
        if self.interrupt.requested() {
            return Err(CallError::Interrupted);
        }
        let client = self.client.clone();
        let (reply, answer) = bounded(1);
        // After an interruption this thread lives on until the process ends.
        thread::spawn(move || {
            let _ = reply.send(call(&client));
        });
        let answer = select! {
            recv(answer) -> answer => answer.ok(),
            recv(self.interrupt.channel()) -> _ => answer.recv_timeout(grace).ok(),
        };
        let answer = answer.ok_or(CallError::Interrupted)?;
        if is_from_a_registry(&answer) {
            self.has_answered.set(true);
        }
        answer.map_err(CallError::Client)
    }
}

/// Returns true if only a registry answers like that. Any server may answer 404 without a reason.
fn is_from_a_registry<T>(answer: &Result<T, ClientError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(ClientError::NotFound { detail }) => detail != "Not Found",
        Err(error) => class_of(error) == ErrorClass::Refused,
    }
}

impl From<CallError> for PublishError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Client(error) => error.into(),
            CallError::Interrupted => Self {
                class: ErrorClass::Interrupted,
                failure: Failure::interrupted(
                    "interrupted while waiting for the registry; run the same command again",
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_its_answers() {
        let text = |text: &str| text.to_owned();
        for (answer, expected) in [
            (Ok(()), true),
            (Err(ClientError::NotFound { detail: text("there is no version \"v1\" of \"m\"") }), true),
            (Err(ClientError::NotFound { detail: text("Not Found") }), false),
            (Err(ClientError::Conflict { detail: text("taken") }), true),
            (Err(ClientError::Refused { status: 422, detail: text("no list") }), true),
            (Err(ClientError::Refused { status: 404, detail: text("default backend") }), false),
            (Err(ClientError::NotARegistry { url: text("u"), reason: text("HTML") }), false),
            (
                Err(ClientError::Unavailable { url: text("u"), detail: text("busy"), retry_after: None }),
                false,
            ),
        ] {
            assert_eq!(is_from_a_registry(&answer), expected, "{answer:?}");
        }
    }
}
