//! Genuine MLflow servers of this test binary, which end with it.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::left_out::left_out;

/// Python takes seconds to start, and minutes on a machine that compiles.
const START_TIMEOUT: Duration = Duration::from_secs(600);
/// Runs a program until its input ends, which it does when the test binary ends, however it ends.
const KEEPER: &str = r#"
folder=$1; shift
setsid "$@" >"$folder/log" 2>&1 &
echo started
read -r _
kill -KILL -$!
rm -rf "$folder"
"#;

/// A running server.
pub(crate) struct MlflowServer {
    pub(crate) url: String,
    /// Its database, and what it stores.
    pub(crate) folder: PathBuf,
    /// Its input keeps the server alive.
    _keeper: Child,
}

/// Returns the server of this test binary, with the models of [`seed`]; `None` if MLflow is not installed, which is said.
pub(crate) fn mlflow() -> Option<&'static MlflowServer> {
    static SERVER: OnceLock<Option<MlflowServer>> = OnceLock::new();
    started(&SERVER, seed)
}

/// Returns another one, with the models and files of `seed`.
pub(crate) fn mlflow_with_files(seed: fn(&MlflowServer)) -> Option<&'static MlflowServer> {
    static SERVER: OnceLock<Option<MlflowServer>> = OnceLock::new();
    started(&SERVER, seed)
}

fn started(
    server: &'static OnceLock<Option<MlflowServer>>,
    seed: fn(&MlflowServer),
) -> Option<&'static MlflowServer> {
    let start = |program: PathBuf| {
        let server = MlflowServer::start(&program);
        seed(&server);
        server
    };
    let server = server.get_or_init(|| program().map(start)).as_ref();
    if server.is_none() {
        left_out("MLflow is not installed; tests/mlflow/install.sh installs it");
    }
    server
}

/// The folder of `tests/mlflow/install.sh`.
fn program() -> Option<PathBuf> {
    let folder = env::var_os("REGISTRY_TEST_MLFLOW").map_or_else(|| "target/mlflow".into(), PathBuf::from);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("server/bin/mlflow");
    program.exists().then_some(program)
}

impl MlflowServer {
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let database = format!("sqlite:///{}", folder.join("mlflow.db").display());
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .arg(program)
            .args(["server", "--host", "127.0.0.1", "--workers", "1", "--port", &port.to_string()])
            .args(["--backend-store-uri", &database, "--default-artifact-root", "mlflow-artifacts:/"])
            .arg("--artifacts-destination")
            .arg(folder.join("passed"))
            .envs([("MLFLOW_DISABLE_TELEMETRY", "true"), ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let server = Self { url, folder: folder.clone(), _keeper: keeper };
        let deadline = Instant::now() + START_TIMEOUT;
        while ureq::get(format!("{}/version", server.url)).call().is_err() {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the MLflow server did not start: {log}");
            thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// Calls the server, and returns its answer.
    pub(crate) fn send(&self, method: &str, call: &str, body: &Value) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/api/2.0/mlflow/{call}", self.url))
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.run(request).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer.status(), 200, "{method} {call} {body}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn post(&self, call: &str, body: Value) -> Value {
        self.send("POST", call, &body)
    }

    pub(crate) fn version(&self, name: &str, source: &str, fields: Value) {
        let mut body = json!({"name": name, "source": source});
        for (field, value) in fields.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.post("model-versions/create", body);
    }

    fn stage(&self, name: &str, version: &str, stage: &str) {
        let body =
            json!({"name": name, "version": version, "stage": stage, "archive_existing_versions": false});
        self.post("model-versions/transition-stage", body);
    }

    /// Returns all rows of a search, prompts included.
    pub(crate) fn all(&self, call: &str, rows: &str) -> Vec<Value> {
        let filters = ["", "&filter=tags.%60mlflow.prompt.is_prompt%60%20%3D%20'true'"];
        let page = |filter| self.send("GET", &format!("{call}/search?max_results=1000{filter}"), &json!({}));
        filters
            .into_iter()
            .flat_map(|filter| page(filter)[rows].as_array().cloned().unwrap_or_default())
            .collect()
    }
}

/// Versions of the model `bulk`.
pub(crate) const BULK: i64 = 60;

/// Models of every kind that an import has to deal with.
fn seed(server: &MlflowServer) {
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let model = |name: &str, description: &str, tags: Value| {
        server.post(
            "registered-models/create",
            json!({"name": name, "description": description, "tags": tags}),
        );
    };
    let alias = |name: &str, alias: &str, version: &str| {
        server.post("registered-models/alias", json!({"name": name, "alias": alias, "version": version}));
    };
    model("vision", "sees", json!([tag("team", "nlp"), tag("empty", "")]));
    for number in 1..=5 {
        let run = format!("{number:032}");
        let fields = json!({
            "run_id": run, "tags": [tag("eval", &number.to_string())], "description": format!("number {number}"),
            "run_link": if number == 1 { "http://runs/1" } else { "" },
        });
        server.version("vision", &format!("runs:/{run}/model"), fields);
    }
    for number in ["2", "5"] {
        server.send("DELETE", "model-versions/delete", &json!({"name": "vision", "version": number}));
    }
    server.stage("vision", "1", "Archived");
    server.stage("vision", "3", "Production");
    server.stage("vision", "4", "Production");
    alias("vision", "champion", "3");
    model("copy", "", json!([]));
    server.version("copy", "models:/vision/3", json!({}));
    model("it's \"odd\" [x] ü", "", json!([tag("a b/c.d", "é\n")]));
    server.version("it's \"odd\" [x] ü", "s3://b/odd", json!({}));
    model(&"n".repeat(1_025), "", json!([]));
    server.version(&"n".repeat(1_025), "s3://b/n", json!({}));
    model("empty", "", json!([]));
    model("digits", "", json!([]));
    server.version("digits", "s3://b/digits/1", json!({}));
    server.version("digits", "s3://b/digits/2", json!({}));
    server.stage("digits", "2", "Production");
    alias("digits", "production", "1");
    alias("digits", "12", "1");
    let prompt = tag("mlflow.prompt.is_prompt", "true");
    model("greeting", "", json!([prompt]));
    for text in ["Hello {{name}}", "Hi {{name}}"] {
        let tags = json!([prompt, tag("_mlflow_prompt_type", "text"), tag("mlflow.prompt.text", text)]);
        server.version("greeting", "dummy-source", json!({"tags": tags}));
    }
    alias("greeting", "live", "1");
    model("bulk", "", json!([]));
    for number in 1..=BULK {
        server.version("bulk", &format!("s3://b/bulk/{number}"), json!({}));
    }
}
