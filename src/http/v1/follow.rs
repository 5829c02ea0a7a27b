//! `/v1/events` as a stream that goes on (`text/event-stream`): what follows a position, and then each new event.
//!
//! What a follower has missed is read for it, page by page; new events come from the feed. A client that reads nothing is
//! closed by its connection's deadline, and one that reads too slowly when the feed has left it behind. Both come back with the
//! id of the last event that they have.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse,
    body::BodyStream,
    http::header::HeaderMap,
    web::{Bytes, Data},
};
use futures_util::stream::{self, Stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError},
    time::timeout,
};

use crate::{
    actors::{Batch, Joined, Live, Taking},
    domain::{
        ModelKey, TrailEvent,
        query::TrailQuery,
        trail::{TrailFilter, TrailPosition},
    },
    registry::{Followed, ReadStore, RegistryError, Result, StoreError},
    telemetry::Gauge,
};

use super::super::{
    answer::Answer, app::App, error::ApiError, json, request::Call, rows::until,
    stream::retry_while_overloaded,
};

/// The media type of a stream of events.
pub(in crate::http) const EVENT_STREAM: &str = "text/event-stream";
/// What a connection gets at a time, in bytes: so its buffer stays small, and a thousand followers need 32 MiB.
const SLICE_BYTES: usize = 16 << 10;
/// What one read of missed events yields, in bytes.
const PAGE_BYTES: usize = 64 << 10;
/// How often the key of a follower is checked again, if there are events; else with each heartbeat.
const KEY_CHECK: Duration = Duration::from_secs(1);
/// How soon a client should come back, in milliseconds.
const RETRY_MILLIS: u32 = 1_000;

/// Reads of missed events at the same time, which leaves readers to all other requests.
static CATCHING_UP: Semaphore = Semaphore::const_new(2);

/// Writes an event as a stream has it. Line feeds in stored JSON are white space.
pub(in crate::http) fn write_event(out: &mut Vec<u8>, event: &TrailEvent<'_>) {
    let position = TrailPosition::after(event.event.id, &event.hash);
    out.extend_from_slice(format!("id: {position}\ndata: ").as_bytes());
    let begin = out.len();
    json::v1::write_event(out, event);
    for byte in &mut out[begin..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// Answers with the stream of the events that pass `query`, after `from` or from now on.
pub(super) async fn answer(call: &Call, query: TrailQuery, from: Option<TrailPosition>) -> Answer {
    let permit = Arc::clone(&call.app.followers).try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::TooManyFollowers)?;
    let joined = call.app.feed.join().await.map_err(RegistryError::from)?;
    let position = from.unwrap_or(joined.position);
    let mut response = HttpResponse::Ok();
    // nginx would keep events until its buffer is full.
    response.insert_header(("content-type", EVENT_STREAM)).insert_header(("x-accel-buffering", "no"));
    if call.is_head() {
        return Ok(response.finish());
    }
    let followers = call.app.telemetry.following.followers.clone();
    // The feed has what comes next, unless it has passed that.
    let live = (position.id >= joined.position.id).then(|| call.app.feed.enter());
    let model = match query.model {
        Some(_) if live.is_some() => model(&call.app, query.clone()).await?,
        _ => None,
    };
    let follower = Follower {
        app: call.app.clone(),
        filter: TrailFilter::new(&query, model),
        query,
        position,
        sent: Instant::now(),
        joined,
        live,
        taking: None,
        pending: format!("retry: {RETRY_MILLIS}\nid: {position}\n\n").into(),
        headers: call.headers().clone(),
        checked: Instant::now(),
        _counted: Counted::new(followers),
        _permit: permit,
    };
    Ok(response.body(BodyStream::new(follower.into_stream())))
}

/// Checks that a position is one of this registry.
pub(super) async fn check(app: &App, position: TrailPosition) -> std::result::Result<(), ApiError> {
    let judged = app.registry.read(move |store| {
        let there = store.event_hash(position.id)?;
        let newest = match there {
            Some(_) => position.id,
            None => store.newest_event()?.map_or(0, |(id, _)| id),
        };
        Ok(position.check(there.as_deref(), newest))
    });
    Ok(judged.await??)
}

/// Returns the model that the name of a query stands for.
async fn model(app: &App, query: TrailQuery) -> Result<Option<ModelKey>> {
    let beyond = TrailQuery { after: Some(i64::MAX), ..query };
    let followed = app.registry.read(move |store| store.follow(&beyond, &mut |_| ControlFlow::Break(())));
    Ok(followed.await?.model)
}

/// Counts an open stream.
struct Counted(Gauge);

impl Counted {
    fn new(followers: Gauge) -> Self {
        followers.inc();
        Self(followers)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The stream of one client.
struct Follower {
    app: Data<App>,
    query: TrailQuery,
    filter: TrailFilter,
    /// It has passed all events up to this one.
    position: TrailPosition,
    /// When the connection got something last.
    sent: Instant,
    joined: Joined,
    /// `None` while it reads what it has missed.
    live: Option<Live>,
    /// The batch that it takes.
    taking: Option<Taking>,
    /// What the connection has not taken yet.
    pending: Bytes,
    /// With the key, which may be revoked while the stream is open.
    headers: HeaderMap,
    checked: Instant,
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes>> {
        stream::try_unfold(self, |mut follower| async move {
            // The connection sends each slice before it gets the next one.
            tokio::task::yield_now().await;
            while follower.pending.is_empty() {
                if !follower.advance().await? {
                    return Ok(None);
                }
                follower.beat();
            }
            follower.sent = Instant::now();
            let slice = follower.pending.split_to(follower.pending.len().min(SLICE_BYTES));
            Ok(Some((slice, follower)))
        })
    }

    /// Goes on, which may yield nothing. Returns false at the end of the stream.
    async fn advance(&mut self) -> Result<bool> {
        if self.app.feed.is_closed() || !self.may_go_on() {
            return Ok(false);
        }
        self.taking = None;
        if self.live.is_none() {
            return self.catch_up().await.map(|()| true);
        }
        match timeout(self.heartbeat().saturating_sub(self.sent.elapsed()), self.joined.batches.recv()).await
        {
            Err(_) => {}
            Ok(Ok(batch)) => self.pass(&batch),
            Ok(Err(RecvError::Closed)) => return Ok(false),
            Ok(Err(RecvError::Lagged(_))) => {
                self.app.telemetry.following.dropped.inc();
                tracing::info!(
                    after = self.position.id,
                    "closed an event stream whose client reads too slowly"
                );
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says that the stream is alive, and where a client goes on, after a silence: events that don't pass send nothing.
    fn beat(&mut self) {
        if self.pending.is_empty() && self.sent.elapsed() >= self.heartbeat() {
            self.pending = format!(":\nid: {}\n\n", self.position).into();
        }
    }

    fn heartbeat(&self) -> Duration {
        self.app.options.deadlines.heartbeat
    }

    /// Returns false once its key has been revoked or has ended.
    fn may_go_on(&mut self) -> bool {
        if self.checked.elapsed() < KEY_CHECK {
            return true;
        }
        self.checked = Instant::now();
        self.app.authenticator.is_still_valid(&self.app.registry, &self.headers)
    }

    /// Reads a page of what it has missed.
    async fn catch_up(&mut self) -> Result<()> {
        let query = TrailQuery { after: Some(self.position.id), limit: u32::MAX, ..self.query.clone() };
        let (followed, text, position) = retry_while_overloaded(async || {
            // Never closed. The turn ends before a pause.
            let _turn = CATCHING_UP.acquire().await;
            let (query, before) = (query.clone(), self.position);
            let read = self.app.registry.read(move |store| missed(store, &query, before));
            self.app.feed.unhurried(read).await
        })
        .await?;
        (self.position, self.pending) = (position, text.into());
        if followed.has_more {
            return Ok(());
        }
        self.filter = TrailFilter::new(&self.query, followed.model);
        if self.joined.is_left_behind() {
            // While it read, the feed went on without it.
            self.joined = self.app.feed.join().await?;
        } else {
            self.live = Some(self.app.feed.enter());
        }
        Ok(())
    }

    /// Takes what passes the filter from a batch.
    fn pass(&mut self, batch: &Arc<Batch>) {
        self.taking = Some(Taking::begin(batch));
        let passed = self.position.id;
        if batch.position.id <= passed {
            return;
        }
        if self.filter.is_open() {
            let new = batch.events.iter().find(|event| event.id > passed);
            let begin = new.map_or(batch.text.len(), |event| event.text.start);
            self.pending = batch.text.slice(begin..);
        } else {
            let mut text = Vec::new();
            for event in batch.candidates(&self.filter) {
                if event.id > passed && self.filter.passes(&event.traits) {
                    text.extend_from_slice(&batch.text[event.text.clone()]);
                }
            }
            self.pending = text.into();
        }
        self.position = batch.position;
    }
}

/// Reads a page of what follows. Also returns the position of the last event that it has passed.
fn missed(
    store: &mut dyn ReadStore,
    query: &TrailQuery,
    mut position: TrailPosition,
) -> std::result::Result<(Followed, Vec<u8>, TrailPosition), StoreError> {
    let mut text = Vec::new();
    let followed = store.follow(query, &mut |event| {
        write_event(&mut text, &event);
        position = TrailPosition::after(event.event.id, &event.hash);
        until(PAGE_BYTES, &text)
    })?;
    if followed.through > position.id {
        // The last events don't pass the query, so they were not visited.
        let hash = store.event_hash(followed.through)?.unwrap_or_default();
        position = TrailPosition::after(followed.through, &hash);
    }
    Ok((followed, text, position))
}
