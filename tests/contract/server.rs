//! `registry serve` as its own process, and an HTTP client that sends what a case says.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

const KEY: &str = "test-key";
/// What 0.2.0 was recorded with.
const VARIABLES: [(&str, &str); 5] = [
    ("CAIA_REGISTRY_API_KEY", KEY),
    ("CAIA_REGISTRY_CORS_ORIGINS", ""),
    ("CAIA_REGISTRY_ALLOW_LOCAL_PATHS", "0"),
    ("CAIA_REGISTRY_EXPOSE_LOCAL_PATHS", "0"),
    ("CAIA_REGISTRY_TRUST_ACTOR_HEADER", "0"),
];
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A request as a case writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    method: String,
    path: String,
    #[serde(default)]
    query: serde_json::Map<String, Value>,
    /// Beside the API key and, of JSON, the content type; `null` leaves one of those out.
    #[serde(default)]
    headers: HashMap<String, Option<String>>,
    json: Option<Value>,
    raw: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// `null` if it is empty, a string if it is not JSON.
    pub(crate) body: Value,
}

pub(crate) struct Server {
    url: String,
    child: Child,
    /// Open as long as the server runs, so that it can print.
    _stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Server {
    /// Starts a server on a free port, with the variable that names its database. `variables` are set in addition to the variables of every case, or unset by `null`.
    pub(crate) fn start(folder: &Path, database: (&str, String), variables: &Value) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIA_REGISTRY_"))
        {
            command.env_remove(name);
        }
        command.envs(VARIABLES).env(database.0, database.1);
        for (name, value) in variables.as_object().into_iter().flatten() {
            match value.as_str() {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let log = folder.join("server.log");
        command.args(["serve", "--host", "127.0.0.1", "--port", "0"]).current_dir(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let mut server = Self { url: String::new(), child, _stdout: stdout, log };
        let url = first.split_whitespace().find(|word| word.contains("://"));
        server.url = url.unwrap_or_else(|| panic!("no server: {first:?}\n{}", server.log())).to_owned();
        server
    }

    pub(crate) fn send(&self, request: &Request) -> Answer {
        let mut headers = HashMap::from([("X-API-Key", Some(KEY))]);
        if request.json.is_some() {
            headers.insert("Content-Type", Some("application/json"));
        }
        headers.extend(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
        let mut url = url::Url::parse(&format!("{}{}", self.url, request.path)).unwrap();
        for (name, value) in &request.query {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for value in values {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                url.query_pairs_mut().append_pair(name, &text);
            }
        }
        let mut builder = ureq::http::Request::builder().method(request.method.as_str()).uri(url.as_str());
        for (name, value) in headers {
            // Letters beyond ASCII go as Latin-1, as HTTP once had it.
            let Some(value) = value else { continue };
            let bytes: Vec<u8> = value.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
            builder = builder.header(name, bytes);
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build()
            .new_agent();
        let response = match request.json.as_ref().map(Value::to_string).or_else(|| request.raw.clone()) {
            Some(body) => agent.run(builder.body(body).unwrap()),
            None => agent.run(builder.body(()).unwrap()),
        };
        let mut response = response.unwrap_or_else(|error| panic!("{}: {error}", request.path));
        let text = response.body_mut().read_to_string().unwrap();
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Answer { status: response.status().as_u16(), headers, body }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
