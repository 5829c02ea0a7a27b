//! Deliveries to a webhook while the server is killed: each event of an acknowledged write comes at least once, in order for its
//! model. `CRASH_ROUNDS=50` kills that often.

use std::{sync::Mutex, thread, time::Duration};

use crate::{
    client::{Client, InFlight, Outcome},
    hooked::{FLAGS, WRITERS, Writing, create, judge, receiver, write},
    server::{Server, linger, serve},
    wait_until,
};

const USUAL_KILLS: usize = 6;
/// Writes that are acknowledged between two kills.
const WRITES_BETWEEN: u64 = 40;
const MOST_DELAY: Duration = Duration::from_millis(200);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn each_event_is_delivered_in_order_although_the_server_is_killed() {
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CRASH_SEED={seed}");
    let kills = number("CRASH_ROUNDS").map_or(USUAL_KILLS, |kills| kills as usize);
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = serve(&folder.path().join("registry.db"));
        let mut server = Server::run(command.args(FLAGS).args(["--log-level", "warn"]));
        let address = server.wait_for_address();
        (server, address)
    };
    let receiver = receiver(seed);
    let (mut server, first) = start();
    create(first, &receiver);
    let (writing, address) = (Writing::default(), Mutex::new(Some(first)));
    let acknowledged: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (writing, address) = (&writing, &address);
                scope.spawn(move || write(writing, writer, || *address.lock().unwrap()))
            })
            .collect();
        for _ in 0..kills {
            use std::sync::atomic::Ordering::SeqCst;
            let before = writing.acknowledged.load(SeqCst);
            wait_until("writes are acknowledged", || {
                writing.acknowledged.load(SeqCst) >= before + WRITES_BETWEEN
            });
            linger(&mut random, MOST_DELAY);
            *address.lock().unwrap() = None;
            server.kill_now();
            let (fresh, there) = start();
            (server, *address.lock().unwrap()) = (fresh, Some(there));
        }
        writing.is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let there = server.wait_for_address();
    let in_flight = InFlight::default();
    let ask = |path: &str| match Client::new(there, &in_flight).send("GET", path, "ask", None) {
        Outcome::Answered(200, answer) => answer,
        other => panic!("{path}: {other:?}"),
    };
    let (calls, events) = judge(ask, &receiver, &acknowledged);
    println!("{kills} kills, {events} events, lost: 0, out of order: 0; {calls} calls");
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
    server.stop();
}
