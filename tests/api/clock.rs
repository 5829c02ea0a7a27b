//! A clock that is set back and forth by an hour while many clients write: the order does not depend on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::{TestApp, TestClock, at_once, ids};

const START: i64 = 1_769_864_709_250;
const HOUR_MS: i64 = 3_600_000;
const CLIENTS: usize = 8;
const SORTS: [&str; 2] = ["created_at", "updated_at"];
const ORDERS: [&str; 2] = ["asc", "desc"];

/// Sets the clock: mostly it stops, sometimes it jumps an hour ahead or back, and now and then it runs.
fn step(clock: &TestClock, random: &mut Rng, now: &mut i64) {
    *now += match random.u8(0..8) {
        0 => HOUR_MS,
        1 => -HOUR_MS,
        2 => random.i64(0..3),
        _ => 0,
    };
    clock.stop_at(*now);
}

fn text(model: &Value, field: &str) -> String {
    model[field].as_str().unwrap().to_owned()
}

#[test]
fn updated_at_rises_with_every_change_and_nothing_is_lost_while_the_clock_is_set_back_and_forth() {
    let app = TestApp::spawn();
    app.clock.stop_at(START);
    let (ending, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    at_once(CLIENTS + 1, |client| {
        let mut random = Rng::with_seed(client as u64);
        if client == CLIENTS {
            let mut now = START;
            while !ending.load(Ordering::SeqCst) {
                step(&app.clock, &mut random, &mut now);
                std::thread::yield_now();
            }
            return;
        }
        let mut model = app
            .post("/models", &json!({"name": "m", "version": client.to_string(), "artifact_uri": "s3://b"}))
            .ok();
        let id = model["id"].as_i64().unwrap();
        let mut sent = vec!["create"];
        for round in 0..40 {
            let answer = match random.u8(0..3) {
                0 => app.record(id, "s", json!({"round": round})),
                1 => app.patch(id, &json!({"description": round.to_string()})),
                // It demotes another version, which changes that one too.
                _ => app.request("POST", &format!("/models/{id}/promote?to_status=staging"), &[], None),
            };
            let changed = answer.ok();
            let [before, after] = [&model, &changed].map(|model| text(model, "updated_at"));
            assert!(after > before, "{after} after {before}");
            assert_eq!(changed["created_at"], model["created_at"]);
            assert_eq!(app.model(id), changed, "what was acknowledged is there");
            sent.push(match changed {
                _ if changed["description"] != model["description"] => "update",
                _ if changed["metrics"] != model["metrics"] => "eval",
                _ => "promote",
            });
            model = changed;
        }
        assert_eq!(app.event_types(id), sent, "in the order in which they were made");
        if ended.fetch_add(1, Ordering::SeqCst) + 1 == CLIENTS {
            ending.store(true, Ordering::SeqCst);
        }
    });
    assert_eq!(app.get("/stats").ok()["total_models"], CLIENTS);
}

#[test]
fn updated_at_of_a_demoted_version_rises_even_if_the_clock_is_set_back() {
    let app = TestApp::spawn();
    let (mut random, mut now) = (Rng::with_seed(5), START);
    let models: Vec<_> = (0..4).map(|version| app.register("m", &version.to_string())).collect();
    let mut seen = BTreeMap::new();
    for round in 0..60 {
        step(&app.clock, &mut random, &mut now);
        app.promote(models[round % 4]).ok();
        for id in &models {
            let model = app.model(*id);
            let state = (text(&model, "updated_at"), app.events(*id).len());
            if let Some((time, events)) = seen.insert(*id, state.clone()) {
                assert!(
                    state.1 == events && state.0 == time || state.1 > events && state.0 > time,
                    "{state:?}"
                );
            }
        }
    }
    for id in models {
        let events: Vec<_> = app.events(id).iter().map(|event| event["id"].as_i64().unwrap()).collect();
        assert!(events.is_sorted_by(|one, next| one < next));
    }
}

/// Each filter of a list, and the condition it stands for.
type Holds = fn(&Value) -> bool;
const FILTERS: [(&str, Holds); 6] = [
    ("", |_| true),
    ("&name=m", |model| model["name"] == "m"),
    ("&status=staging", |model| model["status"] == "staging"),
    ("&tag=t", |_| true),
    ("&q=m", |model| model["name"] == "m"),
    ("&name=n&status=archived", |model| model["name"] == "n" && model["status"] == "archived"),
];

/// Returns the same list, filtered and sorted by the test.
fn sorted(models: &Value, holds: Holds, sort: &str, order: &str) -> Vec<i64> {
    let mut keys: Vec<_> = models
        .as_array()
        .unwrap()
        .iter()
        .filter(|model| holds(model))
        .map(|model| (text(model, sort), model["id"].as_i64().unwrap()))
        .collect();
    keys.sort();
    if order == "desc" {
        keys.reverse();
    }
    keys.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn lists_are_in_order_and_pages_complete_while_the_clock_is_set_back_and_forth() {
    let app = TestApp::spawn();
    let (mut random, mut now) = (Rng::with_seed(11), START);
    let mut number = 0;
    let mut register = |app: &TestApp, random: &mut Rng| {
        number += 1;
        let fields = json!({"tags": ["t"], "status": random.choice(["staging", "archived"]).unwrap()});
        app.register_with(if number % 3 == 0 { "n" } else { "m" }, &number.to_string(), &fields)
    };
    // Many versions are backdated.
    let mut steps_back = 0;
    for round in 0..12 {
        for _ in 0..15 {
            let before = now;
            step(&app.clock, &mut random, &mut now);
            if round > 1 {
                // Only steps.
                now = if now > START { START - HOUR_MS } else { START + HOUR_MS };
                app.clock.stop_at(now);
            }
            steps_back += usize::from(now < before);
            register(&app, &mut random);
        }
        let all = app.get("/models?limit=200").ok();
        for sort in SORTS {
            for order in ORDERS {
                for (filter, holds) in FILTERS {
                    let list = format!("/models?sort={sort}&order={order}{filter}");
                    let whole = app.ids(&format!("{list}&limit=200"));
                    assert_eq!(whole, sorted(&all, holds, sort, order), "{list}");
                    let (offset, limit) = (random.usize(0..20), random.usize(1..9));
                    let page = app.ids(&format!("{list}&offset={offset}&limit={limit}"));
                    let expected: Vec<_> = whole.into_iter().skip(offset).take(limit).collect();
                    assert_eq!(page, expected, "{list} from {offset}");
                }
            }
        }
        for sort in SORTS {
            for order in ORDERS {
                pages(
                    &app,
                    &format!("/models?sort={sort}&order={order}&limit=7"),
                    &mut random,
                    &mut now,
                    &mut register,
                );
            }
        }
    }
    assert!(steps_back > 64, "{steps_back}");
}

/// Follows a list to its end while others register and change versions.
fn pages(
    app: &TestApp,
    list: &str,
    random: &mut Rng,
    now: &mut i64,
    register: &mut impl FnMut(&TestApp, &mut Rng) -> i64,
) {
    let mut staying: BTreeSet<_> = ids(&app.get("/models?limit=200").ok()).into_iter().collect();
    let mut seen = Vec::new();
    let mut next = Some(list.to_owned());
    while let Some(path) = next {
        let answer = app.get(&path);
        next = answer.next_page();
        seen.extend(ids(&answer.ok()));
        step(&app.clock, random, now);
        let changed = *random.choice(&staying.iter().copied().collect::<Vec<_>>()).unwrap();
        app.patch(changed, &json!({"description": now.to_string()})).ok();
        if list.contains("updated_at") {
            // It may have moved to an earlier or later page.
            staying.remove(&changed);
        }
        // It is deleted again, so that the list does not grow.
        let new = register(app, random);
        app.delete(new).ok();
        seen.retain(|id| *id != new);
    }
    let known: Vec<_> = seen.iter().filter(|id| staying.contains(id)).collect();
    let once: BTreeSet<_> = known.iter().copied().collect();
    assert_eq!(known.len(), once.len(), "{list}: no version that stays comes twice");
    assert_eq!(once.len(), staying.len(), "{list}: no version that stays is missing");
}
