//! `/compare` and `/stats`, and what is public.

use serde_json::json;

use crate::support::{TestApp, ids};

#[test]
fn versions_are_compared_in_three_orders_and_those_without_a_value_come_last() {
    let app = TestApp::spawn();
    for (version, fields) in [
        json!({"params": 5, "training_loss": 0.5, "training_step": 10}),
        json!({"params": 9, "training_loss": 0.1, "training_step": 1}),
        json!({}),
        json!({"params": -1, "training_loss": -2, "training_step": -7}),
        json!({"params": 9, "training_loss": 0.1, "training_step": 1}),
        json!({"params": 0, "training_loss": 0.0, "training_step": 0}),
    ]
    .into_iter()
    .enumerate()
    {
        app.register_with("m", &version.to_string(), &fields);
    }
    let answer = app.get("/compare?ids=6,5,4,3,2,1,999,1").ok();
    assert_eq!(ids(&answer["models"]), [1, 2, 3, 4, 5, 6]);
    let comparison = answer["comparison"].as_object().unwrap();
    let orders: Vec<_> = comparison.iter().map(|(key, models)| (key.as_str(), ids(models))).collect();
    assert_eq!(
        orders,
        [
            ("by_params", vec![2, 5, 1, 6, 4, 3]),
            ("by_loss", vec![4, 6, 2, 5, 1, 3]),
            ("by_step", vec![1, 2, 5, 6, 4, 3]),
        ]
    );
    assert_eq!(answer["models"][1], app.model(2));
    assert_eq!(comparison["by_loss"][0], app.model(4));
}

#[test]
fn ids_to_compare_are_read_leniently_and_unknown_ones_left_out() {
    let app = TestApp::spawn();
    app.register("m", "1");
    app.register("m", "2");
    for (query, expected) in [
        ("2", vec![2]),
        ("%202%20,1", vec![1, 2]),
        ("+2,1", vec![1, 2]),
        ("1,1,1", vec![1]),
        ("1,-1,0,9223372036854775807", vec![1]),
    ] {
        assert_eq!(ids(&app.get(&format!("/compare?ids={query}")).ok()["models"]), expected, "{query}");
    }
    assert_eq!(
        app.get("/compare?ids=999").text,
        r#"{"models":[],"comparison":{"by_params":[],"by_loss":[],"by_step":[]}}"#
    );
    app.get("/compare").faults(&[("missing", r#"["query","ids"]"#)]);
    for (query, kind) in [
        ("1,x", "int_parsing"),
        ("", "int_parsing"),
        ("1,", "int_parsing"),
        ("1;2", "int_parsing"),
        ("99999999999999999999", "int_parsing_size"),
    ] {
        app.get(&format!("/compare?ids={query}")).faults(&[(kind, r#"["query","ids"]"#)]);
    }
}

#[test]
fn the_counts_follow_every_change() {
    let app = TestApp::spawn();
    assert_eq!(app.get("/stats").text, r#"{"total_models":0,"by_status":{},"by_name":{}}"#);
    let id = app.register("m", "1");
    app.register("m", "2");
    app.register_with("a \"b\" тег", "1", &json!({"status": "archived"}));
    app.promote(id).ok();
    assert_eq!(
        app.get("/stats").text,
        r#"{"total_models":3,"by_status":{"archived":1,"experimental":1,"production":1},"by_name":{"a \"b\" тег":1,"m":2}}"#
    );
    app.request("DELETE", &format!("/models/{id}?force=1"), &[], None).ok();
    app.delete(2).ok();
    assert_eq!(
        app.get("/stats").text,
        r#"{"total_models":1,"by_status":{"archived":1},"by_name":{"a \"b\" тег":1}}"#
    );
}

#[test]
fn public_answers_reveal_little() {
    let app = TestApp::spawn();
    assert_eq!(app.get("/").text, r#"{"service":"model-registry","status":"ok"}"#);
    assert_eq!(app.get("/health").text, r#"{"status":"healthy"}"#);
}
