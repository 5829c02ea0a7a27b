//! `registry policy`: sets, shows, deletes and tries policies.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    output::{OutputFlags, POLICIES, Printer, VERDICTS},
    print,
    remote::Remote,
    version_arg::{VersionArg, label},
};
use crate::{client::ClientError, domain::policy::MAX_POLICY_BYTES};

/// What works on a registry without policies.
const INSTEAD: &str = "require scores of a suite with `registry serve --promotion-required-suite`";
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 4 * MAX_POLICY_BYTES as u64;

const EXAMPLES: &str = "\
Examples:
  Store the policy in a file, in YAML or JSON:
    registry policy set -f quality.yaml
  Try it on a version, before or after it is stored:
    registry policy test -f quality.yaml --version tiny-gpt:v2
    registry policy test quality --version tiny-gpt:v2
  All policies, and one of them:
    registry policy list
    registry policy show quality

A policy says what must hold before a version gets a status or an alias:
    name: quality
    target: production
    conditions:
      - expression: candidate.scores.core.accuracy >= 0.9
        message: the accuracy in the suite core must be 0.9 or more
docs/POLICIES.md has ten that are ready.";

/// Set, show, delete and try policies: what must hold before production.
#[derive(Debug, Args)]
#[command(visible_alias = "policies", after_long_help = EXAMPLES)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Set(Box<Set>),
    List(Box<List>),
    Show(Box<Show>),
    Test(Box<Test>),
    Delete(Box<Delete>),
}

impl Policy {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            PolicyCommand::Set(command) => command.run(),
            PolicyCommand::List(command) => command.run(),
            PolicyCommand::Show(command) => command.run(),
            PolicyCommand::Test(command) => command.run(),
            PolicyCommand::Delete(command) => command.run(),
        }
    }
}

const SET_EXAMPLES: &str = "\
Examples:
  A policy from a file, in YAML or JSON:
    registry policy set -f quality.yaml
  Several:
    registry policy set -f quality.yaml -f approvals.yaml
  From standard input:
    registry policy set -f - < quality.json

A policy that exists gets a new version, and the audit trail both. It is in effect at once, on all servers. Of several files,
those before one that is refused are stored.";

/// Store policies from files.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{SET_EXAMPLES}\n\n{}", exit::HELP))]
struct Set {
    /// A file in YAML or JSON; - for standard input; repeat it for more
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &POLICIES)?;
        let documents = self.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        for (file, document) in self.files.iter().zip(&documents) {
            let name = document.get("name").and_then(Value::as_str).ok_or_else(|| {
                Failure::usage(format!("{} has no name; add a line like name: quality", shown(file)))
            })?;
            let stored = v1.set_policy(name, document).map_err(|error| in_file(error, file))?;
            let version = stored.get("version").map(ToString::to_string).unwrap_or_default();
            if printer.is_for_people() {
                print::text(&print::one_line(&format!("policy {name} is stored, as version {version}")))?;
                print::text("\n")?;
            } else {
                printer.page(&[stored])?;
            }
        }
        if printer.is_for_people() { Ok(()) } else { printer.end() }
    }
}

/// Returns the failure of a policy in a file, which names the file.
fn in_file(error: ClientError, file: &Path) -> Failure {
    let is_about_it = matches!(error, ClientError::Refused { .. } | ClientError::Conflict { .. });
    let failure = Failure::from(error);
    if is_about_it { failure.after(&format!("{}: ", shown(file))) } else { failure }
}

fn shown(file: &Path) -> String {
    print::one_line(&if file == Path::new("-") { "standard input".into() } else { file.to_string_lossy() })
}

/// Reads a policy in YAML or JSON.
fn read(file: &Path) -> Result<Value, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{} can't be read: {error}", shown(file)));
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    } else {
        let opened = File::open(file).map_err(failed)?;
        opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Failure::usage(format!("{} is larger than a policy may be", shown(file))));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // As in YAML 1.2: `no` is a text.
    let options = serde_saphyr::options! { strict_booleans: true };
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(document) if document.is_object() => Ok(document),
        Ok(_) => {
            Err(Failure::usage(format!("{} holds no policy; see `registry policy --help`", shown(file))))
        }
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            Err(Failure::usage(print::one_line(&format!("{} is neither YAML nor JSON: {why}", shown(file)))))
        }
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  All policies:
    registry policy list
  With descriptions and conditions:
    registry policy list -o yaml";

/// List policies, by name.
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_long_help = format!("{LIST_EXAMPLES}\n\n{}", exit::HELP))]
struct List {
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &POLICIES)?;
        let client = self.remote.client()?;
        let policies = client.v1(INSTEAD).policies()?;
        printer.page(&policies)?;
        printer.end()?;
        if policies.is_empty() {
            print::line("there are no policies; `registry policy set` stores one");
        }
        Ok(())
    }
}

const SHOW_EXAMPLES: &str = "\
Examples:
  A policy with its conditions, as it can be stored again:
    registry policy show quality
  An earlier version of it:
    registry policy show quality --version 1
  Everything that is known of it:
    registry policy show quality -o json";

/// Show a policy.
#[derive(Debug, Args)]
#[command(visible_alias = "get", after_long_help = format!("{SHOW_EXAMPLES}\n\n{}", exit::HELP))]
struct Show {
    /// The policy
    name: String,
    /// One of its versions [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    version: Option<i64>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &POLICIES)?;
        let client = self.remote.client()?;
        let policy = client.v1(INSTEAD).policy(&self.name, self.version)?;
        if !printer.is_for_people() || printer.is_wide() {
            return printer.one(&policy);
        }
        let version = policy.get("version").map(ToString::to_string).unwrap_or_default();
        let text = |field: &str| policy.get(field).and_then(Value::as_str).unwrap_or("the server");
        let by = print::one_line(&format!("# version {version}, by {}", text("created_by")));
        print::text(&format!("{by}\n{}", super::output::yaml(&document(&policy))?))
    }
}

/// Returns what a policy says, as a file has it.
fn document(policy: &Value) -> Value {
    let fields = ["name", "description", "models", "target", "action", "conditions"];
    let given = fields.into_iter().filter_map(|field| Some((field.to_owned(), policy.get(field)?.clone())));
    Value::Object(given.filter(|(_, value)| !value.is_null()).collect())
}

const TEST_EXAMPLES: &str = "\
Examples:
  All policies for production on a version:
    registry policy test --version tiny-gpt:v2
  One of them:
    registry policy test quality --version tiny-gpt:v2
  One in a file, which need not be stored:
    registry policy test -f quality.yaml --version tiny-gpt:v2
  The policies of an alias:
    registry policy test --version tiny-gpt:v2 --target champion

Nothing changes. The exit code is 5 if a policy refuses the version.";

/// Try policies on a version, without changing anything.
#[derive(Debug, Args)]
#[command(visible_alias = "try", after_long_help = format!("{TEST_EXAMPLES}\n\n{}", exit::HELP))]
struct Test {
    /// Only this policy
    #[arg(conflicts_with = "file")]
    name: Option<String>,
    /// The policy in this file, in YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The version: name:label, name@alias, name#number, or its id
    #[arg(long, value_name = "VERSION")]
    version: VersionArg,
    /// The status or the alias that it would get [default: the one of the policy, or production]
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Test {
    fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &VERDICTS)?;
        let unsaved = self.file.as_deref().map(read).transpose()?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let version = self.version.fetch_v1(&v1)?;
        let stored = self.name.as_deref().map(|name| v1.policy(name, None)).transpose()?;
        let number = version.get("number").map(ToString::to_string).unwrap_or_default();
        let mut body = json!({ "model": version.get("model"), "version": number });
        let target = stored.as_ref().or(unsaved.as_ref()).and_then(|policy| policy.get("target")?.as_str());
        if let Some(target) = self.target.as_deref().or(target) {
            body["target"] = target.into();
        }
        if let Some(policy) = unsaved {
            body["policy"] = policy;
        }
        let tried = v1.test_policies(&body).map_err(|error| match &self.file {
            Some(file) => in_file(error, file),
            None => error.into(),
        })?;
        let policies = tried.get("policies").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_asked = |policy: &&Value| {
            self.name.as_deref().is_none_or(|name| policy.get("policy").is_some_and(|found| found == name))
        };
        let asked: Vec<_> = policies.iter().filter(is_asked).collect();
        let rows: Vec<Value> = asked.iter().flat_map(|policy| rows(policy)).collect();
        printer.page(&rows)?;
        printer.end()?;
        let target = tried.get("target").and_then(Value::as_str).unwrap_or("production");
        let label = label(&version);
        if asked.is_empty() {
            print::line(&print::one_line(&match &self.name {
                Some(name) => format!("the policy {name} is not about {label} and {target}"),
                None => format!("no policy is about {label} and {target}"),
            }));
        }
        let denies = |policy: &&&Value| {
            policy.get("passed") == Some(&Value::Bool(false)) && policy.get("action") == Some(&json!("deny"))
        };
        match asked.iter().filter(denies).count() {
            0 => Ok(()),
            1 => Err(Failure::conflict(print::one_line(&format!("a policy keeps {label} from {target}")))),
            count => Err(Failure::conflict(print::one_line(&format!(
                "{count} policies keep {label} from {target}"
            )))),
        }
    }
}

/// Returns a row for each condition of a policy.
fn rows(policy: &Value) -> Vec<Value> {
    let conditions = policy.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let row = |condition: &Value| {
        let mut row = condition.clone();
        for field in ["policy", "version", "action"] {
            row[field] = policy.get(field).cloned().unwrap_or_default();
        }
        row
    };
    conditions.filter(|condition| condition.is_object()).map(row).collect()
}

const DELETE_EXAMPLES: &str = "\
Examples:
  A policy; its versions stay:
    registry policy delete quality
    registry policy show quality --version 1";

/// Delete a policy. Its versions are kept.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{DELETE_EXAMPLES}\n\n{}", exit::HELP))]
struct Delete {
    /// The policy
    name: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Delete {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &POLICIES)?;
        let client = self.remote.client()?;
        let deleted = client.v1(INSTEAD).delete_policy(&self.name)?;
        printer.changed(&deleted, &format!("deleted policy {}\n", print::one_line(&self.name)))
    }
}
