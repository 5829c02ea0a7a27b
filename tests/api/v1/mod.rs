//! `/v1`.

mod aliases;
mod concurrency;
mod errors;
mod events;
mod files;
mod follow;
mod history;
mod large;
mod models;
mod names;
mod policies;
mod search;
mod strict;
mod trash;
mod versions;
mod webhooks;

use serde_json::{Value, json};

use crate::support::{Answer, TestApp, encoded};

/// The start of the path of a model.
fn model(name: &str) -> String {
    format!("/v1/models/{}", encoded(name))
}

/// The path of a version by its number.
fn version(name: &str, number: i64) -> String {
    format!("{}/versions/{number}", model(name))
}

impl TestApp {
    fn v1(&self, method: &str, path: &str, body: Value) -> Answer {
        self.request(method, path, &[], (!body.is_null()).then(|| body.to_string()).as_deref())
    }

    /// Registers a version with further fields, and returns it.
    #[track_caller]
    fn add_with(&self, name: &str, label: &str, fields: Value) -> Value {
        let mut body = json!({"label": label, "artifact_uri": format!("s3://b/{label}")});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.v1("POST", &format!("{}/versions", model(name)), body).created()
    }

    /// Registers a version and returns its number.
    #[track_caller]
    fn add(&self, name: &str, label: &str) -> i64 {
        self.add_with(name, label, json!({}))["number"].as_i64().unwrap()
    }

    fn set_alias(&self, name: &str, alias: &str, body: Value) -> Answer {
        self.v1("PUT", &format!("{}/aliases/{}", model(name), encoded(alias)), body)
    }

    fn rollback(&self, name: &str, body: Value) -> Answer {
        self.v1("POST", &format!("{}/rollback", model(name)), body)
    }

    /// Returns the number of the version that holds an alias, or null.
    #[track_caller]
    fn holder(&self, name: &str, alias: &str) -> Value {
        self.get(&model(name)).ok()["aliases"][alias].clone()
    }

    /// Returns the trail from the oldest event on.
    #[track_caller]
    fn trail(&self, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?limit=500&{query}")).ok();
        assert_eq!(page["next"], Value::Null);
        page["events"].as_array().unwrap().iter().rev().cloned().collect()
    }
}

impl Answer {
    #[track_caller]
    fn created(self) -> Value {
        assert_eq!(self.status, 201, "{}", self.text);
        self.json()
    }

    /// Asserts that it is an error of `/v1` with this status and code, and returns its message.
    #[track_caller]
    fn error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        let body = self.json();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["error"], "{}", self.text);
        assert_eq!(body["error"]["code"], code, "{}", self.text);
        assert_eq!(body["error"]["fields"].is_array(), status == 422, "{}", self.text);
        let message = body["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.is_empty());
        message
    }

    /// Asserts that it is a 422 with exactly these paths, in any order.
    #[track_caller]
    fn unfit(&self, paths: &[&str]) {
        self.error(422, "invalid");
        let fields = self.json()["error"]["fields"].clone();
        let fields = fields.as_array().unwrap().iter();
        let mut found: Vec<_> = fields.map(|field| field["path"].as_str().unwrap().to_owned()).collect();
        found.sort();
        let mut expected = paths.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}", self.text);
    }
}

/// Returns one field of each item in a list.
fn each(list: &Value, field: &str) -> Vec<Value> {
    list.as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}
