//! The feed of new events: one task reads each event once, and hands it to all followers.
//!
//! Followers share one ring of batches. One that falls so far behind that its next batch is gone gets an error, and no other one
//! waits for it. The feed takes its time: each batch costs a wake-up per follower, and each byte of it a copy, so with many
//! followers batches are larger and rarer, and writes keep their share of the machine: while this server commits, the feed
//! rests. Without followers it reads nothing.

use std::{
    collections::{HashMap, HashSet},
    ops::{ControlFlow, Range},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use crate::domain::{
    ModelKey, TrailEvent,
    query::TrailQuery,
    trail::{TrailFilter, TrailPosition, Traits},
};

use super::{ActorError, Database};

/// Batches that wait for the slowest follower.
const BATCHES: usize = 64;
/// The largest batch, which a single larger event exceeds, in bytes. All that wait have at most 32 MiB.
const MAX_BATCH_BYTES: usize = 512 << 10;
const MIN_BATCH_BYTES: usize = 16 << 10;
/// The time from one batch to the next at least, and what each follower adds to it, since each costs a wake-up and a call of
/// the system.
const INTERVAL: Duration = Duration::from_millis(10);
const INTERVAL_PER_FOLLOWER: Duration = Duration::from_micros(500);
/// How long followers may take for a batch, before the next one has another size.
const TAKE_TIME: Duration = Duration::from_millis(100);
/// How long the feed waits for nine of ten followers to take a batch. The others catch up, or are left behind.
const PATIENCE: Duration = Duration::from_millis(500);
/// While this server commits writes, the feed rests so many times as long as a batch took.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often the feed looks if a batch was taken.
const LOOK: Duration = Duration::from_millis(4);
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
    /// The places of the events of each model, so that a follower of one need not look at all.
    models: HashMap<ModelKey, Vec<usize>>,
    /// The models by name. A deleted one keeps its name, so a name may have more than one.
    names: HashMap<String, HashSet<ModelKey>>,
    /// Followers that have taken it.
    taken: AtomicU32,
}

impl Batch {
    fn new(events: Vec<FeedEvent>, text: Vec<u8>, position: TrailPosition) -> Self {
        let mut models = HashMap::<_, Vec<_>>::new();
        let mut names = HashMap::<_, HashSet<_>>::new();
        for (at, event) in events.iter().enumerate() {
            let traits = &event.traits;
            models.entry(traits.model).or_default().push(at);
            if let Some(name) = &traits.model_name {
                names.entry(name.clone()).or_default().insert(traits.model);
            }
        }
        Self { events, text: text.into(), position, models, names, taken: AtomicU32::new(0) }
    }

    /// Returns the events that may pass a filter, in order.
    #[must_use]
    pub fn candidates(&self, filter: &TrailFilter) -> Vec<&FeedEvent> {
        let Some((name, model)) = filter.model() else { return self.events.iter().collect() };
        let named = self.names.get(name).into_iter().flatten().copied();
        let keys: HashSet<_> = model.into_iter().chain(named).collect();
        let found = keys.iter().filter_map(|key| self.models.get(key));
        let mut places: Vec<_> = found.flatten().copied().collect();
        places.sort_unstable();
        places.into_iter().filter_map(|at| self.events.get(at)).collect()
    }
}

/// A batch in the hands of a follower, who has taken it when this is dropped.
#[derive(Debug)]
pub struct Taking(Arc<Batch>);

impl Taking {
    /// Begins to take a batch.
    #[must_use]
    pub fn begin(batch: &Arc<Batch>) -> Self {
        Self(Arc::clone(batch))
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// A follower that takes each batch, until this is dropped. One that still reads what it has missed is none.
#[derive(Debug)]
pub struct Live(Arc<AtomicU32>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    live: Arc<AtomicU32>,
    commits: watch::Receiver<()>,
    closing: Arc<Notify>,
}

impl Feed {
    /// Starts the feed of a database. Must be called inside an actix system.
    #[must_use]
    pub fn start(database: Database, render: Render) -> Self {
        let (joins, waiting) = mpsc::channel(JOINS);
        let (batches, _) = broadcast::channel(BATCHES);
        let commits = database.commits();
        let feed = Self { joins, live: Arc::default(), commits, closing: Arc::default() };
        let source = Source {
            database,
            render,
            batches,
            position: TrailPosition::default(),
            live: Arc::clone(&feed.live),
            limit_bytes: MAX_BATCH_BYTES,
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

    /// Records that a follower takes each batch from now on.
    #[must_use]
    pub fn enter(&self) -> Live {
        self.live.fetch_add(1, Ordering::Relaxed);
        Live(Arc::clone(&self.live))
    }

    /// Does work for one follower and, while this server commits writes, rests as long as the feed would.
    pub async fn unhurried<T>(&self, work: impl Future<Output = T>) -> T {
        let mut commits = self.commits.clone();
        commits.borrow_and_update();
        let begun = Instant::now();
        let done = work.await;
        sleep(rest(&commits, begun.elapsed())).await;
        done
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
    /// Followers that take each batch.
    live: Arc<AtomicU32>,
    /// The size of the next batch.
    limit_bytes: usize,
}

impl Source {
    async fn run(mut self, mut joins: mpsc::Receiver<Reply>) {
        let mut commits = self.database.commits();
        loop {
            if self.batches.receiver_count() == 0 {
                // What happened without followers is in no batch.
                let Some(reply) = joins.recv().await else { return };
                let newest = self.newest().await;
                let _ = reply.send(newest.map(|()| self.joined()));
                continue;
            }
            commits.borrow_and_update();
            let (batch, has_more) = match self.next().await {
                Ok((batch, has_more)) => (batch.map(Arc::new), has_more),
                Err(error) => {
                    tracing::warn!(%error, "new events can't be read; followers wait");
                    if self.serve(&mut joins, sleep(RETRY)).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            if let Some(batch) = batch {
                self.position = batch.position;
                let Some(took) = self.serve(&mut joins, self.deliver(&batch)).await else { return };
                self.adapt(took, has_more);
                let interval = INTERVAL + INTERVAL_PER_FOLLOWER * self.live.load(Ordering::Relaxed);
                let pause = rest(&commits, took).max(interval.saturating_sub(took));
                if self.serve(&mut joins, sleep(pause)).await.is_none() {
                    return;
                }
            }
            if !has_more && self.serve(&mut joins, timeout(POLL, commits.changed())).await.is_none() {
                return;
            }
        }
    }

    /// Hands a batch to all followers. Returns how long most of them took for it.
    async fn deliver(&self, batch: &Arc<Batch>) -> Duration {
        let begun = Instant::now();
        // Without a receiver it is dropped.
        let _ = self.batches.send(Arc::clone(batch));
        let is_taken = || 10 * batch.taken.load(Ordering::Relaxed) >= 9 * self.live.load(Ordering::Relaxed);
        while !is_taken() && begun.elapsed() < PATIENCE {
            sleep(LOOK).await;
        }
        begun.elapsed()
    }

    /// Makes the next batch smaller if the last one took long, or larger if there are more events than it had.
    fn adapt(&mut self, took: Duration, has_more: bool) {
        if took > TAKE_TIME {
            self.limit_bytes = (self.limit_bytes / 2).max(MIN_BATCH_BYTES);
        } else if took < TAKE_TIME / 2 && has_more {
            self.limit_bytes = (self.limit_bytes * 2).min(MAX_BATCH_BYTES);
        }
    }

    /// Lets followers join until `end`. Returns `None` if there will be none.
    async fn serve<T>(&self, joins: &mut mpsc::Receiver<Reply>, end: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(end);
        loop {
            tokio::select! {
                end = &mut end => return Some(end),
                join = joins.recv() => drop(join?.send(Ok(self.joined()))),
            }
        }
    }

    fn joined(&self) -> Joined {
        Joined { batches: self.batches.subscribe(), position: self.position }
    }

    /// Goes to the newest event.
    async fn newest(&mut self) -> Result<(), ActorError> {
        let newest = self.database.read(|store| store.newest_event()).await?;
        self.position =
            newest.map_or_else(TrailPosition::default, |(id, hash)| TrailPosition::after(id, &hash));
        Ok(())
    }

    /// Reads the next events, if there are any. Also returns true if there are more.
    async fn next(&self) -> Result<(Option<Batch>, bool), ActorError> {
        let (render, before, limit_bytes) = (self.render, self.position, self.limit_bytes);
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
                let batch = (!events.is_empty()).then(|| Batch::new(events, text, position));
                Ok((batch, followed.has_more))
            })
            .await
    }
}

/// Returns how long to rest after work that took this long, if there were commits in this time.
fn rest(commits: &watch::Receiver<()>, took: Duration) -> Duration {
    let is_writing = commits.has_changed().unwrap_or(false);
    if is_writing { (took * REST).min(LONGEST_REST) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_gets_the_name_of_a_deleted_one_in_the_same_batch_is_followed() {
        let event = |id, model, name: &str| FeedEvent {
            id,
            traits: Traits {
                model,
                model_name: Some(name.to_owned()),
                number: None,
                event_type: "create".to_owned(),
                actor: None,
            },
            text: 0..0,
        };
        let events = [(1, 7, "m"), (2, 8, "n"), (3, 9, "m"), (4, 9, "m"), (5, 7, "m")];
        let events = events.map(|(id, model, name)| event(id, model, name)).into();
        let batch = Batch::new(events, Vec::new(), TrailPosition::default());
        let query = TrailQuery { model: Some("m".to_owned()), ..TrailQuery::default() };
        for (known, expected) in
            [(None, &[1, 3, 4, 5][..]), (Some(7), &[1, 3, 4, 5]), (Some(8), &[1, 2, 3, 4, 5])]
        {
            let found = batch.candidates(&TrailFilter::new(&query, known));
            let ids: Vec<_> = found.into_iter().map(|event| event.id).collect();
            assert_eq!(ids, expected, "{known:?}");
        }
    }
}
