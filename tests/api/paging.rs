//! The `Link` header: followed to its end it gives every row exactly once, even if rows change between the pages.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{TestApp, encoded, ids};

const START: i64 = 1_769_864_709_250;
const LISTS: [(&str, &str); 6] = [
    ("created_at", "desc"),
    ("created_at", "asc"),
    ("updated_at", "desc"),
    ("updated_at", "asc"),
    ("training_step", "desc"),
    ("training_step", "asc"),
];

/// Registers versions that share their times and steps with others; some have no step.
fn crowd(app: &TestApp, name: &str, count: i64) -> Vec<i64> {
    (0..count)
        .map(|index| {
            app.clock.stop_at(START + index * 7 % 5);
            let step = [None, Some(0), Some(-1), Some(5), None, Some(i64::MIN)][index as usize % 6];
            app.register_with(name, &index.to_string(), &json!({"training_step": step}))
        })
        .collect()
}

#[test]
fn every_version_comes_once_in_every_order_and_page_size() {
    let app = TestApp::spawn();
    crowd(&app, "m", 23);
    for (sort, order) in LISTS {
        let list = format!("/models?sort={sort}&order={order}");
        let whole = app.ids(&format!("{list}&limit=200"));
        assert_eq!(whole.len(), 23);
        for limit in [1, 5, 22, 23, 24] {
            let (mut seen, mut pages) = (Vec::new(), 0);
            let mut next = Some(format!("{list}&limit={limit}"));
            while let Some(path) = next {
                let answer = app.get(&path);
                assert_eq!(answer.header("x-total-count"), Some("23"), "{path}");
                next = answer.next_page();
                let page = ids(&answer.ok());
                assert!(page.len() == limit || next.is_none(), "{path} is cut short");
                seen.extend(page);
                pages += 1;
            }
            assert_eq!(seen, whole, "{list} by {limit}");
            assert_eq!(pages, 23_usize.div_ceil(limit), "no empty page at the end");
        }
    }
}

#[test]
fn versions_that_come_and_go_between_pages_neither_hide_nor_repeat_the_rest() {
    let app = TestApp::spawn();
    for (sort, order) in LISTS {
        let name = format!("{sort}-{order}");
        let mut staying: BTreeSet<_> = crowd(&app, &name, 20).into_iter().collect();
        let list = format!("/models?sort={sort}&order={order}&name={name}");
        let whole = app.ids(&list);
        let mut seen = Vec::new();
        let mut next = Some(format!("{list}&limit=3"));
        let mut round = 0;
        while let Some(path) = next {
            let answer = app.get(&path);
            next = answer.next_page();
            let page = ids(&answer.ok());
            // The last row of the page, which the cursor names, is deleted, and so is a row of a later page.
            let last = *page.last().unwrap();
            seen.extend(page);
            let to_come = whole.iter().rev().find(|id| !seen.contains(id) && staying.contains(id)).copied();
            for gone in [Some(last), to_come.filter(|_| round < 3)].into_iter().flatten() {
                app.delete(gone).ok();
                if !seen.contains(&gone) {
                    staying.remove(&gone);
                }
            }
            // One comes before them, one after, one in the middle.
            for offset in [-1_000, 2, 1_000] {
                app.clock.stop_at(START + offset);
                let fields = json!({"training_step": if offset == 2 { json!(0) } else { json!(offset) }});
                app.register_with(&name, &format!("new-{round}-{offset}"), &fields);
            }
            round += 1;
            assert!(round < 40, "{name} ends");
        }
        let once: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(once.len(), seen.len(), "{name}: no version comes twice");
        assert!(staying.is_subset(&once), "{name}: no version that stayed is missing");
    }
}

#[test]
fn the_link_keeps_the_filters_and_drops_the_offset() {
    let app = TestApp::spawn();
    for version in 0..6 {
        let fields = json!({"tags": ["a&b=c", "тег"], "status": "staging"});
        app.register_with("na me+ü", &version.to_string(), &fields);
        app.register("other", &version.to_string());
    }
    let name = encoded("na me+ü");
    for filters in [
        format!("name={name}&status=staging"),
        format!("tag={}", encoded("a&b=c")),
        format!("tag={}", encoded("тег")),
        format!("q={}", encoded("ME+Ü")),
    ] {
        let first = app.get(&format!("/models?{filters}&limit=2&offset=1&order=asc"));
        assert_eq!(first.header("x-total-count"), Some("6"));
        let next = first.next_page().unwrap();
        assert!(!next.contains("offset"), "{next}");
        let mut seen = ids(&first.ok());
        let second = app.get(&next);
        assert_eq!(second.header("x-total-count"), Some("6"));
        let last = second.next_page().unwrap();
        assert_eq!(last.matches("cursor=").count(), 1, "{last}");
        seen.extend(ids(&second.ok()));
        seen.extend(app.ids(&last));
        assert_eq!(seen, [3, 5, 7, 9, 11], "{filters}");
    }
}

#[test]
fn a_page_that_holds_the_rest_has_no_link() {
    let app = TestApp::spawn();
    assert_eq!(app.get("/models").header("link"), None);
    assert_eq!(app.get("/models").header("x-total-count"), Some("0"));
    for version in 0..3 {
        app.register("m", &version.to_string());
    }
    for query in ["", "?limit=3", "?limit=2&offset=1", "?offset=3", "?limit=1&offset=2"] {
        assert_eq!(app.get(&format!("/models{query}")).header("link"), None, "{query}");
    }
    assert!(app.get("/models?limit=2").header("link").is_some());
    assert!(app.get("/models?limit=1&offset=1").header("link").is_some());
}

#[test]
fn a_cursor_of_another_list_or_of_no_list_is_refused() {
    let app = TestApp::spawn();
    let id = app.register_with("m", "1", &json!({"status": "staging"}));
    app.register_with("m", "2", &json!({"status": "staging"}));
    app.patch(id, &json!({"description": "d"})).ok();
    let events = format!("/models/{id}/events");
    let cursor = |list: &str| {
        let next = app.get(&format!("{list}limit=1")).next_page().unwrap();
        next.split_once("cursor=").unwrap().1.to_owned()
    };
    let lists: Vec<_> = LISTS
        .iter()
        .map(|(sort, order)| format!("/models?sort={sort}&order={order}&"))
        .chain([format!("{events}?")])
        .collect();
    for own in &lists {
        let cursor = cursor(own);
        for other in &lists {
            let answer = app.get(&format!("{other}limit=1&cursor={cursor}"));
            if own == other {
                assert_eq!(answer.status, 200, "{own}");
            } else {
                answer.refused(400);
            }
        }
        let detail = app.get(&format!("{own}offset=1&cursor={cursor}")).refused(400);
        assert!(detail.contains("offset"), "{detail}");
        assert_eq!(app.get(&format!("{own}offset=0&cursor={cursor}")).status, 200);
        app.get(&format!("{own}cursor={cursor}x")).refused(400);
        app.get(&format!("{own}cursor={}", &cursor[1..])).refused(400);
        for garbage in ["x", "%00", "%FF", "bnVsbA", "W10", "🐟", "1", "null", &"A".repeat(5_000)] {
            app.get(&format!("{own}cursor={}", encoded(garbage))).refused(400);
        }
        assert_eq!(app.get(&format!("{own}cursor=")).status, 200, "blank is none");
    }
    app.get(&format!("/models/status/staging?cursor={}", cursor("/models?"))).refused(400);
    app.get("/models?limit=0&cursor=x").faults(&[("greater_than_equal", r#"["query","limit"]"#)]);
}

#[test]
fn events_come_newest_first_in_pages() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for round in 0..6 {
        app.patch(id, &json!({"description": round.to_string()})).ok();
        app.register("other", &round.to_string());
    }
    let path = format!("/models/{id}/events");
    let whole = app.ids(&path);
    assert_eq!(whole.len(), 7);
    assert!(whole.is_sorted_by(|a, b| a > b));
    assert_eq!(app.ids(&format!("{path}?limit=2&offset=3")), whole[3..5]);
    assert_eq!(app.ids(&format!("{path}?offset=7")), [] as [i64; 0]);
    for limit in [1, 3, 7, 500] {
        let mut seen = Vec::new();
        let mut next = Some(format!("{path}?limit={limit}"));
        while let Some(page) = next {
            let answer = app.get(&page);
            let total: usize = answer.header("x-total-count").unwrap().parse().unwrap();
            next = answer.next_page();
            seen.extend(ids(&answer.ok()));
            // Later events are newer than the first page.
            app.patch(id, &json!({"description": "new"})).ok();
            assert!(total >= 7);
        }
        let expected: Vec<_> = seen.iter().copied().filter(|id| whole.contains(id)).collect();
        assert_eq!(expected, whole, "by {limit}");
        assert!(seen.is_sorted_by(|a, b| a > b));
    }
    for (query, kind) in
        [("limit=0", "greater_than_equal"), ("limit=501", "less_than_equal"), ("limit=x", "int_parsing")]
    {
        app.get(&format!("{path}?{query}")).faults(&[(kind, r#"["query","limit"]"#)]);
    }
    app.get(&format!("{path}?offset=-1")).faults(&[("greater_than_equal", r#"["query","offset"]"#)]);
}

#[test]
fn a_version_shows_its_hundred_newest_events_without_a_limit() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for round in 0..101 {
        app.record(id, "s", json!({"round": round})).ok();
    }
    let answer = app.get(&format!("/models/{id}/events"));
    assert_eq!(answer.header("x-total-count"), Some("102"));
    let next = answer.next_page().unwrap();
    let events = answer.ok();
    assert_eq!(events.as_array().unwrap().len(), 100);
    assert_eq!(events[0]["payload"]["metrics"]["round"], 100);
    assert_eq!(app.get(&next).ok()[1]["event_type"], "create");
}
