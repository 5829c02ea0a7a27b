//! What a connection and the requests on it tell each other: how many were answered, and why a body ended before its end.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::super::error::ApiError;
use super::framing::Malformed;

/// Shared by a connection and its requests, which live on one thread.
#[derive(Debug, Default)]
pub(in crate::http) struct Exchange {
    answered: Cell<u64>,
    cut: RefCell<Option<Cut>>,
}

/// Why nothing more of a connection is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Cut {
    Malformed(Malformed),
    TooSlow {
        part: &'static str,
    },
    /// Too much is held for heads that are not whole yet.
    Crowded,
}

impl Cut {
    /// As it is counted.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooSlow { .. } => "slow",
            Self::Crowded => "crowded",
        }
    }
}

impl Exchange {
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// One more request has its answer, which is still to be sent.
    pub(in crate::http) fn answer(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Requests that have their answers.
    pub(super) fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// The body under way ends here.
    pub(super) fn cut(&self, cut: Cut) {
        self.cut.replace(Some(cut));
    }

    /// Why the body ended before its end, if it was this side's doing.
    pub(in crate::http) fn why_cut(&self) -> Option<ApiError> {
        self.cut.borrow().clone().map(ApiError::from)
    }
}

impl From<Cut> for ApiError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Malformed(malformed) => Self::Malformed(malformed),
            Cut::TooSlow { part } => Self::TooSlow { part },
            Cut::Crowded => Self::TooManyConnections,
        }
    }
}
