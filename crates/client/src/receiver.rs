//! Calls of the receivers of webhooks.
//!
//! The resolver of the HTTP client passes on only addresses that may be called, so what is judged is what is connected to. No redirect
//! is followed, and no proxy is used, since it would resolve names itself. This module must not know which deliveries are due.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use registry_domain::{
    Timestamp,
    webhook::{
        Form, Webhook,
        address::is_allowed,
        delivery::{Attempt, MAX_KEPT_BYTES, Message},
    },
};
use ureq::{
    Agent, Timeout,
    config::Config,
    http::Uri,
    tls::{RootCerts, TlsConfig},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};
use url::{Host, Url};

/// How long a call may take in all: names, connection, TLS, request and answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
const USER_AGENT: &str = concat!("registry/", env!("CARGO_PKG_VERSION"));

/// Calls the receivers of webhooks; clones share connections.
#[derive(Clone)]
pub struct Receivers {
    agent: Agent,
    allowed: Vec<IpNet>,
}

/// What came of a call, and the beginning of the answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The attempt.
    pub attempt: Attempt,
    /// The beginning of the body, if it is text.
    pub body: String,
}

impl Receivers {
    /// Creates a client that also calls addresses in these networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        let config = Agent::config_builder()
            .user_agent(USER_AGENT)
            .timeout_global(Some(CALL_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        let resolver = PublicResolver { allowed: allowed.clone(), inner: DefaultResolver::default() };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver), allowed }
    }

    /// Checks where a URL leads now. A name that does not resolve may do so later. Blocks.
    ///
    /// # Errors
    /// An address that must not be called.
    pub fn check(&self, url: &Url) -> Result<(), IpAddr> {
        let addresses: Vec<IpAddr> = match url.host() {
            None => Vec::new(),
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(_)) => {
                let found = url.socket_addrs(|| None).unwrap_or_default();
                found.into_iter().map(|address| address.ip()).collect()
            }
        };
        match addresses.into_iter().find(|address| !is_allowed(*address, &self.allowed)) {
            Some(address) => Err(address),
            None => Ok(()),
        }
    }

    /// Sends a message to a webhook. Blocks, at most for [`CALL_TIMEOUT`].
    #[must_use]
    pub fn deliver(&self, webhook: &Webhook, message: &Message, now: Timestamp) -> Answered {
        let begun = Instant::now();
        let mut request = self.agent.post(&webhook.url).content_type("application/json");
        for (name, value) in headers(webhook, message, now) {
            request = request.header(name, value);
        }
        let answer = request.send(&message.body).map(|mut answer| {
            let mut body = Vec::new();
            // The receiver has answered, even if the rest of its answer does not come.
            let _ = answer.body_mut().as_reader().take(MAX_ANSWER_BYTES).read_to_end(&mut body);
            (i64::from(answer.status().as_u16()), String::from_utf8_lossy(&body).into_owned())
        });
        let latency_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (status, error, body) = match answer {
            Ok((status, body)) => {
                let body = shortened(body);
                let error = match status {
                    200..300 => None,
                    300..400 => Some("it redirects, which is not followed; give the final URL".to_owned()),
                    _ => Some(body.clone()).filter(|body| !body.is_empty()),
                };
                (Some(status), error, body)
            }
            Err(error) => (None, Some(shortened(reason(&error))), String::new()),
        };
        Answered { attempt: Attempt { at_ms: now.unix_millis(), status, latency_ms, error }, body }
    }
}

/// Returns the headers that tell a receiver what the message is and that it is from this registry.
fn headers(webhook: &Webhook, message: &Message, now: Timestamp) -> Vec<(&'static str, String)> {
    let seconds = now.unix_millis() / 1_000;
    let former = webhook.former_secret.as_ref().filter(|(_, until_ms)| now.unix_millis() < *until_ms);
    let secrets = webhook.secret.iter().chain(former.map(|(secret, _)| secret));
    let signatures: Vec<_> =
        secrets.map(|secret| secret.sign(webhook.form, &message.id, seconds, &message.body)).collect();
    let [id, time, signature] = match webhook.form {
        Form::V1 => ["webhook-id", "webhook-timestamp", "webhook-signature"],
        Form::Mlflow => ["X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"],
    };
    let mut headers = vec![(id, message.id.clone()), (time, seconds.to_string())];
    if let Some(first) = signatures.first() {
        // MLflow's receivers expect one.
        let shown = if webhook.form == Form::V1 { signatures.join(" ") } else { first.clone() };
        headers.push((signature, shown));
    }
    headers
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(Timeout::Resolve) => "its name was not resolved in time".to_owned(),
        ureq::Error::Timeout(_) => format!("no complete answer within {} s", CALL_TIMEOUT.as_secs()),
        ureq::Error::HostNotFound => "its name has no address".to_owned(),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        ureq::Error::Io(error) => match error.to_string() {
            // What the resolver, the HTTP client and its TLS say.
            text if text.contains("lookup address") => "its name has no address".to_owned(),
            text if text.contains("Peer disconnected") => "the connection ended before an answer".to_owned(),
            text if text.contains("InvalidContentType") => {
                "it does not speak TLS; correct the port, or write http://".to_owned()
            }
            text => text,
        },
        error => error.to_string(),
    }
}

/// Returns the beginning of a text, without what a terminal could take for commands.
fn shortened(mut text: String) -> String {
    text.retain(|letter| !letter.is_control() || letter == '\n');
    let end = (0..=MAX_KEPT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text.trim().to_owned()
}

/// Resolves names to addresses that may be called.
#[derive(Debug)]
struct PublicResolver {
    allowed: Vec<IpNet>,
    inner: DefaultResolver,
}

impl Resolver for PublicResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut public = self.empty();
        let may_be_called = |address: &&SocketAddr| is_allowed(address.ip(), &self.allowed);
        found.iter().filter(may_be_called).for_each(|address| public.push(*address));
        if public.is_empty() {
            let address = found.first().map(|address| address.ip().to_string()).unwrap_or_default();
            return Err(io::Error::other(format!(
                "its address {address} is not public, and so it is not called"
            ))
            .into());
        }
        Ok(public)
    }
}
