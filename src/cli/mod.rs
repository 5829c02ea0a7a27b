//! The commands: one file each, with its flags and a `run`.
//!
//! No other module imports this one. It owns the terminal: stdout, stderr and the exit code.

use std::process::ExitCode;

use anstream::ColorChoice;
use clap::{FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub mod bench;
pub mod compare;
pub mod completions;
mod config;
pub mod config_command;
pub mod delete;
pub mod details;
mod digesting;
pub mod events;
pub mod exit;
pub mod health;
pub mod help;
pub mod ingest;
mod interrupt;
pub mod list;
pub mod loadtest;
mod location;
pub mod maintenance;
pub mod man;
pub mod metrics;
pub mod model_ref;
pub mod object_flags;
mod output;
mod print;
pub mod production;
mod progress;
pub mod promote;
pub mod publish;
mod publish_error;
pub mod publishing;
pub mod registration;
pub mod remote;
pub mod serve;
pub mod show;
pub mod stats;
pub mod update;
mod values;
pub mod verify;
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
    Serve(Box<serve::Serve>),
    Health(health::Health),
    Ingest(Box<ingest::Ingest>),
    Publish(Box<publish::Publish>),
    Watch(Box<watch::Watch>),
    Bench(Box<bench::Bench>),
    Verify(Box<verify::Verify>),
    Maintenance(Box<maintenance::Maintenance>),
    Loadtest(Box<loadtest::Loadtest>),
    List(Box<list::List>),
    Show(Box<show::Show>),
    Production(Box<production::Production>),
    Metrics(Box<metrics::Metrics>),
    Compare(Box<compare::Compare>),
    Events(Box<events::Events>),
    Stats(Box<stats::Stats>),
    Promote(Box<promote::Promote>),
    Update(Box<update::Update>),
    Delete(Box<delete::Delete>),
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
        Command::Serve(serve) => serve.run().map_err(|error| exit::Failure::failed(error.to_string())),
        Command::Health(health) => health.run(),
        Command::Ingest(ingest) => ingest.run(),
        Command::Bench(bench) => bench.run(),
        Command::Verify(verify) => verify.run(),
        Command::Publish(publish) => publish.run(),
        Command::Watch(watch) => watch.run(),
        Command::Maintenance(maintenance) => maintenance.run(),
        Command::Loadtest(loadtest) => loadtest.run(),
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Production(production) => production.run(),
        Command::Metrics(metrics) => metrics.run(),
        Command::Compare(compare) => compare.run(),
        Command::Events(events) => events.run(),
        Command::Stats(stats) => stats.run(),
        Command::Promote(promote) => promote.run(),
        Command::Update(update) => update.run(),
        Command::Delete(delete) => delete.run(),
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
