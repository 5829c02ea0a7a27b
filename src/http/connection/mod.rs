//! What is judged of a connection before and while HTTP is spoken on it: whether there is room for it, what it is encrypted with,
//! where its requests begin and end, and how long it may take over them.
//!
//! HTTP's library behind this bounds the head of a connection's first request and nothing else, so the deadlines of heads,
//! bodies and answers are kept here, where every byte passes. This knows sockets and time; it must not know paths, keys or
//! the registry.

mod admission;
mod exchange;
mod framing;
#[cfg(fuzzing)]
pub mod probe;
mod refusing;
mod tls;

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::rt::{net::TcpStream, time::Sleep};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

pub(super) use admission::Admission;
pub use admission::Capacity;
use admission::Seat;
use exchange::Cut;
pub(super) use exchange::Exchange;
pub(super) use framing::Malformed;
use framing::{Framing, Stage};
use refusing::Farewell;
pub use tls::{Tls, TlsError};

/// How long a client may take over what it sends and takes.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From a request's first byte, and from the beginning of a connection, to the end of the head.
    pub head: Duration,
    /// From a request's first byte to the end of its body.
    pub request: Duration,
    /// In which a client that does not take its answer has to take some of it (32 KiB).
    pub answer: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
}

/// What is read of a body whose request has its answer already, so that the client can be done and read it.
const MAX_SURPLUS_BYTES: usize = 1 << 20;
/// What a slow client has to take of an answer within a deadline.
const LEAST_TAKEN_BYTES: usize = 32 << 10;

impl Deadlines {
    /// The deadlines where a whole request may take so long.
    #[must_use]
    pub fn of_request(request: Duration) -> Self {
        Self {
            head: request.min(Duration::from_secs(10)),
            request,
            answer: request,
            keep_alive: Duration::from_secs(75),
        }
    }
}

/// The bytes below HTTP.
pub(super) enum Stream {
    Plain(TcpStream),
    Encrypted(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// A connection that was let in. HTTP's library reads and writes through it.
pub(super) struct Connection {
    stream: Stream,
    peer: IpAddr,
    deadlines: Deadlines,
    framing: Framing,
    exchange: Rc<Exchange>,
    /// What has come of a body whose request has its answer already.
    surplus_bytes: usize,
    /// The request under way, counted from 1, and when its first byte came.
    request: (u64, Instant),
    /// Until when the rest of what is under way must have come.
    read_by: Option<Instant>,
    /// Until when some of the answer must have been taken, and what has been since that was set.
    write_by: Option<Instant>,
    taken_bytes: usize,
    /// Wakes the connection for the next of its deadlines. It may ring too early.
    alarm: Option<Pin<Box<Sleep>>>,
    ending: Ending,
    seat: Seat,
}

/// Whether and how the connection ends by this side's will.
enum Ending {
    Not,
    /// Nothing more is read; that is to be said once the requests before it have their answers.
    Waiting(Cut),
    /// Nothing more is read; at its end this is said.
    Refused(Farewell),
    /// Nothing more is read, and nothing is to be said.
    Silent,
}

impl Connection {
    fn new(stream: Stream, peer: IpAddr, deadlines: Deadlines, seat: Seat) -> Self {
        let now = Instant::now();
        Self {
            stream,
            peer,
            deadlines,
            framing: Framing::new(),
            exchange: Exchange::new(),
            surplus_bytes: 0,
            request: (0, now),
            read_by: Some(now + deadlines.head),
            write_by: None,
            taken_bytes: 0,
            alarm: None,
            ending: Ending::Not,
            seat,
        }
    }

    /// What the requests on this connection are to have at hand.
    pub(super) fn exchange(&self) -> Rc<Exchange> {
        Rc::clone(&self.exchange)
    }

    /// Judges what was read, and sets the deadline for what is still to come.
    fn arrived(&mut self, bytes: &[u8]) -> Result<(), (Malformed, usize)> {
        self.framing.take(bytes)?;
        let span = match self.framing.stage() {
            // HTTP's library looks after connections that wait for their next request.
            Stage::Idle => {
                self.read_by = None;
                return Ok(());
            }
            // But it takes these bytes for the beginning of one.
            Stage::Blank => self.deadlines.keep_alive,
            Stage::Head => self.deadlines.head,
            Stage::Body => self.deadlines.request,
        };
        let number = self.framing.requests();
        if self.request.0 != number || self.framing.stage() == Stage::Blank {
            self.request = (number, Instant::now());
            self.surplus_bytes = 0;
        }
        self.read_by = Some(self.request.1 + span);
        Ok(())
    }

    /// Whether the client goes on and on with a body that nobody waits for any more.
    fn is_surplus(&mut self, count: usize) -> bool {
        if self.framing.stage() == Stage::Body && self.exchange.answered() >= self.framing.requests() {
            self.surplus_bytes += count;
        }
        self.surplus_bytes > MAX_SURPLUS_BYTES
    }

    /// What becomes of a request whose rest did not come in time.
    fn too_slow(&mut self) {
        match self.framing.stage() {
            // While it waits for an answer it may say nothing as long as it likes.
            Stage::Idle | Stage::Blank if self.exchange.answered() < self.framing.requests() => {
                self.read_by = Some(Instant::now() + self.deadlines.keep_alive);
            }
            // It has asked for nothing, so it waits for no answer.
            Stage::Idle | Stage::Blank => {
                self.seat.counts().refused("silent").inc();
                self.ending = Ending::Silent;
            }
            Stage::Head => self.end(Cut::TooSlow { part: "head" }),
            Stage::Body => self.end(Cut::TooSlow { part: "body" }),
        }
    }

    /// Reads nothing more. A request whose head has come says why by itself; for any other the connection does.
    fn end(&mut self, cut: Cut) {
        self.seat.counts().refused(cut.reason()).inc();
        if self.framing.stage() == Stage::Body {
            self.exchange.cut(cut.clone());
        }
        self.ending = Ending::Waiting(cut);
    }

    /// Whether the connection has been ended by this side, and with all requests before that answered.
    fn has_ended(&mut self) -> bool {
        let Ending::Waiting(cut) = &self.ending else { return !matches!(self.ending, Ending::Not) };
        let stage = self.framing.stage();
        // The one that is refused has begun, unless what came in its place was not even a beginning.
        let refused = u64::from(matches!(stage, Stage::Head | Stage::Body));
        if self.exchange.answered() + refused < self.framing.requests() {
            return false;
        }
        self.ending = match stage {
            Stage::Body => Ending::Silent,
            _ => Ending::Refused(Farewell::new(&cut.clone().into(), self.peer)),
        };
        true
    }

    /// What is read of a connection that this side has ended: nothing, once that may be seen.
    fn ended(&mut self) -> Poll<io::Result<()>> {
        self.read_by = None;
        if self.has_ended() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Waits for the client to take what is written to it, but not for good.
    fn given_up<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.write_by.is_none() {
            self.write_by = Some(Instant::now() + self.deadlines.answer);
            self.taken_bytes = 0;
        }
        let now = self.wait(context);
        if self.write_by.is_none_or(|by| by > now) {
            return Poll::Pending;
        }
        tracing::info!(peer = %self.peer, "a client that does not take its answer was given up");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sees to it that the connection is looked at again by the next of its deadlines that is not over yet; what time
    /// it is.
    fn wait(&mut self, context: &mut Context<'_>) -> Instant {
        let now = Instant::now();
        let deadlines = [self.read_by, self.write_by];
        if let Some(next) = deadlines.into_iter().flatten().filter(|by| *by > now).min() {
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if alarm.deadline() != next {
                alarm.as_mut().reset(next);
            }
            if alarm.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
        now
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        if !matches!(own.ending, Ending::Not) {
            return own.ended();
        }
        let before = buffer.filled().len();
        match Pin::new(&mut own.stream).poll_read(context, buffer)? {
            Poll::Ready(()) => {
                let count = buffer.filled().len() - before;
                if let Err((malformed, sound)) = own.arrived(&buffer.filled()[before..]) {
                    // What is at fault is not passed on, and what comes behind it neither.
                    buffer.set_filled(before + sound);
                    own.end(Cut::Malformed(malformed));
                    return if sound > 0 { Poll::Ready(Ok(())) } else { own.ended() };
                }
                if own.is_surplus(count) {
                    buffer.set_filled(before);
                    own.ending = Ending::Silent;
                } else if !own.seat.hold(own.framing.held_bytes()) {
                    buffer.set_filled(before);
                    own.end(Cut::Crowded);
                    return own.ended();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let Some(by) = own.read_by else { return Poll::Pending };
                if by > own.wait(context) {
                    return Poll::Pending;
                }
                own.too_slow();
                if matches!(own.ending, Ending::Not) {
                    own.wait(context);
                    return Poll::Pending;
                }
                own.ended()
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        match Pin::new(&mut own.stream).poll_write(context, bytes)? {
            Poll::Ready(count) => {
                own.taken_bytes += count;
                if own.taken_bytes >= LEAST_TAKEN_BYTES {
                    own.write_by = None;
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending => own.given_up(context),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        match Pin::new(&mut own.stream).poll_flush(context)? {
            Poll::Ready(()) => {}
            // What TLS has encrypted lies in a buffer of its own.
            Poll::Pending => return own.given_up(context),
        }
        // All that was written has been taken.
        own.write_by = None;
        if matches!(own.ending, Ending::Waiting(_)) && own.has_ended() {
            // The end is found where the next bytes are looked for.
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        match &mut own.ending {
            Ending::Refused(farewell) => farewell.poll(&mut own.stream, context),
            Ending::Not | Ending::Waiting(_) | Ending::Silent => {
                match Pin::new(&mut own.stream).poll_shutdown(context) {
                    Poll::Pending => own.given_up(context),
                    ended => ended,
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
