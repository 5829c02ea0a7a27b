//! The state that a connection shares with its requests. All live on one thread.

use std::{cell::Cell, future::poll_fn, io, os::fd::OwnedFd, rc::Rc, task::Poll};

/// The requests of one connection. Handlers find it as connection data.
#[derive(Default)]
pub(in crate::http) struct ConnectionState {
    begun: Cell<u64>,
    in_flight: Cell<u32>,
    has_unread_body: Cell<bool>,
    /// True if bytes go to the socket as they are.
    is_plain: Cell<bool>,
    /// What a body waits for that goes to the socket beside actix.
    wants: Cell<Want>,
    socket: Cell<Option<io::Result<OwnedFd>>>,
    /// Bytes that the socket took beside actix since the connection asked last.
    sent_bytes: Cell<u64>,
}

/// What a body waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Want {
    #[default]
    Nothing,
    /// The socket, once all that actix has written is on its way.
    Socket,
    /// That the socket takes more.
    Reader,
}

/// Marks its request as in flight until the last byte of the answer has been produced.
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

    /// Returns true if a body may go to the socket beside actix.
    pub(in crate::http) fn is_plain(&self) -> bool {
        self.is_plain.get()
    }

    pub(super) fn set_plain(&self, is_plain: bool) {
        self.is_plain.set(is_plain);
    }

    /// Waits until all that actix has written is on its way, and returns the socket, which does not block. What a body sends there
    /// follows the head of its answer, if the body returns no bytes itself.
    pub(in crate::http) async fn socket(&self) -> io::Result<OwnedFd> {
        self.wants.set(Want::Socket);
        poll_fn(|_| self.socket.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Records bytes that the socket took and, if it takes no more, waits until it does.
    pub(in crate::http) async fn sent(&self, bytes: u64, is_blocked: bool) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes);
        if is_blocked {
            self.wants.set(Want::Reader);
            poll_fn(|_| if self.wants.get() == Want::Nothing { Poll::Ready(()) } else { Poll::Pending })
                .await;
        }
    }

    /// Returns what a body waits for. The connection wakes its task when that is there.
    pub(super) fn wants(&self) -> Want {
        self.wants.get()
    }

    pub(super) fn give_socket(&self, socket: io::Result<OwnedFd>) {
        self.wants.set(Want::Nothing);
        self.socket.set(Some(socket));
    }

    pub(super) fn reader_is_back(&self) {
        self.wants.set(Want::Nothing);
    }

    /// Returns the bytes that the socket took beside actix since the last call.
    pub(super) fn take_sent_bytes(&self) -> u64 {
        self.sent_bytes.take()
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
