//! `registry stats`: counts of versions.

use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    output::{
        OutputFlags, Printer, View, chart,
        table::{Cell, Table},
        terminal::{BAR, Terminal},
        value::style_of_status,
    },
    print,
    remote::Remote,
};

const BAR_WIDTH: usize = 24;

const EXAMPLES: &str = "\
Examples:
  Versions by status and by name:
    registry stats
  The fifty names with the most versions:
    registry stats --top 50
  For a script:
    registry stats --json | jq .by_status.production";

const COUNTS: View = View {
    fields: "by,key,models",
    table: "by,key,models",
    wide: "by,key,models",
    precise_times: false,
    name: None,
};

/// Count versions by status and by name.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Stats {
    /// Show at most this many names
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Stats {
    /// Shows the counts.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &COUNTS)?;
        let stats = self.remote.client()?.stats()?;
        if !printer.is_for_people() {
            let rows = |by: &'static str, field: &str| {
                let row = move |(key, models)| json!({"by": by, "key": key, "models": models});
                counts(&stats, field).into_iter().map(row).collect::<Vec<_>>()
            };
            let rows = [rows("status", "by_status"), rows("name", "by_name")].concat();
            return printer.answer(&stats, &rows);
        }
        let terminal = Terminal::of_stdout();
        let (statuses, names) = (counts(&stats, "by_status"), counts(&stats, "by_name"));
        let total = stats.get("total_models").and_then(Value::as_u64).unwrap_or_default();
        let mut text = format!(
            "{} of {}\n",
            print::counted(total, "version"),
            print::counted(names.len() as u64, "name")
        );
        for (title, counted) in [("STATUS", &statuses[..]), ("NAME", &names[..names.len().min(self.top)])] {
            if !counted.is_empty() {
                text.push('\n');
                text.push_str(&table(title, counted, terminal));
            }
        }
        print::text(&text)?;
        if names.len() > self.top {
            let known = print::count(names.len() as u64);
            print::line(&format!("{} of {known} names shown; --top shows more", self.top));
        }
        Ok(())
    }
}

/// Returns the counts, the highest first, and equal counts by name.
fn counts(stats: &Value, field: &str) -> Vec<(String, u64)> {
    let counts = stats.get(field).and_then(Value::as_object).into_iter().flatten();
    let mut counts: Vec<_> =
        counts.map(|(key, count)| (key.clone(), count.as_u64().unwrap_or_default())).collect();
    counts.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
    counts
}

fn table(title: &str, counts: &[(String, u64)], terminal: Terminal) -> String {
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
    let row = |(key, count): &(String, u64)| {
        let share = if most == 0 { 0.0 } else { *count as f64 / most as f64 };
        vec![
            Cell::new(print::one_line(key)).styled(style_of_status(key)),
            Cell { right: true, ..Cell::new(print::count(*count)) },
            Cell::new(chart::bar(share, BAR_WIDTH, terminal.unicode)).styled(BAR),
        ]
    };
    let titles = vec![title.to_owned(), "VERSIONS".to_owned(), String::new()];
    Table::new(Some(titles), terminal).lines(&counts.iter().map(row).collect::<Vec<_>>())
}
