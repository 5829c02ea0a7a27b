//! The commands: one file each, with its flags and a `run`.
//!
//! No other module imports this one. It owns the terminal: stdout, stderr and the exit code.

// Helpers that only the missing commands use.
#![cfg_attr(
    not(all(feature = "server", feature = "cli", feature = "objects", feature = "loadtest")),
    allow(dead_code)
)]

use std::process::ExitCode;

use anstream::ColorChoice;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

mod age;
#[cfg(feature = "cli")]
mod alias;
#[cfg(feature = "cli")]
mod approve;
#[cfg(any(feature = "server", feature = "cli"))]
mod audit;
#[cfg(feature = "objects")]
mod bench;
#[cfg(feature = "objects")]
mod cat;
#[cfg(feature = "cli")]
mod compare;
mod completions;
mod config;
#[cfg(feature = "cli")]
mod confirm;
#[cfg(feature = "cli")]
mod delete;
#[cfg(feature = "cli")]
mod details;
#[cfg(feature = "cli")]
mod events;
pub mod exit;
#[cfg(feature = "cli")]
mod files;
#[cfg(feature = "cli")]
mod filter_arg;
#[cfg(feature = "server")]
mod health;
mod help;
#[cfg(feature = "cli")]
mod history;
#[cfg(feature = "objects")]
mod import;
#[cfg(feature = "cli")]
mod ingest;
mod interrupt;
#[cfg(feature = "cli")]
mod key;
#[cfg(feature = "cli")]
mod list;
#[cfg(feature = "loadtest")]
mod loadtest;
#[cfg(feature = "objects")]
mod location;
#[cfg(feature = "server")]
mod maintenance;
mod man;
#[cfg(feature = "cli")]
mod metrics;
#[cfg(feature = "cli")]
mod model;
#[cfg(feature = "cli")]
mod model_files;
#[cfg(feature = "objects")]
mod object_flags;
#[cfg(feature = "cli")]
mod output;
#[cfg(feature = "cli")]
mod pages;
#[cfg(feature = "cli")]
mod policy;
mod print;
#[cfg(feature = "cli")]
mod production;
mod progress;
#[cfg(feature = "cli")]
mod promote;
#[cfg(feature = "objects")]
mod publish;
#[cfg(feature = "objects")]
mod publish_error;
#[cfg(feature = "objects")]
mod publishing;
#[cfg(feature = "objects")]
mod pull;
#[cfg(feature = "cli")]
mod registration;
mod remote;
#[cfg(feature = "cli")]
mod restore;
#[cfg(feature = "cli")]
mod rollback;
#[cfg(feature = "cli")]
mod search;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "cli")]
mod show;
#[cfg(feature = "cli")]
mod show_config;
#[cfg(feature = "cli")]
mod stats;
#[cfg(feature = "cli")]
mod tag;
#[cfg(feature = "cli")]
mod update;
#[cfg(feature = "cli")]
mod values;
#[cfg(feature = "objects")]
mod verify;
#[cfg(feature = "objects")]
mod verify_folder;
#[cfg(feature = "cli")]
mod version_arg;
#[cfg(feature = "objects")]
mod watch;
#[cfg(feature = "cli")]
mod webhook;

#[cfg(feature = "objects")]
pub use pull::CACHE_VARIABLES;
pub use remote::VARIABLES;

/// A registry of model versions: their digests, their scores, and which one is in production.
#[derive(Debug, Parser)]
#[command(name = "registry", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// Declares the commands, each with its module and perhaps a cargo feature, and dispatches to their `run`.
macro_rules! commands {
    ($($(#[$feature:meta])? $module:ident::$command:ident)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[$feature])? $command(Box<$module::$command>),)*
            Completions(completions::Completions),
            Man(man::Manual),
        }

        impl Command {
            fn run(self) -> Result<(), exit::Failure> {
                match self {
                    $($(#[$feature])? Self::$command(command) => command.run(),)*
                    Self::Completions(completions) => completions.run(command_line()),
                    Self::Man(manual) => manual.run(command_line()),
                }
            }
        }
    };
}

commands! {
    #[cfg(feature = "server")] serve::Serve
    #[cfg(feature = "server")] health::Health
    #[cfg(feature = "server")] maintenance::Maintenance
    #[cfg(feature = "loadtest")] loadtest::Loadtest
    #[cfg(feature = "cli")] ingest::Ingest
    #[cfg(feature = "objects")] import::Import
    #[cfg(feature = "objects")] publish::Publish
    #[cfg(feature = "objects")] pull::Pull
    #[cfg(feature = "objects")] cat::Cat
    #[cfg(feature = "objects")] watch::Watch
    #[cfg(feature = "objects")] bench::Bench
    #[cfg(feature = "objects")] verify::Verify
    #[cfg(feature = "cli")] list::List
    #[cfg(feature = "cli")] show::Show
    #[cfg(feature = "cli")] files::Files
    #[cfg(feature = "cli")] production::Production
    #[cfg(feature = "cli")] metrics::Metrics
    #[cfg(feature = "cli")] compare::Compare
    #[cfg(feature = "cli")] events::Events
    #[cfg(feature = "cli")] history::History
    #[cfg(feature = "cli")] stats::Stats
    #[cfg(feature = "cli")] promote::Promote
    #[cfg(feature = "cli")] rollback::Rollback
    #[cfg(feature = "cli")] approve::Approve
    #[cfg(feature = "cli")] approve::Approvals
    #[cfg(feature = "cli")] policy::Policy
    #[cfg(feature = "cli")] update::Update
    #[cfg(feature = "cli")] delete::Delete
    #[cfg(feature = "cli")] restore::Restore
    #[cfg(feature = "cli")] model::Model
    #[cfg(feature = "cli")] alias::Alias
    #[cfg(feature = "cli")] tag::Tag
    #[cfg(feature = "cli")] key::Key
    #[cfg(feature = "cli")] webhook::Webhook
    #[cfg(feature = "cli")] show_config::Config
}

/// Reads the command line. Ends the process if it is invalid or asks for help.
#[must_use]
pub fn parse() -> Cli {
    Cli::from_arg_matches(&command_line().get_matches()).unwrap_or_else(|error| error.exit())
}

fn command_line() -> clap::Command {
    help::in_groups(Cli::command())
}

/// Runs the command and returns its exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match cli.color {
        // The streams detect a terminal themselves.
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    let outcome = cli.command.run();
    let Err(failure) = outcome else { return ExitCode::from(exit::DONE) };
    for message in failure.messages() {
        print::line(&format!("error: {message}"));
    }
    ExitCode::from(failure.code())
}
