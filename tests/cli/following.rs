//! `registry events --follow`, and the filters of `registry events`.

use std::{
    io::{self, BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::{
    Ran, at,
    server::{Server, signal},
};

/// Forwards each connection to the server of the moment, as a proxy at one address does.
struct Proxy {
    url: String,
    to: Arc<Mutex<Option<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let to = Arc::new(Mutex::new(None::<String>));
        let target = Arc::clone(&to);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let address = target.lock().unwrap().clone();
                let Some(server) = address.and_then(|address| TcpStream::connect(address).ok()) else {
                    continue;
                };
                let pairs = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
                for (mut from, mut to) in pairs {
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { url, to }
    }

    fn serve(&self, server: Option<&Server>) {
        let address = server.map(|server| server.url.trim_start_matches("http://").to_owned());
        *self.to.lock().unwrap() = address;
    }
}

/// A running `registry events --follow`.
struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn start(url: &str, arguments: &[&str]) -> Self {
        let mut command = at(url, ["events", "--follow"].iter().chain(arguments));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Ends it, and returns what it wrote to stderr. A test run in the background ignores SIGINT, and so do its children.
    fn end(mut self) -> String {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        assert!(!status.success(), "{status}");
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_follower_prints_each_event_once_even_if_the_server_restarts() {
    let proxy = Proxy::start();
    let server = Server::start();
    proxy.serve(Some(&server));
    server.add("m", "a", &json!({}));
    let mut all = Follower::start(&proxy.url, &["-o", "json", "--after", "0"]);
    let mut of_model =
        Follower::start(&proxy.url, &["m", "--model", "--type", "create", "--after", "0", "-o", "jsonl"]);
    assert_eq!((all.json()["id"].clone(), of_model.json()["id"].clone()), (json!(1), json!(1)));
    server.add("n", "a", &json!({}));
    server.add("m", "b", &json!({}));
    assert_eq!((all.json()["id"].clone(), all.json()["model"].clone()), (json!(2), json!("m")));
    assert_eq!(of_model.json()["id"], 3);
    proxy.serve(None);
    server.signal("TERM");
    let folder = server.ended().folder;
    let server = Server::start_in(folder);
    for label in ["c", "d"] {
        server.add("m", label, &json!({}));
    }
    proxy.serve(Some(&server));
    for follower in [&mut all, &mut of_model] {
        assert_eq!([follower.json()["id"].clone(), follower.json()["id"].clone()], [4, 5]);
    }
    for follower in [all, of_model] {
        let said = follower.end();
        let going_on = said.ends_with("going on\n") && said.contains("; trying to go on: ");
        assert!(said.is_empty() || going_on, "{said}");
    }
}

#[test]
fn a_follower_begins_with_what_happens_after_its_start_and_shows_a_table() {
    let server = Server::start();
    server.add("m", "old", &json!({}));
    let mut follower = Follower::start(&server.url, &["m:old"]);
    // It may not have begun yet, so a change is made until one is shown.
    let header = thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let server = &server;
        scope.spawn(move || {
            for number in 0.. {
                server.score(1, "s", &json!({ "a": number }));
                if is_done.recv_timeout(std::time::Duration::from_millis(20))
                    != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    break;
                }
            }
        });
        let header = follower.line();
        drop(done);
        header
    });
    assert!(header.starts_with("TIME") && header.contains("VERSION"), "{header}");
    assert!(follower.line().contains("eval"));
    follower.end();
}

#[test]
fn events_are_filtered_by_type_and_actor_with_or_without_a_version() {
    let server = Server::start();
    server.add("m", "a", &json!({}));
    server.add("n", "a", &json!({}));
    server.score(1, "s", &json!({"a": 1}));
    let ids = |arguments: &[&str]| -> Vec<Value> {
        let text = server.run(["events", "-o", "jsonl"].iter().chain(arguments)).done().0;
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect()
    };
    assert_eq!(ids(&[]), [3, 2, 1]);
    assert_eq!(ids(&["--type", "create"]), [2, 1]);
    assert_eq!(ids(&["m", "--model", "--type", "create"]), [1]);
    assert_eq!(ids(&["m:a", "--type", "eval"]), [3]);
    assert_eq!(ids(&["--actor", "key:hush…", "--limit", "1"]), [3]);
    assert_eq!(ids(&["--actor", "bob"]), [Value::Null; 0]);
    let table = server.run(["events"]).shown();
    assert!(table.contains("MODEL") && table.contains(" n "), "{table}");
}

#[test]
fn a_position_of_another_registry_and_flags_that_do_not_fit_are_refused() {
    let server = Server::start();
    server.add("m", "a", &json!({}));
    for (arguments, code, said) in [
        (&["--follow", "--after", "7"][..], 1, "there is no event 7 here, the newest is 1"),
        (&["--follow", "--after", "x"], 2, "expected the id of an event, like 41"),
        (&["--after", "1"], 2, "--follow"),
        (&["--follow", "--limit", "5"], 2, "cannot be used with"),
        (&["m:none", "--follow"], 1, "m:none"),
        (&["--model"], 2, "VERSION"),
        (&["export", "--follow"], 2, "--follow"),
    ] {
        let ran = Ran::of(&mut at(&server.url, ["events"].iter().chain(arguments)));
        assert!(ran.code == code && ran.stderr.contains(said), "{arguments:?}: {ran:?}");
    }
}
