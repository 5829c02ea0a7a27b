//! Search over the versions of all models.

use serde_json::json;

use crate::support::{TestApp, encoded};

use super::each;

#[test]
fn versions_of_all_models_are_found_and_sorted() {
    let app = TestApp::spawn();
    for (name, label, team, score) in
        [("m", "a", "nlp", 0.9), ("m", "b", "nlp", 0.7), ("n", "a", "vision", 0.95), ("n", "b", "nlp", 0.8)]
    {
        app.add_with(
            name,
            label,
            json!({"tags": {"team": team}, "metrics": {"suites": {"smoke-v1": {"score": score}}}}),
        );
    }
    app.add("m", "unscored");
    for (filter, sort, ids) in [
        ("scores.smoke-v1.score >= 0.8 and tags.team = 'nlp'", "scores.smoke-v1.score:desc", &[1, 4][..]),
        ("", "scores.smoke-v1.score", &[2, 4, 1, 3, 5]),
        ("name = 'n'", "label", &[3, 4]),
        ("NOT tags.team = 'nlp'", "", &[5, 3]),
    ] {
        let mut query = String::from("limit=2");
        for (parameter, text) in [("filter", filter), ("sort", sort)] {
            if !text.is_empty() {
                query.push_str(&format!("&{parameter}={}", encoded(text)));
            }
        }
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("/v1/versions?{query}{cursor}")).ok();
            found.extend(each(&page["versions"], "id"));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, ids, "{filter} {sort}");
    }
}

#[test]
fn a_bad_filter_is_one_fault_with_its_position() {
    let app = TestApp::spawn();
    for (filter, position) in [
        ("tags.team == 'x'".to_owned(), 11),
        ("colour = 'red'".to_owned(), 1),
        ("status = 'staging' or".to_owned(), 22),
        (format!("{}status = 'staging'{}", "(".repeat(1_000), ")".repeat(1_000)), 51),
        (format!("label = '{}'", "x".repeat(10_000)), 8_193),
        (format!("label LIKE '{}%'", "x".repeat(256)), 12),
    ] {
        let answer = app.get(&format!("/v1/versions?filter={}", encoded(&filter)));
        answer.unfit(&["filter"]);
        assert!(answer.text.contains(&format!("at character {position}: ")), "{}", answer.text);
    }
    app.get("/v1/versions?sort=nonsense&filter=").unfit(&["sort", "filter"]);
    app.get("/v1/versions?sort=description").unfit(&["sort"]);
}
