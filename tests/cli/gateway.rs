//! A proxy before a real registry, which records requests, and loses some of them or their answers.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the proxy does with a request.
#[derive(Clone)]
pub(crate) enum Fate {
    /// It closes the connection. The registry does not get the request.
    Dropped,
    /// The registry executes the request, and the answer is lost.
    AnswerLost,
    /// It never answers. The registry does not get the request.
    Unanswered,
    /// It sends this answer. The registry does not get the request.
    Answered(String),
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<String>>,
    /// A part of a request line, the number of such requests that are still affected, and their fate.
    rules: Mutex<Vec<(String, usize, Fate)>>,
}

pub(crate) struct Gateway {
    pub(crate) url: String,
    state: Arc<State>,
}

impl Gateway {
    /// Listens on a free port in front of the registry at `url`.
    pub(crate) fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let (target, state) = (url.strip_prefix("http://").unwrap().to_owned(), Arc::new(State::default()));
        let shared = Arc::clone(&state);
        // The thread ends with the process of the tests.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (target, state) = (target.clone(), Arc::clone(&shared));
                // A client that hangs up does not affect the next one.
                thread::spawn(move || forward(stream?, &target, &state));
            }
        });
        Self { url: own, state }
    }

    /// Applies this fate to the next `times` requests whose first line contains `part`.
    pub(crate) fn fate(&self, part: &str, times: usize, fate: Fate) {
        self.state.rules.lock().unwrap().push((part.to_owned(), times, fate));
    }

    /// Forwards all further requests.
    pub(crate) fn forward_all(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// Returns the first lines of the requests so far that contain `part`.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|request| request.contains(part)).cloned().collect()
    }
}

fn forward(mut client: TcpStream, target: &str, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let field = |name: &str| {
        head.lines().find_map(|line| {
            line.split_once(':')
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        })
    };
    let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;

    let line = head.lines().next().unwrap_or_default().to_owned();
    let fate = state.fate_of(&line);
    state.requests.lock().unwrap().push(line);
    match &fate {
        Some(Fate::Dropped) => return client.shutdown(Shutdown::Both),
        Some(Fate::Answered(answer)) => return client.write_all(answer.as_bytes()),
        // Waits until the client hangs up.
        Some(Fate::Unanswered) => return client.read(&mut [0]).map(drop),
        Some(Fate::AnswerLost) | None => {}
    }
    let mut server = TcpStream::connect(target)?;
    // The answer then ends with the connection, and the client sends each request on a new one.
    server.write_all(head.trim_end().as_bytes())?;
    server.write_all(b"\r\nConnection: close\r\n\r\n")?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match fate {
        Some(_) => client.shutdown(Shutdown::Both),
        None => client.write_all(&answer),
    }
}

impl State {
    fn fate_of(&self, line: &str) -> Option<Fate> {
        let mut rules = self.rules.lock().unwrap();
        let (_, times, fate) =
            rules.iter_mut().find(|(part, times, _)| *times > 0 && line.contains(part.as_str()))?;
        *times -= 1;
        Some(fate.clone())
    }
}
