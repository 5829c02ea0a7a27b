//! The first page of the help: the commands, grouped by task.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Tasks and their commands, in order. A command that is missing here goes under [`OTHERS`].
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run a registry", &["serve", "health", "maintenance", "loadtest"]),
    ("Register versions", &["ingest", "publish", "watch"]),
    ("Look", &["list", "show", "production", "metrics", "compare", "events", "stats", "verify"]),
    ("Change", &["bench", "promote", "update", "delete"]),
    ("This program", &["config", "completions", "man"]),
];
const OTHERS: &str = "More";

const AFTER: &str = "\
Examples:
  registry serve --dev
  registry ingest --name tiny-gpt --version v1 --checkpoint-path model.pt
  registry list
  registry show tiny-gpt:v1
  registry promote tiny-gpt:v1

A version is named name:version, by its id, or name@production.
`registry COMMAND --help` shows flags, examples and exit codes; `registry COMMAND -h` only the flags.";

/// The command line, with a first page in groups.
#[must_use]
pub fn command() -> Command {
    let command = Cli::command();
    let commands = groups(&command);
    // clap would read braces as placeholders.
    let commands = commands.replace('{', "(").replace('}', ")");
    command
        .help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{commands}\nOptions:\n{{options}}{{after-help}}"
        ))
        .after_help(AFTER)
}

fn groups(command: &Command) -> String {
    let known: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let width = known.iter().map(|command| command.get_name().len()).max().unwrap_or_default();
    let line = |command: &Command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        format!("  {:width$}  {}\n", command.get_name(), about.trim_end_matches('.'))
    };
    let mut text = String::new();
    let mut add = |title: &str, lines: String| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n{lines}\n"));
        }
    };
    for (title, names) in GROUPS {
        let find = |name: &&str| known.iter().find(|command| command.get_name() == *name);
        add(title, names.iter().filter_map(find).map(|command| line(command)).collect());
    }
    let is_grouped = |command: &Command| GROUPS.iter().any(|(_, names)| names.contains(&command.get_name()));
    add(OTHERS, known.iter().filter(|command| !is_grouped(command)).map(|command| line(command)).collect());
    text.trim_end_matches('\n').to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_on_the_first_page_once_with_its_description() {
        let page = command().render_help().to_string();
        for subcommand in command().get_subcommands() {
            let start = format!("  {} ", subcommand.get_name());
            let lines: Vec<_> = page.lines().filter(|line| line.starts_with(&start)).collect();
            assert_eq!(lines.len(), 1, "{start}\n{page}");
            assert!(lines[0].len() > 16, "{lines:?}");
        }
    }

    #[test]
    fn every_command_shows_examples_and_clients_of_a_registry_their_exit_codes() {
        for subcommand in command().get_subcommands() {
            let name = subcommand.get_name();
            let help = subcommand.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(name == "serve" || help.contains("Examples:\n"), "{name}");
            let asks = subcommand.get_arguments().any(|argument| argument.get_long() == Some("registry-url"));
            assert!(!asks || help.contains("Exit codes:\n"), "{name}");
        }
    }
}
