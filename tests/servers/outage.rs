//! PostgreSQL that is away for a while.

use crate::{
    database::Database,
    group::{Group, SERVERS},
    wait_until,
};

#[test]
fn every_server_is_unready_while_postgres_is_away_and_ready_after() {
    let Some(mut database) = Database::start() else { return };
    let group = Group::start(&database);
    let all_are = |status: u16| (0..SERVERS).all(|server| group.status(server, "/ready") == status);
    assert!(all_are(200), "ready at the start");
    for _ in 0..2 {
        database.cluster.crash();
        wait_until("all servers notice", || all_are(503));
        assert!((0..SERVERS).all(|server| group.status(server, "/health") == 200), "they still run");
        database.cluster.restart();
        wait_until("all servers are ready again", || all_are(200));
    }
    group.stop();
}
