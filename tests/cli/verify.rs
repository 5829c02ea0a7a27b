//! `registry verify`, against a real registry and a real S3 server.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    KEY, Ran,
    object_server::{Fault, ObjectServer, SECRET_KEY},
    registry,
    server::Server,
};

/// `hello`, by `sha256sum`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// A registry that knows `m:v1` to be the five bytes `hello`.
struct Verifying {
    server: Server,
    objects: ObjectServer,
    folder: TempDir,
}

impl Verifying {
    fn start() -> Self {
        let server = Server::start();
        server.post(
            "/models",
            &json!({"name": "m", "version": "v1", "artifact_uri": "s3://models/m.pt",
                    "checkpoint_sha256": HELLO, "checkpoint_size_bytes": 5}),
        );
        Self { server, objects: ObjectServer::with_bucket(), folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn verify<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = registry(["verify"].into_iter().chain(arguments));
        command.args(["--api-key", KEY, "--registry-url", &self.server.url]);
        self.objects.env(&mut command);
        command
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_artifact_that_is_registered_as_a_local_file_is_read() {
    let verifying = Verifying::start();
    let path = verifying.file("my model.pt", "hello");
    let uri = format!("file://{}", text(&path).replace(' ', "%20"));
    verifying.server.post(
        "/models",
        &json!({"name": "m", "version": "v2", "artifact_uri": uri, "checkpoint_sha256": HELLO}),
    );
    let ran = verifying.verify(["m:v2"]);
    assert_eq!((ran.code, ran.stdout), (0, format!("m:v2 is {uri}: 5 B, sha256 {HELLO:.12}…\n")));
    fs::write(&path, "hallo").unwrap();
    assert!(verifying.verify(["m:v2"]).failed(1).contains("is not m:v2: its sha256 is "));
}

#[test]
fn a_matching_file_is_confirmed() {
    let verifying = Verifying::start();
    let path = verifying.file("model.pt", "hello");
    for model in ["m:v1", "1"] {
        let ran = verifying.verify([model, text(&path)]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert_eq!(ran.stdout, format!("m:v1 is {}: 5 B, sha256 {:.12}…\n", text(&path), HELLO));
    }
    let ran = verifying.verify(["m:v1", text(&path), "--json"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = json!({
        "model": 1, "name": "m", "version": "v1", "source": text(&path), "matches": true,
        "expected": {"sha256": HELLO, "size_bytes": 5}, "found": {"sha256": HELLO, "size_bytes": 5},
    });
    assert_eq!((ran.code, said), (0, expected));
}

#[test]
fn differences_are_named() {
    let verifying = Verifying::start();
    let (longer, other) = (verifying.file("longer", "hello!"), verifying.file("other", "hallo"));
    let refused = verifying.verify(["m:v1", text(&longer)]).failed(1);
    assert!(refused.contains("longer is not m:v1: it has 6 bytes, expected 5"), "{refused}");
    let refused = verifying.verify(["m:v1", text(&other)]).failed(1);
    assert!(refused.contains("other is not m:v1: its sha256 is ") && refused.contains(HELLO), "{refused}");

    let ran = verifying.verify(["m:v1", text(&longer), "--json"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        (&said["matches"], &said["found"]),
        (&json!(false), &json!({"sha256": null, "size_bytes": 6}))
    );
    assert!(ran.stderr.contains("is not m:v1"), "{ran:?}");
}

#[test]
fn the_object_that_the_registry_names_is_read() {
    let verifying = Verifying::start();
    let refused = verifying.verify(["m:v1"]).failed(1);
    assert!(refused.contains("s3://models/m.pt does not exist"), "{refused}");

    fs::write(verifying.objects.path("m.pt"), "hello").unwrap();
    fs::write(verifying.objects.path("other.pt"), "hallo").unwrap();
    fs::write(verifying.objects.path("longer.pt"), "hello!").unwrap();
    let ran = verifying.verify(["m:v1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout, format!("m:v1 is s3://models/m.pt: 5 B, sha256 {HELLO:.12}…\n"));
    let refused = verifying.verify(["m:v1", "s3://models/other.pt"]).failed(1);
    assert!(refused.contains("its sha256 is"), "{refused}");
    let refused = verifying.verify(["m:v1", "s3://models/longer.pt"]).failed(1);
    assert!(refused.contains("it has 6 bytes, expected 5"), "{refused}");
    assert_eq!(verifying.objects.requests("GET /models/longer.pt"), [""; 0], "its size tells enough");
}

#[test]
fn each_failure_of_the_store_has_its_exit_code() {
    let verifying = Verifying::start();
    fs::write(verifying.objects.path("m.pt"), "hello").unwrap();
    let dead = ["--s3-endpoint-url", "http://127.0.0.1:9"];
    for (secret, arguments, code, expected) in [
        ("wrong", &[][..], 4, "check AWS_SECRET_ACCESS_KEY"),
        ("", &[], 2, "AWS_SECRET_ACCESS_KEY is not; set both"),
        (SECRET_KEY, &dead[..], 3, "no object store at http://127.0.0.1:9"),
        (SECRET_KEY, &["--s3-endpoint-url", "nowhere"], 2, "is not a URL"),
    ] {
        let mut command = verifying.command(["m:v1"]);
        let refused = Ran::of(command.env("AWS_SECRET_ACCESS_KEY", secret).args(arguments)).failed(code);
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains(SECRET_KEY) && !refused.contains("wrong"), "{refused}");
    }
    let refused = verifying.verify(["m:v1", "s3://none/m.pt"]).failed(1);
    assert!(refused.contains("there is no bucket \"none\""), "{refused}");
    verifying.objects.fault("GET /models/m.pt", 1, Fault::CutAnswer(2));
    assert_eq!(verifying.verify(["m:v1"]).code, 0, "a stream that breaks off is taken up again");
}

#[test]
fn an_artifact_that_cannot_be_verified_is_an_error_with_the_reason() {
    let verifying = Verifying::start();
    verifying
        .server
        .post("/models", &json!({"name": "m", "version": "bare", "artifact_uri": "s3://models/b"}));
    let by_digest = json!({"name": "m", "version": "digest", "checkpoint_sha256": HELLO});
    verifying.server.post("/models", &by_digest);
    for (arguments, code, expected) in [
        (&["m:bare", "x"][..], 1, "m:bare was registered without a digest"),
        (&["m:v1", "/no/such/file"], 1, "/no/such/file does not exist"),
        (&["m:v1", "ftp://host/file"], 2, "ftp:// is not supported"),
        (&["m:v1", "s3://models"], 2, "names a bucket, but no object"),
        (&["m:digest"], 2, "give the file to verify"),
        (&["m:none", "x"], 1, "there is no version m:none"),
    ] {
        let refused = verifying.verify(arguments.iter().copied()).failed(code);
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
    let path = verifying.file("model.pt", "hello");
    assert_eq!(
        verifying.verify(["m:digest", text(&path)]).code,
        0,
        "a size that is not registered is not compared"
    );
}

#[test]
fn a_file_whose_name_is_not_utf_8_is_verified() {
    let verifying = Verifying::start();
    let path = verifying.folder.path().join(OsStr::from_bytes(b"m\xff.pt"));
    fs::write(&path, "hello").unwrap();
    let ran = Ran::of(verifying.command(["m:v1"]).arg(&path));
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn the_uri_of_a_store_is_never_a_path() {
    let verifying = Verifying::start();
    fs::create_dir_all(verifying.folder.path().join("s3:/models")).unwrap();
    fs::write(verifying.folder.path().join("s3:/models/m.pt"), "hello").unwrap();
    let mut command = verifying.command(["m:v1", "s3://models/m.pt"]);
    let line = Ran::of(command.current_dir(verifying.folder.path())).failed(1);
    assert!(line.contains("s3://models/m.pt"), "{line}");
    let mut command = verifying.command(["m:v1", "./s3://models/m.pt"]);
    assert_eq!(Ran::of(command.current_dir(verifying.folder.path())).code, 0);
}
