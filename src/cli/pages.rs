//! Lists of `/v1`, fetched and printed page by page.

use clap::Args;

use super::{
    exit::Failure,
    output::Printer,
    print::{self, Pipe},
};
use crate::client::{ClientError, V1Page};

/// Items on a page at most.
const MAX_PAGE: u64 = 200;

/// The flags that say how much of a list is shown.
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show all
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Limit {
    /// Returns the number of items to show.
    pub(super) fn count(&self) -> u64 {
        if self.all { u64::MAX } else { self.limit }
    }
}

/// Prints at most `limit` items, and ends the list. `fetch` gets the parameters `limit` and `cursor` of each page. If
/// there are no items, `none` goes to stderr.
pub(super) fn print_pages(
    mut printer: Printer,
    limit: u64,
    none: &str,
    fetch: impl Fn(&[(&str, &str)]) -> Result<V1Page, ClientError>,
) -> Result<(), Failure> {
    let mut next: Option<String> = None;
    loop {
        let size = (limit - printer.shown()).min(MAX_PAGE).to_string();
        let mut query = vec![("limit", size.as_str())];
        query.extend(next.iter().map(|cursor| ("cursor", cursor.as_str())));
        let page = fetch(&query)?;
        if printer.page(&page.items)? == Pipe::Closed {
            return Ok(());
        }
        next = page.next;
        if next.is_none() || printer.shown() >= limit {
            break;
        }
    }
    let shown = printer.shown();
    printer.end()?;
    if shown == 0 {
        print::line(none);
    } else if next.is_some() {
        print::line(&format!("{} shown; --all shows the rest", print::count(shown)));
    }
    Ok(())
}
