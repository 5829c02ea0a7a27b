//! `registry list` and `registry stats`.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    Ran, at,
    fake_registry::{FakeRegistry, json as json_answer},
    server::Server,
};

/// Three versions of two names, with scores.
fn stocked() -> Server {
    let server = Server::start();
    let v1 = json!({"training_step": 1000, "training_loss": 2.5, "tags": ["a"], "description": "the First"});
    server.add("tiny", "v1", &v1);
    let v2 = json!({"training_step": 20000, "status": "staging", "checkpoint_size_bytes": 90_868_376, "tags": ["a", "b"]});
    let id = server.add("tiny", "v2", &v2);
    server.score(id, "smoke-v1.1", &json!({"score": 0.82}));
    server.add("模型\u{1b}[31m", "v\n1", &json!({"description": "=1+1"}));
    server
}

#[test]
fn the_table_is_aligned_and_controls_no_terminal() {
    assert_eq!(
        stocked().run(["list"]).shown(),
        "\
ID  NAME       VERSION  STATUS         STEP  LOSS  CREATED
 3  模型 [31m  v 1      experimental      -     -  2026-01-31 13:05Z
 2  tiny       v2       staging       20000     -  2026-01-31 13:05Z
 1  tiny       v1       experimental   1000   2.5  2026-01-31 13:05Z
"
    );
}

#[test]
fn filters_reach_the_registry() {
    let server = stocked();
    for (flags, names) in [
        (&["tiny"][..], &["tiny:v2", "tiny:v1"][..]),
        (&["--status", "staging"], &["tiny:v2"]),
        (&["--search", "first"], &["tiny:v1"]),
        (&["-q", "TINY"], &["tiny:v2", "tiny:v1"]),
        (&["--tag", "b"], &["tiny:v2"]),
        (&["--sort", "training_step", "--order", "asc", "--offset", "1"], &["tiny:v1", "tiny:v2"]),
        (&["tiny", "--limit", "1", "--offset", "1"], &["tiny:v1"]),
    ] {
        let ran = server.run(["list", "-o", "name"].iter().chain(flags));
        assert_eq!(ran.shown().lines().collect::<Vec<_>>(), names, "{flags:?}");
    }
}

#[test]
fn every_format_is_well_formed() {
    let server = stocked();
    let answered = server.get("/models?name=tiny");
    let list = |flags: &[&str]| server.run(["list", "tiny"].iter().chain(flags)).shown();
    for flags in [&["--json"][..], &["-o", "json"], &["-ojson"], &["--output=json"]] {
        assert_eq!(serde_json::from_str::<Value>(&list(flags)).unwrap()[1]["training_loss"], json!(2.5));
    }
    let text = server.run(["list", "tiny", "--json"]).stdout;
    assert_eq!(text, format!("{answered:#}\n"), "the registry's own order and digits");
    let lines = server.run(["list", "tiny", "-o", "jsonl"]).stdout;
    assert_eq!(lines, format!("{}\n{}\n", answered[0], answered[1]));
    assert!(list(&["-o", "yaml"]).starts_with("- id: 2\n  name: tiny\n  version: v2\n  status: staging\n"));
    assert!(list(&["-o", "wide"]).lines().next().unwrap().contains("SHA256"));
    let columns = "id,smoke-v1.1/score,metrics.suites.smoke-v1\\.1.score,tags.1,training_loss";
    let table = list(&["--columns", columns]);
    assert_eq!(table, list(&["-o", &format!("columns={columns}")]));
    assert_eq!(table, list(&["-o", &format!("custom-columns={columns}")]));
    assert_eq!(
        table,
        "\
ID  SMOKE-V1.1/SCORE  METRICS.SUITES.SMOKE-V1.1.SCORE  TAGS.1  TRAINING_LOSS
 2              0.82                             0.82  b                   -
 1                 -                                -  -                 2.5
"
    );
    assert_eq!(list(&["--columns", "id", "--no-header"]), "2\n1\n");
}

#[test]
fn csv_reads_back_and_contains_no_formula() {
    let server = stocked();
    let text = server.run(["list", "-o", "csv"]).stdout;
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap().len(), 29);
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[0][2], &rows[0][24]), (3, "v\n1", "'=1+1"));
    assert_eq!((&rows[2][21], &rows[2][22], &rows[2][25]), ("1000", "2.5", r#"["a"]"#));
    let chosen =
        server.run(["list", "tiny", "-o", "csv", "--columns", "version,tags", "--no-header"]).shown();
    assert_eq!(chosen, "v2,\"[\"\"a\"\",\"\"b\"\"]\"\nv1,\"[\"\"a\"\"]\"\n");
}

#[test]
fn an_empty_result_is_a_success_and_an_empty_list_in_json() {
    let server = Server::start();
    let said = || "no versions match\n".to_owned();
    assert_eq!(server.run(["list"]).done(), (String::new(), said()));
    assert_eq!(server.run(["list", "--json"]).done(), ("[]\n".to_owned(), said()));
    assert_eq!(server.run(["list", "-o", "yaml"]).done(), ("[]\n".to_owned(), said()));
    assert_eq!(server.run(["list", "-o", "jsonl"]).done(), (String::new(), said()));
    let (csv, _) = server.run(["list", "-o", "csv", "--columns", "id,name"]).done();
    assert_eq!(csv, "id,name\n");
    server.add("m", "1", &json!({}));
    let (_, said) = server.run(["list", "--offset", "5"]).done();
    assert_eq!(said, "no versions: 1 match, and --offset skips all of them\n");
}

#[test]
fn pages_are_fetched_up_to_the_limit_and_a_closed_pipe_is_not_an_error() {
    let server = Server::start();
    for version in 0..405 {
        server.add("m", &version.to_string(), &json!({}));
    }
    let names = |flags: &[&str]| {
        let (stdout, stderr) = server.run(["list", "-o", "name"].iter().chain(flags)).done();
        let names: BTreeSet<String> = stdout.lines().map(str::to_owned).collect();
        assert_eq!(names.len(), stdout.lines().count(), "none twice");
        (names.len(), stderr)
    };
    assert_eq!(names(&[]), (50, "50 of 405 shown; --all shows the rest\n".to_owned()));
    assert_eq!(names(&["--limit", "203"]), (203, "203 of 405 shown; --all shows the rest\n".to_owned()));
    assert_eq!(names(&["--limit", "203", "--offset", "202"]), (203, String::new()));
    assert_eq!(names(&["--limit", "1000"]), (405, String::new()));
    assert_eq!(names(&["--all"]), (405, String::new()));
    let all: Value = serde_json::from_str(&server.run(["list", "--all", "--json"]).stdout).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 405);
    let table = server.run(["list", "--all"]).shown();
    assert_eq!(table.lines().filter(|line| line.contains("ID  NAME")).count(), 1, "one header for all pages");
    assert_eq!(server.run(["list", "--all", "-o", "csv"]).shown().lines().count(), 406);

    let mut child = at(&server.url, ["list", "--all", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "[\n");
    let (status, mut stderr) = (child.wait().unwrap(), String::new());
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_registry_without_links_is_paged_by_offset() {
    let page = |ids: std::ops::Range<i64>| {
        let models: Vec<_> =
            ids.map(|id| json!({"id": id, "name": "m", "version": id.to_string()})).collect();
        json_answer(200, &Value::from(models).to_string())
    };
    let fake = FakeRegistry::answering([page(0..200), page(200..201)]);
    let ran = Ran::of(&mut at(&fake.url, ["list", "--all", "-o", "name"]));
    assert_eq!(ran.shown().lines().count(), 201);
    let asked = fake.received();
    assert!(asked[0].head.contains("limit=200&offset=0") && asked[1].head.contains("offset=200"));
    let fake = FakeRegistry::answering([page(0..50)]);
    let (_, said) = Ran::of(&mut at(&fake.url, ["list", "-o", "name"])).done();
    assert_eq!(said, "50 shown; --all shows the rest\n");
}

#[test]
fn a_failed_page_is_an_error_and_the_json_list_is_left_open() {
    let first = json!([{"id": 1, "name": "m", "version": "1"}]).to_string();
    let head =
        "Content-Type: application/json\r\nX-Total-Count: 2\r\nLink: </models?cursor=a>; rel=\"next\"\r\n";
    let first = crate::fake_registry::answer(200, head, &first);
    let fake = FakeRegistry::answering([first, json_answer(500, r#"{"detail":"broken"}"#)]);
    let ran = Ran::of(&mut at(&fake.url, ["list", "--all", "--json"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("failed (500): broken"), "{ran:?}");
    assert!(serde_json::from_str::<Value>(&ran.stdout).is_err(), "{ran:?}");
}

#[test]
fn counts_are_shown_with_bars() {
    let server = stocked();
    assert_eq!(
        server.run(["stats"]).shown(),
        "\
3 versions of 2 names

STATUS        VERSIONS
experimental         2  ████████████████████████
staging              1  ████████████

NAME       VERSIONS
tiny              2  ████████████████████████
模型 [31m         1  ████████████
"
    );
    let (table, said) = server.run(["stats", "--top", "1"]).done();
    assert!(table.ends_with("tiny         2  ████████████████████████\n"), "{table}");
    assert_eq!(said, "1 of 2 names shown; --top shows more\n");
    let text = server.run(["stats", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), server.get("/stats"));
    assert!(server.run(["stats", "-o", "csv"]).shown().starts_with("by,key,models\nstatus,experimental,2\n"));
    let ascii = Ran::of(at(&server.url, ["stats"]).env("LC_ALL", "C")).shown();
    assert!(ascii.contains("staging              1  ############\n"), "{ascii}");
}

#[test]
fn a_mistyped_name_gets_a_hint() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    server.add("a,b:c", "v1", &json!({}));
    for (arguments, stdout, stderr) in [
        (
            &["list", "m:v1"][..],
            "",
            "no versions match; NAME is a name without a version; `registry show m:v1` shows one version\n",
        ),
        (&["list", "n,o"], "", "no versions match\n"),
        (&["list", "a,b:c", "-o", "name"], "a,b:c:v1\n", ""),
    ] {
        assert_eq!(server.run(arguments).done(), (stdout.to_owned(), stderr.to_owned()), "{arguments:?}");
    }
}

#[test]
fn columns_can_have_titles_as_in_kubectl() {
    let server = Server::start();
    let id = server.add("m", "v1", &json!({}));
    server.score(id, "s", &json!({"score": 0.5}));
    let shown = |columns: &str| server.run(["list", "-o", columns]).shown();
    assert_eq!(
        shown("custom-columns=Name:.name,SCORE:.metrics.suites.s.score,version"),
        "Name  SCORE  VERSION\nm       0.5  v1\n"
    );
    let ran = server.run(["list", "-o", "custom-columns=NAME:.nmae"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("there is no field \"nmae\""), "{ran:?}");
}
