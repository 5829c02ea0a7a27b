//! Compares a file with the requests that were sent: no acknowledged write is missing, no write was never sent, and an
//! unanswered one is there with its row and its event, or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    ledger::{Change, Ledger},
    registry,
};

/// The fate of the writes without an answer.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Unsure {
    pub(crate) found: u64,
    pub(crate) absent: u64,
}

#[derive(Debug)]
struct Event {
    id: i64,
    model: i64,
    kind: String,
    payload: Value,
}

/// The row that its events describe.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    status: String,
    number: Option<u64>,
}

/// Checks the file, and records in the ledgers the fate of unanswered writes.
#[track_caller]
pub(crate) fn check(path: &Path, ledgers: &mut [Ledger]) -> Unsure {
    let file = Connection::open(path).unwrap();
    file.busy_timeout(crate::DEADLINE).unwrap();
    let events = events(&file);
    let unsure = against_ledgers(&events, ledgers);
    rows_are_what_their_events_say(&file, &events);
    each_demotion_follows_its_promotion(&events);
    drop(file);
    is_sound(path);
    unsure
}

/// Checks the file by SQLite's and the registry's own rules.
#[track_caller]
pub(crate) fn is_sound(path: &Path) {
    let file = Connection::open(path).unwrap();
    file.busy_timeout(crate::DEADLINE).unwrap();
    let checked: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    let several = "SELECT count(*) FROM (SELECT 1 FROM models WHERE status = 'production' \
                   GROUP BY name HAVING count(*) > 1)";
    assert_eq!(count(several), 0, "production versions of a name");
    drop(file);
    let checked = registry(["maintenance", "--check", "--json", "--db-path"]).arg(path).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["check"]["error_count"], 0, "{report}");
}

fn events(file: &Connection) -> Vec<Event> {
    let mut events =
        file.prepare("SELECT id, model_id, event_type, payload_json FROM model_events ORDER BY id").unwrap();
    let events = events.query_map([], |row| {
        let payload = serde_json::from_str(&row.get::<_, String>(3)?).unwrap();
        Ok(Event { id: row.get(0)?, model: row.get(1)?, kind: row.get(2)?, payload })
    });
    events.unwrap().map(Result::unwrap).collect()
}

/// Returns the request that caused this event; `None` if the registry created it by itself.
fn change(event: &Event) -> Option<Change> {
    Some(match event.kind.as_str() {
        "create" => Change::Register,
        "eval" => Change::Record(event.payload["metrics"]["n"].as_u64().unwrap()),
        "promote" => {
            let statuses = ["production", "staging", "archived"];
            Change::Promote(statuses.into_iter().find(|status| event.payload["to"] == *status).unwrap())
        }
        "delete" => Change::Delete,
        "auto_demote" => return None,
        kind => panic!("no change that was sent makes an event {kind}"),
    })
}

fn against_ledgers(events: &[Event], ledgers: &mut [Ledger]) -> Unsure {
    let mut ids = HashMap::new();
    let mut found: HashMap<i64, Vec<Change>> = HashMap::new();
    for event in events {
        if event.kind == "create" {
            let text = |field: &str| event.payload[field].as_str().unwrap().to_owned();
            let taken = ids.insert((text("name"), text("version")), event.model);
            assert_eq!(taken, None, "registered twice: {event:?}");
        }
        found.entry(event.model).or_default().extend(change(event));
    }
    let mut unsure = Unsure::default();
    for ledger in ledgers {
        for version in &mut ledger.versions {
            let id = ids.get(&(version.name.clone(), version.version.clone())).copied();
            let kept = id.and_then(|id| found.remove(&id)).unwrap_or_default();
            if version.id.is_some() {
                assert_eq!(version.id, id, "LOST: {version:?}");
            }
            let acknowledged = version.acknowledged.len();
            assert!(
                kept.len() >= acknowledged && kept[..acknowledged] == version.acknowledged,
                "LOST: {version:?} has only {kept:?}"
            );
            match (&kept[acknowledged..], version.unsure.take()) {
                ([], None) => {}
                ([], Some(_)) => unsure.absent += 1,
                ([there], Some(sent)) if *there == sent => {
                    unsure.found += 1;
                    version.id = id;
                    version.acknowledged.push(sent);
                }
                (more, sent) => panic!("it was not sent: {version:?} has {more:?}, unsure was {sent:?}"),
            }
        }
        ledger.versions.retain(|version| version.id.is_some());
    }
    assert!(found.is_empty(), "they were not sent: {found:?}");
    unsure
}

fn rows_are_what_their_events_say(file: &Connection, events: &[Event]) {
    let mut expected: BTreeMap<i64, Row> = BTreeMap::new();
    for event in events {
        if event.kind == "create" {
            expected.insert(event.model, Row { status: "experimental".to_owned(), number: None });
            continue;
        }
        let row =
            expected.get_mut(&event.model).unwrap_or_else(|| panic!("it has no create event: {event:?}"));
        match event.kind.as_str() {
            "eval" => row.number = event.payload["metrics"]["n"].as_u64(),
            "promote" | "auto_demote" => {
                assert_eq!(event.payload["from"], row.status, "{event:?}");
                row.status = event.payload["to"].as_str().unwrap().to_owned();
            }
            _ => {
                expected.remove(&event.model);
            }
        }
    }
    let mut rows = file.prepare("SELECT id, status, metrics ->> '$.suites.s.n' FROM models").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, Row { status: row.get(1)?, number: row.get(2)? })));
    let rows: BTreeMap<i64, Row> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, expected);
}

/// A demotion happens in the transaction of the promotion that causes it.
fn each_demotion_follows_its_promotion(events: &[Event]) {
    for pair in events.windows(2) {
        let [event, next] = pair else { unreachable!() };
        if event.kind == "auto_demote" {
            assert_eq!(
                event.payload["reason"],
                format!("new production: {}", next.model),
                "{event:?} {next:?}"
            );
            assert!(next.kind == "promote" && next.payload["to"] == "production", "{event:?} {next:?}");
            assert_eq!(next.id, event.id + 1);
        }
    }
    assert_ne!(events.last().map(|event| event.kind.as_str()), Some("auto_demote"));
}
