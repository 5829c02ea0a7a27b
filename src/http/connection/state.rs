//! The state that a connection shares with its requests. All live on one thread.

use std::{cell::Cell, rc::Rc};

/// The requests of one connection. Handlers find it as connection data.
#[derive(Debug, Default)]
pub(in crate::http) struct ConnectionState {
    begun: Cell<u64>,
    in_flight: Cell<u32>,
    has_unread_body: Cell<bool>,
}

/// Marks its request as in flight until the last byte of the answer has been produced.
#[derive(Debug)]
pub(in crate::http) struct RequestGuard(Rc<ConnectionState>);

impl ConnectionState {
    /// Records that the head of a request is complete.
    pub(in crate::http) fn begin(self: &Rc<Self>, has_body: bool) -> RequestGuard {
        self.begun.set(self.begun.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        self.has_unread_body.set(has_body);
        RequestGuard(Rc::clone(self))
    }

    /// Records that a handler has read its body to the end, so the next byte begins a request.
    pub(in crate::http) fn body_read(&self) {
        self.has_unread_body.set(false);
    }

    /// Returns true if the next bytes may still belong to the body of the last request.
    pub(in crate::http) fn has_unread_body(&self) -> bool {
        self.has_unread_body.get()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    /// Requests that have begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.get()
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}
