//! The blob routes of the OCI distribution specification, over an artifact store in a folder.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use model_registry::{
    actors::ArtifactOptions,
    artifact::blobs::{BlobOptions, StoreLocation},
    http::Deadlines,
    settings::Settings,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{Answer, KEY, TestApp, at_once};

const MIB: usize = 1 << 20;
const UPLOADS: &str = "/v2/org/model/blobs/uploads/";

fn options(folder: PathBuf) -> ArtifactOptions {
    let store = BlobOptions { location: StoreLocation::Folder(folder), uploads: None };
    ArtifactOptions { store, threads: 2, queue: 64, redirect: false }
}

/// Starts a server with an artifact store in the folder `artifacts` beside its database.
fn with_store() -> TestApp {
    over(tempfile::tempdir().unwrap(), |_| {})
}

fn over(folder: TempDir, change: impl FnOnce(&mut Settings)) -> TestApp {
    let artifacts = folder.path().join("artifacts");
    TestApp::over(folder, |settings| {
        settings.artifacts = Some(options(artifacts));
        change(settings);
    })
}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn path_of(app: &TestApp, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    app.folder.path().join("artifacts/blobs/sha256").join(&hex[..2]).join(hex)
}

/// Returns the names of unfinished uploads.
fn unfinished(app: &TestApp) -> Vec<String> {
    let entries = fs::read_dir(app.folder.path().join("artifacts/uploads")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Begins an upload and returns its path.
#[track_caller]
fn begin(app: &TestApp) -> String {
    let begun = app.send("POST", UPLOADS, "", "");
    assert_eq!((begun.status, begun.header("upload-offset")), (202, Some("0")), "{}", begun.text);
    begun.header("location").unwrap().to_owned()
}

/// Uploads a blob in one request, and returns its digest and its path.
#[track_caller]
fn upload(app: &TestApp, bytes: &[u8]) -> (String, String) {
    let digest = digest(bytes);
    let stored = app.send("POST", format!("{UPLOADS}?digest={digest}"), "", bytes);
    assert_eq!(stored.status, 201, "{}", stored.text);
    let path = stored.header("location").unwrap().to_owned();
    assert_eq!(path, format!("/v2/org/model/blobs/{digest}"));
    (digest, path)
}

/// Asserts that it is an error with this status and code, and returns its message.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> String {
    let error = &answer.json()["errors"][0];
    assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{}", answer.text);
    error["message"].as_str().unwrap().to_owned()
}

/// Sends a GET on its own connection. Returns the head of the answer and all bytes after it until the server closes the
/// connection or `length` of them have arrived.
fn download(app: &TestApp, path: &str, headers: &str, length: usize) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let (mut received, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end.filter(|end| received.len() - end >= length) {
            let body = received.split_off(end);
            return (String::from_utf8(received).unwrap(), body);
        }
        match stream.read(&mut chunk) {
            Ok(read @ 1..) => received.extend_from_slice(&chunk[..read]),
            _ => {
                let body = received.split_off(end.unwrap_or(received.len()));
                return (String::from_utf8(received).unwrap(), body);
            }
        }
    }
}

#[test]
fn a_blob_is_uploaded_in_one_request_and_read_whole_and_in_ranges() {
    let app = with_store();
    for length in [0, 1, 70_000, 3 * MIB + 7] {
        let bytes = bytes(length);
        let (digest, path) = upload(&app, &bytes);
        let (head, body) = download(&app, &path, "", length);
        assert!(head.starts_with("HTTP/1.1 200 OK") && body == bytes, "{length}: {head}");
        for expected in [
            format!("content-length: {length}"),
            format!("etag: \"{digest}\""),
            format!("docker-content-digest: {digest}"),
            "accept-ranges: bytes".to_owned(),
        ] {
            assert!(head.contains(&expected), "{expected} in {head}");
        }
        let seen = app.request("GET", &path, &[("If-None-Match", &format!("\"{digest}\""))], None);
        assert_eq!((seen.status, seen.text.as_str()), (304, ""));
        let found = app.request("HEAD", &path, &[], None);
        assert_eq!((found.status, found.header("content-length")), (200, Some(length.to_string().as_str())));
    }
    let bytes = bytes(3 * MIB + 7);
    let path = format!("/v2/another/blobs/{}", digest(&bytes));
    let end = bytes.len();
    for (range, start, end) in [
        ("0-9", 0, 10),
        ("100000-2000000", 100_000, 2_000_001),
        ("3145728-", 3 * MIB, end),
        ("-5", end - 5, end),
        ("0-", 0, end),
        ("7-99999999", 7, end),
    ] {
        let (head, body) = download(&app, &path, &format!("Range: bytes={range}\r\n"), end - start);
        assert!(head.starts_with("HTTP/1.1 206"), "{range}: {head}");
        assert!(
            head.contains(&format!("content-range: bytes {start}-{}/{}", end - 1, bytes.len())),
            "{head}"
        );
        assert!(body == bytes[start..end], "{range}");
    }
    for (headers, status) in [
        ("Range: bytes=0-1,5-6\r\n".to_owned(), "200"),
        ("Range: lines=0-1\r\n".to_owned(), "200"),
        ("Range: bytes=0-1\r\nIf-Range: \"sha256:other\"\r\n".to_owned(), "200"),
        (format!("Range: bytes=0-1\r\nIf-Range: \"{}\"\r\n", digest(&bytes)), "206"),
    ] {
        let (head, _) = download(&app, &path, &headers, 2);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {head}");
    }
    let beyond = app.send("GET", &path, format!("Range: bytes={end}-\r\n"), "");
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{end}").as_str()));
    refused(&beyond, 416, "BLOB_UNKNOWN");
}

#[test]
fn an_upload_goes_on_where_it_ended_even_over_a_restart() {
    let mut app = with_store();
    let bytes = bytes(2 * MIB);
    let upload = begin(&app);
    let chunk = |app: &TestApp, start: usize, end: usize| {
        app.send("PATCH", &upload, format!("Content-Range: {start}-{}\r\n", end - 1), &bytes[start..end])
    };
    let first = chunk(&app, 0, 1_000_000);
    assert_eq!((first.status, first.header("range")), (202, Some("0-999999")));
    assert_eq!(first.header("location"), Some(upload.as_str()));
    for (start, end) in [(0, 10), (999_999, 1_000_010), (1_000_001, 1_000_002)] {
        let refusal = chunk(&app, start, end);
        assert_eq!(refusal.header("upload-offset"), Some("1000000"));
        assert!(refused(&refusal, 416, "BLOB_UPLOAD_INVALID").contains("continue there"));
    }
    app = over(app.stop(), |_| {});
    let status = app.get(&upload);
    assert_eq!((status.status, status.header("range")), (204, Some("0-999999")));
    assert_eq!(chunk(&app, 1_000_000, 1_000_500).status, 202);
    // Without a range, and in chunks of HTTP.
    let streamed =
        [format!("{:x}\r\n", 500).as_bytes(), &bytes[1_000_500..1_001_000], b"\r\n0\r\n\r\n"].concat();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    assert_eq!(app.exchange(&[head.as_bytes(), &streamed].concat()).status, 202);
    let finished = app.send("PUT", format!("{upload}?digest={}", digest(&bytes)), "", &bytes[1_001_000..]);
    assert_eq!(finished.status, 201, "{}", finished.text);
    assert!(fs::read(path_of(&app, &digest(&bytes))).unwrap() == bytes);
    assert_eq!(unfinished(&app), [""; 0]);
    refused(&app.get(&upload), 404, "BLOB_UPLOAD_UNKNOWN");
    refused(
        &app.send("PUT", format!("{upload}?digest={}", digest(&bytes)), "", ""),
        404,
        "BLOB_UPLOAD_UNKNOWN",
    );
}

#[test]
fn what_arrived_before_a_client_disconnected_is_kept() {
    let app = with_store();
    let bytes = bytes(MIB);
    let upload = begin(&app);
    let mut stream = TcpStream::connect(app.address).unwrap();
    let head =
        format!("PATCH {upload} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {MIB}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..600_000]).unwrap();
    drop(stream);
    // The server may lose what it had received and not yet read.
    let kept = || app.get(&upload).header("upload-offset").unwrap().parse::<usize>().unwrap();
    let finished = loop {
        let offset = kept();
        let rest = format!("Content-Range: {offset}-{}\r\n", MIB - 1);
        let finished = app.send("PUT", format!("{upload}?digest={}", digest(&bytes)), rest, &bytes[offset..]);
        // Until the server has noticed, it may still write.
        if finished.status != 416 && offset > 400_000 {
            break finished;
        }
    };
    assert_eq!(finished.status, 201, "{}", finished.text);
    assert!(fs::read(path_of(&app, &digest(&bytes))).unwrap() == bytes);
}

#[test]
fn a_request_takes_an_upload_over_from_one_that_is_stuck() {
    let app = with_store();
    let bytes = bytes(100_000);
    let upload = begin(&app);
    let mut stuck = TcpStream::connect(app.address).unwrap();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
    );
    stuck.write_all(head.as_bytes()).unwrap();
    stuck.write_all(&bytes[..1_000]).unwrap();
    while app.get(&upload).header("upload-offset") != Some("1000") {
        thread::sleep(Duration::from_millis(5));
    }
    let other = app.send("PATCH", &upload, "Content-Range: 1000-1999\r\n", &bytes[1_000..2_000]);
    assert_eq!(other.status, 202, "{}", other.text);
    stuck.write_all(&bytes[1_000..]).unwrap();
    let mut answer = String::new();
    let _ = stuck.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 409") && answer.contains("BLOB_UPLOAD_INVALID"), "{answer}");
    assert_eq!(app.get(&upload).header("upload-offset"), Some("2000"));
    let finished = app.send("PUT", format!("{upload}?digest={}", digest(&bytes)), "", &bytes[2_000..]);
    assert_eq!(finished.status, 201, "{}", finished.text);
}

#[test]
fn a_wrong_digest_stores_nothing() {
    let app = with_store();
    let (given, sent) = (digest(b"other"), b"these bytes");
    let whole = app.send("POST", format!("{UPLOADS}?digest={given}"), "", sent);
    assert!(refused(&whole, 400, "DIGEST_INVALID").contains(&digest(sent)));
    let upload = begin(&app);
    assert_eq!(app.send("PATCH", &upload, "", sent).status, 202);
    refused(&app.send("PUT", format!("{upload}?digest={given}"), "", ""), 400, "DIGEST_INVALID");
    refused(&app.get(&upload), 404, "BLOB_UPLOAD_UNKNOWN");
    for digest in [given, digest(sent)] {
        let missing = app.get(&format!("/v2/m/blobs/{digest}"));
        assert!(refused(&missing, 404, "BLOB_UNKNOWN").contains("upload it first"));
    }
    assert_eq!(unfinished(&app), [""; 0]);
}

#[test]
fn uploads_are_cancelled_and_mounted() {
    let app = with_store();
    let cancelled = begin(&app);
    assert_eq!(app.request("DELETE", &cancelled, &[], None).status, 204);
    refused(&app.request("DELETE", &cancelled, &[], None), 404, "BLOB_UPLOAD_UNKNOWN");
    let (digest, _) = upload(&app, b"shared");
    let mounted = app.send("POST", format!("/v2/a/b/c/blobs/uploads/?mount={digest}&from=org/model"), "", "");
    assert_eq!(
        (mounted.status, mounted.header("location")),
        (201, Some(format!("/v2/a/b/c/blobs/{digest}").as_str()))
    );
    let unknown = self::digest(b"unknown");
    assert_eq!(app.send("POST", format!("{UPLOADS}?mount={unknown}&from=x"), "", "").status, 202);
}

#[test]
fn a_request_in_a_wrong_form_is_refused_in_the_form_of_the_specification() {
    let app = with_store();
    let good = digest(b"x");
    for (method, path, headers, status, code) in [
        ("GET", "/v2/m/blobs/sha256:12".to_owned(), "", 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/m/blobs/{}", good.to_uppercase()), "", 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/m/blobs/sha512:{}", &good[7..]), "", 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/m/../blobs/{good}"), "", 400, "NAME_INVALID"),
        ("GET", format!("/v2/m//x/blobs/{good}"), "", 400, "NAME_INVALID"),
        ("GET", format!("/v2/m%00/blobs/{good}"), "", 400, "NAME_INVALID"),
        ("GET", format!("/v2/{}/blobs/{good}", "n".repeat(1_100)), "", 400, "NAME_INVALID"),
        ("POST", format!("{UPLOADS}?digest=md5:aa"), "", 400, "DIGEST_INVALID"),
        ("GET", format!("{UPLOADS}../../etc/passwd"), "", 404, "UNSUPPORTED"),
        ("PATCH", format!("{UPLOADS}..%2F..%2Fpasswd"), "", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", format!("{UPLOADS}{}", "0".repeat(32)), "", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", begin(&app), "Content-Range: x\r\n", 400, "BLOB_UPLOAD_INVALID"),
        ("PATCH", begin(&app), "Content-Range: 5-2\r\n", 400, "BLOB_UPLOAD_INVALID"),
        ("PATCH", begin(&app), "Content-Range: 0-99\r\n", 400, "SIZE_INVALID"),
        ("PUT", begin(&app), "", 400, "DIGEST_INVALID"),
        ("DELETE", format!("/v2/m/blobs/{good}"), "", 405, "UNSUPPORTED"),
        ("PUT", format!("/v2/m/blobs/{good}"), "", 405, "UNSUPPORTED"),
        ("GET", "/v2/m/tags/list".to_owned(), "", 404, "UNSUPPORTED"),
    ] {
        let message = refused(&app.send(method, &path, headers, "ab"), status, code);
        assert!(!message.is_empty(), "{method} {path}");
    }
    let unknown = app.exchange(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(refused(&unknown, 401, "UNAUTHORIZED").contains("API key"));
    assert_eq!(app.get("/v2/").text, "{}");
    let without = TestApp::spawn();
    let refusal = without.send("POST", UPLOADS, "", "");
    assert!(refused(&refusal, 404, "UNSUPPORTED").contains("--artifact-store"));
    refused(&without.get(&format!("/v2/m/blobs/{good}")), 404, "UNSUPPORTED");
}

#[test]
fn clients_that_upload_the_same_blob_at_once_all_succeed() {
    let app = with_store();
    let bytes = bytes(MIB);
    at_once(8, |_| {
        let (digest, path) = upload(&app, &bytes);
        let (_, body) = download(&app, &path, "", bytes.len());
        assert!(body == bytes, "{digest}");
    });
    assert_eq!(unfinished(&app), [""; 0]);
}

/// Flips one byte of a blob, like a bad disk. A file system may count time in steps, so its time is set too.
fn flip(app: &TestApp, digest: &str, at: usize) {
    let path = path_of(app, digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let past = SystemTime::now() - Duration::from_secs(5);
    File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
}

#[test]
fn a_flipped_byte_is_never_served_as_the_blob_and_another_upload_repairs_it() {
    for length in [1_000, 9 * MIB] {
        for is_restarted in [false, true] {
            let mut app = with_store();
            let bytes = bytes(length);
            let (digest, path) = upload(&app, &bytes);
            flip(&app, &digest, length / 2);
            if is_restarted {
                app = over(app.stop(), |_| {});
            }
            // A large one is digested while it is sent: it is cut off before its end.
            let (head, body) = download(&app, &path, "", length);
            assert!(head.starts_with("HTTP/1.1 500") || body.len() < length, "{length}: {head}");
            for headers in ["", "Range: bytes=0-9\r\n"] {
                let damaged = app.send("GET", &path, headers, "");
                let message = refused(&damaged, 500, "BLOB_UNKNOWN");
                assert!(message.contains(&digest), "{message}");
            }
            // It counts as missing, so that clients upload it again.
            assert_eq!(app.request("HEAD", &path, &[], None).status, 404);
            upload(&app, &bytes);
            let (_, body) = download(&app, &path, "", length);
            assert!(body == bytes);
        }
    }
}

#[test]
fn a_range_of_a_blob_that_was_changed_is_not_served() {
    let app = with_store();
    let (digest, path) = upload(&app, &bytes(9 * MIB));
    flip(&app, &digest, 5);
    let damaged = app.send("GET", &path, "Range: bytes=1000-1009\r\n", "");
    assert!(refused(&damaged, 500, "BLOB_UNKNOWN").contains("is damaged"));
}

#[test]
fn a_slow_upload_has_no_deadline_while_it_makes_progress() {
    let app = over(tempfile::tempdir().unwrap(), |settings| {
        settings.http.deadlines = Deadlines::of_request(Duration::from_millis(400));
    });
    let bytes = bytes(20 * 40_000);
    let mut stream = TcpStream::connect(app.address).unwrap();
    let head = format!(
        "POST {UPLOADS}?digest={} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        digest(&bytes),
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    for piece in bytes.chunks(40_000) {
        stream.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(60));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");

    let upload = begin(&app);
    let mut stream = TcpStream::connect(app.address).unwrap();
    let head =
        format!("PATCH {upload} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..40 {
        // The server closes it in the middle.
        let _ = stream.write_all(b"x");
        thread::sleep(Duration::from_millis(20));
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn an_old_blob_that_no_version_has_counts_as_missing_for_uploads() {
    let app = with_store();
    let (digest, path) = upload(&app, b"weights");
    let old = SystemTime::now() - Duration::from_secs(13 * 3_600);
    File::options().write(true).open(path_of(&app, &digest)).unwrap().set_modified(old).unwrap();
    assert_eq!(app.request("HEAD", &path, &[], None).status, 404);
    assert_eq!(app.get(&path).text, "weights", "it is there until it is collected");
    let fields = serde_json::json!({ "checkpoint_sha256": &digest[7..] });
    let id = app.register_with("m", "1", &fields);
    assert_eq!(app.request("HEAD", &path, &[], None).status, 200);
    assert_eq!(app.delete(id).status, 200);
    assert_eq!(app.request("HEAD", &path, &[], None).status, 200, "the trash counts");
}
