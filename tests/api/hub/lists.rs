//! Lists of models, and the versions of one as commits, branches and tags.

use serde_json::{Value, json};

use super::register;
use crate::support::TestApp;

#[test]
fn models_are_listed_by_name_in_pages_and_searched() {
    let app = TestApp::spawn();
    let tags = json!({"task": "nlp", "pipeline_tag": "fill-mask", "small": ""});
    for name in ["org/bert", "org/Bert-large", "gpt2", "other/gpt2", "v1/hidden", "two words", "a/b/c"] {
        let tags = if name.starts_with("org/") { tags.clone() } else { json!({}) };
        assert_eq!(app.post("/v1/models", &json!({"name": name, "tags": tags})).status, 201);
    }
    let version = register(&app, "gpt2", "v1", &["a", "b"], false);
    let list = |query: &str| -> Vec<String> {
        let models = app.get(&format!("/api/models?{query}")).ok();
        models.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = list("");
    all.sort();
    assert_eq!(all, ["gpt2", "org/Bert-large", "org/bert", "other/gpt2"]);
    assert_eq!(list("search=GPT").len(), 2);
    assert_eq!(list("author=other&search=gpt"), ["other/gpt2"]);
    for query in [
        "author=org",
        "filter=small",
        "filter=task:nlp&filter=small",
        "pipeline_tag=fill-mask",
        "filter=task,small",
    ] {
        assert_eq!(list(query).len(), 2, "{query}");
    }
    for query in ["filter=task:vision", "filter=small&filter=x", "gated=True", "inference=warm", "author=or"]
    {
        assert_eq!(list(query), [""; 0], "{query}");
    }
    assert_eq!(list("sort=downloads&direction=-1&gated=False").len(), 4);
    let full = app.get("/api/models?search=gpt2&author=&full=True").ok();
    assert_eq!(full[0]["sha"], version["revision"]);
    assert_eq!(full[0]["lastModified"], version["created_at"]);
    assert_eq!(
        app.get("/api/models?search=bert").ok()[0]["tags"],
        json!(["pipeline_tag:fill-mask", "small", "task:nlp"])
    );
    let (mut paged, mut next) = (Vec::new(), Some("/api/models?limit=1".to_owned()));
    while let Some(path) = next {
        let page = app.get(path.strip_prefix(&format!("http://{}", app.address)).unwrap_or(&path));
        next = page.next_page();
        let models = page.ok();
        paged.extend(models.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(paged, list(""));
}

#[test]
fn versions_are_commits_tags_and_branches() {
    let app = TestApp::spawn();
    let versions: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|file| register(&app, "m", &format!("v-{file}"), &[file], false))
        .collect();
    app.register("m", "no-digest");
    app.request("PUT", "/v1/models/m/aliases/champion", &[], Some(r#"{"version": 1}"#)).ok();
    app.request("PUT", "/v1/models/m/aliases/production", &[], Some(r#"{"version": 2}"#)).ok();
    let refs = app.get("/api/models/m/refs").ok();
    let named = |list: &Value| -> Vec<(String, Value)> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| (one["ref"].as_str().unwrap().to_owned(), one["targetCommit"].clone())).collect()
    };
    let expected = |names: &[(&str, usize)]| -> Vec<(String, Value)> {
        names.iter().map(|(name, at)| ((*name).to_owned(), versions[*at]["revision"].clone())).collect()
    };
    assert_eq!(
        named(&refs["branches"]),
        expected(&[("refs/heads/main", 1), ("refs/heads/champion", 0), ("refs/heads/production", 1)])
    );
    assert_eq!(
        named(&refs["tags"]),
        expected(&[("refs/tags/v-c", 2), ("refs/tags/v-b", 1), ("refs/tags/v-a", 0)])
    );
    assert_eq!((&refs["converts"], refs.get("pullRequests")), (&json!([]), None));
    assert_eq!(app.get("/api/models/m/refs?include_prs=1").ok()["pullRequests"], json!([]));

    let titles = |path: &str| -> Vec<String> {
        let commits = app.get(path).ok();
        commits
            .as_array()
            .unwrap()
            .iter()
            .map(|commit| commit["title"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(titles("/api/models/m/commits/v-c"), ["version v-c", "version v-b", "version v-a"]);
    assert_eq!(titles("/api/models/m/commits/main"), ["version v-b", "version v-a"]);
    let page = app.get("/api/models/m/commits/v-c?limit=2");
    let next = page.next_page().unwrap();
    let (_, query) = next.split_once('?').unwrap();
    assert_eq!(titles(&format!("/api/models/m/commits/v-c?{query}")), ["version v-a"]);
    let commit = &page.ok()[0];
    assert_eq!((&commit["id"], &commit["date"]), (&versions[2]["revision"], &versions[2]["created_at"]));
    assert_eq!(commit["authors"], json!([{"user": "key:test…"}]));
}
