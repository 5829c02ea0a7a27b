//! Uploads of blobs: the server is killed, and connections are cut, at random moments. Each upload goes on and ends as the whole
//! blob, which is never visible before; nothing else is in the store.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use crate::{
    KEY,
    server::{Server, linger, serve},
};

const ROUNDS: u64 = 20;
const BYTES: usize = 6 << 20;
/// About as long as an upload takes.
const LONGEST_LIFE: Duration = Duration::from_millis(120);
const PIECE_BYTES: usize = 64 << 10;

/// A status and its headers, or `None` if the connection broke.
fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
    cut_at: usize,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    for piece in body[..cut_at.min(length)].chunks(PIECE_BYTES) {
        stream.write_all(piece).ok()?;
    }
    if cut_at < length {
        return None;
    }
    // The server may keep the connection of a refused request open for a while.
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        (stream.read_line(&mut answer).ok()? > 0).then_some(())?;
    }
    let length = header(&answer, "content-length").map_or(0, |length| length.parse().unwrap());
    stream.take(length).read_to_string(&mut answer).ok()?;
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

fn header(answer: &str, name: &str) -> Option<String> {
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
    Some(line.split_once(": ")?.1.trim().to_owned())
}

fn start(folder: &Path) -> (Server, SocketAddr) {
    let mut command = serve(&folder.join("registry.db"));
    command.arg("--artifact-store").arg(folder.join("artifacts"));
    let mut server = Server::run(&mut command);
    let address = server.wait_for_address();
    (server, address)
}

/// Returns the names of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path.file_name().unwrap().to_str().unwrap().to_owned()]
            }
        })
        .collect()
}

#[test]
fn an_upload_that_is_killed_at_random_moments_goes_on_and_ends_whole() {
    let seed = std::env::var("CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let (blobs, uploads) = (folder.path().join("artifacts/blobs"), folder.path().join("artifacts/uploads"));
    let (mut server, mut address) = start(folder.path());
    let mut stored: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let mut bytes = vec![0; BYTES];
        random.fill(&mut bytes);
        let digest = hex::encode(Sha256::digest(&bytes));
        let (_, begun) = exchange(address, "POST", "/v2/m/blobs/uploads/", "", b"", 0).unwrap();
        let upload = header(&begun, "location").unwrap();
        let is_server = round % 2 == 0;
        let mut is_killed = false;
        loop {
            let (status, answer) = exchange(address, "GET", &upload, "", b"", 0).unwrap();
            if status == 404 {
                // The answer to the last request was lost, but the blob is there.
                assert!(stored_now(&blobs, &digest), "{answer}");
                break;
            }
            assert_eq!(status, 204, "{answer}");
            let offset: usize = header(&answer, "upload-offset").unwrap().parse().unwrap();
            let path = format!("{upload}?digest=sha256:{digest}");
            let range = if offset < BYTES {
                format!("Content-Range: {offset}-{}\r\n", BYTES - 1)
            } else {
                String::new()
            };
            let cut_at = if is_killed || is_server { usize::MAX } else { random.usize(0..BYTES) };
            let done = thread::scope(|scope| {
                let sending =
                    scope.spawn(|| exchange(address, "PUT", &path, &range, &bytes[offset..], cut_at));
                if is_server && !is_killed {
                    linger(&mut random, LONGEST_LIFE);
                    server.kill_now();
                }
                sending.join().unwrap()
            });
            if is_server && !is_killed {
                (server, address) = start(folder.path());
            }
            is_killed = true;
            assert!(!blobs.join(&digest).exists());
            for name in files(&blobs) {
                assert!(stored.contains(&name) || name == digest, "{name} is not a blob");
            }
            match done {
                Some((201, _)) => break,
                Some((status, answer)) => assert!(matches!(status, 416 | 404 | 409), "{answer}"),
                None => {}
            }
        }
        let blob = blobs.join("sha256").join(&digest[..2]).join(&digest);
        assert!(fs::read(blob).unwrap() == bytes, "round {round}");
        stored.push(digest);
        assert_eq!(files(&uploads), [""; 0], "round {round}");
    }
    server.stop();
}

fn stored_now(blobs: &Path, digest: &str) -> bool {
    blobs.join("sha256").join(&digest[..2]).join(digest).exists()
}
