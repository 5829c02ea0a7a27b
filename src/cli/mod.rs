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
use clap::{FromArgMatches as _, Parser, Subcommand, ValueEnum};

#[cfg(feature = "objects")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod compare;
pub mod completions;
mod config;
#[cfg(feature = "cli")]
pub mod config_command;
#[cfg(feature = "cli")]
pub mod delete;
#[cfg(feature = "cli")]
pub mod details;
#[cfg(feature = "cli")]
pub mod events;
pub mod exit;
#[cfg(feature = "server")]
pub mod health;
pub mod help;
#[cfg(feature = "cli")]
pub mod ingest;
mod interrupt;
#[cfg(feature = "cli")]
pub mod list;
#[cfg(feature = "loadtest")]
pub mod loadtest;
#[cfg(feature = "objects")]
mod location;
#[cfg(feature = "server")]
pub mod maintenance;
pub mod man;
#[cfg(feature = "cli")]
pub mod metrics;
#[cfg(feature = "cli")]
pub mod model_ref;
#[cfg(feature = "objects")]
pub mod object_flags;
#[cfg(feature = "cli")]
mod output;
mod print;
#[cfg(feature = "cli")]
pub mod production;
mod progress;
#[cfg(feature = "cli")]
pub mod promote;
#[cfg(feature = "objects")]
pub mod publish;
#[cfg(feature = "objects")]
mod publish_error;
#[cfg(feature = "objects")]
pub mod publishing;
#[cfg(feature = "cli")]
pub mod registration;
pub mod remote;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "cli")]
pub mod show;
#[cfg(feature = "cli")]
pub mod stats;
#[cfg(feature = "cli")]
pub mod update;
#[cfg(feature = "cli")]
mod values;
#[cfg(feature = "objects")]
pub mod verify;
#[cfg(feature = "objects")]
pub mod watch;

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

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "server")]
    Serve(Box<serve::Serve>),
    #[cfg(feature = "server")]
    Health(health::Health),
    #[cfg(feature = "cli")]
    Ingest(Box<ingest::Ingest>),
    #[cfg(feature = "objects")]
    Publish(Box<publish::Publish>),
    #[cfg(feature = "objects")]
    Watch(Box<watch::Watch>),
    #[cfg(feature = "objects")]
    Bench(Box<bench::Bench>),
    #[cfg(feature = "objects")]
    Verify(Box<verify::Verify>),
    #[cfg(feature = "server")]
    Maintenance(Box<maintenance::Maintenance>),
    #[cfg(feature = "loadtest")]
    Loadtest(Box<loadtest::Loadtest>),
    #[cfg(feature = "cli")]
    List(Box<list::List>),
    #[cfg(feature = "cli")]
    Show(Box<show::Show>),
    #[cfg(feature = "cli")]
    Production(Box<production::Production>),
    #[cfg(feature = "cli")]
    Metrics(Box<metrics::Metrics>),
    #[cfg(feature = "cli")]
    Compare(Box<compare::Compare>),
    #[cfg(feature = "cli")]
    Events(Box<events::Events>),
    #[cfg(feature = "cli")]
    Stats(Box<stats::Stats>),
    #[cfg(feature = "cli")]
    Promote(Box<promote::Promote>),
    #[cfg(feature = "cli")]
    Update(Box<update::Update>),
    #[cfg(feature = "cli")]
    Delete(Box<delete::Delete>),
    #[cfg(feature = "cli")]
    Config(Box<config_command::ConfigCommand>),
    Completions(completions::Completions),
    Man(man::Manual),
}

/// Reads the command line. Ends the process if it is invalid or asks for help.
#[must_use]
pub fn parse() -> Cli {
    let matches = help::command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
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
    let outcome = match cli.command {
        #[cfg(feature = "server")]
        Command::Serve(serve) => serve.run().map_err(|error| exit::Failure::failed(error.to_string())),
        #[cfg(feature = "server")]
        Command::Health(health) => health.run(),
        #[cfg(feature = "cli")]
        Command::Ingest(ingest) => ingest.run(),
        #[cfg(feature = "objects")]
        Command::Bench(bench) => bench.run(),
        #[cfg(feature = "objects")]
        Command::Verify(verify) => verify.run(),
        #[cfg(feature = "objects")]
        Command::Publish(publish) => publish.run(),
        #[cfg(feature = "objects")]
        Command::Watch(watch) => watch.run(),
        #[cfg(feature = "server")]
        Command::Maintenance(maintenance) => maintenance.run(),
        #[cfg(feature = "loadtest")]
        Command::Loadtest(loadtest) => loadtest.run(),
        #[cfg(feature = "cli")]
        Command::List(list) => list.run(),
        #[cfg(feature = "cli")]
        Command::Show(show) => show.run(),
        #[cfg(feature = "cli")]
        Command::Production(production) => production.run(),
        #[cfg(feature = "cli")]
        Command::Metrics(metrics) => metrics.run(),
        #[cfg(feature = "cli")]
        Command::Compare(compare) => compare.run(),
        #[cfg(feature = "cli")]
        Command::Events(events) => events.run(),
        #[cfg(feature = "cli")]
        Command::Stats(stats) => stats.run(),
        #[cfg(feature = "cli")]
        Command::Promote(promote) => promote.run(),
        #[cfg(feature = "cli")]
        Command::Update(update) => update.run(),
        #[cfg(feature = "cli")]
        Command::Delete(delete) => delete.run(),
        #[cfg(feature = "cli")]
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    let Err(failure) = outcome else { return ExitCode::from(exit::DONE) };
    for message in failure.messages() {
        print::line(&format!("error: {message}"));
    }
    ExitCode::from(failure.code())
}
