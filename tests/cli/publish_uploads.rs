//! `registry publish` and the object store: what is uploaded, what is there already, and uploads that fail.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json as value};
use sha2::{Digest as _, Sha256};

use crate::{
    Ran,
    object_server::{Fault, Gate},
    scene::Scene,
    server::signal,
};

/// Three parts of an upload.
const SOME_PARTS: u64 = 20_000_000;

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
    assert!(registered.starts_with("registered m:step-500 with id 1 (300.0 MB, sha256 "), "{registered}");

    let key = "m/checkpoint_step_500.pt";
    assert_eq!(digest(&scene.store.path(key)), sha256);
    assert_eq!(scene.store.attributes(key)["user_metadata"]["sha256"], value!(sha256));
    assert_eq!(scene.store.unfinished(), [""; 0]);

    let (uploads, posts) = (scene.uploads(), scene.gateway.requests("POST").len());
    let again = Ran::of(&mut scene.upload(&path, ["--skip-upload-if-exists"]));
    assert_eq!((again.code, &again.stdout), (0, &ran.stdout), "{again:?}");
    assert!(
        again.stderr.ends_with("m:step-500 is registered already, with id 1: nothing to do\n"),
        "{again:?}"
    );
    assert_eq!((scene.uploads(), scene.gateway.requests("POST").len()), (uploads, posts));
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
    assert!(lines[2].starts_with("registered m:model with id 1"), "{ran:?}");
    assert_eq!(scene.store.requests("GET /models/m/model.pt").len(), 1);
    assert_eq!(scene.uploads(), 0);
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
        ran.stderr.starts_with("uploaded ") && ran.stderr.ends_with("is registered already, with id 1\n"),
        "{ran:?}"
    );
    assert_eq!(fs::read_to_string(scene.store.path("m/model.pt")).unwrap(), "hello");
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
    for name in ["INT", "TERM"] {
        let scene = Scene::new();
        let path = scene.path("model.pt");
        large(&path, SOME_PARTS);
        let gate = Gate::new();
        scene.store.fault("partNumber=2&", 1, Fault::Hold(gate.clone()));
        let child = spawned(&mut scene.upload(&path, []));
        gate.wait_for_a_request();
        signal(child.id(), name);
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
