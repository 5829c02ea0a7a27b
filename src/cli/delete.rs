//! `registry delete`: deletes versions, after confirmation.

use clap::Args;

use super::{
    confirm::confirm,
    exit::{self, Failure},
    output::{OutputFlags, Printer, View},
    print,
    remote::Remote,
    version_arg::{VersionArg, label_with_id},
};
use crate::{
    client::{Client, ClientError, Condition},
    domain::VersionRef,
};

const EXAMPLES: &str = "\
Examples:
  With confirmation:
    registry delete tiny-gpt:v1
  Several, without confirmation:
    registry delete tiny-gpt:v1 tiny-gpt:v2 --yes
  All archived versions:
    registry list --status archived --all --columns id --no-header | xargs -r registry delete --yes
  A version that is in production or frozen:
    registry delete tiny-gpt:v1 --force

The version goes to the trash, and `registry restore` restores it until it is purged (a registry
without /v1 deletes it for good). Its events and its artifact stay.";

const DELETED: View =
    View { fields: "status,id", table: "id,status", wide: "id,status", precise_times: false, name: None };

const FORCE: &str = "--force";

/// Delete versions. They can be restored, and their events stay.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Delete {
    /// The versions: name:label, name@alias, name#number, or ids
    #[arg(required = true, value_name = "VERSION")]
    versions: Vec<VersionArg>,
    /// Delete versions in production and frozen ones, too
    #[arg(long)]
    force: bool,
    /// Don't ask for confirmation
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Delete {
    /// Finds all versions, asks, and deletes one after the other.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &DELETED)?;
        let client = self.remote.client()?;
        let mut found: Vec<(i64, String)> = Vec::new();
        for version in &self.versions {
            let answer = version.fetch(&client)?;
            let id = version.id_in(&answer)?;
            if found.iter().all(|(known, _)| *known != id) {
                found.push((id, label_with_id(&answer)));
            }
        }
        if !self.yes {
            confirm(&listed(&found.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>()))?;
        }
        let has_trash = printer.is_for_people() && has_trash(&client, &found);
        let (mut outcome, mut deleted) = (Ok(()), 0);
        for (at, (id, label)) in found.iter().enumerate() {
            match client.delete(*id, self.force, &Condition::default()) {
                Ok(_) if printer.is_for_people() => {
                    print::text(&format!("deleted {label}\n"))?;
                    deleted += 1;
                }
                Ok(answer) => printer.page(&[answer]).map(drop)?,
                Err(error) => {
                    outcome = Err(refusal(error, label, self.force, found.len() - at));
                    break;
                }
            }
        }
        if printer.shown() > 0 {
            printer.end()?;
        }
        match (&found[..], deleted) {
            ([(id, _)], 1) if has_trash => print::line(&format!("`registry restore {id}` restores it")),
            (_, 1..) if has_trash => print::line("`registry restore ID` restores one"),
            _ => {}
        }
        outcome
    }
}

/// Returns the error with the flag of the command in place of the query parameter that the registry, or 0.2.0, names.
pub(super) fn naming_force(error: ClientError, forced: bool) -> ClientError {
    match error {
        ClientError::Conflict { detail } => {
            let mut detail = detail.replace("?force=true", FORCE).replace("send force=true", "give --force");
            if !forced && !detail.contains(FORCE) {
                detail.push_str("; use --force if that is meant");
            }
            ClientError::Conflict { detail }
        }
        other => other,
    }
}

fn refusal(error: ClientError, label: &str, forced: bool, left: usize) -> Failure {
    let rest = if left > 1 { format!("; {left} were not deleted, this one first") } else { String::new() };
    Failure::from(naming_force(error, forced)).after(&format!("{label} was not deleted: ")).followed_by(&rest)
}

/// Returns true if the registry moves deleted versions to a trash; one without `/v1` has none.
fn has_trash(client: &Client, found: &[(i64, String)]) -> bool {
    found.first().is_some_and(|(id, _)| client.v1("").version(&VersionRef::Id(*id)).is_ok())
}

/// `m:v1 (id 1)`, or `2 versions: m:v1 (id 1), m:v2 (id 2)`.
fn listed(labels: &[&str]) -> String {
    match labels {
        [one] => (*one).to_owned(),
        many => format!("{} versions: {}", many.len(), many.join(", ")),
    }
}
