//! The report of an import: how much was taken over, and what was not.

use serde_json::{Value, json};

use crate::cli::{output::View, print};

/// Rows of a report.
pub(super) const REPORT: View = View {
    fields: "model,version,what,outcome,reason",
    table: "model,version,what,outcome,reason",
    wide: "model,version,what,outcome,reason",
    precise_times: false,
    name: None,
};

/// What a count or a row of the report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Model,
    Version,
    Alias,
    Production,
}

impl What {
    const ALL: [Self; 4] = [Self::Model, Self::Version, Self::Alias, Self::Production];

    fn singular(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Version => "version",
            Self::Alias => "alias",
            Self::Production => "production",
        }
    }

    /// `1 alias`, `2 aliases`
    fn counted(self, count: u64) -> String {
        match self {
            Self::Alias if count != 1 => format!("{} aliases", print::count(count)),
            Self::Production => print::counted(count, "production version"),
            _ => print::counted(count, self.singular()),
        }
    }
}

/// Why something is in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It could not be taken over.
    LeftOut,
    /// It was taken over, but not as MLflow has it.
    Changed,
    /// The registry has it otherwise, and that stays.
    Kept,
}

impl Outcome {
    fn text(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Changed => "taken over differently",
            Self::Kept => "kept as it is here",
        }
    }
}

/// A report, filled while the import runs.
#[derive(Debug)]
pub(super) struct Report {
    server: String,
    is_dry_run: bool,
    /// By [`What`].
    imported: [u64; 4],
    /// By [`What`].
    present: [u64; 4],
    left_out: u64,
    rows: Vec<Value>,
}

impl Report {
    pub(super) fn new(server: &str, is_dry_run: bool) -> Self {
        Self {
            server: server.to_owned(),
            is_dry_run,
            imported: [0; 4],
            present: [0; 4],
            left_out: 0,
            rows: Vec::new(),
        }
    }

    /// Counts something that was taken over.
    pub(super) fn imported(&mut self, what: What) {
        self.imported[what as usize] += 1;
    }

    /// Counts something that the registry had already.
    pub(super) fn present(&mut self, what: What) {
        self.present[what as usize] += 1;
    }

    /// Adds a row about a model, or about one of its versions.
    pub(super) fn add(
        &mut self,
        (model, version): (&str, Option<i64>),
        what: What,
        outcome: Outcome,
        reason: impl Into<String>,
    ) {
        self.left_out += u64::from(outcome == Outcome::LeftOut);
        self.rows.push(json!({
            "model": model,
            "version": version,
            "what": what.singular(),
            "outcome": outcome.text(),
            "reason": reason.into(),
        }));
    }

    /// Returns how many things could not be taken over.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn rows(&self) -> &[Value] {
        &self.rows
    }

    /// Returns the whole report, for programs.
    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({ "server": self.server, "dry_run": self.is_dry_run });
        let names = ["models", "versions", "aliases", "production"];
        for (name, (imported, present)) in names.iter().zip(self.imported.iter().zip(self.present)) {
            json[name] = json!({ "imported": imported, "present": present });
        }
        json["report"] = self.rows.clone().into();
        json
    }

    /// `imported 3 models, 12 versions, 1 alias and 2 production versions from …; 1 model was here already`
    pub(super) fn summary(&self) -> String {
        let verb = if self.is_dry_run { "would import" } else { "imported" };
        let counts = |counts: &[u64; 4], zeros: bool| {
            let counted = What::ALL.iter().zip(counts).filter(|(_, count)| zeros || **count > 0);
            listed(counted.map(|(what, count)| what.counted(*count)).collect())
        };
        let mut summary = format!("{verb} {} from {}", counts(&self.imported, true), self.server);
        let present = counts(&self.present, false);
        if !present.is_empty() {
            let were = if self.present.iter().sum::<u64>() == 1 { "was" } else { "were" };
            summary.push_str(&format!("; {present} {were} here already"));
        }
        summary
    }
}

/// `a, b and c`
fn listed(mut items: Vec<String>) -> String {
    match items.pop() {
        Some(last) if !items.is_empty() => format!("{} and {last}", items.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_what_was_imported_and_what_was_there() {
        let mut report = Report::new("http://h", false);
        assert_eq!(
            report.summary(),
            "imported 0 models, 0 versions, 0 aliases and 0 production versions from http://h"
        );
        report.imported(What::Alias);
        report.present(What::Version);
        assert_eq!(
            report.summary(),
            "imported 0 models, 0 versions, 1 alias and 0 production versions from http://h; 1 version was here already"
        );
        report.present(What::Production);
        report.is_dry_run = true;
        let summary = report.summary();
        assert!(summary.starts_with("would import 0 models"), "{summary}");
        assert!(summary.ends_with("; 1 version and 1 production version were here already"), "{summary}");
    }

    #[test]
    fn only_what_was_left_out_makes_an_import_incomplete() {
        let mut report = Report::new("http://h", false);
        for outcome in [Outcome::Changed, Outcome::Kept, Outcome::LeftOut] {
            report.add(("m", Some(3)), What::Version, outcome, "why");
        }
        assert_eq!((report.left_out(), report.rows().len()), (1, 3));
        let row = &report.to_json()["report"][2];
        assert_eq!(
            *row,
            json!({"model": "m", "version": 3, "what": "version", "outcome": "left out", "reason": "why"})
        );
    }
}
