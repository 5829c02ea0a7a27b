//! `/v1/events` as a stream, and in order.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use model_registry::{
    client::{Client, EventStream, SecretKey, Streamed},
    domain::chain::{ChainedEvent, Link, Walk},
    http::Deadlines,
};
use serde_json::{Value, json};

use crate::support::{KEY, TestApp, at_once};

use super::{each, version};

/// How long a test waits for an expected effect.
const DEADLINE: Duration = Duration::from_secs(60);
const EVENT_STREAM: (&str, &str) = ("Accept", "text/event-stream");

impl TestApp {
    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), SecretKey::new(KEY).unwrap()).unwrap()
    }

    /// Opens a stream, and returns the position at which it begins.
    #[track_caller]
    fn follow(&self, query: &[(&str, &str)], last: Option<&str>) -> (EventStream, String) {
        let mut stream = self.client().v1("").follow(query, last).unwrap();
        let begin = stream.read().unwrap().unwrap();
        assert_eq!(begin.event, None, "the first line has only a position");
        (stream, begin.id.unwrap())
    }

    /// Reads all events in order, through pages.
    #[track_caller]
    fn in_order(&self, query: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/events?after=0&limit=7{query}{cursor}")).ok();
            found.extend(page["events"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next"].as_str() else { return found };
            cursor = format!("&cursor={next}");
        }
    }

    fn open_streams(&self) -> u64 {
        let metrics = self.get("/metrics").text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("registry_event_streams_open "));
        line.unwrap().parse().unwrap()
    }
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads the next `count` events.
#[track_caller]
fn take(stream: &mut EventStream, count: usize) -> Vec<Streamed> {
    let mut found = Vec::new();
    while found.len() < count {
        let next = stream.read().unwrap().expect("the stream goes on");
        if next.event.is_some() {
            found.push(next);
        }
    }
    found
}

fn ids(events: &[Streamed]) -> Vec<i64> {
    events.iter().map(|event| event.event.as_ref().unwrap()["id"].as_i64().unwrap()).collect()
}

#[test]
fn a_stream_has_what_happens_from_now_on_as_pages_show_it() {
    let app = TestApp::spawn();
    app.add("m", "before");
    let (mut stream, begin) = app.follow(&[], None);
    assert!(begin.starts_with("1-"), "{begin}");
    app.add("m", "a");
    app.v1("PUT", &format!("{}/tags/team", version("m", 2)), json!({"value": "a\nb"})).ok();
    let found = take(&mut stream, 2);
    let shown: Vec<_> = found.iter().map(|streamed| streamed.event.clone().unwrap()).collect();
    assert_eq!(shown, app.trail("")[1..]);
    for (streamed, event) in found.iter().zip(&shown) {
        let hash = event["hash"].as_str().unwrap();
        assert_eq!(streamed.id, Some(format!("{}-{}", event["id"], &hash[..16])));
    }
}

#[test]
fn a_stream_ends_when_its_key_is_revoked() {
    let app = TestApp::spawn();
    let created = app.v1("POST", "/v1/keys", json!({"name": "ci", "scopes": ["read"]})).json();
    let key = SecretKey::new(created["token"].as_str().unwrap()).unwrap();
    let client = Client::new(&format!("http://{}", app.address), key).unwrap();
    let mut stream = client.v1("").follow(&[], None).unwrap();
    stream.read().unwrap().unwrap();
    app.v1("DELETE", "/v1/keys/ci", json!({})).ok();
    let mut label = 0;
    wait_until("the stream ends", || {
        label += 1;
        app.add("m", &label.to_string());
        stream.read().unwrap().is_none()
    });
    assert!(client.v1("").follow(&[], None).is_err(), "the key is refused");
}

#[test]
fn a_stream_has_the_filters_of_pages() {
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    let by = |actor: &str, method: &str, path: &str, body: Value| {
        let answer = app.request(method, path, &[("X-Actor", actor)], Some(&body.to_string()));
        assert!(answer.status < 300, "{}", answer.text);
    };
    let queries: [&[(&str, &str)]; 5] = [
        &[("model", "m")],
        &[("model", "m"), ("version", "2")],
        &[("type", "promote")],
        &[("actor", "bob"), ("type", "create")],
        &[("model", "later")],
    ];
    let mut live: Vec<_> = queries.iter().map(|query| app.follow(query, None).0).collect();
    let new = json!({"artifact_uri": "s3://b"});
    by("ann", "POST", "/v1/models/m/versions", new.clone());
    by("bob", "POST", "/v1/models/n/versions", new.clone());
    by("bob", "POST", "/v1/models/m/versions", new.clone());
    by("ann", "PUT", "/v1/models/m/aliases/production", json!({"version": 2}));
    by("ann", "POST", "/v1/models/later/versions", new.clone());
    let expected: [&[i64]; 5] = [&[1, 3, 4], &[3, 4], &[4], &[2, 3], &[5]];
    for ((query, stream), expected) in queries.iter().zip(&mut live).zip(expected) {
        assert_eq!(ids(&take(stream, expected.len())), expected, "{query:?}");
    }
    by("bob", "PATCH", "/v1/models/m", json!({"name": "renamed"}));
    by("bob", "POST", "/v1/models/renamed/versions", new);
    assert_eq!(ids(&take(&mut live[0], 2)), [6, 7], "it is the same model");
    assert_eq!(ids(&take(&mut live[3], 1)), [7]);
    // Now `m` is called `renamed`, and a follower who comes later asks for that.
    for (query, expected) in
        [("model", "renamed"), ("type", "create")].iter().zip([&[1, 3, 4, 6, 7][..], &[1, 2, 3, 5, 7]])
    {
        let (mut stream, _) = app.follow(&[*query, ("after", "0")], None);
        assert_eq!(ids(&take(&mut stream, expected.len())), expected, "{query:?}");
        let pages = app.in_order(&format!("&{}={}", query.0, query.1));
        assert_eq!(each(&json!(pages), "id"), expected, "{query:?}");
    }
}

#[test]
fn a_name_is_followed_to_a_new_model_after_the_first_one_is_deleted() {
    const ROUNDS: usize = 30;
    let app = TestApp::spawn();
    app.add("m", "before");
    let (mut stream, _) = app.follow(&[("model", "m")], None);
    for round in 0..ROUNDS {
        app.v1("DELETE", "/v1/models/m", Value::Null).ok();
        app.add("m", &round.to_string());
    }
    let trail = app.trail("");
    let found = take(&mut stream, trail.len() - 1);
    let shown: Vec<_> = found.iter().map(|streamed| streamed.event.clone().unwrap()).collect();
    assert_eq!(ids(&found), each(&json!(trail[1..]), "id"));
    assert!(shown.iter().filter(|event| event["type"] == "create").count() >= ROUNDS);
}

#[test]
fn a_filtered_stream_gets_the_current_position_while_others_write() {
    let app = TestApp::with(|settings| settings.http.deadlines.heartbeat = Duration::from_millis(500));
    let rare: &[(&str, &str)] = &[("model", "rare")];
    let (mut stream, begin) = app.follow(rare, None);
    assert_eq!(begin, "0");
    let heartbeats = thread::scope(|scope| {
        let reader = scope.spawn(|| [0; 3].map(|_| stream.read().unwrap().unwrap()));
        let mut label = 0;
        while !reader.is_finished() {
            label += 1;
            app.add("busy", &label.to_string());
        }
        reader.join().unwrap()
    });
    let trail = app.in_order("");
    let mut last = 0;
    for heartbeat in &heartbeats {
        assert_eq!(heartbeat.event, None);
        let position = heartbeat.id.as_deref().unwrap();
        let event = trail.iter().find(|event| position.starts_with(&format!("{}-", event["id"]))).unwrap();
        assert_eq!(position, format!("{}-{}", event["id"], &event["hash"].as_str().unwrap()[..16]));
        assert!(event["id"].as_i64().unwrap() > last, "{heartbeats:?}");
        last = event["id"].as_i64().unwrap();
    }
    app.add("rare", "a");
    let found = take(&mut stream, 1);
    let (mut again, _) = app.follow(rare, heartbeats[2].id.as_deref());
    assert_eq!(take(&mut again, 1), found);
}

#[test]
fn a_filtered_stream_that_begins_in_the_past_gets_the_position_that_it_has_passed() {
    let app = TestApp::with(|settings| settings.http.deadlines.heartbeat = Duration::from_millis(50));
    for label in 0..5 {
        app.add("m", &label.to_string());
    }
    let newest = app.trail("")[4].clone();
    let position = format!("{}-{}", newest["id"], &newest["hash"].as_str().unwrap()[..16]);
    for query in [("model", "rare"), ("type", "promote")] {
        let (mut stream, begin) = app.follow(&[query, ("after", "0")], None);
        assert_eq!(begin, "0");
        let heartbeat = stream.read().unwrap().unwrap();
        assert_eq!(heartbeat, Streamed { id: Some(position.clone()), event: None }, "{query:?}");
        assert_eq!(app.follow(&[query], Some(&position)).1, position);
    }
}

#[test]
fn a_stream_goes_on_after_any_event_without_a_gap_or_a_repetition() {
    let app = TestApp::spawn();
    for label in 0..40 {
        app.add("m", &label.to_string());
    }
    let (mut stream, _) = app.follow(&[("after", "0")], None);
    let all = take(&mut stream, 40);
    for last in [1, 17, 39] {
        let (mut stream, begin) = app.follow(&[("after", "3")], all[last - 1].id.as_deref());
        assert_eq!(Some(begin), all[last - 1].id, "the header replaces the parameter");
        assert_eq!(take(&mut stream, 40 - last), all[last..]);
        app.add("n", &last.to_string());
        let next = take(&mut stream, 1);
        assert_eq!(next[0].event.as_ref().unwrap()["model"], "n");
    }
    let bare = app.follow(&[("after", "38")], None).0;
    assert_eq!(ids(&take(&mut { bare }, 2)), [39, 40]);
}

#[test]
fn a_position_of_another_registry_is_refused_with_what_to_do() {
    let app = TestApp::spawn();
    app.add("m", "a");
    for (after, said) in [
        ("2", "there is no event 2 here, the newest is 1"),
        ("9-0000000000000000", "there is no event 9 here"),
        ("1-0000000000000000", "event 1 is another one here"),
    ] {
        for path in ["/v1/events", "/v1/events/records"] {
            let message = app.get(&format!("{path}?after={after}")).error(400, "invalid");
            assert!(message.contains(said) && message.contains("go on without it"), "{message}");
        }
        let streamed = app.request("GET", "/v1/events", &[EVENT_STREAM, ("Last-Event-ID", after)], None);
        let message = streamed.error(400, "invalid");
        assert!(message.contains(said), "{message}");
    }
    for wrong in ["x", "-1", "1-5f", "01x"] {
        app.get(&format!("/v1/events?after={wrong}")).error(422, "invalid");
        let streamed = app.request("GET", "/v1/events", &[EVENT_STREAM, ("Last-Event-ID", wrong)], None);
        streamed.error(400, "invalid");
    }
    for page in ["limit=5", "cursor=x", "offset=1", "model="] {
        let streamed = app.request("GET", &format!("/v1/events?{page}"), &[EVENT_STREAM], None);
        streamed.error(422, "invalid");
    }
    let older = app.get("/v1/events?limit=1").ok();
    assert_eq!(older["next"], Value::Null);
    let head = app.request("HEAD", "/v1/events", &[EVENT_STREAM], None);
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
}

#[test]
fn followers_get_every_event_of_64_writers_in_order() {
    const WRITERS: usize = 64;
    const WRITES: usize = 8;
    let app = TestApp::spawn();
    let total = WRITERS * WRITES;
    let of_one = WRITES * 4;
    thread::scope(|scope| {
        let followers: Vec<_> = (0..6)
            .map(|number| {
                let query: &[(&str, &str)] = if number < 3 { &[] } else { &[("model", "m3")] };
                let (mut stream, _) = app.follow(query, None);
                let count = if number < 3 { total } else { of_one };
                scope.spawn(move || take(&mut stream, count))
            })
            .collect();
        at_once(WRITERS, |writer| {
            for write in 0..WRITES {
                app.add(&format!("m{}", writer % 16), &format!("{writer}-{write}"));
            }
        });
        // One that comes late reads what it has missed.
        let late = take(&mut app.follow(&[("after", "0")], None).0, total);
        let trail = app.in_order("");
        assert_eq!(trail.len(), total);
        assert!(ids(&late).is_sorted(), "{:?}", ids(&late));
        let shown = |found: &[Streamed]| -> Vec<_> {
            found.iter().map(|streamed| streamed.event.clone().unwrap()).collect()
        };
        assert_eq!(shown(&late), trail);
        for (number, follower) in followers.into_iter().enumerate() {
            let found = shown(&follower.join().unwrap());
            let expected = trail.iter().filter(|event| number < 3 || event["model"] == "m3");
            assert!(found.iter().eq(expected), "follower {number}");
        }
    });
}

#[test]
fn a_follower_that_does_not_read_is_dropped_and_catches_up() {
    let timeout = Duration::from_millis(400);
    let app = TestApp::with(|settings| settings.http.deadlines = Deadlines::of_request(timeout));
    let number = app.add("m", "a");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.connect(&app.address.into()).unwrap();
    let mut stalled = TcpStream::from(socket);
    let get = format!(
        "GET /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nAccept: text/event-stream\r\n\r\n"
    );
    stalled.write_all(get.as_bytes()).unwrap();
    let mut head = [0; 1024];
    let length = stalled.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let (mut reading, _) = app.follow(&[("after", "1")], None);
    assert_eq!(app.open_streams(), 2);
    let mut writes = 0;
    wait_until("the stalled follower is dropped", || {
        writes += 1;
        let description = format!("{writes}{}", "x".repeat(4_000));
        app.v1("PATCH", &version("m", number), json!({"description": description})).ok();
        app.open_streams() == 1
    });
    let live = take(&mut reading, writes);
    assert!(ids(&live).is_sorted() && live.len() == writes, "the other one has missed nothing");
    let (mut again, _) = app.follow(&[], Some("1"));
    assert_eq!(take(&mut again, writes), live);
}

#[test]
fn the_end_of_the_server_ends_each_stream_and_the_next_server_goes_on() {
    let app = TestApp::spawn();
    app.add("m", "a");
    let (mut live, _) = app.follow(&[], None);
    let (mut filtered, _) = app.follow(&[("model", "m"), ("after", "0")], None);
    let last = take(&mut filtered, 1).remove(0).id;
    let folder = app.stop();
    // A server that waits for its followers has to cut them off, and a stream that is cut off has no end.
    assert_eq!(live.read(), Ok(None));
    assert_eq!(filtered.read(), Ok(None));
    let app = TestApp::over(folder, |_| {});
    let (mut stream, _) = app.follow(&[("model", "m")], last.as_deref());
    app.add("n", "a");
    app.add("m", "b");
    assert_eq!(ids(&take(&mut stream, 1)), [3]);
}

#[test]
fn followers_take_half_of_the_connections_and_one_more_is_refused() {
    let app = TestApp::with(|settings| settings.http.max_connections = 8);
    let mut streams: Vec<_> = (0..4).map(|_| app.follow(&[], None).0).collect();
    let refused = app.request("GET", "/v1/events", &[EVENT_STREAM], None);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let message = refused.error(503, "unavailable");
    assert!(
        message.contains("half of the connections") && message.contains("--max-connections"),
        "{message}"
    );
    app.add("m", "a");
    drop(streams.pop());
    // The server sees that it is closed when it writes.
    wait_until("there is room again", || {
        app.add("m", &fastrand::u64(..).to_string());
        app.open_streams() == 3
    });
    streams.push(app.follow(&[], None).0);
}

#[test]
fn records_have_what_the_hashes_cover() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.add_with("n", "b", json!({"description": "\u{0}é\n"}));
    app.v1("PUT", "/v1/models/m/aliases/production", json!({"version": 1, "reason": "r\n"})).ok();
    app.v1("PATCH", &version("n", 1), json!({"description": "other"})).ok();
    app.v1("DELETE", "/v1/models/n", Value::Null).ok();
    let (mut walk, mut cursor, mut count) = (Walk::default(), String::new(), 0);
    loop {
        let page = app.get(&format!("/v1/events/records?limit=2{cursor}")).ok();
        for record in page["events"].as_array().unwrap() {
            let text = |field: &str| record[field].as_str();
            let link = Link {
                model: record["model_key"].as_i64().unwrap(),
                previous: record["previous"].as_i64(),
                version_id: record["version_id"].as_i64().unwrap(),
                event_type: text("type").unwrap(),
                payload: text("payload"),
                details: text("details"),
                actor: text("actor"),
                created_at: text("created_at").unwrap(),
            };
            let hash = hex::decode(text("hash").unwrap()).unwrap();
            let id = record["id"].as_i64().unwrap();
            walk.follow(&ChainedEvent { id, link, hash: &hash }).unwrap();
            count += 1;
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((count, walk.heads().len()), (app.trail("").len(), 2));
}
