//! `registry delete`: deletes versions, after confirmation.

use std::io::{self, BufRead, IsTerminal as _, Write};

use clap::Args;

use super::{
    exit::{self, Failure},
    model_ref::{ModelRef, label_with_id},
    output::{OutputFlags, Printer, View},
    print,
    remote::Remote,
};
use crate::client::{ClientError, Condition};

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

This deletes the record of a version. Its events and its artifact stay.";

const DELETED: View =
    View { fields: "status,id", table: "id,status", wide: "id,status", precise_times: false, name: None };

const FORCE: &str = "--force";

/// Delete versions. Their events stay.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Delete {
    /// The versions: name:version or ids
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<ModelRef>,
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
        for model in &self.models {
            let answer = model.fetch(&client)?;
            let id = model.id_in(&answer)?;
            if found.iter().all(|(known, _)| *known != id) {
                found.push((id, label_with_id(&answer)));
            }
        }
        if !self.yes {
            confirm(&found.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>())?;
        }
        let mut outcome = Ok(());
        for (at, (id, label)) in found.iter().enumerate() {
            match client.delete(*id, self.force, &Condition::default()) {
                Ok(_) if printer.is_for_people() => print::text(&format!("deleted {label}\n"))?,
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
        outcome
    }
}

fn refusal(error: ClientError, label: &str, forced: bool, left: usize) -> Failure {
    // The registry's message names its query parameter.
    let error = match error {
        ClientError::Conflict { detail } => {
            let mut detail = detail.replace("?force=true", FORCE);
            if !forced && !detail.contains(FORCE) {
                detail.push_str("; use --force if that is meant");
            }
            ClientError::Conflict { detail }
        }
        other => other,
    };
    let rest = if left > 1 { format!("; {left} were not deleted, this one first") } else { String::new() };
    Failure::from(error).after(&format!("{label} was not deleted: ")).followed_by(&rest)
}

/// Asks the user on the terminal.
fn confirm(labels: &[&str]) -> Result<(), Failure> {
    let what = match labels {
        [one] => (*one).to_owned(),
        many => format!("{} models: {}", many.len(), many.join(", ")),
    };
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "can't ask whether to delete {what}, since stdin is not a terminal; give --yes to confirm"
        )));
    }
    match ask(&format!("delete {what}? [y/N] "), io::stdin().lock(), io::stderr().lock()) {
        true => Ok(()),
        false => Err(Failure::failed("nothing was deleted")),
    }
}

/// Returns true if the answer is yes; anything else is no.
fn ask(question: &str, mut answers: impl BufRead, mut terminal: impl Write) -> bool {
    let _ = write!(terminal, "{}", print::one_line(question));
    let _ = terminal.flush();
    let mut answer = String::new();
    let read = answers.read_line(&mut answer);
    // At the end of the input there was no return key, so the cursor is still after the question.
    if !answer.ends_with('\n') {
        let _ = writeln!(terminal);
    }
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_confirms_and_the_next_line_starts_at_column_one() {
        for (typed, yes, end) in [
            ("y\n", true, ""),
            ("YES\n", true, ""),
            ("\n", false, ""),
            ("yellow\n", false, ""),
            ("", false, "\n"),
        ] {
            let mut terminal = Vec::new();
            assert_eq!(ask("delete m:v1? ", typed.as_bytes(), &mut terminal), yes, "{typed:?}");
            assert_eq!(String::from_utf8(terminal).unwrap(), format!("delete m:v1? {end}"), "{typed:?}");
        }
    }
}
