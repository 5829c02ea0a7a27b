//! Writers whose versions go to a webhook, and the judge of what its receiver got.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    client::{Client, InFlight, Outcome},
    receiver::{Received, Receiver, Reply},
    wait_until,
};

pub(crate) const WRITERS: usize = 6;
/// Each writer has models of its own.
const MODELS: usize = 2;
/// What lets a server call the receiver of a test, and soon again.
pub(crate) const FLAGS: [&str; 4] = ["--webhook-allow", "127.0.0.0/8", "--webhook-retry-ms", "20"];

/// Starts a receiver that refuses some calls and takes its time for others.
pub(crate) fn receiver(seed: u64) -> Receiver {
    let calls = AtomicU64::new(seed);
    Receiver::with(move |_| {
        let mut random = Rng::with_seed(calls.fetch_add(1, Ordering::SeqCst));
        if random.u8(0..20) == 0 {
            thread::sleep(Duration::from_millis(random.u64(0..5)));
        }
        match random.u8(0..25) {
            0 => Reply::Status(503),
            1 => Reply::HangUp,
            _ => Reply::Status(200),
        }
    })
}

/// Creates the webhook of all events.
pub(crate) fn create(address: SocketAddr, receiver: &Receiver) {
    let body = json!({"name": "all", "url": receiver.url("/")});
    let created = Client::new(address, &InFlight::default()).send("POST", "/v1/webhooks", "w", Some(&body));
    assert!(matches!(created, Outcome::Answered(201, _)), "{created:?}");
}

/// The writes so far, and if they are to end.
#[derive(Default)]
pub(crate) struct Writing {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) is_over: AtomicBool,
}

/// Registers versions until the writing is over. `address` returns a server's address. Returns the labels that were acknowledged.
pub(crate) fn write(
    writing: &Writing,
    writer: usize,
    address: impl Fn() -> Option<SocketAddr>,
) -> BTreeMap<String, HashSet<String>> {
    let mut acknowledged: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    let in_flight = InFlight::default();
    let mut number = 0;
    while !writing.is_over.load(Ordering::SeqCst) {
        let Some(address) = address() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let mut client = Client::new(address, &in_flight);
        loop {
            number += 1;
            let (model, label) = (format!("m{writer}-{}", number % MODELS), number.to_string());
            let body = json!({"label": label, "artifact_uri": "s3://b"});
            let path = format!("/v1/models/{model}/versions");
            match client.send("POST", &path, "write", Some(&body)) {
                Outcome::Answered(201, _) => {
                    acknowledged.entry(model).or_default().insert(label);
                    writing.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Outcome::Answered(status, answer) => panic!("{status} {answer}"),
                // The outcome is unknown, or the server is gone.
                _ => break,
            }
            if writing.is_over.load(Ordering::SeqCst) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    acknowledged
}

/// Waits until nothing is pending, and judges what has come: each event of the trail at least once, for the first time after all
/// events before it of its model. Returns how many calls there were for how many events.
#[track_caller]
pub(crate) fn judge(
    ask: impl Fn(&str) -> Value,
    receiver: &Receiver,
    acknowledged: &[BTreeMap<String, HashSet<String>>],
) -> (usize, usize) {
    let webhook = ask("/v1/webhooks")["webhooks"][0]["id"].as_str().unwrap().to_owned();
    wait_until("all is delivered", || {
        thread::sleep(Duration::from_millis(50));
        let pending = ask(&format!("/v1/webhooks/{webhook}/deliveries?state=pending&limit=1"));
        pending["deliveries"].as_array().unwrap().is_empty()
    });
    let received = receiver.received();
    let mut came: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for data in received.iter().map(|got: &Received| got.json()["data"].clone()) {
        let model = came.entry(data["model"].as_str().unwrap().to_owned()).or_default();
        let event = (data["id"].as_i64().unwrap(), data["label"].as_str().unwrap_or_default().to_owned());
        if !model.contains(&event) {
            model.push(event);
        }
    }
    let mut events = 0;
    for (model, labels) in acknowledged.iter().flatten() {
        let mut trail = Vec::new();
        let mut next = String::new();
        loop {
            let page = ask(&format!("/v1/events?limit=500&model={model}{next}"));
            trail
                .extend(page["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()));
            let Some(cursor) = page["next"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        trail.reverse();
        let of_model = &came[model];
        let ids: Vec<_> = of_model.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, trail, "{model}: each event once or more, first in order");
        let delivered: HashSet<_> = of_model.iter().map(|(_, label)| label.clone()).collect();
        assert!(labels.is_subset(&delivered), "LOST: {:?}", labels.difference(&delivered));
        events += trail.len();
    }
    (received.len(), events)
}
