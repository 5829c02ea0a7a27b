//! `registry publish` and the registry: which checkpoint is registered, with what, and registrations that are refused or fail.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};

use serde_json::{Value, json as value};

use crate::{
    KEY, Ran,
    fake_registry::{FakeRegistry, json},
    gateway::Fate,
    registry,
    scene::{HELLO, Scene},
};

#[test]
fn an_invalid_command_line_is_refused() {
    let scene = Scene::new();
    scene.write("model.pt", "hello");
    let at = ["--checkpoint-path=model.pt"];
    for (arguments, complaint) in [
        (&[][..], "--checkpoint-path <FILE>|--checkpoint-dir <DIR>>"),
        (&["--checkpoint-path=a", "--checkpoint-dir=b"], "cannot be used with"),
        (&["--checkpoint-path=a", "--force-upload"], "--upload"),
        (&["--checkpoint-path=a", "--skip-upload-if-exists"], "--upload"),
        (
            &["--checkpoint-path=a", "--upload", "--force-upload", "--skip-upload-if-exists"],
            "cannot be used with",
        ),
        (&["--checkpoint-path=a", "--artifact-uri=u", "--artifact-uri-template=t"], "cannot be used with"),
        (&["--checkpoint-path=a", "--artifact-uri-template={stpe}"], "{stpe} is not a field; use {name}"),
        (&["--checkpoint-path=a", "--artifact-uri-template=a}b"], "unmatched"),
        (&["--checkpoint-path=a", "--status=live"], "possible values"),
        (&["--checkpoint-path=a", "--poll-seconds=1"], "unexpected argument"),
    ] {
        let ran = Ran::of(&mut scene.publish(arguments.iter().copied()));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(complaint), "{}", ran.stderr);
    }
    for (arguments, complaint) in [
        (&["--upload"][..], "--upload needs a destination; give --artifact-uri"),
        (&["--upload", "--artifact-uri= "], "--upload needs a destination"),
        (&["--upload", "--artifact-uri=https://host/m.pt"], "use s3://, gs:// or az://"),
        (&["--upload", "--artifact-uri=s3://models"], "names a bucket, but no object"),
        (&["--upload", "--artifact-uri-template={name}/{basename}"], "no scheme"),
        (&["--artifact-uri-template=s3://models/{step}"], "needs a step, and the checkpoint's name has none"),
        (&["--version= "], "version label is blank"),
        (&["--write-metadata=model.pt"], "would overwrite"),
    ] {
        let line = Ran::of(&mut scene.publish(at.into_iter().chain(arguments.iter().copied()))).failed(2);
        assert!(line.contains(complaint), "{line}");
    }
    scene.nothing_was_done();
}

#[test]
fn the_help_has_examples_and_exit_codes() {
    let ran = Ran::of(&mut registry(["publish", "--help"]));
    assert_eq!(ran.code, 0);
    for text in ["Examples:", "--artifact-uri-template", "Exit codes:", "  5  conflict", "Running it again"] {
        assert!(ran.stdout.contains(text), "{text}");
    }
    assert!(!ran.stdout.contains('\u{1b}'), "no colour without a terminal");
}

#[test]
fn a_missing_file_or_folder_is_named() {
    let scene = Scene::new();
    fs::create_dir(scene.path("empty")).unwrap();
    scene.write("file.txt", "hello");
    scene.write("empty.pt", "");
    for (arguments, message) in [
        (["--checkpoint-path", "none.pt"], "none.pt does not exist"),
        (["--checkpoint-path", "empty"], "is a directory"),
        (["--checkpoint-path", "empty.pt"], "empty.pt is empty; publish it once"),
        (["--checkpoint-dir", "none"], "none does not exist"),
        (["--checkpoint-dir", "file.txt"], "file.txt is not a folder"),
        (["--checkpoint-dir", "empty"], "empty holds no checkpoint; checkpoints are named checkpoint_step_N"),
        (["--checkpoint-path=file.txt", "--config-path=file.txt"], "file.txt is not JSON"),
        (["--checkpoint-path=file.txt", "--write-metadata=none/m.json"], "there is no folder none"),
    ] {
        let line = Ran::of(&mut scene.publish(arguments)).failed(1);
        assert!(line.contains(message), "{line}");
    }
    assert_eq!(scene.gateway.requests("").len(), 0);
}

#[test]
fn a_file_name_that_is_not_utf_8_cannot_be_part_of_a_uri() {
    let scene = Scene::new();
    let path = scene.path("").join(OsStr::from_bytes(b"m\xff.pt"));
    fs::write(&path, "hello").unwrap();
    let with = |template: &str| {
        let mut command = scene.publish(["--version=v1", "--upload", "--artifact-uri-template", template]);
        command.arg("--checkpoint-path").arg(&path);
        Ran::of(&mut command)
    };
    let line = with("s3://models/m/{basename}").failed(2);
    assert!(line.contains("is not UTF-8; rename the file"), "{line}");
    let line = with("s3://models/m/{version}-{basename}").failed(2);
    assert!(line.contains("is not UTF-8"), "{line}");
    scene.nothing_was_done();
    assert_eq!(with("s3://models/m/{version}").code, 0);
}

#[test]
fn the_latest_checkpoint_of_a_folder_is_found() {
    let scene = Scene::new();
    for name in [
        "checkpoint_step_9.pt",
        "checkpoint_final_step_10.pt",
        "checkpoint_step_10.pt",
        "checkpoint_step_11.pt.tmp",
    ] {
        scene.write(name, "hello");
    }
    scene.write("checkpoint_step_12.pt", "");
    fs::create_dir(scene.path("checkpoint-500")).unwrap();
    let ran = Ran::of(&mut scene.publish([
        "--checkpoint-dir=.",
        "--artifact-uri-template=s3://models/{{x}}/{name}/{version}/{step}-{sha256}",
        "--dry-run",
    ]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&sent["version"], &sent["training_step"]), (&value!("final-step-10"), &value!(10)));
    assert_eq!(sent["artifact_uri"], value!(format!("s3://models/{{x}}/m/final-step-10/10-{HELLO}")));
    let ran =
        Ran::of(&mut scene.publish(["--checkpoint-dir=.", "--version=v1", "--training-step=7", "--dry-run"]));
    let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&sent["version"], &sent["training_step"]), (&value!("v1"), &value!(7)));
    assert_eq!(sent.get("artifact_uri"), None);
}

#[test]
fn a_dry_run_sends_nothing_and_needs_no_key() {
    let scene = Scene::new();
    let path = scene.write("model.bin", "hello");
    let metadata = scene.path("sent.json");
    let mut command = scene.upload(&path, ["--dry-run", "--write-metadata", metadata.to_str().unwrap()]);
    let ran = Ran::of(command.env_remove("CAIA_REGISTRY_API_KEY").env_remove("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.stderr,
        "dry run: nothing was uploaded or sent; 5 B would go to s3://models/m/model.bin, unless it is there already\n"
    );
    let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&sent["version"], &sent["checkpoint_sha256"]), (&value!("model"), &value!(HELLO)));
    assert_eq!(fs::read_to_string(&metadata).unwrap(), ran.stdout);
    assert_eq!((scene.gateway.requests("").len(), scene.store.requests("").len()), (0, 0));
}

#[test]
fn without_an_upload_only_metadata_is_sent() {
    let scene = Scene::new();
    scene.write("checkpoint_step_5.pt", "hello");
    scene.write("config.json", r#"{"d_model": 64}"#);
    let arguments = [
        "--checkpoint-dir=.",
        "--config-path=config.json",
        "--metrics-json={\"a\": 1}",
        "--training-loss=2.5",
    ];
    let ran = Ran::of(&mut scene.publish(arguments));
    assert_eq!(ran.code, 0, "{ran:?}");
    let model: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(model["artifact_uri"], value!(format!("sha256:{HELLO}")));
    assert_eq!((&model["d_model"], &model["metrics"]), (&value!(64), &value!({"a": 1})));
    let again = Ran::of(&mut scene.publish(arguments));
    assert_eq!((again.code, &again.stdout), (0, &ran.stdout), "{again:?}");
    assert_eq!(again.stderr, "m:step-5 is registered already, with id 1: nothing to do\n");
    assert_eq!(scene.store.requests("").len(), 0);
}

#[test]
fn metadata_is_written_once_the_version_is_registered() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let metadata = scene.path("sent.json");
    let flags = ["--write-metadata", metadata.to_str().unwrap()];
    scene.gateway.fate("POST ", 1, Fate::Answered(json(422, r#"{"detail":"no"}"#)));
    let ran = Ran::of(&mut scene.upload(&path, flags));
    assert!(ran.code == 1 && ran.stderr.contains("(fix that and run the same command again"), "{ran:?}");
    assert!(!metadata.exists(), "what was refused leaves no file");
    assert_eq!(Ran::of(&mut scene.upload(&path, flags)).code, 0);
    let written: Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(written["artifact_uri"], value!("s3://models/m/model.pt"));
    assert_eq!(written["checkpoint_sha256"], value!(HELLO));
}

#[test]
fn equivalent_spellings_of_a_uri_are_the_same() {
    let scene = Scene::new();
    scene.write("m.pt", "hello");
    let at = ["--checkpoint-path=m.pt"];
    for (version, flags) in [
        ("a", &["--upload", "--artifact-uri=S3://models/up/m.pt"][..]),
        ("b ", &["--upload", "--artifact-uri-template=s3://models/{name}/{version}"]),
        ("c", &["--artifact-uri=gcs://elsewhere/m.pt"]),
        ("d", &["--artifact-uri= https://elsewhere/m.pt "]),
    ] {
        let flags: Vec<_> = at.iter().chain(flags).chain(&["--version", version]).copied().collect();
        let first = Ran::of(&mut scene.publish(flags.iter().copied()));
        assert_eq!(first.code, 0, "{first:?}");
        let again = Ran::of(&mut scene.publish(flags.iter().copied()));
        assert_eq!((again.code, &again.stdout), (0, &first.stdout), "{again:?}");
        assert!(again.stderr.ends_with(": nothing to do\n"), "{again:?}");
    }
    let uri = |id: u64| scene.server.get(&format!("/models/{id}"))["artifact_uri"].clone();
    assert_eq!((uri(1), uri(3)), (value!("s3://models/up/m.pt"), value!("gs://elsewhere/m.pt")));
}

#[test]
fn a_version_with_other_bytes_is_a_conflict_before_anything_is_uploaded() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    assert_eq!(Ran::of(&mut scene.upload(&path, [])).code, 0);
    let uploads = scene.uploads();
    for (text, message) in
        [("longer than that", "5 bytes there and 16 bytes here"), ("HELLO", "sha256 2cf24dba")]
    {
        scene.write("model.pt", text);
        for flags in [&[][..], &["--force-upload"]] {
            let line = Ran::of(&mut scene.upload(&path, flags.iter().copied())).failed(5);
            assert!(line.contains("m:model is registered already, with id 1, and differs"), "{line}");
            assert!(line.contains(message) && line.contains("another version"), "{line}");
        }
    }
    let mut elsewhere = scene.publish(["--checkpoint-path=model.pt", "--artifact-uri=s3://models/other.pt"]);
    scene.write("model.pt", "hello");
    let line = Ran::of(&mut elsewhere).failed(5);
    assert!(line.contains("s3://models/m/model.pt there and s3://models/other.pt here"), "{line}");
    assert_eq!(scene.uploads(), uploads);
    assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), "hello");
}

#[test]
fn a_registration_that_fails_after_the_upload_is_finished_by_the_same_command() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let busy = json(503, r#"{"detail":"busy"}"#);
    scene.gateway.fate("POST ", 1, Fate::Answered(busy));
    let ran = Ran::of(&mut scene.upload(&path, []));
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
    let line = ran.stderr.lines().last().unwrap();
    for part in [
        "s3://models/m/model.pt is in place",
        "5 bytes",
        HELLO,
        "m:model is not registered",
        "the same command again",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(scene.uploads(), 1);
    let ran = Ran::of(&mut scene.upload(&path, []));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("is uploaded already") && ran.stderr.contains("registered m:model"),
        "{ran:?}"
    );
    assert_eq!(scene.uploads(), 1, "it was not uploaded again");
}

#[test]
fn after_a_lost_answer_the_registration_is_looked_up() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    scene.gateway.fate("POST ", 1, Fate::AnswerLost);
    let ran = Ran::of(&mut scene.upload(&path, []));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), scene.server.get("/models/1"));
    scene.write("model.pt", "other");
    scene.gateway.fate("POST ", 1, Fate::Dropped);
    let ran = Ran::of(&mut scene.upload(&path, ["--version=v2", "--force-upload"]));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("is in place") && ran.stderr.contains("m:v2 is not registered"), "{ran:?}");
}

#[test]
fn each_refusal_of_a_registry_has_its_exit_code_and_its_message() {
    let scene = Scene::new();
    scene.write("model.pt", "hello");
    let none = || json(404, r#"{"detail":"none"}"#);
    let fault = r#"{"detail":[{"type":"x","loc":["body","tags"],"msg":"no list","input":1}]}"#;
    for (answers, code, message) in [
        (vec![json(401, r#"{"detail":"no"}"#)], 4, "refused the API key"),
        (vec![json(503, r#"{"detail":"no key is set"}"#)], 3, "is unavailable: no key is set"),
        (vec![none(), json(401, r#"{"detail":"no"}"#)], 4, "refused the API key"),
        (
            vec![none(), json(409, r#"{"detail":"the gate needs a score"}"#), none()],
            5,
            "the gate needs a score",
        ),
        (vec![none(), json(413, r#"{"detail":"too large"}"#)], 1, "(413): too large"),
        (vec![none(), json(422, fault)], 1, "(422): body.tags: no list"),
        (vec![none(), json(503, r#"{"detail":"busy"}"#)], 3, "is unavailable: busy"),
        (vec![none(), String::new(), none()], 3, "did not answer"),
        (vec![json(200, "<html>")], 1, "does not answer like a registry"),
    ] {
        let fake = FakeRegistry::answering(answers);
        let mut command = registry(["publish", "--name", "m", "--checkpoint-path", "model.pt"]);
        command.args(["--registry-url", &fake.url, "--api-key", KEY]).current_dir(scene.folder.path());
        let line = Ran::of(&mut command).failed(code);
        assert!(line.contains(message), "{line}");
        fake.received();
    }
}
