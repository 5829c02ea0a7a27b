//! `registry pull` and `registry cat`, against a real registry with a real artifact store.

mod faults;
mod references;
mod scene;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Ran, left_out::left_out, postgres_cluster::TestDatabase};
use scene::{PullScene, files_below};

#[test]
fn a_version_is_pulled_whole_and_the_next_time_from_the_cache() {
    let scene = PullScene::with_model();
    let (out, _) = scene.pull(["m:v1"]).done();
    assert_eq!(out, "m:v1 is in m: 4 files, 21.0 MB (4 fetched)\n");
    assert_eq!(files_below(&scene.path("m")), scene.model);
    assert_eq!(fs::metadata(scene.path("m/config.json")).unwrap().permissions().mode() & 0o200, 0o200);

    let (out, _) = scene.pull(["m:v1"]).done();
    assert_eq!(out, "m:v1 is in m: 4 files, 21.0 MB (4 there already)\n");

    let (out, _) = scene.pull(["m#1", "--to", "a/b", "--json"]).done();
    let result: Value = serde_json::from_str(&out).unwrap();
    for (field, expected) in [
        ("fetched", json!(0)),
        ("fetched_bytes", json!(0)),
        ("cached", json!(4)),
        ("files", json!(4)),
        ("model", json!("m")),
        ("number", json!(1)),
        ("folder", json!("a/b")),
    ] {
        assert_eq!(result[field], expected, "{field}: {out}");
    }
    assert_eq!(files_below(&scene.path("a/b")), scene.model);
    let inode = |path: &str| fs::metadata(scene.path(path)).unwrap().ino();
    assert_ne!(inode("m/config.json"), inode("a/b/config.json"), "a small file is a copy");
    let linked = inode("m/weights.dat") == inode("a/b/weights.dat");
    let (out, _) = scene.pull(["m:v1", "--to", "c", "--copy"]).done();
    assert!(out.ends_with("(4 from the cache)\n"), "{out}");
    let mode = fs::metadata(scene.path("c/weights.dat")).unwrap().permissions().mode();
    assert_eq!(mode & 0o200, 0o200, "a copy can be changed");
    // On a file system with reflinks they are files of their own.
    assert!(linked || fs::metadata(scene.path("m/weights.dat")).unwrap().nlink() == 1);
}

#[test]
fn a_registry_over_postgres_is_published_to_and_pulled_from_in_the_same_way() {
    let Some(database) = TestDatabase::create() else {
        return left_out("PostgreSQL is not installed, so nothing is pulled from a server over it");
    };
    let scene = PullScene::over_postgres(&database.url());
    let (registered, _) = scene.run(["publish", "org/m", "source", "--version", "v1"]).done();
    let version: Value = serde_json::from_str(&registered).unwrap();
    for reference in ["org/m:v1", "org/m#1", "org/m@champion"] {
        if reference.ends_with("champion") {
            scene.run(["alias", "set", "org/m", "champion", "org/m#1"]).done();
        }
        let (out, _) = scene.pull([reference, "--to", reference, "--json"]).done();
        let pulled: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&pulled["digest"], &pulled["files"]), (&version["digest"], &json!(4)), "{reference}");
        assert_eq!(files_below(&scene.path(reference)), scene.model, "{reference}");
    }
    let missing = scene.pull(["org/m@production"]).failed(1);
    assert!(missing.contains("no version is in production"), "{missing}");
}

/// After a power loss, no name may lead to an empty file.
#[test]
fn files_are_on_the_disk_before_they_have_their_names() {
    let scene = PullScene::start();
    for (version, files) in [("few", 1), ("many", 101)] {
        fs::create_dir(scene.path(version)).unwrap();
        for number in 1..=files {
            fs::write(scene.path(&format!("{version}/{number}.json")), number.to_string()).unwrap();
        }
        scene.run(["publish", "m", version, "--version", version]).done();
    }
    fs::create_dir(scene.path("old")).unwrap();
    for (version, to, synced, named) in [
        ("m:few", "new", "fdatasync", "\"new\""),
        ("m:few", "old", "fdatasync", "\"1.json\""),
        ("m:many", "another", "syncfs", "\"another\""),
    ] {
        let pull = scene.command(["pull", version, "--to", to]);
        let trace = scene.path("trace");
        let mut traced = Command::new("strace");
        traced.args(["-f", "-y", "-e", "trace=fdatasync,syncfs,renameat2", "-o"]).arg(&trace);
        traced.arg(pull.get_program()).args(pull.get_args()).current_dir(scene.path(""));
        traced.envs(pull.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if !traced.output().is_ok_and(|output| output.status.success()) {
            return left_out(
                "strace is missing or may not trace, so the order of syncs and names is not seen",
            );
        }
        let trace = fs::read_to_string(trace).unwrap();
        let ended = |what: &str| trace.lines().position(|line| line.contains(what) && line.ends_with("= 0"));
        let (synced, named) = (ended(synced), ended(named));
        assert!(synced.is_some() && named.is_some() && synced < named, "{to}: {trace}");
    }
}

#[test]
fn globs_choose_files_and_the_others_are_not_fetched() {
    let scene = PullScene::with_model();
    let (out, _) = scene.pull(["m:v1", "--include", "*.json", "--exclude", "tokenizer/"]).done();
    assert!(out.contains(" is in m: 1 file, "), "{out}");
    assert_eq!(files_below(&scene.path("m")).keys().collect::<Vec<_>>(), ["config.json"]);
    let line = scene.pull(["m:v1", "--include", "*.gguf"]).failed(1);
    assert!(line.contains("has no file that --include and --exclude select"), "{line}");
    assert!(scene.pull(["m:v1", "--include", "["]).failed(2).contains("expected a glob like"));
}

#[test]
fn a_file_that_differs_is_replaced_only_by_force_and_others_stay() {
    let scene = PullScene::with_model();
    fs::create_dir(scene.path("m")).unwrap();
    fs::write(scene.path("m/config.json"), "mine").unwrap();
    fs::write(scene.path("m/notes"), "mine").unwrap();
    let line = scene.pull(["m:v1"]).failed(5);
    assert!(line.contains("m/config.json has 4 bytes, in this version 17"), "{line}");
    assert!(line.contains("nothing was changed, and --force replaces"), "{line}");
    assert_eq!(files_below(&scene.path("m")).len(), 2);
    scene.pull(["m:v1", "--force"]).done();
    let mut expected = scene.model.clone();
    expected.insert("notes".to_owned(), b"mine".to_vec());
    assert_eq!(files_below(&scene.path("m")), expected);
    fs::remove_file(scene.path("m/config.json")).unwrap();
    fs::create_dir(scene.path("m/config.json")).unwrap();
    assert!(scene.pull(["m:v1", "--force"]).failed(5).contains("m/config.json is a folder"));
}

#[test]
fn no_link_in_the_folder_leads_a_pull_out_of_it() {
    let scene = PullScene::with_model();
    fs::create_dir_all(scene.path("m")).unwrap();
    fs::create_dir(scene.path("outside")).unwrap();
    symlink("../outside", scene.path("m/tokenizer")).unwrap();
    for flags in [&["m:v1"][..], &["m:v1", "--force"]] {
        let line = scene.pull(flags.iter().copied()).failed(5);
        assert!(line.contains("m/tokenizer is a link or a file, expected a folder"), "{line}");
    }
    fs::remove_file(scene.path("m/tokenizer")).unwrap();
    fs::write(scene.path("outside/secret"), "secret").unwrap();
    symlink("../outside/secret", scene.path("m/config.json")).unwrap();
    assert!(scene.pull(["m:v1"]).failed(5).contains("m/config.json is a symbolic link"));
    scene.pull(["m:v1", "--force"]).done();
    assert_eq!(fs::read_to_string(scene.path("outside/secret")).unwrap(), "secret");
    assert_eq!(files_below(&scene.path("m")), scene.model);
}

#[test]
fn what_was_pulled_once_is_pulled_again_without_the_registry() {
    let scene = PullScene::with_model();
    scene.server().run(["promote", "m:v1"]).done();
    scene.pull(["m@production", "--include", "*.json"]).done();
    let scene = scene.without_server();
    let line = scene.pull(["m@production"]).failed(3);
    assert!(
        line.contains("no registry at") && line.ends_with("--offline takes what is in the cache\n"),
        "{line}"
    );
    let (out, err) = scene.pull(["m@production", "--offline", "--include", "*.json", "--to", "o"]).done();
    assert!(out.starts_with("m:v1 is in o: 2 files"), "{out}");
    assert!(err.starts_with("offline: m@production was m:v1 at 20"), "{err}");
    let line = scene.pull(["m@production", "--offline", "--to", "p"]);
    assert_eq!((line.code, line.stderr.lines().count()), (1, 2), "{line:?}");
    assert!(
        line.stderr.contains("2 files of m:v1 are not in the cache, such as empty.txt; pull it once"),
        "{line:?}"
    );
    assert!(!scene.path("p").exists());
    let line = scene.pull(["m:v1", "--offline"]).failed(1);
    assert!(line.contains("the cache does not know m:v1 of http://"), "{line}");
    let shown = scene.command(["cat", "m@production", "config.json", "--offline"]).output().unwrap();
    assert_eq!(shown.stdout, scene.model["config.json"]);
}

#[test]
fn cat_writes_one_verified_file() {
    let scene = PullScene::with_model();
    for name in ["config.json", "weights.dat"] {
        let shown = scene.command(["cat", "m:v1", name]).output().unwrap();
        assert!(shown.status.success() && shown.stdout == scene.model[name], "{name}");
    }
    let line = scene.run(["cat", "m:v1", "no.json"]).failed(1);
    assert!(line.contains("has no file \"no.json\"") && line.contains("`registry files m:v1`"), "{line}");
    assert!(scene.run(["cat", "m:v2", "config.json"]).failed(1).contains("there is no version m:v2"));
}

#[test]
fn the_cache_keeps_to_its_size_and_drops_what_was_used_least_recently() {
    let scene = PullScene::with_model();
    fs::create_dir(scene.path("other")).unwrap();
    fs::write(scene.path("other/b.bin"), vec![9; 3_000_000]).unwrap();
    scene.run(["publish", "m", "other", "--version", "v2"]).done();
    scene.pull(["m:v1"]).done();
    let (out, _) = scene.pull(["m:v2", "--to", "n", "--cache-size", "4MB"]).done();
    assert!(out.contains("1 fetched"), "{out}");
    let left: u64 = scene.cached().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(left <= 4_000_000, "{left}");
    let (out, _) = scene.pull(["m:v2", "--to", "o"]).done();
    assert!(out.contains("1 from the cache"), "{out}");
    // What was pulled is not affected.
    assert_eq!(files_below(&scene.path("m")), scene.model);
    scene.pull(["m:v2", "--to", "p", "--cache-size", "0"]).done();
    assert!(scene.cached().is_empty());
    assert!(scene.pull(["m:v2", "--cache-size", "many"]).code == 2);
}

#[test]
fn without_a_cache_nothing_but_the_files_is_left() {
    let scene = PullScene::with_model();
    for place in ["m", "m2/deep"] {
        let (out, _) = scene.pull(["m:v1", "--to", place, "--no-cache"]).done();
        assert!(out.contains("4 fetched"), "{out}");
        assert_eq!(files_below(&scene.path(place)), scene.model);
        let mode = fs::metadata(scene.path(place).join("weights.dat")).unwrap().permissions().mode();
        assert_eq!(mode & 0o200, 0o200);
    }
    assert!(scene.cached().is_empty());
    assert_eq!(scene.hidden(), Vec::<String>::new());
}

#[test]
fn several_pulls_at_once_share_a_cache() {
    let scene = PullScene::with_model();
    let places = ["p1", "p2", "p3"];
    let start = |place: &&str| {
        let mut pull = scene.command(["pull", "m:v1", "--to", place]);
        pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = places.iter().map(start).collect();
    for (place, child) in places.iter().zip(running) {
        Ran::from(child.wait_with_output().unwrap()).done();
        assert_eq!(files_below(&scene.path(place)), scene.model);
    }
    assert_eq!(scene.hidden(), Vec::<String>::new());
}
