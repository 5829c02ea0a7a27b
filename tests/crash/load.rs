//! Writers that register, record metrics, promote and delete, until their server fails and there is no other, or the load
//! pauses.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    client::{Client, InFlight, Outcome},
    ledger::{Change, Ledger, Version},
};

/// More than there are writers.
const MAX_WRITERS: u64 = 100;
/// Few, so that promotions of different writers conflict.
const NAMES: usize = 6;
/// Versions a writer keeps; with more it deletes.
const MAX_VERSIONS: usize = 12;

/// The state that the writers and the killer of the server share.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) in_flight: InFlight,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) resting: AtomicBool,
}

/// One writer's part of a round. When its server fails or does not take a write, it goes on with the one that `elsewhere`
/// returns, or ends.
pub(crate) fn write(
    load: &Load,
    address: SocketAddr,
    writer: usize,
    ledger: &mut Ledger,
    mut random: Rng,
    elsewhere: &dyn Fn() -> Option<SocketAddr>,
) {
    let mut client = Client::new(address, &load.in_flight);
    while !load.resting.load(Ordering::SeqCst) {
        ledger.sent += 1;
        let number = ledger.sent * MAX_WRITERS + writer as u64;
        let there: Vec<_> = (0..ledger.versions.len()).filter(|at| ledger.versions[*at].is_there()).collect();
        let chosen = random.choice(&there).copied();
        let (at, change) = match (random.u8(0..100), chosen) {
            (0..35, _) | (_, None) if there.len() < MAX_VERSIONS => {
                ledger.versions.push(Version {
                    name: format!("name-{}", random.usize(0..NAMES)),
                    version: format!("{writer}.{number}"),
                    id: None,
                    acknowledged: Vec::new(),
                    unsure: None,
                });
                (ledger.versions.len() - 1, Change::Register)
            }
            (35..70, Some(at)) => (at, Change::Record(number)),
            (70..90, Some(at)) => {
                let to = random.choice(["production", "production", "staging", "archived"]).unwrap();
                (at, Change::Promote(to))
            }
            (_, Some(at)) => (at, Change::Delete),
            (_, None) => unreachable!(),
        };
        let version = &mut ledger.versions[at];
        match send(&mut client, version, &change) {
            Outcome::Answered(200, answer) => {
                version.id = version.id.or(answer["id"].as_i64());
                version.acknowledged.push(change);
                ledger.acknowledged += 1;
                load.acknowledged.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Outcome::Refused | Outcome::NotSent => {
                if change == Change::Register {
                    ledger.versions.pop();
                }
            }
            Outcome::Answered(status, answer) => panic!("{change:?} of {version:?}: {status} {answer}"),
            Outcome::Unsure => version.unsure = Some(change),
        }
        let Some(address) = elsewhere() else { return };
        client = Client::new(address, &load.in_flight);
    }
}

fn send(client: &mut Client<'_>, version: &Version, change: &Change) -> Outcome {
    let path = format!("/models/{}", version.id.unwrap_or_default());
    let mut ask = |method: &str, path: &str, body: Option<&Value>| client.send(method, path, "load", body);
    match change {
        Change::Register => {
            let (name, number) = (&version.name, &version.version);
            let body = json!({"name": name, "version": number, "artifact_uri": "s3://b/o", "tags": ["load", number],
                "description": "x".repeat(200)});
            ask("POST", "/models", Some(&body))
        }
        Change::Record(number) => {
            let body = json!({"suite": "s", "metrics": {"n": number}});
            ask("POST", &format!("{path}/metrics"), Some(&body))
        }
        Change::Promote(to) => ask("POST", &format!("{path}/promote?to_status={to}"), None),
        Change::Delete => ask("DELETE", &format!("{path}?force=true"), None),
    }
}
