//! The registry as publications ask it: heard is whoever wants an end, and remembered whether what answers
//! there has shown itself to be a registry.

use std::{cell::Cell, io, thread, time::Duration};

use crossbeam_channel::{bounded, select};

use crate::{
    cli::{
        exit::Failure,
        interrupt::Interrupt,
        publish_error::{ErrorClass, PublishError, class_of},
    },
    client::{Client, ClientError},
};

/// How long the answer to a registration is still awaited once the end is wanted, so that it is mostly known
/// what became of it.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// A registry, and what is known of it.
#[derive(Debug)]
pub(in crate::cli) struct Contact {
    client: Client,
    interrupt: Interrupt,
    answered: Cell<bool>,
}

/// Why a question brought no answer that helps.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The registry said so, or could not be asked.
    Said(ClientError),
    /// The question was never put.
    Unasked(io::Error),
    /// The end was wanted first; nobody knows what becomes of the question.
    Interrupted,
}

impl Contact {
    pub(in crate::cli) fn new(client: Client, interrupt: Interrupt) -> Self {
        Self { client, interrupt, answered: Cell::new(false) }
    }

    /// Whether a registry has answered in this run. What answers differently after that stands in for it
    /// while it is away, such as a proxy in front of it.
    pub(in crate::cli) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// Asks what can be asked again, and so need not be waited for.
    pub(super) fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.ask(Duration::ZERO, question)
    }

    /// Asks for something to be done.
    pub(super) fn change<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.ask(LAST_ANSWER, question)
    }

    fn ask<T: Send + 'static>(
        &self,
        grace: Duration,
        question: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        if self.interrupt.requested() {
            return Err(Unanswered::Interrupted);
        }
        let client = self.client.clone();
        let (told, answer) = bounded(1);
        // Where a question is given up this thread is what is left of it, and ends with the process.
        let asking = thread::Builder::new().name("registry".to_owned()).spawn(move || {
            let _ = told.send(question(&client));
        });
        asking.map_err(Unanswered::Unasked)?;
        let answered = select! {
            recv(answer) -> answered => answered.ok(),
            recv(self.interrupt.channel()) -> _ => answer.recv_timeout(grace).ok(),
        };
        let answered = answered.ok_or(Unanswered::Interrupted)?;
        if is_of_a_registry(&answered) {
            self.answered.set(true);
        }
        answered.map_err(Unanswered::Said)
    }
}

/// Whether only a registry answers like that. A 404 that says no more may come from any server.
fn is_of_a_registry<T>(answered: &Result<T, ClientError>) -> bool {
    match answered {
        Ok(_) => true,
        Err(ClientError::NotFound { detail }) => detail != "Not Found",
        Err(error) => class_of(error) == ErrorClass::Refused,
    }
}

impl From<Unanswered> for PublishError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Said(error) => error.into(),
            Unanswered::Unasked(error) => Self {
                class: ErrorClass::Outage,
                failure: Failure::failed(format!("the registry can't be asked: no thread: {error}")),
            },
            Unanswered::Interrupted => Self {
                class: ErrorClass::Interrupted,
                failure: Failure::interrupted("interrupted while the registry was asked"),
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
        for (answered, expected) in [
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
            assert_eq!(is_of_a_registry(&answered), expected, "{answered:?}");
        }
    }
}
