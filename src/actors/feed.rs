//! The feed of new events: one task reads each event once, and hands it to all followers.
//!
//! Followers share one ring of batches. One that falls so far behind that its next batch is gone is told so, and no other one
//! waits for it. The feed takes its time: each batch costs a wake-up per follower, and each byte of it a copy, so with many
//! followers batches are larger and rarer, and writes keep their share of the machine. Without followers it reads nothing.

use std::{
    ops::{ControlFlow, Range},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::domain::{
    TrailEvent,
    query::TrailQuery,
    trail::{TrailPosition, Traits},
};

use super::{ActorError, Database};

/// Batches that wait for the slowest follower.
const BATCHES: usize = 64;
/// The largest batch, which a single larger event exceeds, in bytes. All that wait have at most 32 MiB.
const MAX_BATCH_BYTES: usize = 512 << 10;
const MIN_BATCH_BYTES: usize = 16 << 10;
/// What followers may take per second and core, all together, in bytes: a small part of what a core can copy.
const BYTES_PER_SECOND_AND_CORE: u64 = 64 << 20;
/// The pause between two batches, and what each follower adds to it, since each costs a wake-up and a call of the system.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_PER_FOLLOWER: Duration = Duration::from_micros(200);
/// How often the feed looks for events that other servers have written.
const POLL: Duration = Duration::from_millis(200);
/// The pause after a read that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Followers that wait to join.
const JOINS: usize = 1024;

/// Writes an event as followers get it.
pub type Render = fn(&mut Vec<u8>, &TrailEvent<'_>);

/// New events, in order.
#[derive(Debug)]
pub struct Batch {
    /// At least one.
    pub events: Vec<FeedEvent>,
    /// All of them, as followers get them.
    pub text: Bytes,
    /// The position after the last one.
    pub position: TrailPosition,
}

/// An event of a batch.
#[derive(Debug)]
pub struct FeedEvent {
    /// The event.
    pub id: i64,
    /// What filters look at.
    pub traits: Traits,
    /// Its part of the text.
    pub text: Range<usize>,
}

/// The place of a follower in the feed.
pub struct Joined {
    /// Yields the batches from now on.
    pub batches: broadcast::Receiver<Arc<Batch>>,
    /// The feed has passed the events up to this position, so they come in no batch.
    pub position: TrailPosition,
}

impl Joined {
    /// Returns true if the next batch is gone already.
    #[must_use]
    pub fn is_left_behind(&self) -> bool {
        self.batches.len() > BATCHES
    }
}

type Reply = oneshot::Sender<Result<Joined, ActorError>>;

/// A handle to the feed; clones share it. The feed ends with the last of them.
#[derive(Clone)]
pub struct Feed {
    joins: mpsc::Sender<Reply>,
    taken_bytes: Arc<AtomicU64>,
    closing: Arc<Notify>,
}

impl Feed {
    /// Starts the feed of a database. Must be called inside an actix system.
    #[must_use]
    pub fn start(database: Database, render: Render) -> Self {
        let (joins, waiting) = mpsc::channel(JOINS);
        let (batches, _) = broadcast::channel(BATCHES);
        let feed = Self { joins, taken_bytes: Arc::default(), closing: Arc::default() };
        let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
        let source = Source {
            database,
            render,
            batches,
            position: TrailPosition::default(),
            taken_bytes: Arc::clone(&feed.taken_bytes),
            bytes_per_second: BYTES_PER_SECOND_AND_CORE * cores,
        };
        let closing = Arc::clone(&feed.closing);
        actix::spawn(async move {
            tokio::select! {
                () = source.run(waiting) => {}
                () = closing.notified() => {}
            }
        });
        feed
    }

    /// Joins the feed.
    ///
    /// # Errors
    /// [`ActorError::Closed`], or why the feed can't be read.
    pub async fn join(&self) -> Result<Joined, ActorError> {
        let (reply, joined) = oneshot::channel();
        self.joins.send(reply).await.map_err(|_| ActorError::Closed)?;
        joined.await.unwrap_or(Err(ActorError::Closed))
    }

    /// Records what a follower has taken.
    pub fn take(&self, bytes: usize) {
        self.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Ends the feed: followers get what they have not taken yet, and then its end.
    pub fn close(&self) {
        self.closing.notify_one();
    }

    /// Returns true once the feed has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.joins.is_closed()
    }
}

/// Reads the events.
struct Source {
    database: Database,
    render: Render,
    batches: broadcast::Sender<Arc<Batch>>,
    position: TrailPosition,
    /// By all followers, since the last batch.
    taken_bytes: Arc<AtomicU64>,
    bytes_per_second: u64,
}

impl Source {
    async fn run(mut self, mut joins: mpsc::Receiver<Reply>) {
        let mut commits = self.database.commits();
        let mut limit_bytes = MAX_BATCH_BYTES;
        loop {
            if self.batches.receiver_count() == 0 {
                // What happened without followers is in no batch.
                let Some(reply) = joins.recv().await else { return };
                let newest = self.newest().await;
                let _ = reply.send(newest.map(|()| self.joined()));
                continue;
            }
            commits.borrow_and_update();
            let (pause, has_more) = match self.next(limit_bytes).await {
                Ok((batch, has_more)) => {
                    let sent_bytes = batch.as_ref().map_or(0, |batch| batch.text.len() as u64);
                    self.send(batch);
                    let pause = PAUSE + PAUSE_PER_FOLLOWER * self.followers();
                    if !self.serve(&mut joins, sleep(pause)).await {
                        return;
                    }
                    let taken_bytes = self.taken_bytes.swap(0, Ordering::Relaxed);
                    limit_bytes = self.limit_bytes(sent_bytes, taken_bytes);
                    let cost = Duration::from_secs_f64(taken_bytes as f64 / self.bytes_per_second as f64);
                    (cost.saturating_sub(pause), has_more)
                }
                Err(error) => {
                    tracing::warn!(%error, "new events can't be read; followers wait");
                    (RETRY, true)
                }
            };
            if !self.serve(&mut joins, sleep(pause)).await {
                return;
            }
            let changed = async {
                if !has_more {
                    let _ = timeout(POLL, commits.changed()).await;
                }
            };
            if !self.serve(&mut joins, changed).await {
                return;
            }
        }
    }

    /// Lets followers join until `end`. Returns false if there will be none.
    async fn serve(&self, joins: &mut mpsc::Receiver<Reply>, end: impl Future<Output = ()>) -> bool {
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return true,
                join = joins.recv() => match join {
                    Some(reply) => drop(reply.send(Ok(self.joined()))),
                    None => return false,
                },
            }
        }
    }

    fn joined(&self) -> Joined {
        Joined { batches: self.batches.subscribe(), position: self.position }
    }

    fn followers(&self) -> u32 {
        u32::try_from(self.batches.receiver_count()).unwrap_or(u32::MAX)
    }

    /// Returns the size of a batch of which followers take what they may take in half a second, given how often each byte
    /// of the last one was taken.
    fn limit_bytes(&self, sent_bytes: u64, taken_bytes: u64) -> usize {
        let takers = (taken_bytes / sent_bytes.max(1)).max(1);
        let limit_bytes = usize::try_from(self.bytes_per_second / 2 / takers).unwrap_or(usize::MAX);
        limit_bytes.clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES)
    }

    /// Goes to the newest event.
    async fn newest(&mut self) -> Result<(), ActorError> {
        let newest = self.database.read(|store| store.newest_event()).await?;
        self.position =
            newest.map_or_else(TrailPosition::default, |(id, hash)| TrailPosition::after(id, &hash));
        Ok(())
    }

    /// Reads the next events, if there are any. Also returns true if there are more.
    async fn next(&mut self, limit_bytes: usize) -> Result<(Option<Batch>, bool), ActorError> {
        let (render, before) = (self.render, self.position);
        let query = TrailQuery { after: Some(before.id), limit: u32::MAX, ..TrailQuery::default() };
        self.database
            .read(move |store| {
                let (mut events, mut text, mut position) = (Vec::new(), Vec::new(), before);
                let followed = store.follow(&query, &mut |event| {
                    let begin = text.len();
                    render(&mut text, &event);
                    let id = event.event.id;
                    position = TrailPosition::after(id, &event.hash);
                    events.push(FeedEvent { id, traits: Traits::of(&event), text: begin..text.len() });
                    if text.len() >= limit_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
                let batch = Batch { events, text: text.into(), position };
                Ok((Some(batch).filter(|batch| !batch.events.is_empty()), followed.has_more))
            })
            .await
    }

    fn send(&mut self, batch: Option<Batch>) {
        if let Some(batch) = batch {
            self.position = batch.position;
            // Without a receiver it is dropped.
            let _ = self.batches.send(Arc::new(batch));
        }
    }
}
