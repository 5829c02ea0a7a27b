//! The connection through which actix reads and writes: deadlines, and a check of what arrives.

use std::{
    io,
    net::IpAddr,
    os::fd::AsFd as _,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::rt::{net::TcpStream, time::Sleep};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    time::{Instant, sleep_until},
};

use super::{
    super::error::ApiError,
    final_response::{self, Stream},
    guard::ConnectionGuard,
    head::PartialHead,
    state::{ConnectionState, Want},
};

/// How long a client may take to send and to receive, and a stream of events may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the first byte of a request, or the start of a connection, to the end of the head.
    pub head: Duration,
    /// From the end of the head to the end of the body. `body` enforces it.
    pub body: Duration,
    /// Within which a client must receive 32 KiB of its answer, or all of it.
    pub answer: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// The silence after which a stream of events says that it is alive. Proxies close connections that are silent for a minute.
    pub heartbeat: Duration,
}

/// What a client must receive of an answer within a deadline, in bytes.
const MIN_RECEIVED_BYTES: usize = 32 << 10;
/// The maximum number of bytes read after a request that has been answered: the rest of a refused body. A head is smaller. Many
/// clients read no answer before they have sent all, and a connection that is closed earlier resets, so they don't see why.
const MAX_SURPLUS_BYTES: usize = 64 << 20;
/// How long requests continue after their client has closed its side. The client may wait for the answer or have
/// disconnected. TCP shows no difference, and a digest must not run for hours for a client that has disconnected.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(5);

impl Deadlines {
    /// Returns the deadlines of a server that allows this much time for a request.
    #[must_use]
    pub fn of_request(request: Duration) -> Self {
        Self {
            head: request.min(Duration::from_secs(10)),
            body: request,
            answer: request,
            keep_alive: Duration::from_secs(75),
            heartbeat: Duration::from_secs(15),
        }
    }
}

/// An admitted connection, through which actix reads and writes.
pub(in crate::http) struct Connection {
    stream: Stream,
    peer: IpAddr,
    deadlines: Deadlines,
    state: Rc<ConnectionState>,
    guard: ConnectionGuard,
    /// Requests that had begun when `head` was begun.
    requests: u64,
    head: PartialHead,
    /// When the deadline of the next head begins: at its first byte, else at the last byte of an answer.
    since: Instant,
    /// The deadline for the client to receive more, and what it has received since this was set.
    write_by: Option<Instant>,
    received_bytes: usize,
    /// The deadline of requests in flight, if the client has closed its side.
    abandon_by: Option<Instant>,
    /// Wakes the connection for its next deadline, or earlier.
    alarm: Option<Pin<Box<Sleep>>>,
    /// True if this side reads no more.
    is_closed: bool,
    final_response: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// Why a connection is refused: the reason in `registry_http_connections_refused`, and the answer to a client that has sent
/// something to be answered.
type Refusal = (&'static str, Option<ApiError>);

impl Connection {
    pub(super) fn new(stream: Stream, peer: IpAddr, deadlines: Deadlines, guard: ConnectionGuard) -> Self {
        let state = Rc::<ConnectionState>::default();
        state.set_plain(stream.plain().is_some());
        Self {
            stream,
            peer,
            deadlines,
            state,
            guard,
            requests: 0,
            head: PartialHead::default(),
            since: Instant::now(),
            write_by: None,
            received_bytes: 0,
            abandon_by: None,
            alarm: None,
            is_closed: false,
            final_response: None,
        }
    }

    /// Returns the state that the requests on this connection share with it.
    pub(in crate::http) fn state(&self) -> Rc<ConnectionState> {
        Rc::clone(&self.state)
    }

    /// Begins the next head if a request has begun since the last one.
    fn follow_requests(&mut self) {
        if self.requests != self.state.begun() {
            self.requests = self.state.begun();
            self.head = PartialHead::default();
            self.guard.hold(0);
        }
    }

    /// Checks the bytes of a head. The readers of bodies check those.
    fn check(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if !self.state.is_idle() {
            return Ok(());
        }
        if self.head.bytes == 0 {
            self.since = Instant::now();
        }
        let is_sound = self.head.add(bytes);
        if self.head.bytes > MAX_SURPLUS_BYTES {
            return Err(("surplus", None));
        }
        // What looks like a head may be the rest of a body, whose request has been answered.
        if self.state.has_unread_body() {
            return Ok(());
        }
        if !is_sound {
            let why = "its head contains a line feed without a carriage return";
            return Err(("malformed", Some(ApiError::Malformed(why))));
        }
        if !self.guard.hold(self.head.bytes) {
            return Err(("crowded", Some(ApiError::TooManyConnections)));
        }
        Ok(())
    }

    /// Returns the deadline for the rest of the next head. There is none while a request is in flight or its answer
    /// has not been received.
    fn read_by(&self) -> Option<Instant> {
        let is_head = self.head.bytes > 0 || self.requests == 0;
        let span = if is_head { self.deadlines.head } else { self.deadlines.keep_alive };
        (self.state.is_idle() && self.write_by.is_none()).then(|| self.since + span)
    }

    /// Reads no more. actix then finds the end of the connection and shuts it down.
    fn refuse(&mut self, (reason, error): Refusal) {
        self.is_closed = true;
        self.guard.count_refusal(reason);
        if let Some(error) = error.filter(|_| !self.state.has_unread_body()) {
            let stream = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
            self.final_response = Some(Box::pin(final_response::send(stream, error, self.peer)));
        }
    }

    /// Reads no more of a connection whose next head did not arrive in time.
    fn time_out(&mut self) {
        match self.head.bytes {
            // It served requests and then fell silent, so it was not refused.
            0 if self.requests > 0 => self.is_closed = true,
            0 => self.refuse(("silent", None)),
            _ => self.refuse(("slow", Some(ApiError::TooSlow { part: "head" }))),
        }
    }

    /// Waits until the client receives more, up to the deadline for that.
    fn wait_for_receiver<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        if self.write_by.is_none() {
            self.write_by = Some(now + self.deadlines.answer);
            self.received_bytes = 0;
        }
        if self.write_by.is_some_and(|by| by <= now) {
            tracing::info!(peer = %self.peer, "closed a connection whose client does not read its answer");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.set_alarm(now, context);
        Poll::Pending
    }

    /// Serves a body that goes to the socket beside actix. All that actix has written is on its way by now.
    fn serve_direct(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent_bytes = self.state.take_sent_bytes();
        if sent_bytes > 0 {
            self.since = Instant::now();
            self.abandon_by = None;
        }
        match (self.state.wants(), self.stream.plain()) {
            (Want::Nothing, _) | (_, None) => return Poll::Ready(Ok(())),
            (Want::Socket, Some(socket)) => self.state.give_socket(socket.as_fd().try_clone_to_owned()),
            (Want::Reader, Some(socket)) => match poll_writable(socket, context)? {
                Poll::Ready(()) => self.state.reader_is_back(),
                Poll::Pending => return self.wait_for_receiver(context),
            },
        }
        context.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }

    /// Makes sure that the connection is polled at its next deadline. An alarm that is set too early stays, so that
    /// most requests need not touch it.
    fn set_alarm(&mut self, now: Instant, context: &mut Context<'_>) {
        let deadlines = [self.read_by(), self.write_by, self.abandon_by];
        let Some(next) = deadlines.into_iter().flatten().filter(|by| *by > now).min() else { return };
        match &mut self.alarm {
            Some(alarm) if !alarm.is_elapsed() && alarm.deadline() <= next => return,
            Some(alarm) => alarm.as_mut().reset(next),
            None => self.alarm = Some(Box::pin(sleep_until(next))),
        }
        if self.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(context).is_ready()) {
            context.waker().wake_by_ref();
        }
    }
}

/// Waits until a socket takes bytes. Another thread may have filled it, which tokio does not know.
fn poll_writable(socket: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    loop {
        std::task::ready!(socket.poll_write_ready(context))?;
        let asked = socket.try_io(Interest::WRITABLE, || {
            let mut polled = [PollFd::new(socket, PollFlags::OUT)];
            match rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            asked => return Poll::Ready(asked),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        if own.is_closed {
            return Poll::Ready(Ok(()));
        }
        own.follow_requests();
        let before = buffer.filled().len();
        if Pin::new(&mut own.stream).poll_read(context, buffer)?.is_ready() {
            let bytes = &buffer.filled()[before..];
            if bytes.is_empty() {
                let now = Instant::now();
                own.abandon_by = Some(now + HALF_CLOSED_TIMEOUT);
                own.set_alarm(now, context);
            } else if let Err(refusal) = own.check(bytes) {
                buffer.set_filled(before);
                own.refuse(refusal);
            }
            return Poll::Ready(Ok(()));
        }
        let now = Instant::now();
        if own.read_by().is_some_and(|by| by <= now) {
            own.time_out();
            return Poll::Ready(Ok(()));
        }
        own.set_alarm(now, context);
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let Poll::Ready(count) = Pin::new(&mut own.stream).poll_write(context, bytes)? else {
            return own.wait_for_receiver(context);
        };
        own.since = Instant::now();
        own.abandon_by = None;
        own.received_bytes += count;
        if own.received_bytes >= MIN_RECEIVED_BYTES {
            own.write_by = None;
        }
        Poll::Ready(Ok(count))
    }

    /// actix flushes at the end of each poll, also when it has written nothing.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        // TLS has a buffer of its own.
        if Pin::new(&mut own.stream).poll_flush(context)?.is_pending() {
            return own.wait_for_receiver(context);
        }
        std::task::ready!(own.serve_direct(context))?;
        own.write_by = None;
        own.follow_requests();
        let now = Instant::now();
        if own.abandon_by.is_some_and(|by| by <= now) && !own.state.is_idle() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        own.set_alarm(now, context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        if let Some(final_response) = &mut own.final_response {
            return final_response.as_mut().poll(context).map(Ok);
        }
        match Pin::new(&mut own.stream).poll_shutdown(context) {
            Poll::Pending => own.wait_for_receiver(context),
            ended => ended,
        }
    }
}
