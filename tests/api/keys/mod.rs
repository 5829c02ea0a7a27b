//! Stored API keys: their life, what they may do by whatever call, and that it is neither more nor less than their scopes say.

mod life;
mod random;
mod roads;
mod routes;

use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

impl TestApp {
    /// Creates a key with these scopes, for these models, and returns its token.
    #[track_caller]
    fn key(&self, name: &str, scopes: &[&str], models: &[&str]) -> String {
        let body = json!({"name": name, "scopes": scopes, "models": models});
        let answer = self.post("/v1/keys", &body);
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Sends a request with another key.
    fn with_key(&self, key: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        self.request(method, path, &[("X-API-Key", key)], body.as_deref())
    }
}

/// Returns true if a key was refused for what it may not do.
fn is_forbidden(answer: &Answer) -> bool {
    answer.status == 403
        && ["key:", "a key may have no more rights"].iter().any(|why| answer.text.contains(why))
}
