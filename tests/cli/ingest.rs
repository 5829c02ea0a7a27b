//! `registry ingest`, without a real registry.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json as value};
use tempfile::TempDir;

use crate::{
    KEY, Ran,
    fake_registry::{FakeRegistry, answer, json},
    registry,
};

/// `hello`, by `sha256sum`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const MODEL: &str = r#"{"id":7,"name":"m","version":"v1","training_loss":2.50,"tags":null}"#;

/// A folder with a checkpoint of five bytes and a configuration.
struct Files {
    folder: TempDir,
    checkpoint: PathBuf,
    config: PathBuf,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, config) = (folder.path().join("model.pt"), folder.path().join("config.json"));
    fs::write(&checkpoint, "hello").unwrap();
    fs::write(&config, r#"{"architecture": {"d_model": 64, "n_heads": 4.0, "n_layers": "2"}}"#).unwrap();
    Files { folder, checkpoint, config }
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// `registry ingest --name m --version v1` and the like.
fn ingest<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    registry(["ingest", "--name", "m", "--version", "v1"].into_iter().chain(arguments))
}

fn with_file<'a>(command: &'a mut Command, flag: &str, path: &Path) -> &'a mut Command {
    command.arg(flag).arg(path)
}

/// Registers an artifact by its URI at a registry that gives these answers.
fn ingest_at(fake: &FakeRegistry) -> Command {
    ingest(["--artifact-uri", "s3://b/m", "--api-key", KEY, "--registry-url", &fake.url])
}

#[test]
fn a_dry_run_shows_what_would_be_sent() {
    let files = files();
    let mut command = ingest([
        "--dry-run",
        "--status=staging",
        "--artifact-uri=s3://b/m",
        "--run-id=r",
        "--git-commit=c",
        "--source-host=h",
        "--training-step=12",
        "--training-loss=2.5",
        "--dataset=d",
        "--description=über",
        "--tag=a",
        "--tag=b c",
        r#"--metrics-json={"z": 1.50, "a": {}}"#,
    ]);
    with_file(&mut command, "--checkpoint-path", &files.checkpoint);
    with_file(&mut command, "--config-path", &files.config);
    let ran = Ran::of(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "dry run: nothing was sent\n"), "{ran:?}");
    let config = fs::read(&files.config).unwrap();
    let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
    let digest = |bytes: &[u8]| {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(bytes))
    };
    let expected = value!({
        "name": "m", "version": "v1", "status": "staging", "artifact_uri": "s3://b/m",
        "checkpoint_sha256": HELLO, "checkpoint_size_bytes": 5,
        "config_sha256": digest(&config), "config_size_bytes": config.len(),
        "run_id": "r", "git_commit": "c", "created_by": "ann", "source_host": "h",
        "d_model": 64, "n_heads": 4, "training_step": 12, "training_loss": 2.5, "dataset": "d",
        "description": "über", "tags": ["a", "b c"],
        "metrics": serde_json::from_str::<Value>(r#"{"z": 1.50, "a": {}}"#).unwrap(),
    });
    assert_eq!(sent, expected);
    assert_eq!(ran.stdout, format!("{expected:#}\n"), "the order of a model and its digits are kept");
}

#[test]
fn absent_values_are_omitted() {
    let ran = Ran::of(ingest(["--dry-run", "--artifact-uri=u", "--source-host=h"]).env_remove("USER"));
    let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = value!({
        "name": "m", "version": "v1", "status": "experimental", "artifact_uri": "u", "source_host": "h"
    });
    assert_eq!(sent, expected);
}

#[test]
fn local_paths_are_sent_only_on_demand_and_absolute() {
    let files = files();
    for (flags, expected) in [(&[][..], Value::Null), (&["--include-local-paths"], value!(files.checkpoint))]
    {
        let mut command = ingest(["--dry-run", "--checkpoint-path", "model.pt"]);
        let ran = Ran::of(command.args(flags).current_dir(files.folder.path()));
        let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(sent["checkpoint_path"], expected);
    }
}

#[test]
fn metrics_come_from_a_file_too() {
    let files = files();
    let metrics = files.path("metrics.json");
    let run = |text: &str| {
        fs::write(&metrics, text).unwrap();
        Ran::of(with_file(&mut ingest(["--dry-run", "--artifact-uri=u"]), "--metrics-path", &metrics))
    };
    let sent: Value = serde_json::from_str(&run(r#"{"a": [1]}"#).stdout).unwrap();
    assert_eq!(sent["metrics"], value!({"a": [1]}));
    assert!(run("[1]").failed(1).contains("metrics.json contains a list, expected a JSON object"));
    assert!(run(r#"{"a": NaN}"#).failed(1).contains("metrics.json is not JSON"));
}

#[test]
fn an_invalid_command_line_is_refused() {
    for (arguments, complaint) in [
        (&["--metrics-json={}", "--metrics-path=m.json"][..], "cannot be used with"),
        (&["--status=live"], "possible values: experimental, staging, production, archived"),
        (&["--training-loss=NaN"], "expected a finite number"),
        (&["--metrics-json=[1]"], "expected a JSON object"),
        (&["--training-step=x"], "invalid digit"),
        (&["--unknown"], "unexpected argument"),
    ] {
        let ran = Ran::of(ingest(["--dry-run", "--artifact-uri=u"]).args(arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(complaint), "{}", ran.stderr);
    }
    for flags in [&["--artifact-uri", " "][..], &[]] {
        let text = Ran::of(ingest(["--dry-run"]).args(flags)).failed(2);
        assert!(text.contains("give --artifact-uri, --checkpoint-path or both"), "{text}");
    }
    let blank = ["ingest", "--name", " ", "--version", "v1", "--artifact-uri", "u", "--dry-run"];
    assert!(Ran::of(&mut registry(blank)).failed(2).contains("name is blank"));
}

#[test]
fn the_help_has_examples_and_exit_codes() {
    let ran = Ran::of(&mut ingest(["--help"]));
    assert_eq!(ran.code, 0);
    for text in ["Examples:", "--include-local-paths", "Exit codes:", "  5  conflict", "CAIA_REGISTRY_URL"] {
        assert!(ran.stdout.contains(text), "{text}");
    }
}

#[test]
fn the_faults_of_all_files_are_reported_together() {
    let files = files();
    fs::write(&files.config, "[1]").unwrap();
    let mut command = ingest(["--dry-run"]);
    with_file(&mut command, "--checkpoint-path", &files.path("none.pt"));
    with_file(&mut command, "--config-path", &files.config);
    with_file(&mut command, "--metrics-path", files.folder.path());
    let ran = Ran::of(&mut command);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    for fault in ["none.pt does not exist", "is a directory", "config.json contains a list"] {
        assert!(lines.iter().any(|line| line.starts_with("error: ") && line.contains(fault)), "{lines:?}");
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_syntax_error_in_the_configuration_says_where() {
    let files = files();
    fs::write(&files.config, "{\n\"d_model\" 64}").unwrap();
    let mut command = ingest(["--dry-run", "--artifact-uri=u"]);
    let text = Ran::of(with_file(&mut command, "--config-path", &files.config)).failed(1);
    assert!(text.contains("config.json is not JSON") && text.contains("line 2 column 11"), "{text}");
}

#[test]
fn metadata_is_written_as_it_is_sent() {
    let files = files();
    let metadata = files.path("sent.json");
    let dry = Ran::of(with_file(
        &mut ingest(["--dry-run", "--artifact-uri=s3://b/m"]),
        "--write-metadata",
        &metadata,
    ));
    assert_eq!(fs::read_to_string(&metadata).unwrap(), dry.stdout);
    fs::remove_file(&metadata).unwrap();

    let fake = FakeRegistry::answering([json(200, MODEL)]);
    assert_eq!(Ran::of(with_file(&mut ingest_at(&fake), "--write-metadata", &metadata)).code, 0);
    let (written, sent) = (fs::read_to_string(&metadata).unwrap(), &fake.received()[0].body);
    assert_eq!(written, dry.stdout);
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap().to_string(), *sent);

    fs::remove_file(&metadata).unwrap();
    let fake = FakeRegistry::answering([json(409, r#"{"detail":"taken"}"#)]);
    Ran::of(with_file(&mut ingest_at(&fake), "--write-metadata", &metadata)).failed(5);
    assert!(!metadata.exists(), "what was refused leaves no file");
}

#[test]
fn other_faults_are_reported_without_waiting_for_the_digest_of_a_large_checkpoint() {
    let files = files();
    // A sparse file that takes minutes to digest, so that a test would notice a run that starts with it.
    File::create(&files.checkpoint).unwrap().set_len(1 << 40).unwrap();
    let run = |flag: &str, path: &Path| {
        let mut command = ingest(["--dry-run"]);
        with_file(&mut command, "--checkpoint-path", &files.checkpoint);
        Ran::of(with_file(&mut command, flag, path)).failed(1)
    };
    let text = run("--write-metadata", &files.path("none/m.json"));
    assert!(text.contains("there is no folder"), "{text}");
    fs::write(&files.config, "[]").unwrap();
    let text = run("--config-path", &files.config);
    assert!(text.contains("config.json contains a list"), "{text}");
}

#[test]
fn metadata_does_not_overwrite_what_is_registered() {
    let files = files();
    let mut command = ingest(["--dry-run"]);
    with_file(&mut command, "--checkpoint-path", &files.checkpoint);
    let text = Ran::of(with_file(&mut command, "--write-metadata", &files.checkpoint)).failed(2);
    assert!(text.contains("would overwrite"), "{text}");
    assert_eq!(fs::read_to_string(&files.checkpoint).unwrap(), "hello");
}

#[test]
fn without_a_key_nothing_is_digested() {
    let text = Ran::of(&mut ingest(["--checkpoint-path", "/no/such/file"])).failed(4);
    assert!(text.contains("--api-key") && text.contains("CAIA_REGISTRY_API_KEY"), "{text}");
    let text = Ran::of(&mut ingest(["--artifact-uri=u", "--api-key", "hüsh"])).failed(4);
    assert!(text.contains("can't be sent") && !text.contains("hüsh"), "{text}");
}

#[test]
fn an_unreachable_registry_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let text = Ran::of(&mut ingest(["--artifact-uri=u", "--api-key", KEY, "--registry-url", &url])).failed(3);
    assert!(text.contains(&url) && text.contains("is `registry serve` running there?"), "{text}");
    let text =
        Ran::of(&mut ingest(["--artifact-uri=u", "--api-key", KEY, "--registry-url", "localhost"])).failed(2);
    assert!(text.contains("set one like http://localhost:8001"), "{text}");
}

#[test]
fn a_registered_version_is_json_for_scripts_and_a_line_for_people() {
    let files = files();
    let fake = FakeRegistry::answering([json(200, MODEL)]);
    let mut command = ingest(["--api-key", KEY]);
    with_file(&mut command, "--checkpoint-path", &files.checkpoint);
    let ran = Ran::of(command.env("CAIA_REGISTRY_URL", format!("{}/", fake.url)));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, format!("{:#}\n", serde_json::from_str::<Value>(MODEL).unwrap()));
    assert_eq!(ran.stderr, "registered m:v1 with id 7 (5 B, sha256 2cf24dba5fb0…)\n");

    let received = &fake.received()[0];
    for line in [
        "post /models http/1.1\r\n".to_owned(),
        format!("\r\nx-api-key: {KEY}\r\n"),
        "\r\ncontent-type: application/json\r\n".to_owned(),
        format!("\r\nuser-agent: registry/{}\r\n", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(received.head.contains(&line), "{line}: {}", received.head);
    }
    let sent: Value = serde_json::from_str(&received.body).unwrap();
    assert_eq!((&sent["checkpoint_sha256"], sent.get("artifact_uri")), (&value!(HELLO), None));
}

#[test]
fn the_key_may_come_from_either_variable() {
    for (variable, keys) in
        [("CAIA_REGISTRY_API_KEY", KEY.to_owned()), ("CAIA_REGISTRY_API_KEYS", format!(" ,{KEY} ,other"))]
    {
        let fake = FakeRegistry::answering([json(200, MODEL)]);
        let mut command = ingest(["--artifact-uri=u", "--registry-url", &fake.url]);
        assert_eq!(Ran::of(command.env(variable, keys)).code, 0);
        assert!(fake.received()[0].head.contains(&format!("\r\nx-api-key: {KEY}\r\n")), "{variable}");
    }
}

#[test]
fn each_refusal_has_its_exit_code_and_its_message() {
    let faults = r#"{"detail":[{"type":"int_parsing","loc":["body","d_model"],"msg":"no integer","input":"x"},
        {"type":"missing","loc":["body","name"],"msg":"wanted","input":{}}]}"#;
    for (sent, code, words) in [
        (json(401, r#"{"detail":"no"}"#), 4, "refused the API key"),
        (json(409, r#"{"detail":"m:v1 exists"}"#), 5, "conflict: m:v1 exists"),
        (json(422, faults), 1, "(422): body.d_model: no integer; body.name: wanted"),
        (json(400, "{\"detail\":\"two\\nlines\\u001b[2J\"}"), 1, "two lines [2J"),
        (json(503, r#"{"detail":"no key is set"}"#), 3, "is unavailable: no key is set"),
        (
            answer(500, "X-Request-Id: r-1\r\n", r#"{"detail":"oops"}"#),
            1,
            "oops; see its log for request r-1",
        ),
        (answer(200, "Content-Type: text/html\r\n", "<html>"), 1, "not JSON but text/html"),
        (answer(302, "Location: http://192.0.2.1/\r\n", ""), 1, "it redirects to http://192.0.2.1/"),
        (json(200, "[]"), 1, "contains no model"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), 1, "does not answer like a registry"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned(), 3, "check before you try again"),
    ] {
        let fake = FakeRegistry::answering([sent]);
        let text = Ran::of(&mut ingest_at(&fake)).failed(code);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_busy_registry_is_retried_at_most_three_times() {
    let busy = || answer(503, "Retry-After: 0\r\n", r#"{"detail":"busy"}"#);
    let fake = FakeRegistry::answering([busy(), busy(), busy(), json(200, MODEL)]);
    assert_eq!(Ran::of(&mut ingest_at(&fake)).code, 0);
    let bodies: Vec<_> = fake.received().into_iter().map(|received| received.body).collect();
    assert!(bodies.len() == 4 && bodies.iter().all(|body| *body == bodies[0]));

    let fake = FakeRegistry::answering([busy(), busy(), busy(), busy()]);
    assert!(Ran::of(&mut ingest_at(&fake)).failed(3).contains("is unavailable: busy; try again later"));
    fake.received();
}

#[test]
fn a_closed_stdout_is_not_a_failure() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let ran = Ran::of(ingest(["--dry-run", "--artifact-uri=u"]).stdout(writer).stderr(Stdio::piped()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "dry run: nothing was sent\n"));
}
