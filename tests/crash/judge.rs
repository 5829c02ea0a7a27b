//! Compares what a database holds with the requests that were sent: no acknowledged write is missing, no write was never
//! sent, and an unanswered one is there with its row and its event, or not at all.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::ledger::{Change, Ledger};

/// The fate of the writes without an answer.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Unsure {
    pub(crate) found: u64,
    pub(crate) absent: u64,
}

#[derive(Debug)]
pub(crate) struct Event {
    /// The version.
    pub(crate) model: i64,
    pub(crate) kind: String,
    pub(crate) payload: Value,
}

/// The row that its events describe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: String,
    pub(crate) number: Option<u64>,
}

pub(crate) type Rows = BTreeMap<i64, Row>;

/// Judges the events of each model, oldest first, and the rows, and records in the ledgers the fate of unanswered writes.
#[track_caller]
pub(crate) fn judge(models: &[Vec<Event>], rows: &Rows, ledgers: &mut [Ledger]) -> Unsure {
    let unsure = against_ledgers(models.iter().flatten(), ledgers);
    rows_are_what_their_events_say(rows, models.iter().flatten());
    for events in models {
        each_demotion_follows_its_promotion(events);
    }
    unsure
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

fn against_ledgers<'e>(events: impl Iterator<Item = &'e Event>, ledgers: &mut [Ledger]) -> Unsure {
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

/// Compares each row with the one that its events describe.
#[track_caller]
pub(crate) fn rows_are_what_their_events_say<'e>(rows: &Rows, events: impl Iterator<Item = &'e Event>) {
    let mut expected: Rows = BTreeMap::new();
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
    assert_eq!(*rows, expected);
}

/// A demotion happens in the transaction of the promotion that causes it.
#[track_caller]
pub(crate) fn each_demotion_follows_its_promotion(events: &[Event]) {
    for pair in events.windows(2) {
        let [event, next] = pair else { unreachable!() };
        if event.kind == "auto_demote" {
            assert_eq!(
                event.payload["reason"],
                format!("new production: {}", next.model),
                "{event:?} {next:?}"
            );
            assert!(next.kind == "promote" && next.payload["to"] == "production", "{event:?} {next:?}");
        }
    }
    assert_ne!(events.last().map(|event| event.kind.as_str()), Some("auto_demote"));
}
