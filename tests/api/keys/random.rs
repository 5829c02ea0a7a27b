//! Random operations by keys of random scopes, against a small model of what is allowed: nothing more, nothing less.
//!
//! `REGISTRY_RANDOM_OPERATIONS` sets how many; the default keeps the test short. A failure names its seed, which
//! `REGISTRY_RANDOM_SEED` repeats.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::is_forbidden;
use crate::support::{TestApp, encoded};

const DEFAULT_OPERATIONS: u64 = 600;
const STATUSES: [&str; 4] = ["experimental", "staging", "production", "archived"];
const ALIASES: [&str; 3] = ["champion", "canary-a", "production"];
const MODELS: [&str; 4] = ["a-1", "a-2", "b-1", "c"];
/// Each pattern with the models that it matches, so that one covers another if it matches all of those.
const PATTERNS: [(&str, &[usize]); 6] =
    [("*", &[0, 1, 2, 3, 4]), ("a-*", &[0, 1]), ("*-1", &[0, 2]), ("a-1", &[0]), ("b-1", &[2]), ("c", &[3])];
const SCOPES: [&str; 17] = [
    "read",
    "register",
    "evaluate",
    "promote:experimental",
    "promote:staging",
    "promote:production",
    "promote:archived",
    "promote:*",
    "alias:champion",
    "alias:canary-*",
    "alias:*",
    "approve",
    "delete",
    "policies",
    "webhooks",
    "keys",
    "admin",
];

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % count
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// The model of what is allowed.
#[derive(Debug, Clone)]
struct Rights {
    scopes: Vec<&'static str>,
    patterns: Vec<usize>,
}

impl Rights {
    fn random(random: &mut Random) -> Self {
        let scopes = (0..=random.below(5)).map(|_| *random.of(&SCOPES)).collect();
        let patterns = (0..random.below(3)).map(|_| random.below(PATTERNS.len())).collect();
        Self { scopes, patterns }
    }

    fn patterns(&self) -> Vec<&'static str> {
        self.patterns.iter().map(|pattern| PATTERNS[*pattern].0).collect()
    }

    fn has(&self, needed: &str) -> bool {
        self.scopes.iter().any(|scope| match scope.strip_suffix('*') {
            _ if *scope == "admin" || *scope == needed => true,
            Some(prefix) => needed.starts_with(prefix),
            None => false,
        })
    }

    fn includes(&self, model: &str) -> bool {
        let number = MODELS.iter().position(|known| *known == model).unwrap();
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| PATTERNS[*pattern].1.contains(&number))
    }

    fn covers(&self, other: &Self) -> bool {
        let is_ours = |theirs: &usize| {
            let theirs = PATTERNS[*theirs].1;
            self.patterns.iter().any(|ours| theirs.iter().all(|model| PATTERNS[*ours].1.contains(model)))
        };
        other.scopes.iter().all(|scope| self.has(scope))
            && (self.patterns.is_empty() || !other.patterns.is_empty() && other.patterns.iter().all(is_ours))
    }
}

/// An operation, and what it needs.
struct Operation {
    method: &'static str,
    path: String,
    body: Value,
    needs: Vec<String>,
    /// The model that it changes.
    model: Option<&'static str>,
    /// The grant that it gives away.
    gives: Option<Rights>,
}

fn to_status(from: Option<&str>, to: &str) -> Vec<String> {
    let mut needs = vec![format!("promote:{to}")];
    if from == Some("production") {
        needs.push("promote:production".to_owned());
    }
    needs
}

fn to_alias(alias: &str, is_set: bool) -> Vec<String> {
    match (alias, is_set) {
        ("production", true) => to_status(None, "production"),
        ("production", false) => to_status(Some("production"), "staging"),
        _ => vec![format!("alias:{alias}")],
    }
}

struct Run {
    app: TestApp,
    random: Random,
    keys: Vec<(String, Rights)>,
    made: u64,
}

impl Run {
    /// A version that is there, as the frozen API shows it.
    fn version(&mut self) -> Value {
        let versions = self.app.get("/models?limit=200").ok();
        self.random.of(versions.as_array().unwrap()).clone()
    }

    fn fields(&mut self, version: &Value) -> (Value, Vec<String>) {
        let (mut body, mut needs) = (json!({}), Vec::new());
        if self.random.is(2) {
            body["description"] = json!(self.made.to_string());
            needs.push("register".to_owned());
        }
        if self.random.is(3) {
            let to = *self.random.of(&STATUSES);
            let from = version["status"].as_str().unwrap();
            body["status"] = to.into();
            needs.extend(if from == to { vec!["register".to_owned()] } else { to_status(Some(from), to) });
        }
        if self.random.is(2) {
            let old = version["metrics"].as_object().cloned().unwrap_or_default();
            let (mut metrics, mut after) = (old.clone(), old.clone());
            if self.random.is(2) {
                metrics.insert("loss".to_owned(), json!(self.random.below(3)));
            }
            match self.random.below(4) {
                0 => drop(metrics.insert("suites".to_owned(), json!({"s": {"a": self.random.below(3)}}))),
                1 => drop(metrics.remove("suites")),
                _ => {}
            }
            after.extend(metrics.clone());
            let rest = |metrics: &serde_json::Map<String, Value>| {
                let mut metrics = metrics.clone();
                metrics.remove("suites");
                metrics
            };
            let has_new_suites = after.get("suites") != old.get("suites");
            if has_new_suites {
                needs.push("evaluate".to_owned());
            }
            if !has_new_suites || rest(&after) != rest(&old) {
                needs.push("register".to_owned());
            }
            body["metrics"] = metrics.into();
        }
        (body, needs)
    }

    fn operation(&mut self) -> Operation {
        self.made += 1;
        let version = self.version();
        let text = |field: &str| version[field].as_str().unwrap();
        let of = |name: &str| *MODELS.iter().find(|known| **known == name).unwrap();
        let (id, status, name) = (version["id"].as_i64().unwrap(), text("status"), of(text("name")));
        let by_label = format!("/v1/models/{}/versions/label:{}", encoded(name), encoded(text("version")));
        let number = self.app.get(&by_label).ok()["number"].as_i64().unwrap();
        let model = format!("/v1/models/{}", encoded(name));
        let mlflow = |call: &str| format!("/api/2.0/mlflow/{call}");
        let needs = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
        let mut operation = Operation {
            method: "POST",
            path: String::new(),
            body: Value::Null,
            needs: Vec::new(),
            model: Some(name),
            gives: None,
        };
        let to = *self.random.of(&STATUSES);
        let alias = *self.random.of(&ALIASES);
        let label = format!("n{}", self.made);
        let o = &mut operation;
        match self.random.below(22) {
            0 => {
                (o.method, o.path, o.needs, o.model) =
                    ("GET", format!("/models/{id}"), needs(&["read"]), None)
            }
            1 => {
                let name = *self.random.of(&MODELS);
                (o.path, o.model) = ("/models".to_owned(), Some(name));
                o.body = json!({"name": name, "version": label, "artifact_uri": "s3://b/x", "status": to});
                o.needs = needs(&["register"]);
                if to != "experimental" {
                    o.needs.extend(to_status(None, to));
                }
                if self.random.is(3) {
                    o.body["metrics"] = json!({"suites": {"s": {"a": 1}}});
                    o.needs.push("evaluate".to_owned());
                }
            }
            2 => {
                (o.path, o.needs) = (format!("{model}/versions"), needs(&["register"]));
                o.body = json!({"label": label, "artifact_uri": "s3://b/x"});
            }
            3 | 4 => {
                (o.method, o.path) = ("PATCH", format!("/models/{id}"));
                (o.body, o.needs) = self.fields(&version);
            }
            5 => {
                (o.method, o.path) = ("PATCH", by_label);
                (o.body, o.needs) = self.fields(&version);
            }
            6 | 7 => {
                (o.path, o.body) = (format!("/models/{id}/promote"), json!({"to_status": to}));
                o.needs = to_status(Some(status), to);
            }
            8 => {
                (o.path, o.needs) = (mlflow("model-versions/transition-stage"), to_status(Some(status), to));
                let stage = if to == "experimental" { "None".to_owned() } else { capitalized(to) };
                o.body = json!({"name": name, "version": number.to_string(), "stage": stage,
                    "archive_existing_versions": false});
            }
            9 => {
                (o.path, o.needs) = (format!("/models/{id}/metrics"), needs(&["evaluate"]));
                o.body = json!({"suite": "s", "metrics": {"a": self.random.below(9)}});
            }
            10 => {
                (o.path, o.needs) = (format!("{by_label}/scores"), needs(&["evaluate"]));
                o.body = json!({"suite": "t", "metrics": {"b": self.random.below(9)}});
            }
            11 => {
                (o.method, o.path) = ("PUT", format!("{model}/aliases/{alias}"));
                (o.body, o.needs) = (json!({"version": number}), to_alias(alias, true));
            }
            12 => {
                (o.method, o.path) = ("DELETE", format!("{model}/aliases/{alias}"));
                o.needs = to_alias(alias, false);
            }
            13 => {
                (o.path, o.needs) = (mlflow("registered-models/alias"), to_alias(alias, true));
                o.body = json!({"name": name, "alias": alias, "version": number.to_string()});
            }
            14 => {
                (o.method, o.path) = ("DELETE", mlflow("registered-models/alias"));
                (o.body, o.needs) = (json!({"name": name, "alias": alias}), to_alias(alias, false));
            }
            15 => {
                (o.path, o.body) = (format!("{model}/rollback"), json!({"reason": "r"}));
                o.needs = to_status(None, "production");
            }
            16 => {
                (o.method, o.path) = ("DELETE", format!("/models/{id}?force=true"));
                o.needs = needs(&["delete"]);
                if status == "production" {
                    o.needs.push("promote:production".to_owned());
                }
            }
            17 => {
                (o.method, o.path) = ("PUT", format!("{by_label}/tags/k"));
                (o.body, o.needs) = (json!({"value": label}), needs(&["register"]));
            }
            18 => {
                (o.path, o.needs) = (mlflow("model-versions/create"), needs(&["register"]));
                o.body = json!({"name": name, "source": "s3://b/x"});
            }
            19 => {
                (o.method, o.path) = ("PATCH", model);
                (o.body, o.needs) = (json!({"description": label}), needs(&["register"]));
            }
            20 => {
                let given = Rights::random(&mut self.random);
                (o.path, o.needs, o.model) = ("/v1/keys".to_owned(), needs(&["keys"]), None);
                o.body = json!({"name": label, "scopes": given.scopes, "models": given.patterns()});
                o.gives = Some(given);
            }
            _ => {
                let trash = self.app.get(&format!("{model}/versions?deleted=true&limit=1")).ok();
                let deleted = &trash["versions"][0];
                if deleted.is_null() {
                    (o.method, o.path, o.needs, o.model) =
                        ("GET", "/v1/events".to_owned(), needs(&["read"]), None);
                } else {
                    (o.path, o.needs) =
                        (format!("{model}/versions/{}/restore", deleted["number"]), needs(&["delete"]));
                    match deleted["status"].as_str().unwrap() {
                        "experimental" => {}
                        "production" => o.needs.extend(to_status(None, "staging")),
                        status => o.needs.extend(to_status(None, status)),
                    }
                }
            }
        }
        operation
    }

    fn step(&mut self) {
        let operation = self.operation();
        let Operation { method, path, body, needs, model, gives } = &operation;
        let (token, rights) = self.keys[self.random.below(self.keys.len())].clone();
        let last = |app: &TestApp| app.get("/v1/events?limit=1").ok()["events"][0]["id"].clone();
        let before = last(&self.app);
        // A change that names no field changes nothing, for a key that may change something.
        let is_empty_change = *method == "PATCH" && needs.is_empty();
        let may_change = ["register", "evaluate"].iter().any(|scope| rights.has(scope))
            || rights.scopes.iter().any(|scope| scope.starts_with("promote:"));
        let is_allowed = needs.iter().all(|needed| rights.has(needed))
            && model.is_none_or(|model| rights.includes(model))
            && gives.as_ref().is_none_or(|given| rights.covers(given))
            && (!is_empty_change || may_change);
        let answer = self.app.with_key(&token, method, path, (!body.is_null()).then_some(body));
        let shown = || {
            format!(
                "{method} {path} {body} needs {needs:?} of {model:?}; {rights:?}: {} {}",
                answer.status, answer.text
            )
        };
        if is_allowed {
            assert!(
                !is_forbidden(&answer) && answer.status < 500 && answer.status != 401,
                "refused: {}",
                shown()
            );
        } else {
            // A frozen or production version may refuse the fields before it is known what they change.
            let is_refused = is_forbidden(&answer) || *method == "PATCH" && answer.status == 409;
            assert!(is_refused, "let through: {}", shown());
            assert_eq!(last(&self.app), before, "changed something: {}", shown());
        }
        if let (201, Some(given)) = (answer.status, gives.clone()) {
            self.keys.push((answer.json()["token"].as_str().unwrap().to_owned(), given));
        }
    }
}

fn capitalized(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..]
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn random_keys_may_do_what_their_scopes_say_and_nothing_else() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("REGISTRY_RANDOM_SEED").unwrap_or(now) | 1;
    println!("REGISTRY_RANDOM_SEED={seed}");
    let app = TestApp::spawn();
    for name in MODELS {
        for label in ["v1", "v2", "v3"] {
            app.register(name, label);
        }
    }
    let mut run = Run { app, random: Random(seed), keys: Vec::new(), made: 0 };
    for number in 0..40 {
        let rights = Rights::random(&mut run.random);
        let token = run.app.key(&format!("k{number}"), &rights.scopes, &rights.patterns());
        run.keys.push((token, rights));
    }
    for _ in 0..number("REGISTRY_RANDOM_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS) {
        run.step();
        let few = run.app.get("/models?limit=1").header("x-total-count").unwrap().parse::<u64>().unwrap() < 4;
        if few {
            run.app.register("c", &format!("again{}", run.made));
        }
    }
}
