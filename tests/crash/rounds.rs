//! Rounds of load and SIGKILL on one file after the other.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    checker::check,
    judge::Unsure,
    ledger::{Change, Ledger},
    load::{self, Load},
    server::{Server, linger},
    wait_until,
};

const USUAL_ROUNDS: usize = 10;
const WRITERS: usize = 20;
/// Rounds on one file.
const ROUNDS_A_FILE: usize = 8;
/// How long the writer is idle.
const IDLE: Duration = Duration::from_secs(1);

/// When a server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// Among the first writes after its start.
    First,
    Load,
    /// While a checkpoint moves pages from the WAL into the database.
    Checkpoint,
    /// When nothing has been written for a second.
    Idle,
    /// During its shutdown, under load.
    Ending,
    /// Under load, and then again and again while it starts and recovers.
    Starting,
}

const MOMENTS: [Moment; 10] = [
    Moment::Load,
    Moment::Checkpoint,
    Moment::First,
    Moment::Starting,
    Moment::Load,
    Moment::Idle,
    Moment::Ending,
    Moment::Checkpoint,
    Moment::Starting,
    Moment::Load,
];

/// The results of the rounds of one moment.
#[derive(Default)]
struct Tally {
    rounds: u64,
    kills: u64,
    acknowledged: u64,
    in_flight: Vec<usize>,
    unsure: Unsure,
}

struct File {
    path: PathBuf,
    ledgers: Vec<Ledger>,
    server: Server,
    _folder: TempDir,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        let server = Server::start(&path);
        Self { path, ledgers: (0..WRITERS).map(|_| Ledger::default()).collect(), server, _folder: folder }
    }

    /// Runs load until the moment, kills the server, starts it again and checks the file.
    fn round(self, moment: Moment, random: &mut Rng, tally: &mut Tally) -> Self {
        let Self { path, mut ledgers, mut server, _folder } = self;
        let address = server.wait_for_address();
        let load = Load::default();
        let moved = modified(&path);
        let log = thread::scope(|scope| {
            for (writer, ledger) in ledgers.iter_mut().enumerate() {
                let (load, random) = (&load, Rng::with_seed(random.u64(..)));
                scope.spawn(move || load::write(load, address, writer, ledger, random, &|| None));
            }
            let acknowledged = || load.acknowledged.load(Ordering::SeqCst);
            match moment {
                Moment::First => {
                    let many = random.u64(0..40);
                    wait_until("writes are acknowledged", || acknowledged() >= many);
                }
                Moment::Load | Moment::Starting => {
                    wait_until("writes are acknowledged", || acknowledged() >= 1);
                    linger(random, Duration::from_millis(400));
                }
                Moment::Checkpoint => {
                    wait_until("pages are moved", || modified(&path) != moved);
                    linger(random, Duration::from_millis(4));
                }
                Moment::Idle => {
                    wait_until("writes are acknowledged", || acknowledged() >= 100);
                    load.resting.store(true, Ordering::SeqCst);
                    wait_until("all are answered", || load.in_flight.count() == 0);
                    thread::sleep(IDLE);
                    linger(random, Duration::from_millis(30));
                }
                Moment::Ending => {
                    wait_until("writes are acknowledged", || acknowledged() >= 100);
                    server.terminate();
                    linger(random, Duration::from_millis(8));
                }
            }
            tally.in_flight.push(load.in_flight.count());
            server.kill()
        });
        tally.acknowledged += load.acknowledged.into_inner();
        expect_no_warnings(&log);
        let again = if moment == Moment::Starting { random.u64(1..4) } else { 0 };
        for _ in 0..again {
            let server = Server::spawn(&path);
            linger(random, Duration::from_millis(150));
            expect_no_warnings(&server.kill());
        }
        let server = Server::start(&path);
        let unsure = check(&path, &mut ledgers);
        expect_no_warnings(&server.log());
        tally.rounds += 1;
        tally.kills += 1 + again;
        tally.unsure.found += unsure.found;
        tally.unsure.absent += unsure.absent;
        Self { path, ledgers, server, _folder }
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// Asserts that the log has no warning: a crash does not warrant one.
#[track_caller]
fn expect_no_warnings(log: &[String]) {
    let bad =
        log.iter().find(|line| line.contains("panicked") || line.contains("ERROR") || line.contains("WARN"));
    assert_eq!(bad, None);
}

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

#[test]
fn rounds_of_load_and_kills_lose_nothing_that_was_acknowledged() {
    let rounds = number("CRASH_ROUNDS").map_or(USUAL_ROUNDS, |rounds| rounds as usize);
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = Rng::with_seed(seed);
    let began = Instant::now();
    let mut tallies = std::collections::BTreeMap::<Moment, Tally>::new();
    let mut file = File::new();
    for round in 0..rounds {
        if round > 0 && round % ROUNDS_A_FILE == 0 {
            file = File::new();
        }
        let moment = MOMENTS[round % MOMENTS.len()];
        // Shown if the round fails. Threads are scheduled differently each time, but moments and changes are drawn the same.
        println!("round {round} ({moment:?}) of CRASH_SEED={seed}");
        file = file.round(moment, &mut random, tallies.entry(moment).or_default());
    }
    file.server.stop();
    println!("{rounds} rounds in {:.1} s, lost: 0", began.elapsed().as_secs_f64());
    println!(
        "moment      rounds kills acknowledged unsure found absent in flight at the kill (least, median, most)"
    );
    let mut under_load = 0;
    for (moment, mut tally) in tallies {
        tally.in_flight.sort_unstable();
        let flights = &tally.in_flight;
        let Unsure { found, absent } = tally.unsure;
        println!(
            "{:<11} {:>6} {:>5} {:>12} {:>6} {found:>5} {absent:>6} {} {} {}",
            format!("{moment:?}"),
            tally.rounds,
            tally.kills,
            tally.acknowledged,
            found + absent,
            flights[0],
            flights[flights.len() / 2],
            flights[flights.len() - 1]
        );
        under_load += if moment == Moment::Load { flights[flights.len() / 2] } else { 0 };
    }
    assert!(
        rounds < USUAL_ROUNDS || under_load >= WRITERS / 2,
        "the kills must hit in the middle: {under_load}"
    );
}

/// Shows that the checker finds faults.
#[test]
fn the_checker_finds_missing_and_unsent_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let mut server = Server::start(&path);
    let (address, load) = (server.wait_for_address(), Load::default());
    let mut ledgers = vec![Ledger::default(); WRITERS];
    thread::scope(|scope| {
        for (writer, ledger) in ledgers.iter_mut().enumerate() {
            let load = &load;
            scope.spawn(move || {
                load::write(load, address, writer, ledger, Rng::with_seed(writer as u64), &|| None);
            });
        }
        wait_until("writes are acknowledged", || load.acknowledged.load(Ordering::SeqCst) > 300);
        load.resting.store(true, Ordering::SeqCst);
    });
    server.stop();
    let problem_of = |sql: &str, ledgers: &mut Vec<Ledger>| {
        let other = tempfile::tempdir().unwrap();
        let path = {
            let to = other.path().join("registry.db");
            fs::copy(&path, &to).unwrap();
            to
        };
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let checked = catch_unwind(AssertUnwindSafe(|| check(&path, ledgers)));
        let text = |panic: Box<dyn std::any::Any + Send>| {
            panic.downcast_ref::<String>().cloned().unwrap_or_default()
        };
        checked.map(drop).map_err(text)
    };
    assert_eq!(problem_of("", &mut ledgers.clone()), Ok(()), "unchanged, the file passes");
    for (sql, said) in [
        (
            "DELETE FROM model_events WHERE id = (SELECT max(id) FROM model_events WHERE event_type = 'eval')",
            "LOST",
        ),
        ("DELETE FROM model_events WHERE id = (SELECT min(id) FROM model_events)", "LOST"),
        ("DELETE FROM models WHERE id = (SELECT max(id) FROM models)", "left == right"),
        ("UPDATE models SET metrics = NULL WHERE metrics NOT NULL", "left == right"),
        ("UPDATE models SET status = 'archived' WHERE status = 'production'", "left == right"),
        (
            "INSERT INTO model_events (model_id, event_type, payload_json) SELECT max(id), 'eval', '{\"metrics\": {\"n\": 1}}' FROM models",
            "was not sent",
        ),
        ("INSERT INTO models (name, version, checkpoint_path) VALUES ('m', 'x', '/x')", "left == right"),
    ] {
        let problem = problem_of(sql, &mut ledgers.clone()).expect_err(sql);
        assert!(problem.contains(said), "{sql}: {problem}");
    }
    // An acknowledged write that is missing in the file.
    let mut more = ledgers.clone();
    let version =
        more.iter_mut().flat_map(|ledger| &mut ledger.versions).find(|version| version.is_there()).unwrap();
    version.acknowledged.push(Change::Record(7));
    let problem = problem_of("", &mut more).unwrap_err();
    assert!(problem.contains("LOST"), "{problem}");
    // An unanswered write may be missing.
    let version = ledgers
        .iter_mut()
        .flat_map(|ledger| &mut ledger.versions)
        .find(|version| version.is_there())
        .unwrap();
    version.unsure = Some(Change::Record(7));
    assert_eq!(problem_of("", &mut ledgers), Ok(()));
}
