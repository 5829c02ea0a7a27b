//! The calls of `/v1`, one method each: path, body, and answer.
//!
//! They fail as the native calls do, or with [`ClientError::TooOld`] if the registry has no `/v1`.

use percent_encoding::percent_decode;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::{
    calls::{Condition, id_in, segment, with_query},
    client::Client,
    error::ClientError,
};
use registry_domain::VersionRef;

/// Calls `/v1` of a registry.
#[derive(Debug, Clone, Copy)]
pub struct V1<'c> {
    pub(super) client: &'c Client,
    /// What works on a registry without `/v1`, for the error.
    pub(super) instead: &'static str,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct V1Page {
    /// The items on this page.
    pub items: Vec<Value>,
    /// The `cursor` of the next page; absent on the last one.
    pub next: Option<String>,
}

/// The version number that an alias must point to before it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any, or none.
    Any,
    /// The alias must not exist.
    None,
    /// This one.
    Number(i64),
}

/// What has a tag.
#[derive(Debug, Clone, Copy)]
pub enum TagOwner<'n> {
    /// The model of this name.
    Model(&'n str),
    /// The version with this number.
    Version(&'n str, i64),
}

impl Client {
    /// Returns the calls of `/v1`. `instead` says in the error of a registry without `/v1` what works there, as in "or
    /// …"; it may be empty.
    pub fn v1(&self, instead: &'static str) -> V1<'_> {
        V1 { client: self, instead }
    }
}

impl V1<'_> {
    /// Returns a page of the models, by name; `query` has the parameters of `GET /v1/models`, unescaped.
    pub fn models(&self, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page("/v1/models", query, "models")
    }

    /// Creates a model without versions.
    pub fn create_model(&self, body: &Value) -> Result<Value, ClientError> {
        self.expect_model(self.send(Method::POST, "/v1/models", Some(body))?)
    }

    /// Returns a model.
    pub fn model(&self, name: &str) -> Result<Value, ClientError> {
        self.expect_model(self.get(&of_model(name))?)
    }

    /// Changes a model with a body of `PATCH /v1/models/{name}`; another `name` renames it.
    pub fn update_model(&self, name: &str, body: &Value) -> Result<Value, ClientError> {
        self.expect_model(self.send(Method::PATCH, &of_model(name), Some(body))?)
    }

    /// Deletes a model and its versions; one with a production or frozen version only with `force`.
    pub fn delete_model(&self, name: &str, force: bool) -> Result<Value, ClientError> {
        let path = format!("{}?force={force}", of_model(name));
        self.expect_deleted(self.send(Method::DELETE, &path, None)?)
    }

    /// Takes the model that was deleted last under this name out of the trash, with its versions.
    pub fn restore_model(&self, name: &str) -> Result<Value, ClientError> {
        self.expect_model(self.send(Method::POST, &format!("{}/restore", of_model(name)), None)?)
    }

    /// Returns a page of the versions of a model, newest first.
    pub fn versions(&self, name: &str, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page(&format!("{}/versions", of_model(name)), query, "versions")
    }

    /// Registers a version with a body of `POST /v1/models/{name}/versions`.
    pub fn register(&self, name: &str, body: &Value) -> Result<Value, ClientError> {
        self.expect_version(self.send(Method::POST, &format!("{}/versions", of_model(name)), Some(body))?)
    }

    /// Returns a page of the files of a version; `query` has the parameters of its `/files`, unescaped.
    pub fn files(&self, name: &str, number: i64, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page(&format!("{}/files", of_version(name, number)), query, "files")
    }

    /// Returns a page of the versions of all models that a filter selects; `query` has the parameters of
    /// `GET /v1/versions`, unescaped.
    pub fn search(&self, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page("/v1/versions", query, "versions")
    }

    /// Returns a version.
    pub fn version(&self, version: &VersionRef) -> Result<Value, ClientError> {
        let path = match version {
            VersionRef::Id(id) => format!("/v1/versions/{id}"),
            VersionRef::Number(name, number) => of_version(name, *number),
            VersionRef::Label(name, label) => {
                format!("{}/versions/label:{}", of_model(name), segment(label))
            }
            VersionRef::Alias(name, alias) => format!("{}/versions/@{}", of_model(name), segment(alias)),
            VersionRef::Revision(name, revision) => format!("{}/versions/{revision}", of_model(name)),
        };
        self.expect_version(self.get(&path)?)
    }

    /// Takes a version out of the trash.
    pub fn restore_version(&self, name: &str, number: i64) -> Result<Value, ClientError> {
        let path = format!("{}/restore", of_version(name, number));
        self.expect_version(self.send(Method::POST, &path, None)?)
    }

    /// Sets a tag, and returns what has it.
    pub fn set_tag(&self, owner: TagOwner<'_>, key: &str, value: &str) -> Result<Value, ClientError> {
        let body = json!({ "value": value });
        self.expect_owner(owner, self.send(Method::PUT, &of_tag(owner, key), Some(&body))?)
    }

    /// Deletes a tag, and returns what had it.
    pub fn delete_tag(&self, owner: TagOwner<'_>, key: &str) -> Result<Value, ClientError> {
        self.expect_owner(owner, self.send(Method::DELETE, &of_tag(owner, key), None)?)
    }

    /// Points an alias to a version, and returns the version.
    pub fn set_alias(
        &self,
        name: &str,
        alias: &str,
        number: i64,
        expected: Expected,
        reason: Option<&str>,
    ) -> Result<Value, ClientError> {
        let mut body = json!({ "version": number });
        match expected {
            Expected::Any => {}
            Expected::None => body["expected"] = Value::Null,
            Expected::Number(number) => body["expected"] = number.into(),
        }
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        self.expect_version(self.send(Method::PUT, &of_alias(name, alias), Some(&body))?)
    }

    /// Deletes an alias; with `expected`, only if it points to that version number.
    pub fn delete_alias(
        &self,
        name: &str,
        alias: &str,
        expected: Option<i64>,
        reason: Option<&str>,
    ) -> Result<Value, ClientError> {
        let expected = expected.map(|number| number.to_string());
        let expected = expected.iter().map(|number| ("expected", number.as_str()));
        let query: Vec<_> = expected.chain(reason.map(|reason| ("reason", reason))).collect();
        self.expect_deleted(self.send(Method::DELETE, &with_query(&of_alias(name, alias), &query), None)?)
    }

    /// Returns who held which alias from when to when, newest first; `query` has the parameters of
    /// `GET /v1/models/{name}/history`, unescaped.
    pub fn history(&self, name: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ClientError> {
        Ok(self.page(&format!("{}/history", of_model(name)), query, "history")?.items)
    }

    /// Puts a version back into production: the one before, or the one with the number `to`.
    pub fn rollback(&self, name: &str, to: Option<i64>, reason: &str) -> Result<Value, ClientError> {
        let mut body = json!({ "reason": reason });
        if let Some(number) = to {
            body["to"] = number.into();
        }
        self.expect_version(self.send(Method::POST, &format!("{}/rollback", of_model(name)), Some(&body))?)
    }

    /// Returns a page of the audit trail as its hashes cover it, in order; `query` has the parameters of
    /// `GET /v1/events/records`, unescaped.
    pub fn event_records(&self, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page("/v1/events/records", query, "events")
    }

    /// Returns a page of the audit trail, newest first; `query` has the parameters of `GET /v1/events`, unescaped.
    pub fn events(&self, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page("/v1/events", query, "events")
    }

    /// Returns all policies.
    pub fn policies(&self) -> Result<Vec<Value>, ClientError> {
        Ok(self.page("/v1/policies", &[], "policies")?.items)
    }

    /// Returns a policy, or one of its versions.
    pub fn policy(&self, name: &str, version: Option<i64>) -> Result<Value, ClientError> {
        let version = version.map(|version| version.to_string());
        let query: Vec<_> = version.iter().map(|version| ("version", version.as_str())).collect();
        self.expect_policy(self.get(&with_query(&of_policy(name), &query))?)
    }

    /// Stores a policy with a body of `PUT /v1/policies/{name}`, and returns it.
    pub fn set_policy(&self, name: &str, body: &Value) -> Result<Value, ClientError> {
        self.expect_policy(self.send(Method::PUT, &of_policy(name), Some(body))?)
    }

    /// Deletes a policy, and returns its last version.
    pub fn delete_policy(&self, name: &str) -> Result<Value, ClientError> {
        self.expect_policy(self.send(Method::DELETE, &of_policy(name), None)?)
    }

    /// Tries policies with a body of `POST /v1/policies/test`.
    pub fn test_policies(&self, body: &Value) -> Result<Value, ClientError> {
        let has_verdicts = |body: &Value| body.get("policies").is_some_and(Value::is_array);
        let tried = self.send(Method::POST, "/v1/policies/test", Some(body))?;
        self.client.expect(tried, has_verdicts, "its answer contains no policies")
    }

    /// Returns a page of approvals; `query` has the parameters of `GET /v1/approvals`, unescaped.
    pub fn approvals(&self, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page("/v1/approvals", query, "approvals")
    }

    /// Returns what was said of a version, the newest first.
    pub fn approvals_of(&self, name: &str, number: i64) -> Result<Vec<Value>, ClientError> {
        Ok(self.page(&of_approvals(name, number), &[], "approvals")?.items)
    }

    /// Approves a version, or asks for an approval.
    pub fn approve(&self, name: &str, number: i64, body: &Value) -> Result<Value, ClientError> {
        let is_approval = |body: &Value| body.get("target").is_some_and(Value::is_string);
        let given = self.send(Method::POST, &of_approvals(name, number), Some(body))?;
        self.client.expect(given, is_approval, "its answer contains no approval")
    }

    /// Withdraws what the caller said of a version for a target.
    pub fn withdraw_approval(&self, name: &str, number: i64, target: &str) -> Result<Value, ClientError> {
        let path = with_query(&of_approvals(name, number), &[("target", target)]);
        self.expect_deleted(self.send(Method::DELETE, &path, None)?)
    }

    /// Returns a page of the stored API keys; `query` has the parameters of `GET /v1/keys`, unescaped.
    pub fn keys(&self, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page("/v1/keys", query, "keys")
    }

    /// Returns a stored API key by its name or id.
    pub fn key(&self, key: &str) -> Result<Value, ClientError> {
        self.expect_key(self.get(&of_key(key))?)
    }

    /// Returns the caller and its rights.
    pub fn whoami(&self) -> Result<Value, ClientError> {
        let is_caller = |body: &Value| body.get("actor").is_some_and(Value::is_string);
        self.client.expect(self.get("/v1/whoami")?, is_caller, "its answer names no caller")
    }

    /// Creates an API key with a body of `POST /v1/keys`. Returns `key` and `token`.
    pub fn create_key(&self, body: &Value) -> Result<Value, ClientError> {
        self.expect_token(self.send(Method::POST, "/v1/keys", Some(body))?)
    }

    /// Gives an API key another token. Returns `key` and `token`.
    pub fn rotate_key(&self, key: &str, body: &Value) -> Result<Value, ClientError> {
        self.expect_token(self.send(Method::POST, &format!("{}/rotate", of_key(key)), Some(body))?)
    }

    /// Revokes an API key, and returns it.
    pub fn revoke_key(&self, key: &str) -> Result<Value, ClientError> {
        self.expect_key(self.send(Method::DELETE, &of_key(key), None)?)
    }

    /// Returns all webhooks, the newest first.
    pub fn webhooks(&self) -> Result<Vec<Value>, ClientError> {
        Ok(self.page("/v1/webhooks", &[], "webhooks")?.items)
    }

    /// Creates a webhook, and returns it with its secret.
    pub fn create_webhook(&self, body: &Value) -> Result<Value, ClientError> {
        self.expect_webhook(self.send(Method::POST, "/v1/webhooks", Some(body))?)
    }

    /// Changes a webhook with a body of `PATCH /v1/webhooks/{id}`.
    pub fn update_webhook(&self, id: &str, body: &Value) -> Result<Value, ClientError> {
        self.expect_webhook(self.send(Method::PATCH, &of_webhook(id), Some(body))?)
    }

    /// Deletes a webhook and its deliveries.
    pub fn delete_webhook(&self, id: &str) -> Result<Value, ClientError> {
        self.expect_deleted(self.send(Method::DELETE, &of_webhook(id), None)?)
    }

    /// Sends a test to a webhook, and returns what came of it.
    pub fn test_webhook(&self, id: &str) -> Result<Value, ClientError> {
        let answer = self.send(Method::POST, &format!("{}/test", of_webhook(id)), None)?;
        let is_outcome = |body: &Value| body.get("delivered").is_some_and(Value::is_boolean);
        self.client.expect(answer, is_outcome, "its answer does not say what came of the test")
    }

    /// Returns a page of the deliveries of a webhook, newest first; `query` has its parameters, unescaped.
    pub fn deliveries(&self, id: &str, query: &[(&str, &str)]) -> Result<V1Page, ClientError> {
        self.page(&format!("{}/deliveries", of_webhook(id)), query, "deliveries")
    }

    /// Sends deliveries of a webhook again, with a body of `POST /v1/webhooks/{id}/replay`.
    pub fn replay(&self, id: &str, body: &Value) -> Result<Value, ClientError> {
        let answer = self.send(Method::POST, &format!("{}/replay", of_webhook(id)), Some(body))?;
        let is_count = |body: &Value| body.get("replayed").is_some_and(Value::is_u64);
        self.client.expect(answer, is_count, "its answer does not say what is sent again")
    }

    fn page(&self, path: &str, query: &[(&str, &str)], items: &str) -> Result<V1Page, ClientError> {
        let mut body = self.get(&with_query(path, query))?;
        let next = body.get("next").and_then(Value::as_str).map(str::to_owned);
        match body.get_mut(items).map(Value::take) {
            Some(Value::Array(items)) => Ok(V1Page { items, next }),
            _ => Err(self.client.not_a_registry("its answer is not a list")),
        }
    }

    fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None)
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        match self.client.send(method, path, body, &Condition::default()) {
            Ok((headers, body)) => {
                let warnings = headers.get_all("x-policy-warning").iter();
                self.client.note_warnings(
                    warnings.map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned()),
                );
                Ok(body)
            }
            // A healthy registry is at this URL, so only `/v1` is missing.
            Err(ClientError::NoSuchPath { url }) if self.client.health(false).is_ok() => {
                Err(ClientError::TooOld { url, instead: self.instead })
            }
            Err(error) => Err(error),
        }
    }

    /// Returns `body` if it is a model, which is an object with a name.
    fn expect_model(&self, body: Value) -> Result<Value, ClientError> {
        let is_model = |body: &Value| body.get("name").is_some_and(Value::is_string);
        self.client.expect(body, is_model, "its answer contains no model")
    }

    /// Returns `body` if it is a version, which is an object with an id, a model and a number.
    fn expect_version(&self, body: Value) -> Result<Value, ClientError> {
        let is_version = |body: &Value| {
            id_in(body).is_some()
                && body.get("model").is_some_and(Value::is_string)
                && body.get("number").is_some_and(Value::is_i64)
        };
        self.client.expect(body, is_version, "its answer contains no version")
    }

    fn expect_policy(&self, body: Value) -> Result<Value, ClientError> {
        let is_policy = |body: &Value| body.get("conditions").is_some_and(Value::is_array);
        self.client.expect(body, is_policy, "its answer contains no policy")
    }

    fn expect_key(&self, body: Value) -> Result<Value, ClientError> {
        let is_key = |body: &Value| body.get("scopes").is_some_and(Value::is_array);
        self.client.expect(body, is_key, "its answer contains no key")
    }

    fn expect_token(&self, body: Value) -> Result<Value, ClientError> {
        let has_token = |body: &Value| body.get("token").is_some_and(Value::is_string);
        self.client.expect(body, has_token, "its answer contains no token")
    }

    /// Returns `body` if it is a webhook, which is an object with an id and a URL.
    fn expect_webhook(&self, body: Value) -> Result<Value, ClientError> {
        let has = |body: &Value, field: &str| body.get(field).is_some_and(Value::is_string);
        self.client.expect(body, |body| has(body, "id") && has(body, "url"), "its answer contains no webhook")
    }

    fn expect_owner(&self, owner: TagOwner<'_>, body: Value) -> Result<Value, ClientError> {
        match owner {
            TagOwner::Model(_) => self.expect_model(body),
            TagOwner::Version(..) => self.expect_version(body),
        }
    }

    fn expect_deleted(&self, body: Value) -> Result<Value, ClientError> {
        let is_deleted = |body: &Value| body.get("deleted") == Some(&Value::Bool(true));
        self.client.expect(body, is_deleted, "its answer does not say what was deleted")
    }
}

fn of_model(name: &str) -> String {
    format!("/v1/models/{}", segment(name))
}

fn of_webhook(id: &str) -> String {
    format!("/v1/webhooks/{}", segment(id))
}

fn of_version(name: &str, number: i64) -> String {
    format!("{}/versions/{number}", of_model(name))
}

fn of_alias(name: &str, alias: &str) -> String {
    format!("{}/aliases/{}", of_model(name), segment(alias))
}

fn of_policy(name: &str) -> String {
    format!("/v1/policies/{}", segment(name))
}

fn of_approvals(name: &str, number: i64) -> String {
    format!("{}/approvals", of_version(name, number))
}

fn of_key(key: &str) -> String {
    format!("/v1/keys/{}", segment(key))
}

fn of_tag(owner: TagOwner<'_>, key: &str) -> String {
    let owner = match owner {
        TagOwner::Model(name) => of_model(name),
        TagOwner::Version(name, number) => of_version(name, number),
    };
    format!("{owner}/tags/{}", segment(key))
}
