//! A bounded, named queue and the actor threads that serve it.

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

/// The depth of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue's name.
    pub queue: &'static str,
    /// Jobs that wait in it.
    pub depth: usize,
    /// Jobs that can wait in it.
    pub capacity: usize,
}

/// The sending end of a queue of jobs.
pub(super) struct Mailbox<J> {
    name: &'static str,
    capacity: usize,
    threads: usize,
    sender: Sender<Mail<J>>,
    /// Jobs refused because the queue was full.
    refused: Counter,
    /// Receives nothing; disconnected once the last thread has ended.
    ended: Receiver<Infallible>,
}

enum Mail<J> {
    Job(J),
    /// One for each thread, which ends when it takes it.
    Close,
}

/// What the threads of a mailbox do.
pub(super) trait Worker: Unpin + Send + 'static {
    type Job: Unpin + Send + 'static;

    /// Runs one job. `waiting` yields the jobs queued behind it, without waiting for more.
    fn work(&mut self, first: Self::Job, waiting: &mut dyn Iterator<Item = Self::Job>);

    /// Runs while the queue is empty. Returns when to run again if it stays empty; `None` for never.
    fn idle(&mut self) -> Option<Duration> {
        None
    }

    /// Returns how long to poll for the next job before sleeping: waking a thread may take longer than a short job.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Runs once, before the thread ends.
    fn close(&mut self) {}
}

/// Sent to each actor once, at its start: serve the mailbox until it is closed.
struct Run;

impl Message for Run {
    type Result = ();
}

struct WorkerActor<W: Worker> {
    /// Taken by the first [`Run`], which lasts as long as the mailbox.
    assignment: Option<Assignment<W>>,
}

struct Assignment<W: Worker> {
    worker: W,
    mail: Receiver<Mail<W::Job>>,
    /// Dropped last: only then the thread counts as ended.
    _alive: Sender<Infallible>,
}

/// Polls for the next job for a moment before the thread sleeps.
struct Linger {
    longest: Duration,
    /// True if the last job came within that moment: a caller that waits for each answer soon sends the next job.
    pays: bool,
}

/// Returns the next mail. If one is likely to come soon, polls for it instead of sleeping, yielding to other threads.
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

impl<W: Worker> Actor for WorkerActor<W> {
    type Context = SyncContext<Self>;
}

impl<W: Worker> Handler<Run> for WorkerActor<W> {
    type Result = ();

    fn handle(&mut self, _: Run, _: &mut Self::Context) {
        let Some(Assignment { mut worker, mail, _alive }) = self.assignment.take() else { return };
        let mut closing = false;
        let mut linger = Linger { longest: worker.linger(), pays: true };
        let mut pause = worker.idle();
        while !closing {
            let received = next(&mail, pause, &mut linger);
            let first = match received {
                Ok(Mail::Job(first)) => first,
                Err(RecvTimeoutError::Timeout) => {
                    pause = worker.idle();
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
            worker.work(first, &mut waiting);
        }
        worker.close();
        // Its connection closes before the thread counts as ended.
        drop(worker);
    }
}

impl<J: Send + 'static> Mailbox<J> {
    /// Starts one actor thread for each of `workers`, all serving the same queue of `capacity` jobs.
    /// Must be called inside an actix system.
    pub(super) fn start<W: Worker<Job = J>>(
        name: &'static str,
        capacity: usize,
        workers: Vec<W>,
        refused: Counter,
    ) -> Self {
        let threads = workers.len();
        let (sender, mail) = bounded(capacity);
        let (alive, ended) = bounded(0);
        let assignments = workers.into_iter().map(|worker| Assignment {
            worker,
            mail: mail.clone(),
            _alive: alive.clone(),
        });
        let assignments = Mutex::new(assignments.collect::<Vec<_>>());
        drop((mail, alive));
        let address = SyncArbiter::start_with_thread_builder(
            threads,
            || thread::Builder::new().name(format!("registry-{name}")),
            move || {
                // A poisoned lock still holds the assignments that are left.
                let mut assignments = assignments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                WorkerActor { assignment: assignments.pop() }
            },
        );
        // Each thread takes one message and is busy with it to its end. The address is dropped here, so the threads end
        // with their mailbox.
        for _ in 0..threads {
            address.do_send(Run);
        }
        Self { name, capacity, threads, sender, refused, ended }
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`ActorError::Overloaded`] or [`ActorError::Closed`].
    pub(super) fn send(&self, job: J) -> Result<(), ActorError> {
        self.try_send(job).map_err(|(error, _)| {
            if matches!(error, ActorError::Overloaded { .. }) {
                self.refused.inc();
            }
            error
        })
    }

    /// Queues a job, or gives it back.
    ///
    /// # Errors
    /// As [`Mailbox::send`], but a full queue does not count as a refusal.
    pub(super) fn try_send(&self, job: J) -> Result<(), (ActorError, J)> {
        let (error, mail) = match self.sender.try_send(Mail::Job(job)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(mail)) => (ActorError::Overloaded { queue: self.name }, mail),
            Err(TrySendError::Disconnected(mail)) => (ActorError::Closed, mail),
        };
        match mail {
            Mail::Job(job) => Err((error, job)),
            // Not what was sent.
            Mail::Close => Ok(()),
        }
    }

    pub(super) fn depth(&self) -> QueueDepth {
        QueueDepth { queue: self.name, depth: self.sender.len(), capacity: self.capacity }
    }

    /// Waits until every queued job has run and the threads have ended. Blocks.
    pub(super) fn close(&self) {
        for _ in 0..self.threads {
            if self.sender.send(Mail::Close).is_err() {
                break;
            }
        }
        // Returns when the channel is disconnected.
        let _ = self.ended.recv();
    }
}
