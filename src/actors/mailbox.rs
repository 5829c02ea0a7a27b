//! A bounded, named queue, and the actor threads that serve it.

use std::{
    convert::Infallible,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use actix::{Actor, Handler, Message, SyncArbiter, SyncContext};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::ActorError;
use crate::telemetry::Counter;

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue's name.
    pub queue: &'static str,
    /// What is waiting in it.
    pub depth: usize,
    /// How much can wait in it.
    pub capacity: usize,
}

/// The sending end of a queue of jobs.
pub(super) struct Mailbox<J> {
    name: &'static str,
    capacity: usize,
    threads: usize,
    sender: Sender<Mail<J>>,
    /// Jobs there was no room for.
    refused: Counter,
    /// Never receives anything: it is disconnected once the last thread has ended.
    ended: Receiver<Infallible>,
}

enum Mail<J> {
    Job(J),
    /// One for each thread: the last mail it takes.
    Close,
}

/// What an actor does with its mail.
pub(super) trait Serve: Unpin + Send + 'static {
    type Job: Unpin + Send + 'static;

    /// Does one job. `waiting` takes what has arrived behind it, without waiting for more.
    fn serve(&mut self, first: Self::Job, waiting: &mut dyn Iterator<Item = Self::Job>);

    /// What it does while nothing waits; when it is to be asked again, if still nothing has come. `None` for never.
    fn idle(&mut self) -> Option<Duration> {
        None
    }

    /// How long it looks for its next job before it sleeps. To be woken may take longer than a short job does.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// The last thing it does.
    fn close(&mut self) {}
}

/// Told to each actor once, at its start: serve your mailbox until it is closed.
struct Attend;

impl Message for Attend {
    type Result = ();
}

struct Attendant<S: Serve> {
    /// Taken by the first [`Attend`], which ends with the server.
    post: Option<Post<S>>,
}

struct Post<S: Serve> {
    server: S,
    mail: Receiver<Mail<S::Job>>,
    /// Dropped last, and only then the thread counts as ended.
    _alive: Sender<Infallible>,
}

/// Looking for the next job for a moment before the thread goes to sleep.
struct Linger {
    longest: Duration,
    /// Whether the last job came while it would have looked: callers who each wait for their answer come back soon.
    pays: bool,
}

/// The next mail. Where it is likely to come soon, the thread looks for it in place of sleeping, and lets every other
/// that has something to do go first.
fn next<J>(
    mail: &Receiver<Mail<J>>,
    pause: Option<Duration>,
    linger: &mut Linger,
) -> Result<Mail<J>, RecvTimeoutError> {
    if linger.longest.is_zero() {
        return received(mail, pause);
    }
    let begun = Instant::now();
    while linger.pays && begun.elapsed() < linger.longest {
        if let Ok(mail) = mail.try_recv() {
            return Ok(mail);
        }
        thread::yield_now();
    }
    let received = received(mail, pause);
    linger.pays = received.is_ok() && begun.elapsed() < 2 * linger.longest;
    received
}

fn received<J>(mail: &Receiver<Mail<J>>, pause: Option<Duration>) -> Result<Mail<J>, RecvTimeoutError> {
    match pause {
        None => mail.recv().map_err(RecvTimeoutError::from),
        Some(pause) => mail.recv_timeout(pause),
    }
}

impl<S: Serve> Actor for Attendant<S> {
    type Context = SyncContext<Self>;
}

impl<S: Serve> Handler<Attend> for Attendant<S> {
    type Result = ();

    fn handle(&mut self, _: Attend, _: &mut Self::Context) {
        let Some(Post { mut server, mail, _alive }) = self.post.take() else { return };
        let mut closing = false;
        let mut linger = Linger { longest: server.linger(), pays: true };
        let mut pause = server.idle();
        while !closing {
            let received = next(&mail, pause, &mut linger);
            let first = match received {
                Ok(Mail::Job(first)) => first,
                Err(RecvTimeoutError::Timeout) => {
                    pause = server.idle();
                    continue;
                }
                Ok(Mail::Close) | Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut waiting = std::iter::from_fn(|| match mail.try_recv() {
                Ok(Mail::Job(job)) => Some(job),
                Ok(Mail::Close) => {
                    closing = true;
                    None
                }
                Err(_) => None,
            })
            .fuse();
            server.serve(first, &mut waiting);
        }
        server.close();
        // Its connection is closed before the thread counts as ended.
        drop(server);
    }
}

impl<J: Send + 'static> Mailbox<J> {
    /// Starts one actor thread for each of `servers`, all serving the same queue of `capacity` jobs.
    /// Must be called inside an actix system.
    pub(super) fn start<S: Serve<Job = J>>(
        name: &'static str,
        capacity: usize,
        servers: Vec<S>,
        refused: Counter,
    ) -> Self {
        let threads = servers.len();
        let (sender, mail) = bounded(capacity);
        let (alive, ended) = bounded(0);
        let posts =
            servers.into_iter().map(|server| Post { server, mail: mail.clone(), _alive: alive.clone() });
        let posts = Mutex::new(posts.collect::<Vec<_>>());
        drop((mail, alive));
        let address = SyncArbiter::start_with_thread_builder(
            threads,
            || thread::Builder::new().name(format!("registry-{name}")),
            move || {
                // A poisoned lock still holds the posts that are left.
                let mut posts = posts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                Attendant { post: posts.pop() }
            },
        );
        // Each thread takes one and is busy with it to its end. The address goes out of scope here, so
        // that the threads end with their mailbox.
        for _ in 0..threads {
            address.do_send(Attend);
        }
        Self { name, capacity, threads, sender, refused, ended }
    }

    /// Puts a job into the queue.
    pub(super) fn post(&self, job: J) -> Result<(), ActorError> {
        self.sender.try_send(Mail::Job(job)).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.refused.inc();
                ActorError::Overloaded { queue: self.name }
            }
            TrySendError::Disconnected(_) => ActorError::Closed,
        })
    }

    pub(super) fn depth(&self) -> QueueDepth {
        QueueDepth { queue: self.name, depth: self.sender.len(), capacity: self.capacity }
    }

    /// Waits until every job that is in the queue has been done and the threads have ended. Blocks.
    pub(super) fn close(&self) {
        for _ in 0..self.threads {
            if self.sender.send(Mail::Close).is_err() {
                break;
            }
        }
        // Disconnected is the only answer there is.
        let _ = self.ended.recv();
    }
}
