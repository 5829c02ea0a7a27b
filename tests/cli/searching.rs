//! `registry list` with a filter, a digest, a URI, or another sort key.

use serde_json::json;

use crate::{Ran, at, fake_registry::FakeRegistry, server::Server};

fn stocked() -> Server {
    let server = Server::start();
    for (label, score, loss) in [("v1", 0.7, 2.5), ("v2", 0.9, 2.4), ("v3", 0.8, 2.6)] {
        let digest = label.trim_start_matches('v').repeat(64);
        let fields = json!({"training_loss": loss, "checkpoint_sha256": digest, "tags": ["50%"]});
        let id = server.add("m", label, &fields);
        server.score(id, "smoke-v1", &json!({"score": score}));
    }
    server.add("n", "v1", &json!({"description": "half: 50%"}));
    server.run(["tag", "set", "m:v2", "team", "nlp"]).shown();
    server
}

#[test]
fn versions_are_found_by_scores_fields_and_tags() {
    let server = stocked();
    for (flags, names) in [
        (&["--filter", "scores.smoke-v1.score >= 0.8"][..], "m:v3\nm:v2\n"),
        (&["--filter", "scores.smoke-v1.score >= 0.8", "--sort", "scores.smoke-v1.score"], "m:v2\nm:v3\n"),
        (&["--filter", "scores.smoke-v1.score >= 0.8 and tags.team = 'nlp'"], "m:v2\n"),
        (&["--sort", "training_loss:asc", "m"], "m:v2\nm:v1\nm:v3\n"),
        (&["--sort", "training_loss", "--order", "desc", "m"], "m:v3\nm:v1\nm:v2\n"),
        (&["n", "--filter", "frozen = false"], "n:v1\n"),
        (&["--tag", "50%", "--filter", "number < 2"], "m:v1\n"),
        (&["-q", "50%", "--filter", "number > 0"], "n:v1\n"),
        (&["--status", "staging", "--filter", "number > 0"], ""),
        (&["--sha256", &"3".repeat(64)], "m:v3\n"),
        (&["--uri", "s3://b/n/v1"], "n:v1\n"),
    ] {
        let ran = server.run(["list", "-o", "name"].iter().chain(flags));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, names), "{flags:?}: {ran:?}");
    }
}

#[test]
fn found_versions_have_model_number_and_label_in_every_format() {
    let server = stocked();
    let list = |flags: &[&str]| server.run(["list", "--uri", "s3://b/m/v2"].iter().chain(flags)).shown();
    assert_eq!(
        list(&[]),
        "\
ID  MODEL  NUMBER  LABEL  STATUS        STEP  LOSS  CREATED
 2  m           2  v2     experimental     -   2.4  2026-01-31 13:05Z
"
    );
    let version = server.get("/v1/versions/2");
    let text = server.run(["list", "--uri", "s3://b/m/v2", "-o", "jsonl"]).stdout;
    assert_eq!(text, format!("{version}\n"));
    assert_eq!(
        list(&["-o", "csv", "--columns", "model,label,scores.smoke-v1.score,smoke-v1/score,tags.team"]),
        "model,label,scores.smoke-v1.score,smoke-v1/score,tags.team\nm,v2,0.9,0.9,nlp\n"
    );
    let (stdout, stderr) = server.run(["list", "--filter", "params > 5", "--json"]).done();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("[]\n", "no versions match\n"));
}

#[test]
fn a_search_is_paged_up_to_the_limit() {
    let server = Server::start();
    for at in 0..203 {
        server.add("m", &format!("v{at}"), &json!({"params": at}));
    }
    let list =
        |flags: &[&str]| server.run(["list", "--sort", "params:asc", "-o", "name"].iter().chain(flags));
    let all = list(&["--all"]).shown();
    let expected: String = (0..203).map(|at| format!("m:v{at}\n")).collect();
    assert_eq!(all, expected);
    let (some, stderr) = list(&["--limit", "201"]).done();
    assert_eq!(some.lines().count(), 201);
    assert_eq!(stderr, "201 shown; --all shows the rest\n");
    assert_eq!(list(&["--limit", "203"]).shown().lines().count(), 203);
}

#[test]
fn a_bad_filter_is_a_usage_error_that_points_to_the_fault() {
    let fake = FakeRegistry::answering([]);
    let run = |flags: &[&str]| {
        let ran = Ran::of(&mut at(&fake.url, ["list"].iter().chain(flags)));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{flags:?}: {ran:?}");
        ran.stderr
    };
    let said = run(&["--filter", "status = 'live' and params > 5"]);
    assert!(
        said.starts_with("error: invalid filter at character 10: expected one of 'experimental', "),
        "{said}"
    );
    assert!(said.contains("\n  status = 'live' and params > 5\n           ^\n"), "{said}");
    let deep = format!("{}params > 5{}", "(".repeat(1000), ")".repeat(1000));
    let long = format!("name = '{}'", "x".repeat(10 * 1024));
    for (filter, part) in [
        ("", "^"),
        ("nmae = 'm'", "unknown field"),
        ("params >", "\n          ^\n"),
        ("params > 5 or", "^"),
        ("name = 'x\u{1b}[2J\u{202e}\n", "^"),
        (&deep, "^"),
        (&long, "^"),
    ] {
        let said = run(&["--filter", filter]);
        assert!(said.contains(part), "{filter:.40}: {said}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']) && said.lines().count() < 8, "{said:?}");
    }
    for flags in [
        &["--sort", "nonsense"][..],
        &["--sort", "params:up"],
        &["--sort", "params:asc", "--order", "asc"],
        &["--sort", "description"],
        &["--sha256", "abc"],
        &["--sha256", " "],
        &["--filter", "params > 5", "--offset", "1"],
        &["--filter", "params > 5", "--columns", "nmae"],
    ] {
        run(flags);
    }
    assert!(fake.received().is_empty());
}
