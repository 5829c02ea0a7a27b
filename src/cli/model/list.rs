//! `registry model list`: the models, by name.

use clap::Args;

use crate::cli::{
    exit::{self, Failure},
    output::{MODELS, OutputFlags, Printer},
    pages::{Limit, print_pages},
    remote::Remote,
    values::tag_pair,
};

const EXAMPLES: &str = "\
Examples:
  All models, by name:
    registry model list --all
  Some of them:
    registry model list --search gpt
    registry model list --tag team=nlp
    registry model list --tag nightly
  Models in the trash:
    registry model list --deleted
  Prompts:
    registry model list --prompts
  For a script:
    registry model list --all -o name";

/// List models, by name.
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct List {
    /// Only models with this text in their name, ignoring case
    #[arg(long, short = 'q', alias = "q", value_name = "TEXT")]
    search: Option<String>,
    /// Only models with this tag, and if a value is given, with this value
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = |text: &str| tag_pair(text).map(|_| text.to_owned()))]
    tag: Option<String>,
    /// Models in the trash instead
    #[arg(long)]
    deleted: bool,
    /// Prompts instead, which MLflow keeps as models
    #[arg(long)]
    prompts: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl List {
    /// Lists the models.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("list versions with `registry list`");
        let filters = [("q", self.search.as_deref()), ("tag", self.tag.as_deref())];
        let mut query: Vec<_> =
            filters.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
        if self.deleted {
            query.push(("deleted", "true"));
        }
        if self.prompts {
            query.push(("prompts", "true"));
        }
        let things = if self.prompts { "prompts" } else { "models" };
        let none = if self.deleted {
            format!("no {things} in the trash match")
        } else {
            format!("no {things} match")
        };
        print_pages(printer, self.limit.count(), &none, |page| v1.models(&[&query, page].concat()))
    }
}
