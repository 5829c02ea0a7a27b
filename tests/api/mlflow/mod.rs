//! MLflow's API, beyond what its recorded cases show: the rules of this registry, bad input, and many clients.

mod bad_input;
mod files;
mod rules;
mod versions;
mod webhooks;

use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

const PREFIX: &str = "/api/2.0/mlflow";

impl TestApp {
    /// Sends a call with JSON arguments, in a body as MLflow's client does, also with DELETE and GET.
    fn mlflow(&self, method: &str, call: &str, arguments: Value) -> Answer {
        let path = format!("{PREFIX}/{call}");
        self.send(method, path, "Content-Type: application/json\r\n", arguments.to_string())
    }

    /// Creates a model through MLflow's API.
    #[track_caller]
    fn mlflow_model(&self, name: &str) {
        self.mlflow("POST", "registered-models/create", json!({"name": name})).ok();
    }

    /// Creates a version through MLflow's API, and returns it.
    #[track_caller]
    fn mlflow_version(&self, name: &str) -> Value {
        self.mlflow("POST", "model-versions/create", json!({"name": name, "source": "s3://b/m"})).ok()
            ["model_version"]
            .clone()
    }

    /// Returns a version as MLflow shows it.
    #[track_caller]
    fn mlflow_get(&self, name: &str, number: &str) -> Value {
        self.mlflow("GET", "model-versions/get", json!({"name": name, "version": number})).ok()
            ["model_version"]
            .clone()
    }

    fn transition(&self, number: &str, stage: &str, archive: bool) -> Answer {
        let body =
            json!({"name": "m", "version": number, "stage": stage, "archive_existing_versions": archive});
        self.mlflow("POST", "model-versions/transition-stage", body)
    }
}

impl Answer {
    /// Asserts that it is an error of MLflow with this status and code, and returns its message.
    #[track_caller]
    fn mlflow_error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        let body = self.json();
        assert_eq!(body["error_code"], code, "{}", self.text);
        let message = body["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.trim().is_empty(), "{}", self.text);
        message
    }
}
