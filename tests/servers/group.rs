//! Servers over one database.

use std::{net::SocketAddr, sync::Mutex};

use serde_json::Value;

use crate::{
    client::{Client, InFlight, Outcome},
    database::Database,
    hooked::FLAGS,
    registry,
    server::Server,
};

/// Each test has this many servers.
pub(crate) const SERVERS: usize = 3;

/// The servers, any of which may be killed and started again, then at another address.
pub(crate) struct Group {
    url: String,
    servers: Mutex<Vec<Option<Server>>>,
    /// A server that is down still has the address that it had.
    addresses: Mutex<Vec<SocketAddr>>,
}

impl Group {
    /// Starts all servers at once on a new database, which one of them prepares.
    pub(crate) fn start(database: &Database) -> Self {
        let url = database.url();
        let mut servers: Vec<_> = (0..SERVERS).map(|_| spawn(&url)).collect();
        let addresses = servers.iter_mut().map(Server::wait_for_address).collect();
        let servers = servers.into_iter().map(Some).collect();
        Self { url, servers: Mutex::new(servers), addresses: Mutex::new(addresses) }
    }

    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.addresses.lock().unwrap()[number]
    }

    /// Kills a server with SIGKILL, and starts it again.
    pub(crate) fn kill_and_restart(&self, number: usize) {
        let killed = self.servers.lock().unwrap()[number].take().unwrap();
        let log = killed.kill();
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
        let mut fresh = spawn(&self.url);
        self.addresses.lock().unwrap()[number] = fresh.wait_for_address();
        self.servers.lock().unwrap()[number] = Some(fresh);
    }

    /// Sends a request to one server, which must answer it.
    #[track_caller]
    pub(crate) fn ask(&self, number: usize, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let in_flight = InFlight::default();
        match Client::new(self.address(number), &in_flight).send(method, path, "ask", body) {
            Outcome::Answered(status, answer) => (status, answer),
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    /// Sends a request that may be repeated, until a server that is busy answers it.
    #[track_caller]
    pub(crate) fn ask_again(&self, number: usize, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let in_flight = InFlight::default();
        for _ in 0..20 {
            if let Outcome::Answered(status, answer) =
                Client::new(self.address(number), &in_flight).send(method, path, "ask", Some(body))
            {
                return (status, answer);
            }
        }
        panic!("{method} {path} is not answered");
    }

    #[track_caller]
    pub(crate) fn get(&self, number: usize, path: &str) -> Value {
        let (status, answer) = self.ask(number, "GET", path, None);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Returns a server's status for a path.
    pub(crate) fn status(&self, number: usize, path: &str) -> u16 {
        let in_flight = InFlight::default();
        match Client::new(self.address(number), &in_flight).send("GET", path, "status", None) {
            Outcome::Answered(status, _) => status,
            Outcome::Refused | Outcome::Unsure => 503,
            Outcome::NotSent => panic!("no server is there"),
        }
    }

    /// Shuts all servers down, and asserts that none has panicked.
    pub(crate) fn stop(self) {
        for server in self.servers.into_inner().unwrap().into_iter().flatten() {
            let log = server.log();
            assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
            server.stop();
        }
    }
}

fn spawn(url: &str) -> Server {
    let mut command = registry(["serve", "--port", "0", "--log-level", "warn", "--readers", "2"]);
    command.args(FLAGS);
    Server::run(command.env("CAIA_REGISTRY_DATABASE_URL", url))
}
