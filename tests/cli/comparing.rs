//! `registry compare`.

use serde_json::json;

use crate::{Ran, at, server::Server};

fn stocked() -> Server {
    let server = Server::start();
    for (version, loss, score) in [("v1", 2.5, Some(0.4)), ("v2", 2.0, None), ("v3", 2.25, Some(0.8))] {
        let fields =
            json!({"training_loss": loss, "dataset": "c4", "params": 100, "artifact_uri": "s3://b/m"});
        let id = server.add("m", version, &fields);
        if let Some(score) = score {
            server.score(id, "smoke-v1", &json!({"score": score, "ok": true}));
        }
    }
    server
}

#[test]
fn versions_are_shown_side_by_side_with_differences_marked() {
    let server = stocked();
    let table = server.run(["compare", "m:v2", "m:v1"]).shown();
    assert_eq!(
        table,
        "\x20  FIELD           m:v2               m:v1
   status          experimental       experimental
   params          100                100
≠  training_loss   2.0 lowest         2.5
≠  smoke-v1/ok     -                  true
≠  smoke-v1/score  -                  0.4
   dataset         c4                 c4
   artifact_uri    s3://b/m           s3://b/m
   created_by      key:hush…          key:hush…
   source_host     127.0.0.1          127.0.0.1
   created_at      2026-01-31 13:05Z  2026-01-31 13:05Z
   updated_at      2026-01-31 13:05Z  2026-01-31 13:05Z
"
    );
    let differing = server.run(["compare", "m:v2", "m:v1", "--diff-only"]).shown();
    let kept: Vec<_> = table.lines().filter(|line| line.starts_with('≠')).collect();
    assert_eq!(differing.lines().count(), 1 + kept.len());
    let ascii = Ran::of(at(&server.url, ["compare", "1", "2"]).env("LC_ALL", "C")).shown();
    assert!(ascii.contains("\n*  training_loss"), "{ascii}");
    server.add("same", "1", &json!({"artifact_uri": "u"}));
    server.add("same", "2", &json!({"artifact_uri": "u"}));
    assert_eq!(server.run(["compare", "--name", "same", "--diff-only"]).shown(), "no field differs\n");
}

#[test]
fn a_metric_is_drawn_over_the_versions_in_order() {
    let server = stocked();
    let drawn =
        Ran::of(at(&server.url, ["compare", "3", "1", "2", "--metric", "smoke-v1/score"]).env("LC_ALL", "C"));
    let (long, half) = ("#".repeat(40), "#".repeat(20));
    assert_eq!(
        drawn.shown(),
        format!(
            "\
smoke-v1/score  bars from 0 to 0.8
  m:v1  {half:40}  0.4
  m:v2  {:40}    -
  m:v3  {long}  0.8  +0.4 (+100.0%)
",
            ""
        )
    );
    let both = server
        .run(["compare", "--name", "m", "--metric", "training_loss", "--metric", "smoke-v1/score"])
        .shown();
    assert!(
        both.starts_with("training_loss  bars from 1.875 to 2.5\n") && both.contains("\n\nsmoke-v1/score  "),
        "{both}"
    );
    let line = server.run(["compare", "1", "2", "--metric", "smoke-v1/none"]).failed(1);
    assert!(line.ends_with("no version has a number smoke-v1/none; there are smoke-v1/score\n"), "{line}");
}

#[test]
fn a_metric_that_is_listed_can_be_drawn() {
    let server = stocked();
    server.score(1, "a/b", &json!({"x/y": 0.5, "words": "good", "deep": {"z": 1}}));
    let line = server.run(["compare", "1", "2", "--metric", "none"]).failed(1);
    assert!(line.ends_with("there are a/b/x\\/y, smoke-v1/score\n"), "{line}");
    let chart = server.run(["compare", "1", "2", "--metric", "a/b/x\\/y"]).shown();
    assert!(chart.starts_with("a/b/x/y  bars from "), "{chart}");
}

#[test]
fn other_formats_show_the_answer_of_the_registry() {
    let server = stocked();
    let answer = server.get("/compare?ids=1,3");
    assert_eq!(server.run(["compare", "m:v1", "m:v3", "--json"]).stdout, format!("{answer:#}\n"));
    assert_eq!(server.run(["compare", "--name", "m", "-o", "name"]).shown(), "m:v1\nm:v2\nm:v3\n");
    let csv = server.run(["compare", "3", "1", "-o", "csv", "--columns", "version,smoke-v1/score"]).shown();
    assert_eq!(csv, "version,smoke-v1/score\nv3,0.8\nv1,0.4\n");
}

#[test]
fn the_newest_twenty_of_many_versions_are_compared() {
    let server = Server::start();
    for version in 1..=22 {
        server.add("m", &format!("v{version}"), &json!({"params": version}));
    }
    let (names, said) = server.run(["compare", "--name", "m", "-o", "name"]).done();
    assert_eq!((names.lines().next(), names.lines().last()), (Some("m:v3"), Some("m:v22")));
    assert_eq!(said, "the newest 20 of 22 versions\n");
    let ids: Vec<String> = (1..=21).map(|id| id.to_string()).collect();
    let line = server.run(std::iter::once("compare").chain(ids.iter().map(String::as_str))).failed(2);
    assert!(line.contains("expected 2 to 20 different versions, got 21"), "{line}");
}
