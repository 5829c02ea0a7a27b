//! Followers through several servers see the events of all, in one order.

use std::thread;

use model_registry::client::{Client as Registry, EventStream, SecretKey, Streamed};
use serde_json::{Value, json};

use crate::{
    KEY,
    client::{Client, InFlight, Outcome},
    database::Database,
    group::{Group, SERVERS},
};

const WRITERS: usize = 64;
/// Registrations of each writer.
const WRITES: usize = 6;
const MODELS: usize = 24;

/// Opens a stream through one server.
fn follow(group: &Group, server: usize, query: &[(&str, &str)], last: Option<&str>) -> EventStream {
    let url = format!("http://{}", group.address(server));
    Registry::new(&url, SecretKey::new(KEY).unwrap()).unwrap().v1("").follow(query, last).unwrap()
}

/// Reads `count` events; fewer if the stream ends.
fn take(stream: &mut EventStream, count: usize) -> Vec<Streamed> {
    let mut found = Vec::new();
    while found.len() < count
        && let Ok(Some(next)) = stream.read()
    {
        found.extend(Some(next).filter(|next| next.event.is_some()));
    }
    found
}

fn shown(found: &[Streamed]) -> Vec<(i64, String)> {
    let event = |streamed: &Streamed| {
        let event = streamed.event.as_ref().unwrap();
        (event["id"].as_i64().unwrap(), event["hash"].as_str().unwrap().to_owned())
    };
    found.iter().map(event).collect()
}

fn stored(database: &Database) -> Vec<(i64, String)> {
    let rows = database.sql("SELECT id, encode(hash, 'hex') FROM model_events ORDER BY id");
    let row =
        |row: &str| row.split_once('|').map(|(id, hash)| (id.parse().unwrap(), hash.to_owned())).unwrap();
    rows.lines().map(row).collect()
}

fn write(group: &Group, writer: usize, in_flight: &InFlight) {
    let mut client = Client::new(group.address(writer % SERVERS), in_flight);
    for write in 0..WRITES {
        let body = json!({"label": format!("{writer}-{write}"), "artifact_uri": "s3://b/o"});
        let path = format!("/v1/models/m{}/versions", (writer + write) % MODELS);
        let answer = client.send("POST", &path, "write", Some(&body));
        assert!(matches!(answer, Outcome::Answered(201, _)), "{answer:?}");
    }
}

#[test]
fn followers_of_each_server_get_every_event_of_64_writers_through_all_servers_in_one_order() {
    let Some(database) = Database::start() else { return };
    let (group, in_flight) = (Group::start(&database), InFlight::default());
    let found = thread::scope(|scope| {
        let followers: Vec<_> = (0..2 * SERVERS)
            .map(|number| {
                let mut stream = follow(&group, number % SERVERS, &[], None);
                assert_eq!(stream.read().unwrap().unwrap().event, None);
                scope.spawn(move || take(&mut stream, WRITERS * WRITES))
            })
            .collect();
        for writer in 0..WRITERS {
            let (group, in_flight) = (&group, &in_flight);
            scope.spawn(move || write(group, writer, in_flight));
        }
        followers.into_iter().map(|follower| shown(&follower.join().unwrap())).collect::<Vec<_>>()
    });
    let stored = stored(&database);
    assert_eq!(stored.len(), WRITERS * WRITES);
    for (number, found) in found.iter().enumerate() {
        assert!(*found == stored, "follower {number}");
    }
    group.stop();
    database.is_sound();
}

#[test]
fn a_follower_whose_server_dies_goes_on_through_another_without_a_gap() {
    let Some(database) = Database::start() else { return };
    let (group, in_flight) = (Group::start(&database), InFlight::default());
    let found = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (group, in_flight) = (&group, &in_flight);
                // Through the servers that stay.
                scope.spawn(move || write(group, 1 + 3 * writer, in_flight))
            })
            .collect();
        let mut found = take(&mut follow(&group, 0, &[("after", "0")], None), 5);
        let mut cut = follow(&group, 0, &[], found.last().unwrap().id.as_deref());
        group.kill_and_restart(0);
        // What was on its way may still come.
        found.extend(take(&mut cut, WRITERS * WRITES));
        for writer in writers {
            writer.join().unwrap();
        }
        let last = found.last().unwrap().id.clone();
        let rest = 8 * WRITES - found.len();
        found.extend(take(&mut follow(&group, 2, &[], last.as_deref()), rest));
        found
    });
    assert!(shown(&found) == stored(&database), "{:?}", shown(&found));
    let page: Value = group.get(0, "/v1/events?after=0&limit=500");
    assert_eq!(page["events"].as_array().unwrap().len(), 8 * WRITES);
    group.stop();
}
