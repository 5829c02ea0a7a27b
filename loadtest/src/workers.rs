//! Threads that send: each has a runtime of its own, its share of the connections, and a tally of its own.
//!
//! They share the clock's start, a counter of requests, and two doors: one that opens when all connections stand, and
//! one through which requests of the open loop come when they are due.

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
    plan::{Extent, Pace, Plan},
    scenario::{Caller, Requests},
    schedule::Schedule,
    series::{SLICE, Slice, number_of},
    tally::{Ended, Tally},
    target::Target,
};

/// Before a caller tries again to reach a server that it could not reach; doubled up to the second.
const RECONNECT_WAIT: Duration = Duration::from_millis(10);
const MAX_RECONNECT_WAIT: Duration = Duration::from_millis(160);
/// The pacer looks at least so often whether the run has ended.
const MAX_NAP: Duration = Duration::from_millis(20);

/// What a worker tells while it works.
pub(crate) enum Told {
    /// Its connections stand, and each has answered once; or one could not.
    Ready(Result<(), Error>),
    /// What ended in a slice of time; those of the warm-up are below 0.
    Slice(i64, Slice),
    /// It has ended.
    Done(Box<Worked>),
}

/// What a worker leaves behind.
pub(crate) struct Worked {
    pub(crate) tally: Tally,
    /// Of its callers, with their numbers.
    pub(crate) ledgers: Vec<(usize, Ledger)>,
    /// Requests that were under way when the run was cut short.
    pub(crate) abandoned: u64,
}

/// What all threads of a run see.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) schedule: Option<Schedule>,
    target: Target,
    requests: Arc<Requests>,
    seed: u64,
    start: OnceLock<Instant>,
    /// Closed once all connections stand: it lets everybody through.
    gate: Semaphore,
    /// Requests of the open loop that are due. It holds a number, whatever the backlog.
    due: Semaphore,
    /// Closed where what is under way is to be given up.
    abandon: Semaphore,
    /// How many were begun: of the open loop all, of the closed loop those that count.
    taken: AtomicU64,
    stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn new(plan: &Plan, target: &Target, requests: Arc<Requests>, seed: u64) -> Self {
        let schedule = match plan.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(Schedule::new(rate, plan.warmup, plan.extent, plan.connections)),
        };
        Self {
            plan: plan.clone(),
            schedule,
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

    /// Nothing new is begun any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.due.close();
        // For those who still wait for their connections.
        self.gate.close();
    }

    /// What is under way is not waited for any longer.
    pub(crate) fn give_up(&self) {
        self.stop();
        self.abandon.close();
    }

    /// How many requests of the open loop were begun.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Starts the workers, and for the open loop the pacer. They end by themselves.
pub(crate) fn start(shared: &Arc<Shared>, tell: &Sender<Told>) -> Result<Vec<thread::JoinHandle<()>>, Error> {
    let mut threads = Vec::new();
    for worker in 0..shared.plan.workers {
        let (shared, tell) = (Arc::clone(shared), tell.clone());
        let run = move || {
            let worked = work(&shared, worker, &tell);
            let told = match worked {
                Ok(worked) => Told::Done(Box::new(worked)),
                Err(error) => Told::Ready(Err(error)),
            };
            let _ = tell.send(told);
        };
        threads.push(thread::Builder::new().name(format!("load-{worker}")).spawn(run)?);
    }
    Ok(threads)
}

/// Lets requests of the open loop through when they are due, until there are no more.
pub(crate) fn pace(shared: &Shared, schedule: Schedule, start: Instant) {
    let mut released = 0;
    while released < schedule.total && !shared.stopped.load(Ordering::SeqCst) {
        let elapsed = start.elapsed();
        // The one that is due at this very instant too.
        let due = schedule.due_by(elapsed + Duration::from_nanos(1));
        // The semaphore's own limit is far beyond what is due in a run; it takes a backlog in portions.
        let fresh = usize::try_from(due - released).unwrap_or(usize::MAX).min(1 << 20);
        shared.due.add_permits(fresh);
        released += fresh as u64;
        if schedule.end.is_some_and(|end| elapsed >= end) {
            break;
        }
        let wait = schedule.time_of(released).saturating_sub(start.elapsed());
        thread::sleep(wait.min(MAX_NAP));
    }
    if schedule.end.is_some() {
        shared.due.close();
    }
}

fn work(shared: &Arc<Shared>, worker: usize, tell: &Sender<Told>) -> Result<Worked, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let tally = Rc::new(RefCell::new(Tally::new()));
    let under_way = Rc::new(Cell::new(0));
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
                let _ = tell.send(Told::Ready(Err(error)));
                return;
            }
        };
        let _ = tell.send(Told::Ready(Ok(())));
        // It is never given a permit: closing it is what lets everybody through.
        let _ = shared.gate.acquire().await;
        let Some(start) = shared.start.get().copied() else { return };
        let mut running = JoinSet::new();
        for (connection, caller) in connections.into_iter().zip(&callers) {
            let lane = Lane {
                shared: Arc::clone(shared),
                caller: Rc::clone(caller),
                tally: Rc::clone(&tally),
                under_way: Rc::clone(&under_way),
                tell: tell.clone(),
                start,
                measured: start + shared.plan.warmup,
                counted: 0,
            };
            running.spawn_local(lane.run(connection));
        }
        let flush = async {
            loop {
                sleep(SLICE).await;
                if let Some((number, slice)) = tally.borrow_mut().flush() {
                    let _ = tell.send(Told::Slice(number, slice));
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
    let ledgers = numbers.iter().zip(&callers);
    let ledgers = ledgers.map(|(number, caller)| (*number, std::mem::take(&mut caller.borrow_mut().ledger)));
    let ledgers = ledgers.collect();
    let mut tally = tally.replace(Tally::new());
    if let Some((number, slice)) = tally.flush() {
        let _ = tell.send(Told::Slice(number, slice));
    }
    Ok(Worked { tally, ledgers, abandoned: under_way.get() })
}

/// Opens the connections and uses each of them once, so that what is measured is requests and not handshakes.
async fn open_all(shared: &Arc<Shared>, count: usize) -> Result<Vec<Connection>, Error> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let mut connection = Connection::new(&shared.target, shared.plan.timeout);
        let requests = Arc::clone(&shared.requests);
        opening.spawn_local(async move {
            let answer = connection.exchange(requests.health(), Instant::now()).await?;
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

/// When a request should go out, and whether it counts.
struct Turn {
    intended: Option<Instant>,
    counts: bool,
}

/// One caller on its connection.
struct Lane {
    shared: Arc<Shared>,
    caller: Rc<RefCell<Caller>>,
    tally: Rc<RefCell<Tally>>,
    under_way: Rc<Cell<u64>>,
    tell: Sender<Told>,
    start: Instant,
    measured: Instant,
    /// Requests of this caller that count.
    counted: u64,
}

impl Lane {
    async fn run(mut self, mut connection: Connection) {
        let mut request = Vec::with_capacity(1024);
        let (mut now, mut wait) = (Instant::now(), RECONNECT_WAIT);
        while let Some(turn) = self.turn(now).await {
            let operation = self.caller.borrow_mut().compose(&mut request);
            self.under_way.set(self.under_way.get() + 1);
            let sent = Instant::now();
            let answer = connection.exchange(&request, sent).await;
            now = Instant::now();
            self.under_way.set(self.under_way.get() - 1);
            let times = (sent - self.start, now - self.start);
            let failure = self.caller.borrow_mut().settle(&answer, times);
            let unreachable = failure.as_ref().is_some_and(|failure| failure.unreachable);
            let (status, received_bytes) = match &answer {
                Ok(answer) => (Some(answer.status), answer.bytes),
                Err(_) => (None, 0),
            };
            let at = now.saturating_duration_since(self.measured);
            let warming = (!turn.counts).then(|| self.measured.saturating_duration_since(now));
            let told = self.tally.borrow_mut().record(Ended {
                operation,
                at: turn.counts.then_some(at),
                slice: number_of(at, warming),
                latency: now - turn.intended.unwrap_or(sent),
                service: now - sent,
                sent_bytes: request.len(),
                received_bytes,
                status,
                refused: failure.is_none() && status == Some(409),
                failure,
            });
            if let Some((number, slice)) = told {
                let _ = self.tell.send(Told::Slice(number, slice));
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

    /// Waits until the next request is due; `None` where there is none.
    async fn turn(&mut self, now: Instant) -> Option<Turn> {
        let shared = &self.shared;
        if shared.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let Some(schedule) = &shared.schedule else { return self.next_turn(now) };
        shared.due.acquire().await.ok()?.forget();
        let number = shared.taken.fetch_add(1, Ordering::SeqCst);
        if number + 1 >= schedule.total {
            // All are taken: the others wait in vain.
            shared.due.close();
        }
        let intended = self.start + schedule.time_of(number);
        Some(Turn { intended: Some(intended), counts: intended >= self.measured })
    }

    /// The closed loop: the next request goes out as soon as the one before is answered.
    fn next_turn(&mut self, now: Instant) -> Option<Turn> {
        let counts = now >= self.measured;
        if counts {
            let goes_on = match self.shared.plan.extent {
                Extent::RequestsPerCaller(count) => self.counted < count,
                Extent::Requests(count) => self.shared.taken.fetch_add(1, Ordering::SeqCst) < count,
                Extent::Duration(duration) => now < self.measured + duration,
            };
            if !goes_on {
                return None;
            }
            self.counted += 1;
        }
        Some(Turn { intended: None, counts })
    }
}
