//! `registry publish`, against a real registry and a real S3 server.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json as value};
use sha2::{Digest as _, Sha256};

use crate::{
    KEY, Ran,
    fake_registry::{FakeRegistry, json},
    gateway::Fate,
    object_server::{Fault, Gate},
    registry,
    scene::Scene,
};

/// `hello`, by `sha256sum`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
/// Three parts of an upload.
const SOME_PARTS: u64 = 20_000_000;

impl Scene {
    /// Returns a checkpoint that holds `text`.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// `registry publish --name m` with these arguments, at this registry and this store.
    fn publish<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(["publish", "--name", "m"].into_iter().chain(arguments))
    }

    /// Returns the same, uploading to `models/m/{basename}`.
    fn upload<'a>(&self, path: &'a Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let path = path.to_str().unwrap();
        let fixed =
            ["--checkpoint-path", path, "--upload", "--artifact-uri-template=s3://models/m/{basename}"];
        self.publish(fixed.into_iter().chain(arguments))
    }

    /// Asserts that neither the registry nor the store has anything, not even parts.
    #[track_caller]
    fn nothing_was_done(&self) {
        assert_eq!(self.server.get("/models"), value!([]));
        assert!(!self.store.path("m").exists(), "no object");
        assert_eq!(self.store.unfinished(), [""; 0]);
    }

    fn uploads(&self) -> usize {
        self.store.requests("PUT ").len()
    }
}

/// Returns a file that takes no time to make, with something of its own here and there.
fn large(path: &Path, bytes: u64) -> String {
    let mut file = File::create(path).unwrap();
    for at in (0..bytes - 9).step_by(5_000_000) {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&at.to_le_bytes()).unwrap();
    }
    file.set_len(bytes).unwrap();
    digest(path)
}

fn digest(path: &Path) -> String {
    let (mut file, mut hasher, mut buffer) = (File::open(path).unwrap(), Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hex::encode(hasher.finalize()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn spawned(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Ran {
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn a_large_checkpoint_is_uploaded_over_a_broken_connection_and_registered_once() {
    let scene = Scene::new();
    let path = scene.path("checkpoint_step_500.pt");
    let sha256 = large(&path, 300_000_000);
    scene.store.fault("partNumber=3&", 1, Fault::CutRequest(1_000_000));
    scene.store.fault("partNumber=20&", 2, Fault::Answer(503));
    let ran = Ran::of(&mut scene.upload(&path, ["--tag=demo"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let model: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(model, scene.server.get("/models/by-name/m/step-500"));
    for (field, expected) in [
        ("artifact_uri", value!("s3://models/m/checkpoint_step_500.pt")),
        ("checkpoint_sha256", value!(sha256)),
        ("checkpoint_size_bytes", value!(300_000_000)),
        ("training_step", value!(500)),
        ("tags", value!(["demo"])),
        ("created_by", value!("ann")),
    ] {
        assert_eq!(model[field], expected, "{field}");
    }
    let lines: Vec<_> = ran.stderr.lines().collect();
    let [uploaded, registered] = lines.as_slice() else { panic!("{ran:?}") };
    assert!(
        uploaded.starts_with("uploaded s3://models/m/checkpoint_step_500.pt (300.0 MB, sha256 "),
        "{uploaded}"
    );
    assert!(uploaded.contains(" s, ") && uploaded.ends_with("B/s"), "{uploaded}");
    assert!(registered.starts_with("registered m:step-500 as model 1 (300.0 MB, sha256 "), "{registered}");

    let key = "m/checkpoint_step_500.pt";
    assert_eq!(digest(&scene.store.path(key)), sha256);
    assert_eq!(scene.store.attributes(key)["user_metadata"]["sha256"], value!(sha256));
    assert_eq!(scene.store.unfinished(), [""; 0]);

    let (uploads, posts) = (scene.uploads(), scene.gateway.requests("POST").len());
    let again = Ran::of(&mut scene.upload(&path, ["--skip-upload-if-exists"]));
    assert_eq!((again.code, &again.stdout), (0, &ran.stdout), "{again:?}");
    assert!(
        again.stderr.ends_with("m:step-500 is registered already, as model 1: nothing to do\n"),
        "{again:?}"
    );
    assert_eq!((scene.uploads(), scene.gateway.requests("POST").len()), (uploads, posts));
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
    let path = scene.write("model.safetensors", "hello");
    let metadata = scene.path("sent.json");
    let mut command = scene.upload(&path, ["--dry-run", "--write-metadata", metadata.to_str().unwrap()]);
    let ran = Ran::of(command.env_remove("CAIA_REGISTRY_API_KEY").env_remove("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.stderr,
        "dry run: nothing was uploaded or sent; 5 B would go to s3://models/m/model.safetensors, unless it is there already\n"
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
    assert_eq!(again.stderr, "m:step-5 is registered already, as model 1: nothing to do\n");
    assert_eq!(scene.store.requests("").len(), 0);
}

#[test]
fn an_invalid_command_line_is_refused() {
    let scene = Scene::new();
    scene.write("model.pt", "hello");
    let at = ["--checkpoint-path=model.pt"];
    for (arguments, complaint) in [
        (&[][..], "<--checkpoint-path <FILE>|--checkpoint-dir <DIR>>"),
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
        (&["--version= "], "version is blank"),
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
fn a_refusal_of_the_store_is_one_line_and_nothing_is_registered() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let line = Ran::of(scene.upload(&path, []).env("AWS_SECRET_ACCESS_KEY", "wrong")).failed(4);
    assert!(line.contains("refused the credentials") && line.contains("AWS_SECRET_ACCESS_KEY"), "{line}");
    let line = Ran::of(scene.upload(&path, []).env_remove("AWS_SECRET_ACCESS_KEY")).failed(2);
    assert!(line.contains("AWS_SECRET_ACCESS_KEY is not; set both"), "{line}");
    assert_eq!(scene.gateway.requests("POST ").len(), 0);
    let mut command =
        scene.publish(["--upload", "--checkpoint-path=model.pt", "--artifact-uri=s3://none/m.pt"]);
    let line = Ran::of(&mut command).failed(1);
    assert!(line.contains("there is no bucket \"none\"") && line.contains("create it first"), "{line}");
    scene.nothing_was_done();
}

#[test]
fn an_object_that_differs_is_a_conflict_unless_forced() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    fs::create_dir(scene.store.path("m")).unwrap();
    for (there, message) in [("hello, you", "it holds 10 bytes, the file 5"), ("HELLO", "its sha256 is ")] {
        fs::write(scene.store.path("m/model.pt"), there).unwrap();
        for flags in [&[][..], &["--skip-upload-if-exists"]] {
            let ran = Ran::of(&mut scene.upload(&path, flags.iter().copied()));
            assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
            let line = ran.stderr.lines().last().unwrap();
            assert!(
                line.starts_with("error: ") && line.contains(message) && line.contains("--force-upload"),
                "{line}"
            );
        }
        assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), there);
    }
    assert_eq!((scene.uploads(), scene.server.get("/models")), (0, value!([])));
    assert_eq!(Ran::of(&mut scene.upload(&path, ["--force-upload"])).code, 0);
    assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), "hello");
}

#[test]
fn an_object_of_another_tool_with_the_same_bytes_is_not_uploaded_again() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    fs::create_dir(scene.store.path("m")).unwrap();
    fs::write(scene.store.path("m/model.pt"), "hello").unwrap();
    let ran = Ran::of(&mut scene.upload(&path, []));
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(lines[0].contains("exists without a sha256; reading it back"), "{ran:?}");
    assert!(lines[1].starts_with("s3://models/m/model.pt is uploaded already (5 B"), "{ran:?}");
    assert!(lines[2].starts_with("registered m:model as model 1"), "{ran:?}");
    assert_eq!(scene.store.requests("GET /models/m/model.pt").len(), 1);
    assert_eq!(scene.uploads(), 0);
}

#[test]
fn an_object_that_another_publisher_created_during_the_upload_is_a_conflict() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let gate = Gate::new();
    scene.store.fault("PUT /models/m/model.pt ", 1, Fault::Hold(gate.clone()));
    let child = spawned(&mut scene.upload(&path, []));
    gate.wait_for_a_request();
    fs::create_dir(scene.store.path("m")).unwrap();
    fs::write(scene.store.path("m/model.pt"), "other").unwrap();
    gate.open();
    let line = ended(child).failed(5);
    assert!(
        line.contains("was created by another client during this command and was not replaced"),
        "{line}"
    );
    assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), "other");
    assert_eq!(scene.server.get("/models"), value!([]));
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
            assert!(line.contains("m:model is registered already, as model 1, and differs"), "{line}");
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
fn a_lost_object_is_uploaded_again_for_its_version() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let first = Ran::of(&mut scene.upload(&path, []));
    fs::remove_file(scene.store.path("m/model.pt")).unwrap();
    let ran = Ran::of(&mut scene.upload(&path, []));
    assert_eq!((ran.code, &ran.stdout), (0, &first.stdout), "{ran:?}");
    assert!(
        ran.stderr.starts_with("uploaded ") && ran.stderr.ends_with("is registered already, as model 1\n"),
        "{ran:?}"
    );
    assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), "hello");
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

#[test]
fn a_file_that_changes_while_it_is_uploaded_leaves_nothing() {
    let scene = Scene::new();
    let path = scene.path("model.pt");
    large(&path, SOME_PARTS);
    let gate = Gate::new();
    scene.store.fault("partNumber=1&", 1, Fault::Hold(gate.clone()));
    let child = spawned(&mut scene.upload(&path, []));
    gate.wait_for_a_request();
    let mut file = File::options().write(true).open(&path).unwrap();
    file.write_all(b"changed").unwrap();
    drop(file);
    gate.open();
    let line = ended(child).failed(1);
    assert!(line.contains("model.pt changed while it was read"), "{line}");
    scene.nothing_was_done();
}

#[test]
fn a_signal_in_the_middle_of_an_upload_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let scene = Scene::new();
        let path = scene.path("model.pt");
        large(&path, SOME_PARTS);
        let gate = Gate::new();
        scene.store.fault("partNumber=2&", 1, Fault::Hold(gate.clone()));
        let child = spawned(&mut scene.upload(&path, []));
        gate.wait_for_a_request();
        crate::server::signal(child.id(), signal);
        let ran = ended(child);
        assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
        assert!(
            ran.stderr.contains("error: interrupted; s3://models/m/model.pt is as it was before"),
            "{ran:?}"
        );
        scene.nothing_was_done();
        gate.open();
    }
}

/// Starts a proxy that tunnels every connection to `target`. Returns its address.
fn tunnel(target: &str) -> String {
    let (listener, target) = (TcpListener::bind("127.0.0.1:0").unwrap(), target.to_owned());
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&target).unwrap());
            thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    client.read_exact(&mut byte)?;
                    head.push(byte[0]);
                }
                assert!(head.starts_with(b"CONNECT store.example:80 HTTP/1.1"), "{head:?}");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
                thread::spawn(move || io::copy(&mut from_server, &mut to_client));
                io::copy(&mut client, &mut server)
            });
        }
    });
    address
}

#[test]
fn a_store_is_reached_through_a_proxy() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let proxy = tunnel(scene.store.url.strip_prefix("http://").unwrap());
    let mut command = scene.upload(&path, []);
    command.env("AWS_ENDPOINT_URL", "http://store.example").env("HTTP_PROXY", format!("http://{proxy}"));
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), "hello");
}

#[test]
fn a_uri_may_hold_the_digest() {
    let scene = Scene::new();
    let path = scene.path("model.pt");
    let sha256 = large(&path, SOME_PARTS);
    let arguments =
        ["--checkpoint-path=model.pt", "--upload", "--artifact-uri-template=s3://models/{sha256}"];
    for code in [0, 0] {
        assert_eq!(Ran::of(&mut scene.publish(arguments)).code, code);
    }
    assert_eq!(digest(&scene.store.path(&sha256)), sha256);
    assert_eq!(scene.server.get("/models/1")["artifact_uri"], value!(format!("s3://models/{sha256}")));
    assert_eq!(scene.store.requests("partNumber=1&").len(), 1);
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
fn the_store_may_be_named_in_the_configuration_file() {
    let scene = Scene::new();
    let path = scene.write("model.pt", "hello");
    let config = scene.path("registry.toml");
    fs::write(&config, format!("s3_endpoint_url = {:?}\n", scene.store.url)).unwrap();
    let mut command = scene.upload(&path, ["--config", config.to_str().unwrap()]);
    assert_eq!(Ran::of(command.env_remove("AWS_ENDPOINT_URL")).code, 0);
    let line = Ran::of(command.env("AWS_ENDPOINT_URL", "not a URL")).stderr;
    assert!(line.contains("not a URL"), "the variable wins: {line}");
}
