//! The threads that deliver events to webhooks.
//!
//! One thread looks for deliveries that are due: after commits that added some, and from time to time for those that failed or that a
//! dead server has claimed. Each webhook with such deliveries has threads of its own until none is left, so that no receiver waits for
//! another one. A thread claims the deliveries of one model, sends them in order, and writes what became of them. If the server dies
//! in between, they are sent again. This module must not know SQL, nor what is in a message.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use ipnet::IpNet;

use crate::{
    client::{Answered, CALL_TIMEOUT, Receivers},
    domain::{
        Timestamp,
        webhook::{
            Webhook, WebhookId,
            delivery::{Claim, Delivery, DeliveryState, Message},
        },
    },
    store::operations,
    telemetry::{Deliveries, Telemetry},
};

use super::{ActorError, Database};

/// Threads of a webhook at most: as many models whose deliveries don't wait for each other.
const THREADS_PER_WEBHOOK: usize = 2;
/// How long a claim is valid. It covers attempts that begin in its first half, and writing what came of them.
const LEASE: Duration = Duration::from_secs(30);
/// How often deliveries are looked for that are due again, and if none are pending.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_INTERVAL: Duration = Duration::from_secs(15);
/// How often old deliveries are deleted, from the start on.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);
/// The pause before what became of deliveries is written again, after a failure.
const WRITE_PAUSE: Duration = Duration::from_millis(500);
/// How long a shutdown waits for attempts. What they would have written is done again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Tests of webhooks at the same time.
const MAX_TESTS: usize = 8;

const _: () = assert!(LEASE.as_secs() / 2 + CALL_TIMEOUT.as_secs() < LEASE.as_secs());

/// Options of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// Networks that may be called, besides public addresses.
    pub allowed: Vec<IpNet>,
    /// The pause after the first failed attempt, in milliseconds.
    pub first_pause_ms: u64,
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A handle to the threads; clones share them.
#[derive(Clone)]
pub struct Deliverer {
    shared: Arc<Shared>,
    tests: Arc<tokio::sync::Semaphore>,
}

struct Shared {
    database: Database,
    receivers: Receivers,
    clock: Clock,
    first_pause_ms: u64,
    counts: Deliveries,
    is_closing: AtomicBool,
    /// The running threads of each webhook.
    running: Mutex<HashMap<WebhookId, usize>>,
    /// Notified when one ends.
    ended: Condvar,
}

impl Deliverer {
    /// Starts to deliver.
    #[must_use]
    pub fn start(options: &DeliveryOptions, database: Database, clock: Clock, telemetry: &Telemetry) -> Self {
        let added = database.deliveries();
        let shared = Arc::new(Shared {
            database,
            receivers: Receivers::new(options.allowed.clone()),
            clock,
            first_pause_ms: options.first_pause_ms,
            counts: telemetry.deliveries.clone(),
            is_closing: AtomicBool::new(false),
            running: Mutex::default(),
            ended: Condvar::new(),
        });
        let dispatcher = Dispatcher { shared: Arc::clone(&shared), added };
        if let Err(error) = spawn(move || dispatcher.run()) {
            tracing::error!(%error, "no webhook will be called");
        }
        Self { shared, tests: Arc::new(tokio::sync::Semaphore::new(MAX_TESTS)) }
    }

    /// Returns the client that calls receivers.
    #[must_use]
    pub fn receivers(&self) -> Receivers {
        self.shared.receivers.clone()
    }

    /// Sends a message to a webhook now, apart from all deliveries.
    ///
    /// # Errors
    /// [`ActorError::Overloaded`] if too many such tests are running.
    pub async fn test(&self, webhook: Webhook, message: Message) -> Result<Answered, ActorError> {
        let permit = Arc::clone(&self.tests).try_acquire_owned();
        let permit = permit.map_err(|_| ActorError::Overloaded { queue: "webhook test" })?;
        let shared = Arc::clone(&self.shared);
        let test = tokio::task::spawn_blocking(move || {
            let answered = shared.receivers.deliver(&webhook, &message, (shared.clock)());
            drop(permit);
            answered
        });
        test.await.map_err(|error| ActorError::Panicked(error.to_string()))
    }

    /// Looks for deliveries no more, and waits a moment for those that are being sent. Blocks.
    pub fn close(&self) {
        self.shared.is_closing.store(true, Ordering::Release);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut running = self.shared.running();
        while !running.is_empty()
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            let waited = self.shared.ended.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("registry-webhook".to_owned()).spawn(work).map(drop)
}

/// The thread that looks for deliveries.
struct Dispatcher {
    shared: Arc<Shared>,
    added: Receiver<()>,
}

impl Dispatcher {
    fn run(self) {
        let shared = &self.shared;
        let retry = RETRY_INTERVAL.min(Duration::from_millis(shared.first_pause_ms.max(10)));
        let mut pruned: Option<Instant> = None;
        while !shared.is_closing() {
            let has_pending = match self.dispatch() {
                Ok(has_pending) => has_pending,
                Err(ActorError::Closed) => return,
                Err(error) => {
                    tracing::debug!(%error, "deliveries to webhooks could not be looked for");
                    true
                }
            };
            if pruned.is_none_or(|at| at.elapsed() > PRUNE_INTERVAL) {
                pruned = Some(Instant::now());
                if let Err(error) = shared.prune() {
                    tracing::warn!(%error, "old deliveries to webhooks could not be deleted");
                }
            }
            let _ = self.added.recv_timeout(if has_pending { retry } else { IDLE_INTERVAL });
        }
    }

    /// Starts threads for the webhooks with deliveries that are due. Returns true if any are pending.
    fn dispatch(&self) -> Result<bool, ActorError> {
        let shared = &self.shared;
        let clock = Arc::clone(&shared.clock);
        let pending = shared
            .database
            .read_blocking(move |store| store.due_webhooks(&|| clock().unix_millis(), THREADS_PER_WEBHOOK))?;
        for (webhook, models) in &pending {
            while let Some(running) = Running::begin(shared, *webhook, *models) {
                if let Err(error) = spawn(move || running.work()) {
                    tracing::warn!(%error, "no thread for a webhook; its deliveries wait");
                    break;
                }
            }
        }
        Ok(!pending.is_empty())
    }
}

impl Shared {
    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<WebhookId, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        (self.clock)().unix_millis()
    }

    /// Writes nothing if there are no webhooks.
    fn prune(&self) -> Result<(), ActorError> {
        if self.database.read_blocking(|store| Ok(store.webhooks()?.is_empty()))? {
            return Ok(());
        }
        let (now_ms, mut after) = (self.now_ms(), Some(0));
        while let Some(from) = after.filter(|_| !self.is_closing()) {
            after = self.database.write_blocking(move |store| store.prune_deliveries(now_ms, from))?;
        }
        Ok(())
    }

    /// Claims deliveries of a webhook and one model.
    fn claim(&self, webhook: WebhookId) -> Result<Option<Claim>, ActorError> {
        let now_ms = self.now_ms();
        let lease_ms = now_ms + i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        self.database.write_blocking(move |store| store.claim_deliveries(webhook, now_ms, lease_ms))
    }

    /// Attempts claimed deliveries in order, up to the first that fails.
    fn attempt(&self, claim: Claim, claimed: Instant) -> Vec<Delivery> {
        let mut attempted: Vec<Delivery> = Vec::new();
        for delivery in claim.deliveries {
            let ends = self.is_closing() || claimed.elapsed() > LEASE / 2;
            if !attempted.is_empty() && ends {
                break;
            }
            let message = delivery.message(claim.webhook.form);
            let answered = self.receivers.deliver(&claim.webhook, &message, (self.clock)());
            let (event, uid) = (delivery.event, &claim.webhook.uid);
            let delivery = delivery.after(answered.attempt, self.first_pause_ms, fastrand::f64());
            match delivery.state {
                DeliveryState::Delivered => drop(self.counts.delivered.inc()),
                state => {
                    self.counts.failed.inc();
                    let last = delivery.last.as_ref();
                    let status = last.and_then(|last| last.status);
                    let error = last.and_then(|last| last.error.as_deref());
                    if state == DeliveryState::Parked {
                        self.counts.parked.inc();
                        tracing::warn!(webhook = %uid, event, status, error, "a delivery failed for a day and is parked");
                    } else {
                        tracing::debug!(webhook = %uid, event, status, error, "a delivery failed");
                    }
                }
            }
            let failed = delivery.state != DeliveryState::Delivered;
            attempted.push(delivery);
            if failed {
                break;
            }
        }
        attempted
    }

    /// Writes what became of deliveries, until the claim ends.
    fn finish(&self, webhook: &str, attempted: &[Delivery], claimed: Instant) {
        let is_gone =
            attempted.iter().any(|delivery| delivery.last.as_ref().is_some_and(|last| last.is_gone()));
        let gone = is_gone.then_some("its receiver answered 410 Gone");
        if gone.is_some() {
            tracing::warn!(%webhook, "the webhook is disabled: its receiver answered 410 Gone");
        }
        loop {
            let (attempted, uid, now) = (attempted.to_vec(), webhook.to_owned(), (self.clock)());
            let written = self.database.write_blocking(move |store| {
                store.finish_deliveries(&attempted)?;
                gone.map_or(Ok(()), |why| operations::disable_webhook(store, &uid, why, now))
            });
            match written {
                Ok(()) => return,
                Err(error) if matches!(error, ActorError::Closed) || claimed.elapsed() > LEASE => {
                    tracing::warn!(%error, %webhook, "what became of deliveries could not be written, so they are sent again");
                    return;
                }
                Err(_) => thread::sleep(WRITE_PAUSE),
            }
        }
    }
}

/// A thread of a webhook, counted while it runs.
struct Running {
    shared: Arc<Shared>,
    webhook: WebhookId,
}

impl Running {
    /// Counts one more thread, unless the webhook has as many as it needs.
    fn begin(shared: &Arc<Shared>, webhook: WebhookId, needed: usize) -> Option<Self> {
        let mut running = shared.running();
        let count = running.get(&webhook).copied().unwrap_or(0);
        if count >= needed.min(THREADS_PER_WEBHOOK) || shared.is_closing() {
            return None;
        }
        running.insert(webhook, count + 1);
        Some(Self { shared: Arc::clone(shared), webhook })
    }

    fn work(self) {
        let shared = &self.shared;
        while !shared.is_closing() {
            let claimed = Instant::now();
            let claim = match shared.claim(self.webhook) {
                Ok(Some(claim)) => claim,
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "deliveries to a webhook could not be claimed"),
            };
            let uid = claim.webhook.uid.clone();
            let attempted = shared.attempt(claim, claimed);
            shared.finish(&uid, &attempted, claimed);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.shared.running();
        if let Some(count) = running.get_mut(&self.webhook) {
            *count -= 1;
        }
        running.retain(|_, count| *count > 0);
        self.shared.ended.notify_all();
    }
}
