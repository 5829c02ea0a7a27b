//! The results, as text and as JSON.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    cli::print,
    store::sqlite::maintenance::{Copied, Finding, Findings, Optimized, Report, Salvaged, Vacuumed},
};

/// What was done, and how long it took.
pub(super) struct Timed<T> {
    pub(super) did: T,
    pub(super) seconds: f64,
}

/// A backup that was made.
pub(super) struct BackedUp {
    /// As it was asked for.
    pub(super) path: PathBuf,
    pub(super) copied: Copied,
}

/// A backup that was put back.
pub(super) struct Restored {
    pub(super) from: PathBuf,
    /// The old database, or the files that were left of it; none if there was nothing.
    pub(super) kept_as: Vec<PathBuf>,
    pub(super) copied: Copied,
    pub(super) schema_version: i64,
}

/// What each action did; none for an action that did not run or failed.
pub(super) struct Outcome {
    db_path: PathBuf,
    pub(super) restore: Option<Timed<Restored>>,
    pub(super) salvage: Option<Timed<Salvaged>>,
    pub(super) backup: Option<Timed<BackedUp>>,
    pub(super) vacuum: Option<Timed<Vacuumed>>,
    pub(super) optimize: Option<Timed<Optimized>>,
    pub(super) check: Option<Timed<Report>>,
}

impl Outcome {
    pub(super) fn new(db_path: &Path) -> Self {
        let db_path = db_path.to_owned();
        Self {
            db_path,
            restore: None,
            salvage: None,
            backup: None,
            vacuum: None,
            optimize: None,
            check: None,
        }
    }

    /// Returns true if no action was done.
    pub(super) fn is_empty(&self) -> bool {
        self.restore.is_none()
            && self.salvage.is_none()
            && self.backup.is_none()
            && self.vacuum.is_none()
            && self.optimize.is_none()
            && self.check.is_none()
    }

    /// One object, with a field for each action that was done, and `error` if one failed.
    pub(super) fn to_json(&self, error: Option<&str>) -> Value {
        let mut all = serde_json::Map::new();
        let mut set = |name: &str, value: Value| all.insert(name.to_owned(), value);
        set("db_path", text(&self.db_path));
        if let Some(Timed { did, seconds }) = &self.restore {
            set(
                "restore",
                json!({
                    "from": text(&did.from),
                    "kept_as": did.kept_as.iter().map(|kept| text(kept)).collect::<Value>(),
                    "schema_version": did.schema_version,
                    "size_bytes": did.copied.size_bytes,
                    "pages": did.copied.pages,
                    "seconds": seconds,
                }),
            );
        }
        if let Some(Timed { did, seconds }) = &self.salvage {
            set(
                "salvage",
                json!({
                    "kept_as": did.kept_as.as_deref().map(text),
                    "transactions": did.transactions,
                    "lost_transactions": did.lost_transactions,
                    "seconds": seconds,
                }),
            );
        }
        if let Some(Timed { did, seconds }) = &self.backup {
            set(
                "backup",
                json!({
                    "path": text(&did.path),
                    "size_bytes": did.copied.size_bytes,
                    "pages": did.copied.pages,
                    "seconds": seconds,
                }),
            );
        }
        if let Some(Timed { did, seconds }) = &self.vacuum {
            set(
                "vacuum",
                json!({
                    "size_bytes_before": did.before_bytes,
                    "size_bytes_after": did.after_bytes,
                    "seconds": seconds,
                }),
            );
        }
        if let Some(Timed { did, seconds }) = &self.optimize {
            set(
                "optimize",
                json!({
                    "ran": did.ran,
                    "rebuilt": did.rebuilt,
                    "seconds": seconds,
                }),
            );
        }
        if let Some(Timed { did, seconds }) = &self.check {
            set(
                "check",
                json!({
                    "ok": did.errors.total == 0,
                    "schema_version": did.schema_version,
                    "models": did.models,
                    "events": did.events,
                    "error_count": did.errors.total,
                    "errors": list(&did.errors),
                    "warning_count": did.warnings.total,
                    "warnings": list(&did.warnings),
                    "seconds": seconds,
                }),
            );
        }
        if let Some(error) = error {
            set("error", error.into());
        }
        Value::Object(all)
    }

    /// A line for each action, and one for each finding.
    pub(super) fn to_text(&self) -> String {
        let mut lines = Lines(String::new());
        let db_path = self.db_path.display();
        if let Some(Timed { did, seconds }) = &self.restore {
            let (from, size) = (did.from.display(), print::size(did.copied.size_bytes));
            lines.add(&format!("restored {db_path} from {from} ({size}, {seconds:.1} s)"));
            if !did.kept_as.is_empty() {
                lines.add(kept_as_note(&did.kept_as).trim_start_matches("; "));
            }
        }
        if let Some(Timed { did, seconds }) = &self.salvage {
            let kept = print::counted(did.transactions, "transaction");
            match &did.kept_as {
                None => lines.add(&format!("the WAL of {db_path} is sound, with {kept}; nothing was done")),
                Some(copy) => {
                    let lost = print::counted(did.lost_transactions, "transaction");
                    lines.add(&format!(
                        "salvaged the WAL of {db_path}: {kept} kept, {lost} lost ({seconds:.1} s)"
                    ));
                    lines.add(&format!("the WAL as it was is kept as {}", copy.display()));
                }
            }
        }
        if let Some(Timed { did, seconds }) = &self.backup {
            let (path, size) = (did.path.display(), print::size(did.copied.size_bytes));
            lines.add(&format!("backed up {db_path} to {path} ({size}, verified, {seconds:.1} s)"));
        }
        if let Some(Timed { did, seconds }) = &self.vacuum {
            let [before, after] = [did.before_bytes, did.after_bytes].map(print::size);
            lines.add(&format!("vacuumed {db_path} from {before} to {after} ({seconds:.1} s)"));
        }
        if let Some(Timed { did, seconds }) = &self.optimize {
            let count = did.ran.len() as u64;
            let what = match count {
                0 => "the statistics were fresh".to_owned(),
                _ => format!("refreshed the statistics of {}", print::counted(count, "table")),
            };
            lines.add(&format!("optimized {db_path}: {what} ({seconds:.1} s)"));
            for rebuilt in &did.rebuilt {
                lines.add(&format!("  rebuilt {rebuilt}"));
            }
        }
        if let Some(Timed { did, seconds }) = &self.check {
            let sound = if did.errors.total == 0 { "sound" } else { "NOT sound" };
            let [models, events, errors, warnings] = [
                (did.models, "version"),
                (did.events, "event"),
                (did.errors.total, "error"),
                (did.warnings.total, "warning"),
            ]
            .map(|(count, what)| print::counted(count, what));
            lines.add(&format!(
                "{db_path} is {sound}: {models}, {events}, schema {}, {errors}, {warnings} ({seconds:.1} s)",
                did.schema_version
            ));
            lines.add_all("error", &did.errors);
            lines.add_all("warning", &did.warnings);
        }
        lines.0
    }
}

/// Names what the old database is kept as, to be added to another message; empty if there was none.
pub(super) fn kept_as_note(kept_as: &[PathBuf]) -> String {
    let names: Vec<_> = kept_as.iter().map(|kept| kept.display().to_string()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("; the old database is kept as {}", names.join(" and "))
}

struct Lines(String);

impl Lines {
    fn add(&mut self, line: &str) {
        let _ = writeln!(self.0, "{}", print::one_line(line));
    }

    fn add_all(&mut self, severity: &str, findings: &Findings) {
        for Finding { table, id, problem, remedy } in &findings.listed {
            let id = id.map(|id| format!(" {id}")).unwrap_or_default();
            self.add(&format!("  {severity}: {table}{id}: {problem}; {remedy}"));
        }
        let more = findings.total - findings.listed.len() as u64;
        if more > 0 {
            self.add(&format!("  … and {}", print::counted(more, &format!("more {severity}"))));
        }
    }
}

fn list(findings: &Findings) -> Value {
    findings
        .listed
        .iter()
        .map(|Finding { table, id, problem, remedy }| {
            json!({"table": table, "id": id, "problem": problem, "remedy": remedy})
        })
        .collect()
}

fn text(path: &Path) -> Value {
    path.to_string_lossy().into()
}
