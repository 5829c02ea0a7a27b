//! `registry list`: the versions that pass all filters, page by page.

use clap::{Args, builder::PossibleValuesParser};

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, VERSIONS},
    print::{self, Pipe},
    remote::Remote,
    values::status_parser,
};
use crate::domain::{ListQuery, Order, Sort, Status};

const EXAMPLES: &str = "\
Examples:
  The newest versions:
    registry list
  All versions of one name, by training step:
    registry list tiny-gpt --sort training_step --all
  Versions in staging with a tag:
    registry list --status staging --tag nightly
  A table of scores, and the same for a spreadsheet:
    registry list tiny-gpt --columns version,smoke-v1/score,training_loss
    registry list tiny-gpt --columns version,smoke-v1/score -o csv > scores.csv
  For a script:
    registry list --status staging -o name
    registry list --all -o jsonl | jq -r .artifact_uri";

/// List versions, newest first.
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Show at most this many versions
    #[arg(long, value_name = "N", default_value_t = ListQuery::DEFAULT_LIMIT as u64,
          value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show all versions
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Versions to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

/// Filters and order.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Only versions of this exact name
    pub(super) name: Option<String>,
    /// Only versions with this status
    #[arg(long, value_parser = status_parser())]
    pub(super) status: Option<Status>,
    /// Only versions with this text in name, version or description, ignoring case
    #[arg(long, short = 'q', alias = "q", value_name = "TEXT")]
    pub(super) search: Option<String>,
    /// Only versions with this tag
    #[arg(long)]
    pub(super) tag: Option<String>,
    /// Sort key
    #[arg(long, value_parser = PossibleValuesParser::new(Sort::NAMES))]
    pub(super) sort: Option<String>,
    /// Sort order
    #[arg(long, value_parser = PossibleValuesParser::new(Order::NAMES))]
    pub(super) order: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&str, &str)> {
        let filters = [
            ("name", self.name.as_deref()),
            ("status", self.status.map(Status::as_str)),
            ("q", self.search.as_deref()),
            ("tag", self.tag.as_deref()),
            ("sort", self.sort.as_deref()),
            ("order", self.order.as_deref()),
        ];
        filters.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
    }
}

impl List {
    /// Creates the command that lists all versions that pass `filter`.
    pub(super) fn of_all(filter: Filter, output: OutputFlags, remote: Remote) -> Self {
        Self { filter, limit: 0, all: true, offset: 0, output, remote }
    }

    /// Lists the versions.
    pub(super) fn run(self) -> Result<(), Failure> {
        let limit = if self.all { u64::MAX } else { self.limit };
        let mut printer = Printer::new(&self.output, &VERSIONS)?;
        let client = self.remote.client()?;
        let (mut total, mut next) = (None, Some(Next::Offset));
        while printer.shown() < limit
            && let Some(place) = next
        {
            let size = (limit - printer.shown()).min(ListQuery::MAX_LIMIT as u64);
            let mut page = match &place {
                Next::Offset => {
                    let (limit, offset) = (size.to_string(), (self.offset + printer.shown()).to_string());
                    let mut query = self.filter.query();
                    query.extend([("limit", limit.as_str()), ("offset", offset.as_str())]);
                    client.models(&query)?
                }
                Next::Link(link) => client.next_page(link)?,
            };
            let received = page.models.len() as u64;
            total = page.total.or(total);
            next = match (page.next.take(), place) {
                (Some(link), _) => Some(Next::Link(link)),
                // 0.2.0 sends neither links nor a total, so a full page may not be the last one.
                (None, Next::Offset) if page.total.is_none() && received >= size => Some(Next::Offset),
                // A registry that links to pages links to all of them.
                (None, _) if received > size => Some(Next::Offset),
                (None, _) => None,
            };
            page.models.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            if printer.page(&page.models)? == Pipe::Closed {
                return Ok(());
            }
        }
        let shown = printer.shown();
        printer.end()?;
        if let Some(note) = self.note(shown, total, next.is_some()) {
            print::line(&note);
        }
        Ok(())
    }

    /// Returns the line below the list about the versions that are not shown.
    fn note(&self, shown: u64, total: Option<u64>, more: bool) -> Option<String> {
        let (count, total_count) = (print::count(shown), total.map(print::count).unwrap_or_default());
        match total {
            None | Some(0) if shown == 0 => {
                let hint = self.filter.name.as_deref().and_then(misread).unwrap_or_default();
                Some(format!("no models match{hint}"))
            }
            Some(_) if shown == 0 => {
                Some(format!("no models: {total_count} match, and --offset skips all of them"))
            }
            Some(total) if shown.saturating_add(self.offset) < total => {
                Some(format!("{count} of {total_count} shown; --all shows the rest"))
            }
            None if more => Some(format!("{count} shown; --all shows the rest")),
            _ => None,
        }
    }
}

/// Where the next page is.
enum Next {
    /// After the versions so far, by their number.
    Offset,
    /// The path that the registry linked to.
    Link(String),
}

/// Returns a hint if NAME, which no version has, looks like a version.
fn misread(name: &str) -> Option<String> {
    (name.contains(':') || name.ends_with("@production"))
        .then(|| format!("; NAME is a name without a version; `registry show {name}` shows one version"))
}
