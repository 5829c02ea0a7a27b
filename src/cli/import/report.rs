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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Model,
    Version,
    Alias,
    Production,
    /// The files of a version.
    Files,
}

impl What {
    /// What every import counts.
    const ALWAYS: [Self; 4] = [Self::Model, Self::Version, Self::Alias, Self::Production];

    fn singular(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Version => "version",
            Self::Alias => "alias",
            Self::Production => "production",
            Self::Files => "files",
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
#[derive(Debug, Default)]
pub(super) struct Report {
    /// By [`What`].
    imported: [u64; 5],
    /// By [`What`].
    present: [u64; 5],
    /// Bytes of the files of the versions that were imported.
    copied_bytes: u64,
    left_out: u64,
    rows: Vec<Row>,
}

/// Where an import comes from, and what it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heading<'a> {
    /// The URL of the server.
    pub(super) server: &'a str,
    pub(super) is_dry_run: bool,
    pub(super) with_artifacts: bool,
}

#[derive(Debug)]
struct Row {
    what: What,
    model: String,
    version: Option<i64>,
    outcome: Outcome,
    reason: String,
}

impl Report {
    /// Counts something that was taken over.
    pub(super) fn imported(&mut self, what: What) {
        self.imported[what as usize] += 1;
    }

    /// Counts something that the registry had already.
    pub(super) fn present(&mut self, what: What) {
        self.present[what as usize] += 1;
    }

    /// Counts the files of a version that was taken over.
    pub(super) fn copied(&mut self, size_bytes: u64) {
        self.imported(What::Files);
        self.copied_bytes += size_bytes;
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
        let (model, reason) = (model.to_owned(), reason.into());
        self.rows.push(Row { what, model, version, outcome, reason });
    }

    /// Adds another part of the same import.
    pub(super) fn add_all(&mut self, other: Self) {
        for (sum, count) in self.imported.iter_mut().zip(other.imported) {
            *sum += count;
        }
        for (sum, count) in self.present.iter_mut().zip(other.present) {
            *sum += count;
        }
        self.copied_bytes += other.copied_bytes;
        self.left_out += other.left_out;
        self.rows.extend(other.rows);
        self.rows.sort_by(|a, b| (a.what, &a.model, a.version).cmp(&(b.what, &b.model, b.version)));
    }

    /// Returns how many things could not be taken over.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns the rows: of models, then of versions, aliases, production and files.
    pub(super) fn rows(&self) -> Vec<Value> {
        let row = |row: &Row| {
            json!({
                "model": row.model,
                "version": row.version,
                "what": row.what.singular(),
                "outcome": row.outcome.text(),
                "reason": row.reason,
            })
        };
        self.rows.iter().map(row).collect()
    }

    /// Returns the whole report, for programs.
    pub(super) fn to_json(&self, heading: Heading<'_>) -> Value {
        let mut json = json!({ "server": heading.server, "dry_run": heading.is_dry_run });
        let names = ["models", "versions", "aliases", "production", "files"];
        for (name, (imported, present)) in names.iter().zip(self.imported.iter().zip(self.present)) {
            json[name] = json!({ "imported": imported, "present": present });
        }
        if heading.with_artifacts {
            json["files"]["bytes"] = self.copied_bytes.into();
        } else if let Some(fields) = json.as_object_mut() {
            fields.remove("files");
        }
        json["report"] = self.rows().into();
        json
    }

    /// `imported 3 models, 12 versions, 1 alias and 2 production versions from …; 1 model was here already`
    pub(super) fn summary(&self, heading: Heading<'_>) -> String {
        let verb = if heading.is_dry_run { "would import" } else { "imported" };
        let counts = |counts: &[u64; 5], zeros: bool| {
            let counted = What::ALWAYS.iter().zip(counts).filter(|(_, count)| zeros || **count > 0);
            listed(counted.map(|(what, count)| what.counted(*count)).collect())
        };
        let mut summary = format!("{verb} {} from {}", counts(&self.imported, true), heading.server);
        let present = counts(&self.present, false);
        if !present.is_empty() {
            let were = if self.present.iter().take(4).sum::<u64>() == 1 { "was" } else { "were" };
            summary.push_str(&format!("; {present} {were} here already"));
        }
        if heading.with_artifacts {
            let verb = if heading.is_dry_run { "would copy" } else { "copied" };
            let versions = What::Version.counted(self.imported[What::Files as usize]);
            let size = print::size(self.copied_bytes);
            summary.push_str(&format!("; {verb} the files of {versions} ({size})"));
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

    const HEADING: Heading<'static> =
        Heading { server: "http://h", is_dry_run: false, with_artifacts: false };

    #[test]
    fn a_summary_counts_what_was_imported_and_what_was_there() {
        let mut report = Report::default();
        assert_eq!(
            report.summary(HEADING),
            "imported 0 models, 0 versions, 0 aliases and 0 production versions from http://h"
        );
        report.imported(What::Alias);
        report.present(What::Version);
        report.present(What::Files);
        assert_eq!(
            report.summary(HEADING),
            "imported 0 models, 0 versions, 1 alias and 0 production versions from http://h; 1 version was here already"
        );
        report.present(What::Production);
        report.copied(1_500);
        let summary = report.summary(Heading { is_dry_run: true, with_artifacts: true, ..HEADING });
        assert!(summary.starts_with("would import 0 models"), "{summary}");
        let end = "; 1 version and 1 production version were here already; would copy the files of 1 version (1.5 kB)";
        assert!(summary.ends_with(end), "{summary}");
        assert_eq!(report.to_json(HEADING)["files"], Value::Null);
        let json = report.to_json(Heading { with_artifacts: true, ..HEADING });
        assert_eq!(json["files"], json!({"imported": 1, "present": 1, "bytes": 1_500}));
    }

    #[test]
    fn only_what_was_left_out_makes_an_import_incomplete_and_parts_are_put_in_order() {
        let mut report = Report::default();
        for (model, outcome) in [("b", Outcome::Changed), ("a", Outcome::Kept)] {
            let mut part = Report::default();
            part.add((model, Some(3)), What::Files, Outcome::LeftOut, "why");
            part.add((model, Some(3)), What::Version, outcome, "why");
            report.add_all(part);
        }
        assert_eq!((report.left_out(), report.rows().len()), (2, 4));
        let row = |model, what, outcome| json!({"model": model, "version": 3, "what": what, "outcome": outcome, "reason": "why"});
        let expected = [
            row("a", "version", "kept as it is here"),
            row("b", "version", "taken over differently"),
            row("a", "files", "left out"),
            row("b", "files", "left out"),
        ];
        assert_eq!(report.to_json(HEADING)["report"], json!(expected));
    }
}
