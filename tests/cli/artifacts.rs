//! An artifact store in a bucket, over a real S3 server.

use std::{
    fs::{self, File},
    process::Command,
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use crate::{
    KEY, Ran, at,
    object_server::{Fault, ObjectServer, SECRET_KEY},
    registry,
    server::Server,
};

const MIB: usize = 1 << 20;

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        let text = String::from_utf8(self.body.clone()).unwrap();
        assert!(!text.contains(SECRET_KEY), "{text}");
        text
    }
}

fn send(url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let agent: ureq::Agent = config.max_redirects_will_error(false).build().into();
    let mut answer =
        agent.run(request.body(body).unwrap()).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    // A body that breaks off ends here.
    let mut received = Vec::new();
    let _ = std::io::Read::read_to_end(&mut answer.body_mut().as_reader(), &mut received);
    Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), location, body: received }
}

fn call(server: &Server, method: &str, path: &str, body: &[u8]) -> Answer {
    send(&format!("{}{path}", server.url), method, &[("X-API-Key", KEY)], body)
}

fn serve(bucket: &ObjectServer, flags: &[&str]) -> Server {
    Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        bucket
            .env(command)
            .env("CAIA_REGISTRY_API_KEY", KEY)
            .args(["--artifact-store", "s3://models/store"])
            .args(flags);
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

/// Returns the key of a blob in the bucket.
fn key(digest: &str) -> String {
    format!("store/blobs/sha256/{}/{}", &digest[7..9], &digest[7..])
}

#[track_caller]
fn upload(server: &Server, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let stored = call(server, "POST", &format!("/v2/org/m/blobs/uploads/?digest={digest}"), bytes);
    assert_eq!(stored.status, 201, "{}", stored.text());
    format!("/v2/org/m/blobs/{digest}")
}

#[test]
fn blobs_go_into_a_bucket_and_come_back_whole_and_in_ranges() {
    let bucket = ObjectServer::with_bucket();
    let server = serve(&bucket, &[]);
    for length in [0, 10, 12 * MIB + 5] {
        let bytes = bytes(length);
        let path = upload(&server, &bytes);
        assert!(fs::read(bucket.path(&key(&digest(&bytes)))).unwrap() == bytes);
        let got = call(&server, "GET", &path, b"");
        assert!(got.status == 200 && got.body == bytes, "{length}");
        assert_eq!(call(&server, "HEAD", &path, b"").status, 200);
    }
    let bytes = bytes(12 * MIB + 5);
    let url = format!("{}/v2/m/blobs/{}", server.url, digest(&bytes));
    let part = send(&url, "GET", &[("X-API-Key", KEY), ("Range", "bytes=5000000-9000000")], b"");
    assert!(part.status == 206 && part.body == bytes[5_000_000..=9_000_000]);
    assert_eq!(call(&server, "GET", &format!("/v2/m/blobs/{}", digest(b"?")), b"").status, 404);
    assert_eq!(bucket.unfinished(), [""; 0]);
}

#[test]
fn a_redirect_leads_to_an_address_that_needs_no_key() {
    let bucket = ObjectServer::with_bucket();
    let server = serve(&bucket, &["--artifact-redirect"]);
    let bytes = bytes(100_000);
    let path = upload(&server, &bytes);
    let redirect = call(&server, "GET", &path, b"");
    assert_eq!(redirect.status, 307);
    let got = send(&redirect.location.unwrap(), "GET", &[("Range", "bytes=10-19")], b"");
    assert!(got.status == 206 && got.body == bytes[10..20], "{}", got.status);
    assert_eq!(call(&server, "HEAD", &path, b"").status, 200, "the server answers itself");
    let refused =
        Ran::of(registry(["serve", "--port", "0", "--artifact-redirect"]).current_dir(bucket.path("")));
    assert!(refused.failed(1).contains("--artifact-redirect"));
}

#[test]
fn a_redirect_of_the_hugging_face_api_says_what_its_clients_need() {
    let bucket = ObjectServer::with_bucket();
    let server = serve(&bucket, &["--artifact-redirect"]);
    let folder = tempfile::tempdir().unwrap();
    let weights = bytes(12 * MIB + 5);
    fs::create_dir(folder.path().join("m")).unwrap();
    fs::write(folder.path().join("m/a b.bin"), &weights).unwrap();
    let published = ["publish", "org/m", "m", "--version", "v1"];
    let (version, _) = Ran::of(at(&server.url, published).current_dir(folder.path())).done();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();

    let url = format!("{}/org/m/resolve/main/a%20b.bin", server.url);
    let tag = format!("\"{}\"", &digest(&weights)[7..]);
    for (method, status) in [("HEAD", 200), ("GET", 307)] {
        let answer = send(&url, method, &[("Authorization", &format!("Bearer {KEY}"))], b"");
        assert_eq!(answer.status, status, "{method}");
        for (name, value) in [
            ("etag", tag.as_str()),
            ("x-linked-etag", &tag),
            ("x-linked-size", &weights.len().to_string()),
            ("x-repo-commit", version["revision"].as_str().unwrap()),
        ] {
            assert_eq!(answer.headers[name], value, "{method} {name}");
        }
        let Some(location) = answer.location else { continue };
        assert!(location.starts_with(&format!("{}/models/store/blobs/", bucket.url)), "{location}");
        // Clients send the key to this server only.
        let got = send(&location, "GET", &[("Range", "bytes=5-")], b"");
        assert!(got.status == 206 && got.body == weights[5..], "{}", got.status);
    }

    Ran::of(at(&server.url, ["pull", "org/m:v1", "--to", "pulled", "--no-cache"]).current_dir(folder.path()))
        .done();
    assert!(fs::read(folder.path().join("pulled/a b.bin")).unwrap() == weights);
    assert!(!bucket.requests("GET /models/store/blobs/").is_empty());
}

#[test]
fn a_bucket_that_is_unavailable_is_a_503_and_the_upload_goes_on_later() {
    let bucket = ObjectServer::with_bucket();
    let server = serve(&bucket, &[]);
    let bytes = bytes(200_000);
    let begun = call(&server, "POST", "/v2/m/blobs/uploads/", b"").location.unwrap();
    assert_eq!(call(&server, "PATCH", &begun, &bytes).status, 202);
    bucket.fault("PUT /models/store", 50, Fault::Answer(503));
    let finish = format!("{begun}?digest={}", digest(&bytes));
    let refused = call(&server, "PUT", &finish, b"");
    assert_eq!(refused.status, 503);
    let text = refused.text();
    assert!(
        text.contains("UNAVAILABLE") && text.contains("is unavailable") && text.contains("try again"),
        "{text}"
    );
    assert!(!bucket.path(&key(&digest(&bytes))).exists());
    bucket.repair();
    let finished = call(&server, "PUT", &finish, b"");
    assert_eq!(finished.status, 201, "{}", finished.text());
    let got = call(&server, "GET", &format!("/v2/m/blobs/{}", digest(&bytes)), b"");
    assert!(got.body == bytes);
}

#[test]
fn a_flipped_byte_in_a_bucket_is_never_served_as_the_blob() {
    let bucket = ObjectServer::with_bucket();
    let server = serve(&bucket, &[]);
    for length in [1_000, 3 * MIB] {
        let mut bytes = bytes(length);
        let path = upload(&server, &bytes);
        bytes[length / 2] ^= 1;
        fs::write(bucket.path(&key(path.rsplit('/').next().unwrap())), &bytes).unwrap();
        let got = call(&server, "GET", &path, b"");
        assert!(got.body.len() < length, "{length}: {} bytes came", got.body.len());
    }
}

#[test]
fn garbage_in_a_bucket_is_collected_beside_a_server() {
    let bucket = ObjectServer::with_bucket();
    let server = serve(&bucket, &[]);
    let (used, unused, young) = (b"used".as_slice(), b"unused".as_slice(), b"young".as_slice());
    for bytes in [used, unused, young] {
        upload(&server, bytes);
    }
    for bytes in [used, unused] {
        let old = SystemTime::now() - Duration::from_secs(100 * 3_600);
        let file = File::options().write(true).open(bucket.path(&key(&digest(bytes)))).unwrap();
        file.set_modified(old).unwrap();
    }
    server.add("m", "1", &serde_json::json!({ "checkpoint_sha256": &digest(used)[7..] }));
    let collect = |flags: &[&str]| {
        let mut command =
            registry(["maintenance", "--collect-garbage", "--artifact-store", "s3://models/store", "--json"]);
        bucket.env(&mut command).arg("--db-path").arg(server.db_path()).args(flags);
        let (stdout, _) = Ran::of(&mut command).done();
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["garbage"].clone()
    };
    for flags in [&[][..], &["--yes"]] {
        let garbage = collect(flags);
        assert_eq!(garbage["blobs"], serde_json::json!([digest(unused)]), "{garbage}");
        assert_eq!(garbage["kept"], 2, "{garbage}");
    }
    for (bytes, is_there) in [(used, true), (unused, false), (young, true)] {
        assert_eq!(bucket.path(&key(&digest(bytes))).exists(), is_there);
    }
    assert_eq!(collect(&["--yes"])["blobs"], serde_json::json!([]));
}

#[test]
fn blobs_go_into_a_bucket_by_the_requests_of_google_and_come_back() {
    let bucket = ObjectServer::like_google();
    let google = |command: &mut Command| {
        bucket
            .env(command)
            .envs([("GOOGLE_BASE_URL", bucket.url.as_str()), ("GOOGLE_SKIP_SIGNATURE", "true")]);
        command.args(["--artifact-store", "gs://models/store"]);
    };
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY);
        google(command);
    });
    for length in [0, 10, 12 * MIB + 5] {
        let bytes = bytes(length);
        let path = upload(&server, &bytes);
        assert!(fs::read(bucket.path(&key(&digest(&bytes)))).unwrap() == bytes);
        let got = call(&server, "GET", &path, b"");
        assert!(got.status == 200 && got.body == bytes, "{length}");
        if length > 0 {
            let part = send(
                &format!("{}{path}", server.url),
                "GET",
                &[("X-API-Key", KEY), ("Range", "bytes=5-8")],
                b"",
            );
            assert!(part.status == 206 && part.body == bytes[5..=8], "{length}");
        }
        let old = SystemTime::now() - Duration::from_secs(100 * 3_600);
        let file = File::options().write(true).open(bucket.path(&key(&digest(&bytes)))).unwrap();
        file.set_modified(old).unwrap();
    }
    assert_eq!(bucket.unfinished(), [""; 0]);
    let mut collect = registry(["maintenance", "--collect-garbage", "--yes", "--json"]);
    google(collect.arg("--db-path").arg(server.db_path()));
    let (stdout, _) = Ran::of(&mut collect).done();
    let garbage = &serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["garbage"];
    assert_eq!(garbage["blobs"].as_array().unwrap().len(), 3, "{garbage}");
    assert!(!bucket.path(&key(&digest(&bytes(10)))).exists());
}

#[test]
fn a_server_does_not_start_with_a_bucket_that_is_wrong() {
    let bucket = ObjectServer::with_bucket();
    let start = |store: &str, has_keys: bool| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = registry(["serve", "--port", "0", "--artifact-store", store]);
        if has_keys {
            bucket.env(&mut command);
        }
        Ran::of(command.current_dir(folder.path())).failed(1)
    };
    assert!(start("s3://none/x", true).contains("there is no bucket \"none\""));
    assert!(start("ftp://models/x", true).contains("ftp:// is not supported"));
    assert!(start("file://relative", true).contains("absolute path"));
}
