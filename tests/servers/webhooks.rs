//! Deliveries to a webhook by three servers: each event once while all is well, and at least once and in order for its model
//! although servers are killed. `CRASH_ROUNDS=50` kills that often.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use crate::{
    database::Database,
    group::{Group, SERVERS},
    hooked::{WRITERS, Writing, create, judge, receiver, write},
    receiver::Receiver,
    server::linger,
    wait_until,
};

const USUAL_KILLS: usize = 4;
const WRITES_BETWEEN: u64 = 40;
const MOST_DELAY: Duration = Duration::from_millis(200);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Writes through all servers, until `during` returns. Returns what was acknowledged.
fn written(group: &Group, during: impl FnOnce(&Writing)) -> Vec<BTreeMap<String, HashSet<String>>> {
    let writing = Writing::default();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (writing, next) = (&writing, AtomicUsize::new(writer));
                scope.spawn(move || {
                    write(writing, writer, || Some(group.address(next.fetch_add(1, SeqCst) % SERVERS)))
                })
            })
            .collect();
        during(&writing);
        writing.is_over.store(true, SeqCst);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

fn wait_for_writes(writing: &Writing) {
    let before = writing.acknowledged.load(SeqCst);
    wait_until("writes are acknowledged", || writing.acknowledged.load(SeqCst) >= before + WRITES_BETWEEN);
}

#[test]
fn each_event_is_delivered_by_one_server_while_all_is_well() {
    let Some(database) = Database::start() else { return };
    let group = Group::start(&database);
    let receiver = Receiver::start();
    create(group.address(0), &receiver);
    let acknowledged = written(&group, |writing| (0..5).for_each(|_| wait_for_writes(writing)));
    let (calls, events) = judge(|path| group.get(1, path), &receiver, &acknowledged);
    assert_eq!(calls, events, "none twice");
    group.stop();
}

#[test]
fn each_event_is_delivered_in_order_although_servers_are_killed() {
    let Some(database) = Database::start() else { return };
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CRASH_SEED={seed}");
    let kills = number("CRASH_ROUNDS").map_or(USUAL_KILLS, |kills| kills as usize);
    let mut random = fastrand::Rng::with_seed(seed);
    let group = Group::start(&database);
    let receiver = receiver(seed);
    create(group.address(0), &receiver);
    let acknowledged = written(&group, |writing| {
        for kill in 0..kills {
            wait_for_writes(writing);
            linger(&mut random, MOST_DELAY);
            group.kill_and_restart(kill % SERVERS);
        }
    });
    let (calls, events) = judge(|path| group.get(0, path), &receiver, &acknowledged);
    println!("{kills} kills, {events} events, lost: 0, out of order: 0; {calls} calls");
    group.stop();
}
