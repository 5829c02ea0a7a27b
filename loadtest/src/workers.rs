//! The threads that send: each has its own runtime, tally, and share of the connections.
//!
//! They share the start time, a counter of requests, and two semaphores: one that opens when all connections are open,
//! and one with a permit for each request of the open loop that is due.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Sender,
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};

use crate::{
    Error,
    http::Connection,
    ledger::Ledger,
    plan::{Limit, Plan},
    scenario::{Caller, Requests},
    schedule::Schedule,
    series::{SLICE, Slice, number_of},
    tally::{Ended, Tally},
    target::Target,
};

/// The wait before a caller reconnects; doubled up to the maximum.
const RECONNECT_WAIT: Duration = Duration::from_millis(10);
const MAX_RECONNECT_WAIT: Duration = Duration::from_millis(160);
/// The pacer checks at least this often that the run continues.
const MAX_SLEEP: Duration = Duration::from_millis(20);

/// What a worker sends to the observer.
pub(crate) enum WorkerMessage {
    /// Its connections are open and have answered once, or one of them failed.
    Ready(Result<(), Error>),
    /// The requests that ended in a slice of time, and its number.
    Slice(i64, Slice),
    /// It has ended.
    Done(Box<WorkerResult>),
}

/// The result of a worker.
pub(crate) struct WorkerResult {
    pub(crate) tally: Tally,
    /// The ledgers of its callers, by number.
    pub(crate) ledgers: Vec<(usize, Ledger)>,
    /// Requests that were running when the run was cut short.
    pub(crate) abandoned: u64,
}

/// The state that all threads of a run share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) schedule: Option<Schedule>,
    target: Target,
    requests: Arc<Requests>,
    seed: u64,
    start: OnceLock<Instant>,
    /// Never has permits; closing it lets all callers begin.
    gate: Semaphore,
    /// One permit for each request of the open loop that is due, so any backlog needs no memory.
    due: Semaphore,
    /// Closing it abandons running requests.
    abandon: Semaphore,
    /// Requests that were begun: in the closed loop only those that count.
    taken: AtomicU64,
    stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn new(plan: &Plan, target: &Target, requests: Arc<Requests>, seed: u64) -> Self {
        Self {
            plan: plan.clone(),
            schedule: plan.rate.map(|rate| Schedule::new(rate, plan.warmup, plan.limit, plan.connections)),
            target: target.clone(),
            requests,
            seed,
            start: OnceLock::new(),
            gate: Semaphore::new(0),
            due: Semaphore::new(0),
            abandon: Semaphore::new(0),
            taken: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Starts the clock and lets all callers begin.
    pub(crate) fn open_the_gate(&self) -> Instant {
        let start = *self.start.get_or_init(Instant::now);
        self.gate.close();
        start
    }

    /// Makes callers begin no more requests.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.due.close();
        // For callers that still wait for their connections.
        self.gate.close();
    }

    /// Abandons running requests.
    pub(crate) fn abandon(&self) {
        self.stop();
        self.abandon.close();
    }

    /// Requests of the open loop that were begun.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Starts the workers, which end on their own.
pub(crate) fn start(
    shared: &Arc<Shared>,
    sender: &Sender<WorkerMessage>,
) -> Result<Vec<thread::JoinHandle<()>>, Error> {
    let mut threads = Vec::new();
    for worker in 0..shared.plan.workers {
        let (shared, sender) = (Arc::clone(shared), sender.clone());
        let run = move || {
            let message = match work(&shared, worker, &sender) {
                Ok(result) => WorkerMessage::Done(Box::new(result)),
                Err(error) => WorkerMessage::Ready(Err(error)),
            };
            let _ = sender.send(message);
        };
        threads.push(thread::Builder::new().name(format!("load-{worker}")).spawn(run)?);
    }
    Ok(threads)
}

/// The pacer: adds a permit for each request of the open loop when it is due.
pub(crate) fn pace(shared: &Shared, schedule: Schedule, start: Instant) {
    let mut released = 0;
    while released < schedule.total && !shared.stopped.load(Ordering::SeqCst) {
        let elapsed = start.elapsed();
        // Includes the request that is due at this instant.
        let due = schedule.due_by(elapsed + Duration::from_nanos(1));
        // In portions, since a semaphore limits the permits of one call.
        let fresh = usize::try_from(due - released).unwrap_or(usize::MAX).min(1 << 20);
        shared.due.add_permits(fresh);
        released += fresh as u64;
        if schedule.end.is_some_and(|end| elapsed >= end) {
            break;
        }
        let wait = schedule.time_of(released).saturating_sub(start.elapsed());
        thread::sleep(wait.min(MAX_SLEEP));
    }
    if schedule.end.is_some() {
        shared.due.close();
    }
}

fn work(shared: &Arc<Shared>, worker: usize, sender: &Sender<WorkerMessage>) -> Result<WorkerResult, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let tally = Rc::new(RefCell::new(Tally::new()));
    let running_requests = Rc::new(Cell::new(0));
    let numbers: Vec<usize> = (worker..shared.plan.connections).step_by(shared.plan.workers).collect();
    let callers: Vec<_> = numbers
        .iter()
        .map(|number| Rc::new(RefCell::new(Caller::new(&shared.requests, *number, shared.seed))))
        .collect();
    local.block_on(&runtime, async {
        let connections = tokio::select! {
            connections = open_all(shared, numbers.len()) => connections,
            _ = shared.abandon.acquire() => return,
        };
        let connections = match connections {
            Ok(connections) => connections,
            Err(error) => {
                let _ = sender.send(WorkerMessage::Ready(Err(error)));
                return;
            }
        };
        let _ = sender.send(WorkerMessage::Ready(Ok(())));
        // It returns an error once the gate is closed.
        let _ = shared.gate.acquire().await;
        let Some(start) = shared.start.get().copied() else { return };
        let mut running = JoinSet::new();
        for (connection, caller) in connections.into_iter().zip(&callers) {
            let task = CallerTask {
                shared: Arc::clone(shared),
                caller: Rc::clone(caller),
                tally: Rc::clone(&tally),
                running_requests: Rc::clone(&running_requests),
                sender: sender.clone(),
                start,
                measured: start + shared.plan.warmup,
                counted: 0,
            };
            running.spawn_local(task.run(connection));
        }
        let flush = async {
            loop {
                sleep(SLICE).await;
                if let Some((number, slice)) = tally.borrow_mut().flush() {
                    let _ = sender.send(WorkerMessage::Slice(number, slice));
                }
            }
        };
        tokio::select! {
            () = async { while running.join_next().await.is_some() {} } => {}
            () = flush => {}
            _ = shared.abandon.acquire() => running.shutdown().await,
        }
    });
    drop(local);
    let ledgers = callers.iter().map(|caller| std::mem::take(&mut caller.borrow_mut().ledger));
    let ledgers = numbers.into_iter().zip(ledgers).collect();
    let mut tally = tally.replace(Tally::new());
    if let Some((number, slice)) = tally.flush() {
        let _ = sender.send(WorkerMessage::Slice(number, slice));
    }
    Ok(WorkerResult { tally, ledgers, abandoned: running_requests.get() })
}

/// Opens the connections and uses each once, so that no handshake is measured.
async fn open_all(shared: &Arc<Shared>, count: usize) -> Result<Vec<Connection>, Error> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let mut connection = Connection::new(&shared.target, shared.plan.timeout);
        let mut request = Vec::new();
        shared.target.write(&mut request, "GET", "/health", None);
        opening.spawn_local(async move {
            let answer = connection.exchange(&request, Instant::now()).await?;
            match answer.status {
                200 => Ok(connection),
                status => Err(Error::NotARegistry { reason: format!("it answers {status} to GET /health") }),
            }
        });
    }
    let mut connections = Vec::with_capacity(count);
    while let Some(opened) = opening.join_next().await {
        connections.push(opened.map_err(std::io::Error::other)??);
    }
    Ok(connections)
}

/// The next request of a caller.
struct Turn {
    /// Its due time in the open loop.
    due: Option<Instant>,
    /// False in the warm-up.
    counts: bool,
}

/// The loop of one caller on its connection.
struct CallerTask {
    shared: Arc<Shared>,
    caller: Rc<RefCell<Caller>>,
    tally: Rc<RefCell<Tally>>,
    running_requests: Rc<Cell<u64>>,
    sender: Sender<WorkerMessage>,
    start: Instant,
    measured: Instant,
    /// Requests of this caller after the warm-up.
    counted: u64,
}

impl CallerTask {
    async fn run(mut self, mut connection: Connection) {
        let mut request = Vec::with_capacity(1024);
        let (mut now, mut wait) = (Instant::now(), RECONNECT_WAIT);
        while let Some(turn) = self.turn(now).await {
            let operation = self.caller.borrow_mut().compose(&mut request);
            self.running_requests.set(self.running_requests.get() + 1);
            let sent = Instant::now();
            let answer = connection.exchange(&request, sent).await;
            now = Instant::now();
            self.running_requests.set(self.running_requests.get() - 1);
            let failure = self.caller.borrow_mut().record(&answer);
            let unreachable = failure.as_ref().is_some_and(|failure| failure.unreachable);
            let answer = answer.as_ref().ok();
            let slice = number_of(now - self.start, self.shared.plan.warmup);
            let slice = self.tally.borrow_mut().record(Ended {
                operation,
                at: turn.counts.then(|| now - self.measured),
                slice: if turn.counts { slice } else { slice.min(-1) },
                latency: now - turn.due.unwrap_or(sent),
                service: now - sent,
                sent_bytes: request.len(),
                received_bytes: answer.map_or(0, |answer| answer.bytes),
                status: answer.map(|answer| answer.status),
                failure,
            });
            if let Some((number, slice)) = slice {
                let _ = self.sender.send(WorkerMessage::Slice(number, slice));
            }
            if unreachable {
                sleep(wait).await;
                wait = (wait * 2).min(MAX_RECONNECT_WAIT);
                now = Instant::now();
            } else {
                wait = RECONNECT_WAIT;
            }
        }
    }

    /// Waits until the next request is due; `None` if there is none.
    async fn turn(&mut self, now: Instant) -> Option<Turn> {
        let shared = &self.shared;
        if shared.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let Some(schedule) = &shared.schedule else { return self.next_turn(now) };
        shared.due.acquire().await.ok()?.forget();
        let number = shared.taken.fetch_add(1, Ordering::SeqCst);
        if number + 1 >= schedule.total {
            // No request is left for the other callers.
            shared.due.close();
        }
        let due = self.start + schedule.time_of(number);
        Some(Turn { due: Some(due), counts: due >= self.measured })
    }

    /// Returns the next request of the closed loop, which is sent as soon as the one before is answered.
    fn next_turn(&mut self, now: Instant) -> Option<Turn> {
        let counts = now >= self.measured;
        if counts {
            let goes_on = match self.shared.plan.limit {
                Limit::RequestsPerCaller(count) => self.counted < count,
                Limit::Requests(count) => self.shared.taken.fetch_add(1, Ordering::SeqCst) < count,
                Limit::Duration(duration) => now < self.measured + duration,
            };
            if !goes_on {
                return None;
            }
            self.counted += 1;
        }
        Some(Turn { due: None, counts })
    }
}
