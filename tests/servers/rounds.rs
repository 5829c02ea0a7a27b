//! Rounds of load in which one server is killed, and then PostgreSQL.

use std::{
    env,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{
    database::Database,
    group::{Group, SERVERS},
    judge::{Unsure, judge},
    ledger::Ledger,
    load::{self, Load},
    server::linger,
    set_on_drop::SetOnDrop,
    wait_until,
};

const USUAL_ROUNDS: usize = 3;
/// Rounds on one database.
const ROUNDS_A_DATABASE: usize = 8;
const WRITERS: usize = 24;
/// Writes that are acknowledged before the next blow.
const WRITES_BETWEEN: u64 = 60;
const MOST_DELAY: Duration = Duration::from_millis(300);

/// The results of all rounds.
#[derive(Default)]
struct Tally {
    acknowledged: u64,
    unsure: Unsure,
    /// Requests without an answer when a server was killed, and when PostgreSQL was.
    in_flight: [Vec<usize>; 2],
}

fn round(
    database: &mut Database,
    group: &Group,
    ledgers: &mut [Ledger],
    random: &mut Rng,
    tally: &mut Tally,
) {
    let load = Load::default();
    thread::scope(|scope| {
        for (writer, ledger) in ledgers.iter_mut().enumerate() {
            let (load, random) = (&load, Rng::with_seed(random.u64(..)));
            scope.spawn(move || {
                let next = AtomicUsize::new(writer + 1);
                // As a client does behind a proxy.
                let elsewhere = || -> Option<SocketAddr> {
                    Some(group.address(next.fetch_add(1, Ordering::SeqCst) % SERVERS))
                };
                let address = group.address(writer % SERVERS);
                load::write(load, address, writer, ledger, random, &elsewhere);
            });
        }
        let _resting = SetOnDrop(&load.resting);
        let mut under_load = || {
            let begun = load.acknowledged.load(Ordering::SeqCst);
            wait_until("writes are acknowledged", || {
                load.acknowledged.load(Ordering::SeqCst) >= begun + WRITES_BETWEEN
            });
            linger(random, MOST_DELAY);
            load.in_flight.count()
        };
        let at_kill = under_load();
        group.kill_and_restart(tally.in_flight[0].len() % SERVERS);
        let at_crash = under_load();
        database.cluster.crash_and_restart();
        under_load();
        tally.in_flight[0].push(at_kill);
        tally.in_flight[1].push(at_crash);
    });
    tally.acknowledged += load.acknowledged.into_inner();
    let unsure = judge(&database.events(), &database.rows(), ledgers);
    database.is_sound();
    tally.unsure.found += unsure.found;
    tally.unsure.absent += unsure.absent;
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

#[test]
fn rounds_in_which_servers_and_postgres_are_killed_lose_and_double_nothing_that_was_acknowledged() {
    let Some(mut database) = Database::start() else { return };
    let rounds = number("CRASH_ROUNDS").map_or(USUAL_ROUNDS, |rounds| rounds as usize);
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let (mut random, begun, mut tally) = (Rng::with_seed(seed), Instant::now(), Tally::default());
    let mut group = None;
    let mut ledgers = Vec::new();
    for number in 0..rounds {
        println!("round {number} of CRASH_SEED={seed}");
        if number % ROUNDS_A_DATABASE == 0 {
            if let Some(group) = group.take() {
                Group::stop(group);
                database.empty();
            }
            ledgers = vec![Ledger::default(); WRITERS];
        }
        let group = group.get_or_insert_with(|| Group::start(&database));
        round(&mut database, group, &mut ledgers, &mut random, &mut tally);
    }
    group.into_iter().for_each(Group::stop);
    let Unsure { found, absent } = tally.unsure;
    println!(
        "{rounds} rounds in {:.1} s, lost: 0, doubled: 0; acknowledged: {}, unsure: {}, found: {found}, absent: {absent}",
        begun.elapsed().as_secs_f64(),
        tally.acknowledged,
        found + absent,
    );
    for (blow, flights) in ["a server", "PostgreSQL"].into_iter().zip(&mut tally.in_flight) {
        flights.sort_unstable();
        let (least, median, most) = (flights[0], flights[flights.len() / 2], flights[flights.len() - 1]);
        println!("in flight when {blow} was killed (least, median, most): {least} {median} {most}");
        assert!(median >= WRITERS / 2, "the kills must hit in the middle: {median}");
    }
}
