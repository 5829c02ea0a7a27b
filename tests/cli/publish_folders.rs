//! Folders: `publish`, `ingest`, `verify`, `files` and `show` with all files of a model.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{KEY, Ran, at, server::Server};

/// A server, with an artifact store if `with_store`, and a folder for models.
struct Scene {
    server: Server,
    folder: TempDir,
}

impl Scene {
    fn new(with_store: bool) -> Self {
        let (place, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let blobs = format!("file://{}/blobs", place.path().display());
        let server = Server::with(place, 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY);
            if with_store {
                command.env("CAIA_REGISTRY_ARTIFACT_STORE", blobs);
            }
        });
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a model in two shards.
    fn model(&self, name: &str) {
        let index = json!({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}});
        self.write(&format!("{name}/model.safetensors.index.json"), index.to_string().as_bytes());
        self.write(&format!("{name}/model-1.safetensors"), &safetensors(3_000_000));
        self.write(&format!("{name}/model-2.safetensors"), &safetensors(10));
        self.write(&format!("{name}/config.json"), br#"{"hidden_size": 384, "vocab_size": 30522}"#);
        self.write(&format!("{name}/sub/tokenizer.json"), b"{}");
        self.write(&format!("{name}/.git/HEAD"), b"ref");
        self.write(&format!("{name}/optimizer.pt"), b"state");
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let cache = self.path("cache");
        Ran::of(at(&self.server.url, arguments).current_dir(self.folder.path()).env("XDG_CACHE_HOME", cache))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

/// Returns a file with one tensor of this many bytes.
fn safetensors(bytes: usize) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#);
    let data = (0..bytes).map(|at| (at * 31 % 251) as u8);
    (header.len() as u64).to_le_bytes().into_iter().chain(header.into_bytes()).chain(data).collect()
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_folder_goes_into_the_store_of_the_registry_once() {
    let scene = Scene::new(true);
    scene.model("m");
    let ran = scene.run(&["publish", "tiny", "m"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in [
        "kept out: .git/",
        "uploaded 6 files (3.0 MB) of 6 files to the registry's store",
        "registered tiny:1 with id 1 (6 files, 3.0 MB",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    let version: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&version["stored"], &version["file_count"]), (&json!(true), &json!(6)));
    assert_eq!((&version["d_model"], &version["vocab_size"]), (&json!(384), &json!(30522)));
    assert_eq!(version["artifact_uri"], format!("sha256:{}", version["digest"].as_str().unwrap()));

    let again = scene.run(&["publish", "tiny", "m"]);
    assert!(
        again.code == 0 && again.stderr.contains("tiny:1 is registered already, with id 1: nothing to do"),
        "{again:?}"
    );
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap(), version);
    let same = scene.run(&["publish", "tiny", "m", "--version", "v2", "--tag", "x"]);
    assert!(same.stderr.contains("all 6 files are in the registry's store"), "{same:?}");
    let without = scene.json(&["publish", "tiny", "m", "--version", "v3", "--without-optimizer"]);
    assert_eq!(without["file_count"], 5);
    let other = scene.run(&["publish", "tiny", "m", "--version", "v2", "--without-optimizer"]);
    assert!(
        other.code == 5 && other.stderr.contains("tiny:v2 is registered already, with id 2, and differs"),
        "{other:?}"
    );

    let listed = scene.json(&["files", "tiny:v2", "--json"]);
    let paths: Vec<_> =
        listed.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let expected = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "optimizer.pt",
        "sub/tokenizer.json",
    ];
    assert_eq!(paths, expected);
    let in_folder = scene.run(&["files", "tiny#1", "sub"]).shown();
    assert!(in_folder.contains("sub/tokenizer.json") && !in_folder.contains("config.json"), "{in_folder}");
    let shown = scene.run(&["show", "tiny:v2"]).shown();
    assert!(shown.contains("Files\n  files                    6\n"), "{shown}");

    scene.run(&["verify", "tiny:v2", "m"]).done();
    scene.write("m/sub/tokenizer.json", b"[]");
    scene.write("m/extra", b"x");
    fs::remove_file(scene.path("m/config.json")).unwrap();
    let differs = scene.run(&["verify", "tiny:v2", "m"]);
    assert_eq!(differs.code, 1);
    for text in
        ["missing: config.json", "not the registered ones: sub/tokenizer.json", "not registered: extra"]
    {
        assert!(differs.stderr.contains(text), "{text}: {}", differs.stderr);
    }
}

#[test]
fn the_label_is_given_or_the_step_or_the_number() {
    let scene = Scene::new(true);
    scene.model("checkpoint-500");
    scene.write("w.bin", b"weights");
    for (arguments, label, step) in [
        (&["checkpoint-500"][..], "step-500", json!(500)),
        (&["checkpoint-500", "--training-step", "7"], "step-7", json!(7)),
        (&["checkpoint-500", "--version", "final"], "final", json!(500)),
        (&["w.bin"], "4", Value::Null),
    ] {
        let arguments = [&["publish", "m"][..], arguments].concat();
        let version = scene.json(&arguments);
        assert_eq!((&version["label"], &version["training_step"]), (&json!(label), &step), "{arguments:?}");
    }
    let one = scene.json(&["show", "m:4", "--json"]);
    assert_eq!((&one["checkpoint_size_bytes"], &one["version"]), (&json!(7), &json!("4")));
}

#[test]
fn without_a_store_a_folder_is_registered_as_a_reference_and_the_command_says_so() {
    let scene = Scene::new(false);
    scene.model("m");
    let ran = scene.run(&["publish", "tiny", "m"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let reference = "this is a reference: nothing was uploaded, and nothing remote was checked";
    assert!(ran.stderr.contains(reference), "{}", ran.stderr);
    let version: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&version["stored"], &version["file_count"]), (&json!(false), &json!(6)));
    let placed = scene.run(&["publish", "tiny", "m", "--version", "v1", "--artifact-uri", "s3://b/tiny"]);
    assert!(placed.stderr.contains(&format!("{reference}; --check looks")), "{placed:?}");
    assert!(placed.stdout.contains("\"artifact_uri\": \"s3://b/tiny\""), "{placed:?}");
    let moved = scene.run(&["publish", "tiny", "m", "--version", "v1", "--artifact-uri", "s3://b/other"]);
    assert!(
        moved.code == 5 && moved.stderr.contains("its URI is s3://b/tiny there and s3://b/other here"),
        "{moved:?}"
    );
    let nowhere = scene.run(&["publish", "tiny", "m", "--check"]);
    assert!(nowhere.code == 2 && nowhere.stderr.contains("need the place of the files"), "{nowhere:?}");

    let ingested = scene.json(&["ingest", "--name", "i", "--version", "1", "--checkpoint-path", "m"]);
    assert_eq!((&ingested["digest"], &ingested["stored"]), (&version["digest"], &json!(false)));
    let dry = scene.json(&["publish", "tiny", "m", "--dry-run", "--registry-url", "http://localhost:1"]);
    assert_eq!((&dry["digest"], dry["files"].as_array().unwrap().len()), (&version["digest"], 6));
}

#[test]
fn what_is_not_a_whole_model_is_refused_and_nothing_is_stored() {
    type Change = fn(&Scene);
    let changes: [(&str, &str, Change); 9] = [
        ("m", "is a pointer of Git LFS", |scene| {
            scene.write(
                "m/model-2.safetensors",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            );
        }),
        ("m", "is cut off: its header announces", |scene| {
            let whole = safetensors(10);
            scene.write("m/model-2.safetensors", &whole[..whole.len() - 1]);
        }),
        ("m", "names files that are not there: model-2.safetensors", |scene| {
            fs::remove_file(scene.path("m/model-2.safetensors")).unwrap();
        }),
        ("m", "is empty", |scene| scene.write("m/config.json", b"")),
        ("m", "is a link out of the folder", |scene| {
            scene.write("outside", b"x");
            symlink(scene.path("outside"), scene.path("m/link")).unwrap();
        }),
        ("m", "has a control character", |scene| scene.write("m/a\nb", b"x")),
        ("m", "differ only in case", |scene| scene.write("m/CONFIG.json", b"{}")),
        ("m/model.safetensors.index.json", "is an index of 2 files, not a model; give the folder", |_| {}),
        ("none", "does not exist", |_| {}),
    ];
    let scene = Scene::new(true);
    for (path, problem, change) in changes {
        let _ = fs::remove_dir_all(scene.path("m"));
        scene.model("m");
        change(&scene);
        let ran = scene.run(&["publish", "m", path]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{problem}: {ran:?}");
        assert!(ran.stderr.contains(problem), "{problem}: {}", ran.stderr);
    }
    assert_eq!(scene.json(&["list", "--json"]), json!([]));
    let index = "m/model.safetensors.index.json";
    let old = scene.run(&["ingest", "--name", "m", "--version", "1", "--checkpoint-path", index]);
    assert!(old.code == 1, "{old:?}");
    let blobs = scene.server.db_path().with_file_name("blobs");
    assert_eq!(count_files(&blobs), 0, "nothing was uploaded");
}

#[test]
fn the_rules_of_the_folder_keep_files_out() {
    let scene = Scene::new(true);
    scene.model("m");
    scene.write("m/.registryignore", b"*.json\n!config.json\n/sub/\n");
    let version = scene.json(&["publish", "m", "m", "--without-optimizer"]);
    assert_eq!(version["file_count"], 3);
    let names = scene.run(&["files", "m#1", "-o", "name"]).shown();
    assert_eq!(names, "config.json\nmodel-1.safetensors\nmodel-2.safetensors\n");
}

#[test]
fn a_folder_goes_into_a_bucket_file_by_file_and_check_looks_there() {
    let scene = crate::scene::Scene::new();
    let write = |name: &str, content: &[u8]| {
        let path = scene.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("m/model.safetensors", &safetensors(100_000));
    write("m/sub/config.json", b"{}");
    let at_uri = ["publish", "m", "m", "--artifact-uri", "s3://models/m/v1/"];
    let publish = |more: &[&'static str]| Ran::of(&mut scene.command(at_uri.iter().chain(more).copied()));
    let missing = publish(&["--check", "--version", "v1"]);
    assert!(missing.code == 1 && missing.stdout.is_empty(), "{missing:?}");
    let uploaded = publish(&["--upload", "--version", "v1"]);
    assert_eq!(uploaded.code, 0, "{uploaded:?}");
    for (key, path) in
        [("m/v1/model.safetensors", "m/model.safetensors"), ("m/v1/sub/config.json", "m/sub/config.json")]
    {
        assert_eq!(fs::read(scene.store.path(key)).unwrap(), fs::read(scene.path(path)).unwrap(), "{key}");
    }
    let puts = scene.uploads();
    let again = publish(&["--upload", "--version", "v1"]);
    assert!(
        again.code == 0 && again.stderr.contains("nothing to do") && scene.uploads() == puts,
        "{again:?}"
    );
    let checked = publish(&["--check", "--version", "v2"]);
    assert!(
        checked.code == 0 && checked.stderr.contains("checked 2 files at s3://models/m/v1/"),
        "{checked:?}"
    );
    write("m/sub/config.json", b"{ }");
    let differs = publish(&["--check", "--version", "v3"]);
    assert!(
        differs.code == 5 && differs.stderr.contains("is another object than \"sub/config.json\""),
        "{differs:?}"
    );
}
