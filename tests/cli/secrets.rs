//! Keys and certificates: their sources, their replacement without a restart, and that no output shows them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{KEY, Ran, left_out::left_out, registry, server::Server};

/// How long a test waits for an expected effect.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `holds` returns true.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what}: not in time");
    }
}

/// Writes a self-signed certificate for `localhost` and its key to these files.
fn make_certificate(cert: &Path, key: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(cert, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
}

/// `registry stats` of the server at `url`, with `key`, by a client that trusts only `authority`.
fn stats(url: &str, key: &str, authority: Option<&Path>) -> Ran {
    let mut command = registry(["stats", "--registry-url", url, "-o", "json"]);
    command.env("CAIA_REGISTRY_API_KEY", key);
    if let Some(authority) = authority {
        command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR");
    }
    Ran::of(&mut command)
}

fn https(folder: &Path) -> (PathBuf, PathBuf) {
    let files = (folder.join("cert.pem"), folder.join("key.pem"));
    make_certificate(&files.0, &files.1);
    files
}

#[test]
fn a_server_speaks_https_and_uses_a_new_certificate_after_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = https(folder.path());
    let first = folder.path().join("first.pem");
    fs::copy(&cert, &first).unwrap();
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    });
    let url = server.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"), "{url}");
    let ran = stats(&url, KEY, Some(&first));
    assert!(ran.stdout.contains("\"total_models\""), "{ran:?}");
    assert_eq!(stats(&url, KEY, None).code, 3, "no trusted authority signed this certificate");

    make_certificate(&cert, &key);
    server.signal("HUP");
    until("the new certificate", || stats(&url, KEY, Some(&cert)).code == 0);
    assert_eq!(stats(&url, KEY, Some(&first)).code, 3);

    // An unusable one does not replace a usable one.
    let second = first.with_file_name("second.pem");
    fs::copy(&cert, &second).unwrap();
    fs::write(&key, "no key").unwrap();
    server.signal("HUP");
    assert_eq!(stats(&url, KEY, Some(&second)).code, 0);
    server.signal("TERM");
    let log = server.ended().log;
    assert!(log.contains("the loaded one stays in use"), "{log}");
    assert!(log.contains("holds no private key in PEM form"), "{log}");
}

/// Returns a connection to a server at `address` that trusts only `authority`.
fn encrypted(address: &str, authority: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(client, TcpStream::connect(address).unwrap())
}

/// Returns the answer to the only request of a connection.
fn asked(address: &str, authority: &Path, request: &str, body: &str) -> String {
    let mut stream = encrypted(address, authority);
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    // The connection may end without a TLS close_notify.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer:.200}");
    answer
}

#[test]
fn an_unread_encrypted_answer_times_out_too() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = https(folder.path());
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--request-timeout-ms", "1500"]);
        command.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    });
    let address = server.url.trim_start_matches("https://");
    for version in 0..30 {
        let description = "x".repeat(200_000);
        let body = format!(
            r#"{{"name":"m","version":"{version}","artifact_uri":"s3://b","description":"{description}"}}"#
        );
        asked(address, &cert, "POST /models", &body);
    }
    let idle: Vec<_> = (0..12)
        .map(|_| {
            let mut stream = encrypted(address, &cert);
            write!(stream, "GET /models HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // Only the connection of this request is left.
    until("all of them closed", || {
        asked(address, &cert, "GET /metrics", "").contains("registry_http_connections_open 1\n")
    });
    drop(idle);
}

#[test]
fn http_on_an_https_port_gets_an_answer_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = https(folder.path());
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    });
    let mut stream = TcpStream::connect(server.url.trim_start_matches("https://")).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
}

#[test]
fn unusable_certificates_and_keys_prevent_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = https(folder.path());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    make_certificate(Path::new(&at("other.pem")), Path::new(&at("other-key.pem")));
    for (name, text) in [
        ("empty", ""),
        ("remarks", "# none\n\n"),
        ("text", "no PEM"),
        ("short", "# of the team\n15-characters-x"),
    ] {
        fs::write(at(name), text).unwrap();
    }
    for (arguments, expected) in [
        (vec!["--tls-cert", cert], "both a certificate and its key"),
        (vec!["--tls-cert", cert, "--tls-key", &at("none")], "none can't be read"),
        (vec!["--tls-cert", &at("text"), "--tls-key", key], "holds no certificate in PEM form"),
        (vec!["--tls-cert", cert, "--tls-key", cert], "holds no private key in PEM form"),
        (vec!["--tls-cert", cert, "--tls-key", &at("other-key.pem")], "can't be used"),
        (vec!["--api-key-file", &at("none")], "none can't be read"),
        (vec!["--api-key-file", &at("empty")], "contains no API key"),
        (vec!["--api-key-file", &at("remarks")], "contains no API key"),
        (vec!["--api-key-file", &at("short")], "line 2 of "),
        (vec!["--trusted-proxy", "proxy.example"], "is not an address or a network"),
    ] {
        let line =
            Ran::of(registry(["serve", "--port", "0", "--db-path", &at("registry.db")]).args(&arguments))
                .failed(1);
        assert!(line.contains(expected), "{arguments:?}: {line}");
        assert!(!Path::new(&at("registry.db")).exists());
    }
}

#[test]
fn keys_of_a_file_are_replaced_after_sighup() {
    let folder = tempfile::tempdir().unwrap();
    const FILE_KEY: &str = "staying-4711-hush";
    const LEAVING: &str = "leaving-4711-hush";
    const COMING: &str = "coming-4711-hush";
    let keys = folder.path().join("keys");
    fs::write(&keys, format!("# of the team\n{FILE_KEY}\n{LEAVING}\n")).unwrap();
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", "configured").arg("--api-key-file").arg(&keys);
    });
    for key in [FILE_KEY, LEAVING, "configured"] {
        assert_eq!(stats(&server.url, key, None).code, 0, "{key}");
    }
    fs::write(&keys, format!("{FILE_KEY}\n{COMING}\n")).unwrap();
    server.signal("HUP");
    until("the new key", || stats(&server.url, COMING, None).code == 0);
    assert_eq!(stats(&server.url, LEAVING, None).code, 4);
    assert_eq!(stats(&server.url, "configured", None).code, 0);
    fs::remove_file(&keys).unwrap();
    server.signal("HUP");
    assert_eq!(stats(&server.url, COMING, None).code, 0);
    server.signal("TERM");
    let log = server.ended().log;
    assert!(log.contains("the loaded ones stay valid") && log.contains("chmod 600"), "{log}");
    assert!(log.contains("fewer than 16 characters"), "a short key in a variable causes a warning: {log}");
    assert!(![FILE_KEY, LEAVING, COMING, "configured"].iter().any(|key| log.contains(key)), "{log}");
}

#[test]
fn no_key_is_visible_in_the_list_of_processes() {
    // There is no flag for a key.
    let ran = Ran::of(&mut registry(["serve", "--api-key", "geheim"]));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--api-key-file"), "{ran:?}");
    let server = Server::start();
    let listed = Command::new("ps").args(["-o", "args", "-p", &server.pid().to_string()]).output();
    let Ok(listed) = listed else {
        return left_out("ps is not installed to list the processes");
    };
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.contains("serve --port 0"), "{listed}");
    assert!(!listed.contains(KEY), "{listed}");
    drop(server);
}
