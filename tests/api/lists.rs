//! `GET /models` and `GET /models/status/{status}`: filters, search, tags, order and bounds.

use serde_json::json;

use crate::{
    invalid_values::reopened,
    support::{TestApp, encoded, ids, over_postgres},
};

/// Returns the ids of a list, sorted.
#[track_caller]
fn found(app: &TestApp, query: &str) -> Vec<i64> {
    let mut ids = app.ids(&format!("/models?{query}"));
    ids.sort_unstable();
    ids
}

#[test]
fn all_filters_must_match() {
    let app = TestApp::spawn();
    let a1 = app.register_with("alpha", "v1", &json!({"tags": ["team-a", "smoke"], "description": "first"}));
    let a2 = app.register_with("alpha", "v2", &json!({"tags": ["team-a"], "description": "other"}));
    let b1 = app.register_with("beta", "v1", &json!({"tags": ["team-b"], "status": "staging"}));
    for (query, expected) in [
        ("", vec![a1, a2, b1]),
        ("name=alpha", vec![a1, a2]),
        ("name=alph", vec![]),
        ("name=ALPHA", vec![]),
        ("status=staging", vec![b1]),
        ("status=experimental", vec![a1, a2]),
        ("status=archived", vec![]),
        ("tag=team-a", vec![a1, a2]),
        ("tag=team-a&name=alpha&q=other", vec![a2]),
        ("tag=team-a&status=staging", vec![]),
        ("name=alpha&q=v1&tag=smoke&status=experimental", vec![a1]),
        ("q=&name=&tag=", vec![a1, a2, b1]),
        ("unknown=1&Name=beta", vec![a1, a2, b1]),
        ("name=alpha&name=beta", vec![b1]),
    ] {
        assert_eq!(found(&app, query), expected, "{query}");
        let total = app.get(&format!("/models?limit=1&{query}")).header("x-total-count").unwrap().to_owned();
        assert_eq!(total, expected.len().to_string(), "{query}");
    }
}

#[test]
fn q_is_a_substring_of_name_version_or_description_in_any_case_and_has_no_wildcards() {
    let app = TestApp::spawn();
    let by_name = app.register_with("Hello_World", "1", &json!({"description": null}));
    let by_version = app.register("m", "v100%");
    let by_description = app.register_with("n", "2", &json!({"description": "ТЕГ \"quoted\" naïve ΟΔΟΣΑ"}));
    for (q, expected) in [
        ("hello", vec![by_name]),
        ("LO_W", vec![by_name]),
        ("lo-w", vec![]),
        ("hello%", vec![]),
        ("h%d", vec![]),
        ("_", vec![by_name]),
        ("%", vec![by_version]),
        ("00%", vec![by_version]),
        ("v1__", vec![]),
        ("тег", vec![by_description]),
        ("Тег", vec![by_description]),
        ("NAÏVE", vec![by_description]),
        ("naive", vec![]),
        ("οδος", vec![by_description]),
        ("ΟΔΟΣ", vec![by_description]),
        ("\"QUOTED\"", vec![by_description]),
        ("'", vec![]),
        ("\\", vec![]),
        ("*", vec![]),
        ("s3://", vec![]),
        (" ", vec![by_description]),
        ("HELLO_WORLD2", vec![]),
    ] {
        assert_eq!(found(&app, &format!("q={}", encoded(q))), expected, "{q:?}");
    }
}

#[test]
fn a_tag_is_matched_whole() {
    let app = TestApp::spawn();
    let tags = [
        "smoke",
        "smoke-test",
        "тег",
        "a\"b",
        "a'b",
        "100%",
        "a_b",
        "axb",
        "a\\b",
        "[\"x\"]",
        " ",
        "Smoke",
        "a,b",
        "1",
        "true",
        "null",
        "tab\t",
        "nul\u{0}end",
    ];
    let registered: Vec<_> = tags
        .iter()
        .enumerate()
        .map(|(version, tag)| app.register_with("m", &version.to_string(), &json!({"tags": ["first", tag]})))
        .collect();
    let bare = app.register("m", "bare");
    for (tag, id) in tags.iter().zip(&registered) {
        assert_eq!(found(&app, &format!("tag={}", encoded(tag))), [*id], "{tag:?}");
    }
    assert_eq!(found(&app, "tag=first"), registered);
    for none in ["smok", "moke", "%", "_", "a b", "x", "\"", "ТЕГ", "smoke,first", "nul"] {
        assert_eq!(found(&app, &format!("tag={}", encoded(none))), [] as [i64; 0], "{none:?}");
    }
    assert_eq!(app.model(bare)["tags"], json!(null));
}

#[test]
fn tags_of_an_old_file_are_searched_as_json_or_not_at_all() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let mut sql = Vec::new();
    let written: Vec<_> = [
        r#"["\u0442\u0435\u0433", "b"]"#,
        "no json",
        "{\"тег\": \"тег\"}",
        "[1, null, [\"тег\"]]",
        "\"тег\"",
    ]
    .into_iter()
    .enumerate()
    .map(|(version, tags)| {
        let id = app.register("m", &version.to_string());
        sql.push(format!("UPDATE models SET tags = '{tags}' WHERE id = {id}"));
        id
    })
    .collect();
    let app = reopened(app, &sql);
    assert!(found(&app, &format!("tag={}", encoded("тег"))).contains(&written[0]));
    assert!(!found(&app, &format!("tag={}", encoded("тег"))).contains(&written[3]));
    assert_eq!(found(&app, "tag=1"), [] as [i64; 0]);
    assert_eq!(found(&app, "").len(), written.len());
}

#[test]
fn lists_are_sorted_by_each_key_in_both_orders_and_ties_by_id() {
    let app = TestApp::spawn();
    let start = 1_769_864_709_250;
    // (created, step), two of each created at the same instant.
    let rows = [(0, Some(5)), (0, None), (10, Some(-7)), (10, Some(5)), (5, None), (5, Some(i64::MAX))];
    for (version, (offset, step)) in rows.into_iter().enumerate() {
        app.clock.stop_at(start + offset);
        app.register_with("m", &version.to_string(), &json!({"training_step": step}));
    }
    app.clock.stop_at(start + 20);
    app.patch(1, &json!({"description": "d"})).ok();
    app.patch(4, &json!({"description": "d"})).ok();
    for (query, expected) in [
        ("", [4, 3, 6, 5, 2, 1]),
        ("sort=created_at&order=asc", [1, 2, 5, 6, 3, 4]),
        ("sort=updated_at", [4, 1, 3, 6, 5, 2]),
        ("sort=updated_at&order=asc", [2, 5, 6, 3, 1, 4]),
        ("sort=training_step&order=desc", [6, 4, 1, 3, 5, 2]),
        ("sort=training_step&order=asc", [2, 5, 3, 1, 4, 6]),
    ] {
        assert_eq!(app.ids(&format!("/models?{query}")), expected, "{query}");
    }
    assert_eq!(app.ids("/models/status/experimental"), [4, 1, 3, 6, 5, 2], "newest change first");
}

#[test]
fn limit_and_offset_have_bounds() {
    let app = TestApp::spawn();
    let registered: Vec<_> = (0..55).map(|version| app.register("m", &version.to_string())).collect();
    let newest_first: Vec<_> = registered.iter().rev().copied().collect();
    for (query, expected) in [
        ("", &newest_first[..50]),
        ("limit=200", &newest_first[..]),
        ("limit=1", &newest_first[..1]),
        ("limit=+2", &newest_first[..2]),
        ("limit=2&offset=53", &newest_first[53..]),
        ("limit=3&offset=53", &newest_first[53..]),
        ("offset=50", &newest_first[50..]),
        ("offset=55", &[]),
        ("offset=9223372036854775807&limit=200", &[]),
    ] {
        let answer = app.get(&format!("/models?{query}"));
        assert_eq!(answer.header("x-total-count"), Some("55"), "{query}");
        assert_eq!(ids(&answer.ok()), expected, "{query}");
    }
    for (query, kind, field) in [
        ("limit=0", "greater_than_equal", "limit"),
        ("limit=-1", "greater_than_equal", "limit"),
        ("limit=201", "less_than_equal", "limit"),
        ("limit=x", "int_parsing", "limit"),
        ("limit=", "int_parsing", "limit"),
        ("limit=1.5", "int_parsing", "limit"),
        ("limit=99999999999999999999", "int_parsing_size", "limit"),
        ("offset=-1", "greater_than_equal", "offset"),
        ("offset=x", "int_parsing", "offset"),
        ("offset=9223372036854775808", "int_parsing_size", "offset"),
        ("sort=name", "literal_error", "sort"),
        ("sort=", "literal_error", "sort"),
        ("order=up", "literal_error", "order"),
        ("order=DESC", "literal_error", "order"),
        ("status=live", "literal_error", "status"),
    ] {
        app.get(&format!("/models?{query}")).faults(&[(kind, &format!(r#"["query","{field}"]"#))]);
    }
    app.get("/models?sort=name&order=up&status=live&limit=0&offset=x").faults(&[
        ("literal_error", r#"["query","status"]"#),
        ("literal_error", r#"["query","sort"]"#),
        ("literal_error", r#"["query","order"]"#),
        ("greater_than_equal", r#"["query","limit"]"#),
        ("int_parsing", r#"["query","offset"]"#),
    ]);
}

#[test]
fn the_list_of_a_status_is_complete_however_long_it_is() {
    let app = TestApp::spawn();
    for version in 0..205 {
        app.register_with("m", &version.to_string(), &json!({"status": "staging"}));
    }
    app.register("m", "other");
    let answer = app.get("/models/status/staging");
    assert_eq!((answer.header("x-total-count"), answer.header("link")), (Some("205"), None));
    assert_eq!(ids(&answer.ok()), (1..=205).rev().collect::<Vec<_>>());
    let page = app.get("/models/status/staging?limit=200");
    let next = page.next_page().unwrap();
    assert_eq!(ids(&page.ok()).len(), 200);
    assert_eq!(app.ids(&next), [5, 4, 3, 2, 1]);
    assert_eq!(app.get("/models/status/archived").ok(), json!([]));
    app.get("/models/status/live").faults(&[("literal_error", r#"["path","status"]"#)]);
    app.get("/models/status/staging?limit=0").faults(&[("greater_than_equal", r#"["query","limit"]"#)]);
}

#[test]
fn a_total_that_takes_too_long_to_count_is_absent_and_the_pages_are_complete() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let mine = app.register_with("mine", "1", &json!({"description": "needle", "tags": ["t"]}));
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
        INSERT INTO models (name, version, checkpoint_path, description, tags, artifact_uri)
        SELECT 'theirs', i, '/x', 'of many', '[\"t\"]', 's3://t' FROM n";
    let app = reopened(app, &[many.to_owned()]);
    let total = |query: &str| {
        let answer = app.get(&format!("/models?limit=200&{query}"));
        let total = answer.header("x-total-count").map(|total| total.parse::<usize>().unwrap());
        let (mut seen, mut next) = (0, answer.next_page());
        seen += ids(&answer.ok()).len();
        while let Some(page) = next {
            let answer = app.get(&page);
            next = answer.next_page();
            seen += ids(&answer.ok()).len();
        }
        (total, seen)
    };
    assert_eq!(total("q=of+many"), (None, 1200));
    assert_eq!(total("q=e&tag=t"), (None, 1201));
    for query in ["", "status=experimental", "status=experimental&sort=training_step"] {
        assert_eq!(total(query), (Some(1201), 1201), "{query}");
    }
    assert_eq!(total("name=theirs&sort=updated_at"), (Some(1200), 1200));
    assert_eq!(app.ids("/models?name=mine&q=NEEDLE&tag=t"), [mine]);
    assert_eq!(total("tag=t"), (Some(1201), 1201));
    assert_eq!(total("q=needle"), (Some(1), 1));
}

#[test]
fn a_long_audit_trail_has_a_total_and_any_page_of_it() {
    const EVENTS: usize = 600;
    let app = TestApp::spawn();
    let (id, other) = (app.register("m", "1"), app.register("m", "2"));
    for number in 2..=EVENTS {
        app.patch(id, &json!({"training_step": number})).ok();
        if number % 7 == 0 {
            app.patch(other, &json!({"training_step": number})).ok();
        }
    }
    let all: Vec<_> = ids(&app.get(&format!("/models/{id}/events?limit=500")).ok());
    assert!(all.is_sorted_by(|one, next| one > next) && all.len() == 500);
    for offset in [0, 1, 250, EVENTS - 1, EVENTS] {
        let answer = app.get(&format!("/models/{id}/events?limit=2&offset={offset}"));
        assert_eq!(answer.header("x-total-count"), Some(&*EVENTS.to_string()));
        assert_eq!(answer.header("link").is_some(), offset + 2 < EVENTS, "{offset}");
        let expected: Vec<_> = all.iter().skip(offset).take(2).copied().collect();
        if offset < 499 {
            assert_eq!(ids(&answer.ok()), expected, "{offset}");
        }
    }
    let last = app.get(&format!("/models/{id}/events?offset={}", EVENTS - 1)).ok();
    assert_eq!(last[0]["event_type"], "create");
    assert_eq!(app.get(&format!("/models/{id}/events?offset={EVENTS}")).ok(), json!([]));
    assert_eq!(app.get("/models/99/events").header("x-total-count"), Some("0"));
}
