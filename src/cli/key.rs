//! `registry key`: creates, shows, rotates and revokes API keys.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    age::age,
    exit::{self, Failure},
    output::{KEYS, OutputFlags, Printer},
    pages::{Limit, print_pages},
    print,
    remote::Remote,
};
use crate::domain::{Glob, Scope, Timestamp, key::check_key_name};

/// What works on a registry without keys of its own.
const INSTEAD: &str = "configure keys on its server, with CAIA_REGISTRY_API_KEYS";

const EXAMPLES: &str = "\
Examples:
  A key for a CI job, which registers and evaluates versions of some models:
    registry key create --name ci --scope read,register,evaluate,promote:staging --models 'team-a/*' --expires 90d
  A key for a server that pulls models:
    registry key create --name serving --scope read
  All keys, and one of them:
    registry key list
    registry key show ci
  Another token for it, and the end of it:
    registry key rotate ci
    registry key revoke ci

Scopes: read, register, evaluate, promote:STATUS or promote:*, alias:PATTERN, approve, delete, policies, webhooks, keys,
admin. A key has no more rights than the one that creates it.";

/// Create, show, rotate and revoke API keys.
#[derive(Debug, Args)]
#[command(visible_alias = "keys", after_long_help = EXAMPLES)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Create(Box<Create>),
    List(Box<List>),
    Show(Box<Show>),
    Rotate(Box<Rotate>),
    Revoke(Box<Revoke>),
}

impl Key {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            KeyCommand::Create(command) => command.run(),
            KeyCommand::List(command) => command.run(),
            KeyCommand::Show(command) => command.run(),
            KeyCommand::Rotate(command) => command.run(),
            KeyCommand::Revoke(command) => command.run(),
        }
    }
}

const CREATE_EXAMPLES: &str = "\
Examples:
  The token goes to stdout alone, and is shown only this once:
    registry key create --name ci --scope read --scope register --expires 90d > ci.token
  Only some models; it may read the others:
    registry key create --name team-a --scope read,register,promote:* --models 'team-a/*'
  One that manages keys:
    registry key create --name lead --scope read,keys,promote:*,evaluate";

/// Create an API key, and print its token.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{CREATE_EXAMPLES}\n\n{}", exit::HELP))]
struct Create {
    /// The name, which the audit trail shows as key:NAME
    #[arg(long, value_parser = name)]
    name: String,
    /// A right; repeat it, or separate several by commas
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = scope)]
    scopes: Vec<String>,
    /// Only models that match this pattern may be changed; * stands for any characters; repeat it for more
    #[arg(long, value_name = "PATTERN", value_parser = models)]
    models: Vec<String>,
    /// When it ends, like 90d or 12h; by default with the key that creates it
    #[arg(long, value_name = "AGE", value_parser = age)]
    expires: Option<Duration>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &KEYS)?;
        let client = self.remote.client()?;
        let mut body = json!({ "name": self.name, "scopes": self.scopes, "models": self.models });
        if let Some(expires) = self.expires {
            body["expires_at"] = end(expires).into();
        }
        let created = client.v1(INSTEAD).create_key(&body)?;
        print_token(printer, &created, "created")
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  The keys that are not revoked:
    registry key list
  All of them, and when each was used last:
    registry key list --revoked -o wide
  For a script:
    registry key list --all -o name";

/// List the API keys that the registry stores.
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_long_help = format!("{LIST_EXAMPLES}\n\n{}", exit::HELP))]
struct List {
    /// Revoked keys too
    #[arg(long)]
    revoked: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &KEYS)?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let query: &[_] = if self.revoked { &[("revoked", "true")] } else { &[] };
        let none = "the registry stores no keys; `registry key create` creates one";
        print_pages(printer, self.limit.count(), none, |page| v1.keys(&[query, page].concat()))
    }
}

const SHOW_EXAMPLES: &str = "\
Examples:
  A key by its name or id:
    registry key show ci
  The key that this command uses, and its rights:
    registry key show";

/// Show an API key; without a name the one in use.
#[derive(Debug, Args)]
#[command(visible_alias = "get", after_long_help = format!("{SHOW_EXAMPLES}\n\n{}", exit::HELP))]
struct Show {
    /// The key's name or id
    key: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &KEYS)?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let key = match &self.key {
            Some(key) => v1.key(key)?,
            None => v1.whoami()?,
        };
        printer.one(&key)
    }
}

const ROTATE_EXAMPLES: &str = "\
Examples:
  The old token is invalid at once; the new one goes to stdout alone:
    registry key rotate ci > ci.token
  With another end:
    registry key rotate ci --expires 90d

To keep the old token valid while clients change, create a second key, and revoke the first one later.";

/// Give an API key another token, and print it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{ROTATE_EXAMPLES}\n\n{}", exit::HELP))]
struct Rotate {
    /// The key's name or id
    key: String,
    /// When it ends from then on, like 90d; by default as before
    #[arg(long, value_name = "AGE", value_parser = age)]
    expires: Option<Duration>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &KEYS)?;
        let client = self.remote.client()?;
        let body = self.expires.map_or_else(|| json!({}), |expires| json!({ "expires_at": end(expires) }));
        let rotated = client.v1(INSTEAD).rotate_key(&self.key, &body)?;
        print_token(printer, &rotated, "rotated")
    }
}

const REVOKE_EXAMPLES: &str = "\
Examples:
  For good; its name is free then:
    registry key revoke ci";

/// Revoke an API key. That can't be undone.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{REVOKE_EXAMPLES}\n\n{}", exit::HELP))]
struct Revoke {
    /// The key's name or id
    key: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &KEYS)?;
        let client = self.remote.client()?;
        let revoked = client.v1(INSTEAD).revoke_key(&self.key)?;
        printer.changed(&revoked, &format!("revoked {}\n", named(&revoked)))
    }
}

/// Prints the token alone on stdout, and what was done on stderr.
fn print_token(printer: Printer, answer: &Value, done: &str) -> Result<(), Failure> {
    let is_for_people = printer.is_for_people();
    let token = answer.get("token").and_then(Value::as_str).unwrap_or_default();
    printer.changed(answer, &format!("{}\n", print::one_line(token)))?;
    if is_for_people {
        let key = answer.get("key").unwrap_or(&Value::Null);
        print::line(&format!("{done} {}; its token is shown only this once", named(key)));
    }
    Ok(())
}

/// `key ci (id 3), which expires at …`
fn named(key: &Value) -> String {
    let name = key.get("name").and_then(Value::as_str).unwrap_or("?");
    let id = key.get("id").map(ToString::to_string).unwrap_or_default();
    let end = key.get("expires_at").and_then(Value::as_str);
    let end = end.map(|end| format!(", which expires at {end}")).unwrap_or_default();
    print::one_line(&format!("key {name} (id {id}){end}"))
}

/// Returns the time that is so far away.
fn end(from_now: Duration) -> String {
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let end = since_1970.saturating_add(from_now).as_millis();
    Timestamp::from_unix_millis(i64::try_from(end).unwrap_or(i64::MAX)).to_rfc3339()
}

fn name(text: &str) -> Result<String, String> {
    check_key_name(text).map(|()| text.to_owned()).map_err(|refusal| refusal.to_string())
}

fn scope(text: &str) -> Result<String, String> {
    Scope::parse(text.trim()).map(|scope| scope.to_string()).map_err(|refusal| refusal.to_string())
}

fn models(text: &str) -> Result<String, String> {
    Glob::parse("--models", text).map(|glob| glob.to_string()).map_err(|refusal| refusal.to_string())
}
