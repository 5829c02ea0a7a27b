//! The order in which the server writes, syncs and answers, traced by `strace`: no write is answered before the WAL frames
//! that contain it are synced.
//!
//! It needs `strace` and the right to trace; without them the tests are left out.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::json;

use crate::{
    at_home,
    client::{Client, InFlight, Outcome},
    left_out::left_out,
    server::{Server, serve},
};

const FRAME_HEADER_BYTES: usize = 24;
const LOG_HEADER_BYTES: usize = 32;
const WRITERS: usize = 8;
/// Enough to restart the WAL.
const WRITES: usize = 40;

/// A system call of the server, in the order of the starts.
#[derive(Debug)]
struct Call {
    kind: CallKind,
    /// The lines of the trace on which it began and ended.
    began: usize,
    ended: usize,
}

#[derive(Debug)]
enum CallKind {
    /// A write to the WAL.
    Log(Vec<u8>),
    /// A write to the database.
    Database,
    SyncLog,
    SyncDatabase,
    SyncFolder,
    /// The id of the request that is answered with success.
    Answer(String),
}

/// Runs a server under strace and `load` against it, and returns its calls.
fn traced(synchronous: &str, load: impl FnOnce(&mut Server)) -> Option<Vec<Call>> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut probe = Command::new("strace");
    let probe = probe.args(["-f", "-o"]).arg(&trace).arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        left_out("strace is missing or may not trace, so the order of writes and syncs is not seen");
        return None;
    }
    fs::create_dir(folder.path().join("data")).unwrap();
    let database = folder.path().join("data/registry.db");
    let served = serve(&database);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-xx", "-s", "4200", "-e", "signal=none"])
        .args(["-e", "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync,sync_file_range"])
        .arg("-o")
        .arg(&trace)
        .arg(served.get_program())
        .args(served.get_args())
        .args(["--log-level", "warn", "--synchronous", synchronous]);
    at_home(&mut command);
    let mut traced = Traced { server: Some(Server::run(&mut command)), trace };
    if let Some(server) = &mut traced.server {
        load(server);
    }
    traced.end();
    Some(parse(&fs::read_to_string(&traced.trace).unwrap(), &database))
}

/// A server under strace. If strace alone were killed, the server would continue without it.
struct Traced {
    server: Option<Server>,
    trace: PathBuf,
}

impl Traced {
    /// Kills the server, and waits for strace, which ends with it.
    fn end(&mut self) {
        let Some(mut strace) = self.server.take() else { return };
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        // Each line begins with a thread; the first one is the process.
        let process = trace.split_whitespace().next().unwrap_or_default();
        let killed = Command::new("kill").args(["-s", "KILL", process]).status();
        if killed.is_ok_and(|status| status.success()) {
            strace.ended();
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.end();
    }
}

fn parse(trace: &str, database: &Path) -> Vec<Call> {
    let folder = database.parent().unwrap().to_str().unwrap().to_owned();
    let database = database.to_str().unwrap();
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished = HashMap::<&str, usize>::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            if let Some(call) = unfinished.remove(thread) {
                calls[call].ended = at;
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let Some((file, arguments)) = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'))
        else {
            continue;
        };
        let file = unescaped(file);
        let syncs = matches!(name, "fsync" | "fdatasync");
        let kind = match file.as_str() {
            file if file == format!("{database}-wal") && syncs => CallKind::SyncLog,
            file if file == format!("{database}-wal") => CallKind::Log(bytes(arguments)),
            file if file == database && syncs => CallKind::SyncDatabase,
            file if file == database => CallKind::Database,
            file if file == folder && syncs => CallKind::SyncFolder,
            _ => {
                let text = String::from_utf8_lossy(&bytes(arguments)).to_ascii_lowercase();
                let id = text.split_once("x-request-id: ").and_then(|(_, rest)| rest.split_once("\r\n"));
                match id {
                    Some((id, _)) if text.starts_with("http/1.1 200") => CallKind::Answer(id.to_owned()),
                    _ => continue,
                }
            }
        };
        if rest.ends_with("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
        }
        // A call that never returned ended after everything else.
        let ended = if rest.ends_with("<unfinished ...>") { usize::MAX } else { at };
        calls.push(Call { kind, began: at, ended });
    }
    calls
}

/// Returns the bytes of the strings among a call's arguments, all in hexadecimal.
fn bytes(arguments: &str) -> Vec<u8> {
    let digits = arguments.split('"').skip(1).step_by(2).flat_map(|text| text.split("\\x").skip(1));
    digits.filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).collect()
}

fn unescaped(text: &str) -> String {
    if text.contains("\\x") {
        String::from_utf8_lossy(&bytes(&format!("\"{text}\""))).into_owned()
    } else {
        text.to_owned()
    }
}

/// Counts the answers, and describes each that was sent before its write was synced.
fn answered_before_sync(calls: &[Call]) -> (usize, Vec<String>) {
    let mut answers = 0;
    let mut wrong = Vec::new();
    let pages = pages(calls);
    for answer in calls {
        let CallKind::Answer(id) = &answer.kind else { continue };
        let Some(marker) = id.strip_prefix("probe-") else { continue };
        answers += 1;
        // The first page with the marker, then the end of its transaction: a frame header with the size of the database, and its page.
        let Some(page) = pages.get(marker).copied() else {
            wrong.push(format!("{id} is in no write to the log"));
            continue;
        };
        let is_end = |call: &&Call| matches!(&call.kind, CallKind::Log(bytes) if bytes.len() == FRAME_HEADER_BYTES && bytes[4..8] != [0; 4]);
        // The page itself may be the last one, after its header.
        let mut log = calls[page - 1..]
            .iter()
            .filter(|call| matches!(call.kind, CallKind::Log(_)))
            .skip_while(|call| !is_end(call));
        let Some(end) = log.nth(1) else {
            wrong.push(format!("{id} is in a transaction that does not end"));
            continue;
        };
        let synced = calls.iter().any(|call| {
            matches!(call.kind, CallKind::SyncLog) && call.began > end.ended && call.ended < answer.began
        });
        if !synced {
            wrong.push(format!(
                "{id} was answered at line {} with no sync since line {}",
                answer.began, end.ended
            ));
        }
    }
    (answers, wrong)
}

/// For each marker, the first WAL page that contains it.
fn pages(calls: &[Call]) -> HashMap<String, usize> {
    let mut pages = HashMap::new();
    for (at, call) in calls.iter().enumerate() {
        let CallKind::Log(bytes) = &call.kind else { continue };
        let text = String::from_utf8_lossy(bytes);
        for rest in text.split("marker<").skip(1) {
            if let Some((marker, _)) = rest.split_once('>') {
                pages.entry(marker.to_owned()).or_insert(at);
            }
        }
    }
    pages
}

/// Counts the restarts of the WAL, and describes each before which the database was not synced.
fn wal_restarts(calls: &[Call]) -> (usize, Vec<String>) {
    let is_header =
        |call: &&Call| matches!(&call.kind, CallKind::Log(bytes) if bytes.len() == LOG_HEADER_BYTES);
    let headers: Vec<_> = calls.iter().filter(is_header).collect();
    let mut wrong = Vec::new();
    for header in headers.iter().skip(1) {
        let last = |kind: fn(&CallKind) -> bool| {
            calls
                .iter()
                .filter(|call| kind(&call.kind) && call.ended < header.began)
                .map(|call| call.ended)
                .max()
        };
        let (written, synced) = (
            last(|kind| matches!(kind, CallKind::Database)),
            last(|kind| matches!(kind, CallKind::SyncDatabase)),
        );
        if written.is_none() || synced < written {
            wrong.push(format!(
                "the WAL was restarted at line {}: written {written:?}, synced {synced:?}",
                header.began
            ));
        }
        let first_frame =
            calls.iter().find(|call| matches!(call.kind, CallKind::Log(_)) && call.began > header.began);
        let is_synced = |call: &Call| {
            matches!(call.kind, CallKind::SyncLog)
                && call.began > header.ended
                && first_frame.is_none_or(|frame| call.ended < frame.began)
        };
        if !calls.iter().any(is_synced) {
            wrong.push(format!("the header at line {} was not synced before the first frame", header.began));
        }
    }
    (headers.len() - 1, wrong)
}

fn write(client: &mut Client<'_>, number: usize, filler: usize) {
    let body = json!({"name": "m", "version": format!("marker<{number}>"), "artifact_uri": "s3://b",
        "description": "x".repeat(filler)});
    let fate = client.send("POST", "/models", &format!("probe-{number}"), Some(&body));
    assert!(matches!(fate, Outcome::Answered(200, _)), "{fate:?}");
}

/// One writer alone, then several at once that write enough to restart the WAL.
fn load(server: &mut Server, writes: usize) {
    let address = server.wait_for_address();
    let in_flight = InFlight::default();
    let mut client = Client::new(address, &in_flight);
    (0..10).for_each(|number| write(&mut client, number, 10));
    thread::scope(|scope| {
        for writer in 1..=WRITERS {
            let in_flight = &in_flight;
            scope.spawn(move || {
                let mut client = Client::new(address, in_flight);
                (0..writes).for_each(|number| write(&mut client, writer * 1_000 + number, 80_000));
            });
        }
    });
}

#[test]
fn no_write_is_answered_before_its_wal_frames_are_synced() {
    let Some(calls) = traced("full", |server| load(server, WRITES)) else { return };
    let (answers, wrong) = answered_before_sync(&calls);
    assert_eq!((answers, wrong), (10 + WRITERS * WRITES, Vec::new()));
    let (times, wrong) = wal_restarts(&calls);
    assert_eq!(wrong, [] as [String; 0]);
    assert!(times > 0, "the WAL was restarted");
    // The folder, and so the names of the files, is synced as well before the first answer.
    let first_answer = calls.iter().find(|call| matches!(call.kind, CallKind::Answer(_))).unwrap();
    let first_log = calls.iter().find(|call| matches!(call.kind, CallKind::Log(_))).unwrap();
    let folder_synced = |call: &Call| {
        matches!(call.kind, CallKind::SyncFolder)
            && call.began > first_log.began
            && call.ended < first_answer.began
    };
    assert!(calls.iter().any(folder_synced), "the folder is synced after the WAL is created");
    println!(
        "{answers} answers, each after a sync of the log; the WAL restarted {times} times, each after a sync of the database"
    );
}

#[test]
fn a_missing_sync_is_found_by_the_same_check() {
    let Some(calls) = traced("normal", |server| load(server, 3)) else { return };
    let (answers, wrong) = answered_before_sync(&calls);
    assert_eq!(answers, 10 + WRITERS * 3);
    assert!(wrong.len() > answers / 2, "{} of {answers}", wrong.len());
}
