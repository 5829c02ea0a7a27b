//! Many clients promote versions of one model through several servers.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::json;

use crate::{
    client::{Client, InFlight, Outcome},
    database::Database,
    group::{Group, SERVERS},
    judge::{each_demotion_follows_its_promotion, rows_are_what_their_events_say},
    set_on_drop::SetOnDrop,
};

const CLIENTS: usize = 64;
/// Promotions of each client.
const TURNS: usize = 4;

#[test]
fn one_version_is_in_production_at_each_look_through_any_server_and_each_step_has_one_event() {
    let Some(database) = Database::start() else { return };
    let group = Group::start(&database);
    let ids: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let body = json!({"name": "m", "version": client.to_string(), "artifact_uri": "s3://b/o"});
            let (status, answer) = group.ask(client % SERVERS, "POST", "/models", Some(&body));
            assert_eq!(status, 200, "{answer}");
            answer["id"].as_i64().unwrap()
        })
        .collect();
    let (done, in_flight) = (AtomicBool::new(false), InFlight::default());
    let looks = [(); SERVERS].map(|()| AtomicUsize::new(0));
    let steps = thread::scope(|scope| {
        for (server, looks) in looks.iter().enumerate() {
            let (group, done) = (&group, &done);
            scope.spawn(move || {
                let mut most = 0;
                while !done.load(Ordering::SeqCst) {
                    let found = group.get(server, "/v1/models/m/versions?status=production");
                    let found = found["versions"].as_array().unwrap().len();
                    assert!(found <= 1, "{found} production versions");
                    assert!(found >= most, "a model in production stays in production");
                    most = found;
                    looks.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (ids, in_flight, address) = (&ids, &in_flight, group.address(client % SERVERS));
                scope.spawn(move || {
                    let mut connection = Client::new(address, in_flight);
                    (0..TURNS)
                        .map(|turn| {
                            // Neighbours promote the same versions through other servers.
                            let id = ids[(client + turn) % CLIENTS];
                            let path = format!("/models/{id}/promote?to_status=production");
                            match connection.send("POST", &path, "promote", None) {
                                Outcome::Answered(200, answer) => assert_eq!(answer["status"], "production"),
                                other => panic!("{other:?}"),
                            }
                            id
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let _done = SetOnDrop(&done);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(looks.iter().all(|looks| looks.load(Ordering::SeqCst) > 0), "{looks:?}");

    let seen: Vec<_> = (0..SERVERS).map(|server| group.get(server, "/production/m")["id"].as_i64()).collect();
    assert!(seen[0].is_some_and(|id| ids.contains(&id)) && seen.iter().all(|id| *id == seen[0]), "{seen:?}");
    let models = database.events();
    let [events] = models.as_slice() else { panic!("one model") };
    let mut each: BTreeMap<i64, i64> = BTreeMap::new();
    for id in &steps {
        *each.entry(*id).or_default() += 1;
    }
    for event in events.iter().filter(|event| event.kind == "promote") {
        *each.entry(event.model).or_default() -= 1;
    }
    assert_eq!(steps.len(), CLIENTS * TURNS);
    assert!(each.values().all(|left| *left == 0), "acknowledged steps less their events: {each:?}");
    rows_are_what_their_events_say(&database.rows(), events.iter());
    each_demotion_follows_its_promotion(events);
    database.is_sound();
    group.stop();
}
