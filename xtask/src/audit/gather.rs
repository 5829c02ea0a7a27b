//! What only commands can tell: cargo's, and the binary's own.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    Manifests, ROOT_MANIFEST,
    package::{Package, Packages},
};
use crate::{
    error::Error,
    process::{Captured, Interrupt, Running, capture},
    repository::{Repository, last_lines},
};

/// The program that is released.
pub(crate) const BINARY: &str = "registry";
const DOCUMENT: &str = "/openapi.json";
/// Opening an empty database takes milliseconds, also on a machine that is busy with other things.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn lock_file(repository: &Repository) -> Result<Captured, Error> {
    repository.cargo(&["metadata", "--locked", "--format-version", "1"])
}

/// What the binary and the document of its server say their versions are.
#[allow(clippy::type_complexity, reason = "two answers, or why there is none")]
pub(super) fn binary(
    repository: &Repository,
) -> Result<(Result<String, String>, Result<String, String>), Error> {
    let path = match built(repository, &[])? {
        Ok(path) => path,
        Err(reason) => return Ok((Err(reason), Err("the binary can't be built".to_owned()))),
    };
    let told = match capture(Command::new(&path).arg("--version"), &repository.interrupt) {
        Ok(ended) if ended.success => Ok(ended.stdout),
        Ok(ended) => Err(last_lines(&ended.stderr, 2)),
        Err(Error::NotStarted { source, .. }) => Err(source.to_string()),
        Err(error) => return Err(error),
    };
    let document = served(&path, &repository.interrupt);
    if repository.interrupt.is_wanted() {
        return Err(Error::Interrupted("what ran was ended".to_owned()));
    }
    Ok((told, document))
}

/// The path of the binary, built from this tree with these further arguments; or why it can't be.
pub(crate) fn built(repository: &Repository, args: &[&str]) -> Result<Result<String, String>, Error> {
    let mut all = vec!["build", "--locked", "--bin", BINARY, "--message-format", "json-render-diagnostics"];
    all.extend(args);
    let ended = repository.cargo(&all)?;
    if !ended.success {
        return Ok(Err(last_lines(&ended.stderr, 4)));
    }
    let messages = ended.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = messages.filter_map(|message| message["executable"].as_str().map(str::to_owned)).next_back();
    Ok(path.ok_or_else(|| format!("cargo built no binary {BINARY}")))
}

/// The version in the document of a server that is started for that.
fn served(binary: &str, interrupt: &Interrupt) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut command = Command::new(binary);
    command
        .args(["serve", "--host", "127.0.0.1", "--port", "0", "--db-path"])
        .arg(folder.path().join("registry.db"));
    own_settings(&mut command);
    command.env("CAIA_REGISTRY_API_KEY", "audit").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Running::start(&mut command).map_err(|error| error.to_string())?;
    let line = first_line(&mut server, interrupt)?;
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
    let address = address.ok_or_else(|| format!("the server did not start: {}", line.trim()))?;
    let answer = get(address.trim_end_matches('/')).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    document_version(&answer)
}

/// Takes away what somebody's environment says of a registry of theirs.
pub(crate) fn own_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIA_REGISTRY_") {
            command.env_remove(name);
        }
    }
}

fn first_line(server: &mut Running, interrupt: &Interrupt) -> Result<String, String> {
    let (tell, told) = mpsc::channel();
    let stdout = server.stdout().ok_or("the server has no output")?;
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = tell.send(line);
    });
    let look_every = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    loop {
        match told.recv_timeout(look_every) {
            Ok(line) => return Ok(line),
            Err(_) if interrupt.is_wanted() => return Err("interrupted".to_owned()),
            Err(_) if waited > START_TIMEOUT => return Err("the server said nothing".to_owned()),
            Err(_) => waited += look_every,
        }
    }
}

/// HTTP/1.0, whose answers end with the connection.
fn get(address: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let request = format!("GET {DOCUMENT} HTTP/1.0\r\nHost: {address}\r\nX-API-Key: audit\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn document_version(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no body")?;
    let status = head.split_whitespace().nth(1).unwrap_or("no status");
    if status != "200" {
        return Err(format!("{DOCUMENT} is answered with {status}"));
    }
    let document: Value =
        serde_json::from_str(body).map_err(|error| format!("{DOCUMENT} is not JSON: {error}"))?;
    let version = document["info"]["version"].as_str();
    version.map(str::to_owned).ok_or_else(|| format!("{DOCUMENT} has no info.version"))
}

/// Lists and makes all packages that would be published, together: none of them is on crates.io for the others to find.
pub(super) fn package(
    repository: &Repository,
    manifests: &Manifests,
    compile: bool,
) -> Result<Packages, Error> {
    let published = manifests.iter().filter(|(_, manifest)| manifest.is_published);
    let published: Vec<_> =
        published.filter_map(|(path, manifest)| Some((path, manifest.name.as_deref()?))).collect();
    let mut packages = Vec::new();
    let mut make = vec!["package", "--allow-dirty", "--locked"];
    for (path, name) in &published {
        let listed = repository.cargo(&["package", "--allow-dirty", "--locked", "--list", "-p", name])?;
        let files = if listed.success {
            Ok(listed.stdout.lines().map(str::to_owned).collect())
        } else {
            Err(last_lines(&listed.stderr, 2))
        };
        packages.push(Package { name: (*name).to_owned(), is_main: *path == ROOT_MANIFEST, files });
        make.extend(["-p", name]);
    }
    if !compile {
        make.push("--no-verify");
    }
    let ended = repository.cargo(&make)?;
    let made = match ended.success {
        true if compile => Ok("it can be made, and what was packed compiles"),
        true => Ok("it can be made (--compile-package compiles what was packed)"),
        false => Err(last_lines(&ended.stderr, 4)),
    };
    Ok(Packages { packages, made })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_document_or_it_is_said_why_not() {
        let answer =
            |status: &str, body: &str| format!("HTTP/1.0 {status}\r\ncontent-length: 1\r\n\r\n{body}");
        let ok = |body: &str| document_version(&answer("200 OK", body));
        assert_eq!(ok(r#"{"info": {"version": "0.3.0"}}"#), Ok("0.3.0".to_owned()));
        assert!(ok("{}").unwrap_err().contains("info.version"));
        assert!(ok("<html>").unwrap_err().contains("not JSON"));
        assert!(document_version(&answer("404 Not Found", "{}")).unwrap_err().ends_with("answered with 404"));
        assert!(document_version("").is_err());
    }
}
