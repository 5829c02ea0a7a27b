//! The first page of the help: the commands, grouped by task.

use clap::Command;

/// Tasks and their commands, in order.
const GROUPS: [(&str, &[&str]); 10] = [
    ("Run a registry", &["serve", "health", "maintenance", "loadtest"]),
    ("Register versions", &["ingest", "publish", "watch", "import"]),
    ("Get files", &["pull", "cat"]),
    (
        "Look",
        &[
            "list",
            "show",
            "files",
            "production",
            "metrics",
            "compare",
            "events",
            "history",
            "stats",
            "verify",
        ],
    ),
    ("Change", &["bench", "promote", "rollback", "update", "delete", "restore"]),
    ("Guard production", &["policy", "approve", "approvals"]),
    ("Models, aliases and tags", &["model", "alias", "tag"]),
    ("Keys", &["key"]),
    ("Call other systems", &["webhook"]),
    ("This program", &["config", "completions", "man"]),
];

const AFTER: &str = "\
Examples:
  registry serve --dev
  registry ingest --name tiny-gpt --version v1 --checkpoint-path model.pt
  registry list
  registry show tiny-gpt:v1
  registry promote tiny-gpt:v1
  registry pull tiny-gpt@production

A version is named name:label, name@alias (such as name@production), name#number, or by its id.
`registry COMMAND --help` shows flags, examples and exit codes; `registry COMMAND -h` only the flags.";

/// Returns `command` with a first page in groups.
#[must_use]
pub(super) fn in_groups(command: Command) -> Command {
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
    let width = command.get_subcommands().map(|known| known.get_name().len()).max().unwrap_or_default();
    let mut groups = Vec::new();
    for (title, names) in GROUPS {
        let mut group = format!("{title}:\n");
        // Without some cargo features, some commands are missing.
        for known in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = known.get_about().map(ToString::to_string).unwrap_or_default();
            group.push_str(&format!("  {:width$}  {}\n", known.get_name(), about.trim_end_matches('.')));
        }
        groups.push(group);
    }
    groups.retain(|group| group.lines().count() > 1);
    groups.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn command() -> Command {
        in_groups(crate::cli::Cli::command())
    }

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
        let mut commands: Vec<Command> = command().get_subcommands().cloned().collect();
        while let Some(subcommand) = commands.pop() {
            let name = subcommand.get_name();
            let help = subcommand.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(name == "serve" || help.contains("Examples:\n"), "{name}");
            let asks = subcommand.get_arguments().any(|argument| argument.get_long() == Some("registry-url"));
            assert!(!asks || help.contains("Exit codes:\n"), "{name}");
            commands.extend(subcommand.get_subcommands().cloned());
        }
    }
}
