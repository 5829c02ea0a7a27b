//! Versions whose bytes are not in the registry's store but where their artifact is registered.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use serde_json::json;

use super::scene::{PullScene, files_below};
use crate::object_server::ObjectServer;

#[test]
fn a_folder_of_local_files_is_pulled_by_reference() {
    let scene = PullScene::start();
    let uri = format!("file://{}", scene.path("source").display());
    scene.run(["publish", "m", "source", "--version", "v1", "--artifact-uri", &uri]).done();
    scene.pull(["m:v1"]).done();
    assert_eq!(files_below(&scene.path("m")), scene.model);
    // Another file of the same size.
    let weights = vec![0; scene.model["weights.dat"].len()];
    fs::write(scene.path("source/weights.dat"), weights).unwrap();
    scene.pull(["m:v1", "--to", "again"]).done();
    fs::remove_dir_all(scene.path("cache")).unwrap();
    let line = scene.pull(["m:v1", "--to", "n"]).failed(1);
    assert!(line.contains("weights.dat was not pulled: the bytes that arrived have the sha256 "), "{line}");
    assert!(!scene.path("n").exists());
}

#[test]
fn a_checkpoint_of_0_2_0_is_pulled_from_its_uri() {
    let scene = PullScene::start();
    let weights = scene.model["weights.dat"].clone();
    let uri = format!("file://{}", scene.path("source/weights.dat").display());
    scene.register("v1", &uri, &weights);
    let (out, _) = scene.pull(["m:v1"]).done();
    assert!(out.contains("1 file, 21.0 MB (1 fetched)"), "{out}");
    assert_eq!(fs::read(scene.path("m/weights.dat")).unwrap(), weights);
    for (version, uri, code, said) in [
        ("v2", "file:///nonexistent/weights.dat", 1, "/nonexistent/weights.dat can't be read"),
        (
            "v3",
            "hdfs://cluster/m.pt",
            1,
            "its artifact is registered as \"hdfs://cluster/m.pt\", which can't be fetched",
        ),
        ("v4", "s3://b/m.pt", 4, "AWS_ACCESS_KEY_ID"),
    ] {
        scene.register(version, uri, b"other");
        let ran = scene.pull([&format!("m:{version}"), "--to", "n"]);
        let line = ran.failed(code);
        assert!(line.contains(said), "{line}");
    }
    scene.server().add("m", "v5", &json!({"artifact_uri": uri}));
    let line = scene.pull(["m:v5", "--to", "n"]).failed(1);
    assert!(line.contains("was registered without a digest or a size"), "{line}");
    assert!(!scene.path("n").exists());
}

#[test]
fn objects_of_a_bucket_are_pulled_in_parallel_ranges() {
    let scene = PullScene::start();
    let store = ObjectServer::with_bucket();
    let run = |arguments: &[&str]| {
        let mut command = scene.command(arguments.iter().copied());
        crate::Ran::of(store.env(&mut command))
    };
    run(&["publish", "m", "source", "--version", "v1", "--artifact-uri", "s3://models/m/v1", "--upload"])
        .done();
    run(&["pull", "m:v1"]).done();
    assert_eq!(files_below(&scene.path("m")), scene.model);
    assert!(store.requests("GET /models/m/v1/weights.dat").len() > 2);
    let weights = &scene.model["weights.dat"];
    scene.register("v2", "s3://models/m/v1/weights.dat", weights);
    fs::remove_dir_all(scene.path("cache")).unwrap();
    run(&["pull", "m:v2", "--to", "n"]).done();
    assert_eq!(&fs::read(scene.path("n/weights.dat")).unwrap(), weights);
    run(&["publish", "n", "source", "--version", "v1", "--artifact-uri", "s3://models/", "--upload"]).done();
    run(&["pull", "n:v1", "--to", "root", "--include", "*.json"]).done();
    assert_eq!(files_below(&scene.path("root")).len(), 2);
    scene.register("v3", "s3://models/m/none.dat", b"x");
    let line = run(&["pull", "m:v3", "--to", "o"]).failed(1);
    assert!(line.contains("does not exist"), "{line}");
}

/// Serves the files of a folder over HTTP, with or without ranges. Each connection gets one answer.
fn web_server(folder: PathBuf, has_ranges: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let folder = Arc::new(folder);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let folder = Arc::clone(&folder);
            thread::spawn(move || answer(&stream.unwrap(), &folder, has_ranges));
        }
    });
    url
}

fn answer(mut stream: &TcpStream, folder: &Path, has_ranges: bool) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(
        !headers.iter().any(|line| line.to_lowercase().starts_with("x-api-key")),
        "the key is sent elsewhere"
    );
    let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    if let Some(moved) = path.strip_prefix("moved/") {
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /{moved}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return;
    }
    let Ok(bytes) = fs::read(folder.join(&path)) else {
        let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let range =
        headers.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (status, part) = match range.filter(|_| has_ranges).as_deref().and_then(|range| range.split_once('-'))
    {
        Some((start, end)) => {
            let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
            let status = format!("206 Partial Content\r\nContent-Range: bytes {start}-{end}/{}", bytes.len());
            (status, &bytes[start..=end])
        }
        None => ("200 OK".to_owned(), &bytes[..]),
    };
    let _ =
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", part.len());
    let _ = stream.write_all(part);
}

#[test]
fn files_of_a_web_server_are_pulled_with_and_without_ranges_and_through_redirects() {
    let scene = PullScene::start();
    for (version, has_ranges, prefix) in [("v1", true, ""), ("v2", false, ""), ("v3", true, "/moved")] {
        let url = format!("{}{prefix}", web_server(scene.path("source"), has_ranges));
        scene.run(["publish", "m", "source", "--version", version, "--artifact-uri", &url]).done();
        scene.pull([&format!("m:{version}"), "--to", version]).done();
        assert_eq!(files_below(&scene.path(version)), scene.model, "{version}");
        fs::remove_dir_all(scene.path("cache")).unwrap();
    }
}
