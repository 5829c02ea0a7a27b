//! `registry list`: the versions that pass all filters, page by page.

use clap::{Args, builder::PossibleValuesParser};

use super::{
    exit::{self, Failure},
    filter_arg::{FilterParser, SortArg, SortParser},
    output::{DELETED_VERSIONS, OutputFlags, Printer, V1_VERSIONS, VERSIONS},
    pages::print_pages,
    print::{self, Pipe},
    remote::Remote,
    values::status_parser,
};
use crate::domain::{self, ListQuery, Order, Status};

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
  By scores, fields and tags, the best first:
    registry list --filter \"scores.smoke-v1.score >= 0.8 and tags.team = 'nlp'\" \\
      --sort scores.smoke-v1.score
    registry list tiny-gpt --filter 'training_loss < 2.5' --sort training_loss:asc
  Versions with a file of this digest, or with this artifact:
    registry list --sha256 7056f18469ad7056f18469ad7056f18469ad7056f18469ad7056f18469ad7056
    registry list --uri s3://models/tiny-gpt/v1/model.pt
  What `registry restore` can restore:
    registry list tiny-gpt --deleted
  For a script:
    registry list --status staging -o name
    registry list --all -o jsonl | jq -r .artifact_uri";

const NOT_FOR_DELETED: [&str; 9] =
    ["status", "search", "tag", "filter", "sha256", "uri", "sort", "order", "offset"];

/// List versions, newest first.
///
/// --filter compares fields, tags.KEY and scores.SUITE.METRIC with =, !=, <, <=, >, >=, LIKE, ILIKE, IN and IS NULL, joined by
/// AND, OR, NOT and parentheses. Text goes in single quotes. A condition on something absent is false. With --filter,
/// --sha256, --uri, or --sort by another field than created_at, updated_at and training_step, the versions are shown as /v1
/// has them: with model, number and label.
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
    /// Versions of NAME in the trash instead
    #[arg(long, requires = "name", conflicts_with_all = NOT_FOR_DELETED)]
    deleted: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

/// Filters and order.
#[derive(Debug, Clone, Default, Args)]
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
    /// Only versions for which this holds, like "scores.smoke-v1.score >= 0.8"
    #[arg(long, value_name = "FILTER", value_parser = FilterParser)]
    pub(super) filter: Option<domain::Filter>,
    /// Only versions with a file of this SHA-256
    #[arg(long, value_name = "DIGEST")]
    pub(super) sha256: Option<String>,
    /// Only versions with this artifact URI
    #[arg(long, value_name = "URI")]
    pub(super) uri: Option<String>,
    /// Sort key: a field like created_at, tags.KEY or scores.SUITE.METRIC, perhaps with :asc or :desc
    #[arg(long, value_name = "FIELD", value_parser = SortParser)]
    pub(super) sort: Option<SortArg>,
    /// Sort order
    #[arg(long, value_parser = PossibleValuesParser::new(Order::NAMES))]
    pub(super) order: Option<String>,
}

impl Filter {
    /// Returns the parameters of the native list.
    fn query(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let filters = [
            ("name", self.name.clone()),
            ("status", self.status.map(|status| status.as_str().to_owned())),
            ("q", self.search.clone()),
            ("tag", self.tag.clone()),
            ("sort", self.sort.as_ref().map(|sort| sort.key.field.to_string())),
            ("order", self.direction()?.map(|order| order.as_str().to_owned())),
        ];
        Ok(filters.into_iter().filter_map(|(field, value)| Some((field, value?))).collect())
    }
}

/// Returns parameters as the client takes them.
fn borrowed<'q>(query: &'q [(&'static str, String)]) -> Vec<(&'q str, &'q str)> {
    query.iter().map(|(field, value)| (*field, value.as_str())).collect()
}

impl List {
    /// Creates the command that lists all versions that pass `filter`.
    pub(super) fn of_all(filter: Filter, output: OutputFlags, remote: Remote) -> Self {
        Self { filter, limit: 0, all: true, offset: 0, deleted: false, output, remote }
    }

    /// Lists the versions.
    pub(super) fn run(self) -> Result<(), Failure> {
        let limit = if self.all { u64::MAX } else { self.limit };
        if let (true, Some(name)) = (self.deleted, &self.filter.name) {
            return self.in_trash(name, limit);
        }
        if self.filter.needs_search() {
            return self.search(limit);
        }
        let mut printer = Printer::new(&self.output, &VERSIONS)?;
        let filters = self.filter.query()?;
        let client = self.remote.client()?;
        let (mut total, mut next) = (None, Some(Next::Offset));
        while printer.shown() < limit
            && let Some(place) = next
        {
            let size = (limit - printer.shown()).min(ListQuery::MAX_LIMIT as u64);
            let mut page = match &place {
                Next::Offset => {
                    let (limit, offset) = (size.to_string(), (self.offset + printer.shown()).to_string());
                    let mut query = borrowed(&filters);
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

    /// Lists the deleted versions of a model.
    fn in_trash(&self, name: &str, limit: u64) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &DELETED_VERSIONS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("");
        let none = format!("no version of {name} is in the trash");
        let query = [("deleted", "true")];
        print_pages(printer, limit, &none, |page| v1.versions(name, &[&query[..], page].concat()))
    }

    /// Lists the versions that a search over all models finds.
    fn search(&self, limit: u64) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &V1_VERSIONS)?;
        if self.offset > 0 {
            return Err(Failure::usage(
                "a search can't skip versions; remove --offset, and narrow the filter",
            ));
        }
        let query = self.filter.search()?;
        let client = self.remote.client()?;
        let v1 =
            client.v1("use only NAME, --status, --search and --tag, and sort by a time or training_step");
        print_pages(printer, limit, "no versions match", |page| {
            v1.search(&[&borrowed(&query)[..], page].concat())
        })
    }

    /// Returns the line below the list about the versions that are not shown.
    fn note(&self, shown: u64, total: Option<u64>, more: bool) -> Option<String> {
        let (count, total_count) = (print::count(shown), total.map(print::count).unwrap_or_default());
        match total {
            None | Some(0) if shown == 0 => {
                let hint = self.filter.name.as_deref().and_then(misread).unwrap_or_default();
                Some(format!("no versions match{hint}"))
            }
            Some(_) if shown == 0 => {
                Some(format!("no versions: {total_count} match, and --offset skips all of them"))
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
