//! The files that an MLflow server hands out: of a folder that it passes on for its clients, or of a run.

use std::{collections::VecDeque, io::Read as _};

use serde_json::Value;
use ureq::{
    Body,
    http::{Response, header},
};

use crate::calls::{segment, with_query};

use super::{API, MAX_ANSWER_BYTES, MlflowError, MlflowServer};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Folders below one folder. More can only be a server that repeats itself.
const MAX_FOLDERS: usize = 100_000;
const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// A folder, or a file, from which a server hands out bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlflowFolder {
    /// A path in the store that the server passes on.
    Passed(String),
    /// A path in the artifacts of a run, wherever they are. The server reads them.
    OfRun {
        /// The run.
        run_id: String,
        /// May be empty.
        path: String,
    },
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowFile {
    /// Relative to the folder.
    pub path: String,
    /// Its size in bytes, if the server says it.
    pub size_bytes: Option<u64>,
}

/// A run, as far as its files are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowRun {
    /// Where its files are.
    pub artifact_uri: String,
    /// The models that it logged, whose files are elsewhere.
    pub logged_models: Vec<String>,
}

impl MlflowServer {
    /// Returns the folder that a URI names, if this server passes it on: `mlflow-artifacts:/PATH`, or its own URL.
    #[must_use]
    pub fn passed_folder(&self, uri: &str) -> Option<MlflowFolder> {
        let authority = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let path = match uri.strip_prefix("mlflow-artifacts:") {
            Some(rest) => match rest.strip_prefix("//") {
                // The scheme may name a host.
                Some(rest) => {
                    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                    (host.is_empty() || host == authority).then_some(path)?
                }
                None => rest,
            },
            None => uri.strip_prefix(&self.base_url)?.strip_prefix(ARTIFACTS)?,
        };
        Some(MlflowFolder::Passed(path.trim_matches('/').to_owned()))
    }

    /// Returns a run.
    ///
    /// # Errors
    /// As any call.
    pub fn run(&self, run_id: &str) -> Result<MlflowRun, MlflowError> {
        let body = self.get(&with_query(&format!("{API}/runs/get"), &[("run_id", run_id)]))?;
        let artifact_uri = body.pointer("/run/info/artifact_uri").and_then(Value::as_str);
        let artifact_uri = artifact_uri.ok_or_else(|| self.not_mlflow("a run of it has no artifact_uri"))?;
        let outputs = body.pointer("/run/outputs/model_outputs").and_then(Value::as_array);
        let ids = outputs.into_iter().flatten().filter_map(|output| output.get("model_id")?.as_str());
        Ok(MlflowRun {
            artifact_uri: artifact_uri.to_owned(),
            logged_models: ids.map(str::to_owned).collect(),
        })
    }

    /// Returns the name of a logged model and where its files are.
    ///
    /// # Errors
    /// As any call.
    pub fn logged_model(&self, id: &str) -> Result<(String, String), MlflowError> {
        let body = self.get(&format!("{API}/logged-models/{}", segment(id)))?;
        let text = |field: &str| body.pointer(&format!("/model/info/{field}"))?.as_str().map(str::to_owned);
        let found = text("name").zip(text("artifact_uri"));
        found.ok_or_else(|| self.not_mlflow("a logged model of it has no name or no artifact_uri"))
    }

    /// Lists all files of a folder. If it is a file itself, its path is empty.
    ///
    /// # Errors
    /// As any call; [`MlflowError::Refused`] if there is nothing.
    pub fn files(&self, folder: &MlflowFolder) -> Result<Vec<MlflowFile>, MlflowError> {
        let (mut files, mut folders, mut seen) = (Vec::new(), VecDeque::from([String::new()]), 0);
        while let Some(below) = folders.pop_front() {
            seen += 1;
            if seen > MAX_FOLDERS {
                return Err(self.not_mlflow("the folders of a version do not end"));
            }
            for entry in self.entries(folder, &below)? {
                let name = entry.get("path").and_then(Value::as_str).unwrap_or_default();
                // A run's entries have their whole paths.
                let name = name.rsplit('/').next().unwrap_or_default();
                let path = joined(&below, name);
                if name.is_empty() || path == below {
                    return Err(self.not_mlflow("an entry in a list of files has no name"));
                }
                if entry.get("is_dir").and_then(Value::as_bool).unwrap_or_default() {
                    folders.push_back(path);
                    continue;
                }
                let size = entry.get("file_size");
                let size_bytes = size.and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
                files.push(MlflowFile { path, size_bytes });
            }
        }
        if files.is_empty() {
            // A file has no entries either. A server answers the same for what does not exist, and refuses it here.
            let size_bytes = length(&self.request_file(folder, "")?);
            files.push(MlflowFile { path: String::new(), size_bytes });
        }
        Ok(files)
    }

    fn entries(&self, folder: &MlflowFolder, below: &str) -> Result<Vec<Value>, MlflowError> {
        let body = match folder {
            MlflowFolder::Passed(path) => {
                self.get(&with_query(ARTIFACTS, &[("path", &joined(path, below))]))?
            }
            MlflowFolder::OfRun { run_id, path } => {
                let query = [("run_id", run_id.as_str()), ("path", &joined(path, below))];
                // A server refuses an empty path.
                let query = if query[1].1.is_empty() { &query[..1] } else { &query };
                self.get(&with_query(&format!("{API}/artifacts/list"), query))?
            }
        };
        Ok(body.get("files").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Reads a file of a folder, and hands its bytes to `take`, which returns false to stop. Returns true if it was read to its
    /// end.
    ///
    /// # Errors
    /// As any call. The caller may read it again.
    pub fn read_file(
        &self,
        folder: &MlflowFolder,
        path: &str,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, MlflowError> {
        let response = self.request_file(folder, path)?;
        let promised = length(&response);
        let mut reader = response.into_body().into_reader();
        let (mut buffer, mut read_bytes) = (vec![0; READ_BYTES], 0);
        let lost = |reason: String| MlflowError::AnswerLost { url: self.base_url.clone(), reason };
        loop {
            let length = reader.read(&mut buffer).map_err(|error| lost(error.to_string()))?;
            if length == 0 {
                break;
            }
            read_bytes += length as u64;
            if !take(&buffer[..length]) {
                return Ok(false);
            }
        }
        match promised.filter(|promised| *promised != read_bytes) {
            Some(promised) => Err(lost(format!("{read_bytes} bytes of {promised} arrived"))),
            None => Ok(true),
        }
    }

    /// Requests a file, whose bytes are still to be read.
    fn request_file(&self, folder: &MlflowFolder, path: &str) -> Result<Response<Body>, MlflowError> {
        let url = match folder {
            MlflowFolder::Passed(folder) => {
                let parts: Vec<_> = joined(folder, path).split('/').map(segment).collect();
                format!("{}{ARTIFACTS}/{}", self.base_url, parts.join("/"))
            }
            MlflowFolder::OfRun { run_id, path: folder } => {
                let query = [("run_uuid", run_id.as_str()), ("path", &joined(folder, path))];
                format!("{}{}", self.base_url, with_query("/get-artifact", &query))
            }
        };
        self.retried(|| {
            let mut request = self.transfers.get(&url);
            if let Some(authorization) = &self.authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let mut answer = request.call().map_err(|error| self.no_answer(error))?;
            if answer.status().as_u16() == 200 {
                return Ok(answer);
            }
            let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
            let body = body.map_err(|error| self.no_answer(error))?;
            Err(self.failed(answer.status().as_u16(), answer.headers(), &body))
        })
    }
}

/// Returns the bytes that an answer promises; none if the connection decodes them.
fn length(response: &Response<Body>) -> Option<u64> {
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns the path or URI of what is at `path` in a folder. Either may be empty.
#[must_use]
pub fn joined(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("", path) => path.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, path) => format!("{}/{path}", folder.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_passes_on_its_own_artifacts_and_no_others() {
        let server = MlflowServer::new("http://ml.example.org:5000", None).unwrap();
        for (uri, path) in [
            ("mlflow-artifacts:/0/run/artifacts", Some("0/run/artifacts")),
            ("mlflow-artifacts:///0/run/", Some("0/run")),
            ("mlflow-artifacts://ml.example.org:5000/0/run", Some("0/run")),
            ("mlflow-artifacts:/", Some("")),
            ("http://ml.example.org:5000/api/2.0/mlflow-artifacts/artifacts/0/a%20b", Some("0/a%20b")),
            ("mlflow-artifacts://other:5000/0/run", None),
            ("http://other:5000/api/2.0/mlflow-artifacts/artifacts/0", None),
            ("http://ml.example.org:5000/elsewhere", None),
            ("s3://b/x", None),
            ("/tmp/x", None),
        ] {
            let expected = path.map(|path| MlflowFolder::Passed(path.to_owned()));
            assert_eq!(server.passed_folder(uri), expected, "{uri}");
        }
    }
}
