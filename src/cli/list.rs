//! `registry list`: the versions that pass all filters, page by page.

use clap::{Args, builder::PossibleValuesParser};

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Rows, models::MODELS},
    print::{self, Reader},
    remote::Remote,
    values::status_parser,
};
use crate::{
    client::{Client, Page},
    domain::{ListQuery, Order, Sort, Status},
};

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
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Most versions to show
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
        [
            ("name", self.name.as_deref()),
            ("status", self.status.map(Status::as_str)),
            ("q", self.search.as_deref()),
            ("tag", self.tag.as_deref()),
            ("sort", self.sort.as_deref()),
            ("order", self.order.as_deref()),
        ]
        .into_iter()
        .filter_map(|(field, value)| value.map(|value| (field, value)))
        .collect()
    }
}

impl List {
    /// Lists the versions.
    ///
    /// # Errors
    /// If the flags are invalid, or a page can't be fetched.
    pub fn run(self) -> Result<(), Failure> {
        let limit = if self.all { u64::MAX } else { self.limit };
        show(&self.filter, self.offset, limit, &self.output, &self.remote)
    }
}

/// Shows up to `limit` versions after the first `offset` ones.
pub(super) fn show(
    filter: &Filter,
    offset: u64,
    limit: u64,
    output: &OutputFlags,
    remote: &Remote,
) -> Result<(), Failure> {
    let mut rows = Rows::begin(output, &MODELS)?;
    let client = remote.client()?;
    let mut pages = Pages { client: &client, filter, offset, state: State::First };
    let (mut total, mut more) = (None, false);
    while rows.shown() < limit {
        let Some(mut page) = pages.next(limit - rows.shown())? else {
            more = false;
            break;
        };
        total = page.total.or(total);
        let remaining = usize::try_from(limit - rows.shown()).unwrap_or(usize::MAX);
        more = page.models.len() > remaining || !matches!(pages.state, State::Last);
        page.models.truncate(remaining);
        if rows.page(&page.models)? == Reader::HasLeft {
            return Ok(());
        }
    }
    let shown = rows.shown();
    rows.end()?;
    match total {
        _ if shown == 0 && total.is_none_or(|total| total == 0) => {
            let hint = filter.name.as_deref().and_then(misread).unwrap_or_default();
            print::line(&format!("no models match{hint}"));
        }
        Some(total) if shown == 0 => {
            print::line(&format!("no models: {} match, and --offset skips all of them", print::count(total)));
        }
        Some(total) if shown.saturating_add(offset) < total => print::line(&format!(
            "{} of {} shown; --all shows the rest",
            print::count(shown),
            print::count(total)
        )),
        None if more => print::line(&format!("{} shown; --all shows the rest", print::count(shown))),
        _ => {}
    }
    Ok(())
}

/// A hint if NAME, which no version has, looks like a version.
fn misread(name: &str) -> Option<String> {
    (name.contains(':') || name.ends_with("@production"))
        .then(|| format!("; NAME is a name without a version; `registry show {name}` shows one version"))
}

/// The pages of a list, fetched as needed.
pub(super) struct Pages<'c> {
    client: &'c Client,
    filter: &'c Filter,
    /// Offset of the next page, for a registry without links to it.
    offset: u64,
    state: State,
}

enum State {
    First,
    /// The registry linked to the next page.
    Linked(String),
    /// The last page was full and had no link, which 0.2.0 never sends.
    Counted,
    Last,
}

impl<'c> Pages<'c> {
    /// The pages of all versions that pass `filter`.
    pub(super) fn of(client: &'c Client, filter: &'c Filter) -> Self {
        Self { client, filter, offset: 0, state: State::First }
    }

    /// The next page, of up to `wanted` versions.
    pub(super) fn next(&mut self, wanted: u64) -> Result<Option<Page>, Failure> {
        let limit = wanted.min(ListQuery::MAX_LIMIT as u64);
        let page = match &self.state {
            State::Last => return Ok(None),
            State::Linked(next) => self.client.next_page(next)?,
            State::First | State::Counted => {
                let (limit, offset) = (limit.to_string(), self.offset.to_string());
                let mut query = self.filter.query();
                query.extend([("limit", limit.as_str()), ("offset", offset.as_str())]);
                self.client.models(&query)?
            }
        };
        self.offset += page.models.len() as u64;
        self.state = match &page.next {
            Some(next) => State::Linked(next.clone()),
            // A registry that links to pages links to all of them.
            None if matches!(self.state, State::Linked(_)) => State::Last,
            None if page.total.is_none() && page.models.len() as u64 >= limit => State::Counted,
            None => State::Last,
        };
        Ok(Some(page))
    }
}
