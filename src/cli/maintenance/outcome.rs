//! The results of the actions, as text and as JSON.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Map, Value, json};

use super::auditing::Audited;
use crate::{
    artifact::blobs::Garbage,
    cli::{
        audit::model_text,
        exit::{self, Failure},
        print,
    },
    store::copy::CopiedRows,
    store::maintenance::AuditHead,
    store::sqlite::maintenance::{Copied, Finding, Findings, Optimized, Purged, Report, Salvaged, Vacuumed},
};

/// Purged versions that are listed.
const MAX_LISTED: usize = 100;

/// A backup that was put back.
pub(super) struct Restored {
    /// The old database, or the files that were left of it; none if there was nothing.
    pub(super) kept_as: Vec<PathBuf>,
    pub(super) copied: Copied,
    pub(super) schema_version: i64,
}

/// The results of the actions so far.
pub(super) struct Outcome {
    /// The path of the file, or the URL without the password.
    database: String,
    /// A field for each action.
    json: Map<String, Value>,
    /// A line for each action, and one for each finding.
    text: String,
}

/// The result of an action: an object and lines.
type Shown = (Value, Vec<String>);

impl Outcome {
    /// Begins without results. `field` names the database in JSON.
    pub(super) fn new(field: &str, database: String) -> Self {
        let json = Map::from_iter([(field.to_owned(), Value::from(database.as_str()))]);
        Self { database, json, text: String::new() }
    }

    /// Runs an action and adds its result, as `show` formats it from the database, the result and the seconds.
    ///
    /// # Errors
    /// The failure of the action. If it was cancelled, that names the action and says that those before it were done.
    pub(super) fn add<T>(
        &mut self,
        action: &str,
        run: impl FnOnce() -> Result<T, Failure>,
        show: impl FnOnce(&str, &T, f64) -> Shown,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let result = run().map_err(|failure| match failure.code() {
            exit::INTERRUPTED => {
                let earlier = if self.text.is_empty() { "" } else { "; the actions before it are done" };
                let what = failure.text();
                Failure::interrupted(format!(
                    "the {action}{}{earlier}",
                    what.strip_prefix("it").unwrap_or(&what)
                ))
            }
            _ => failure,
        })?;
        let seconds = began.elapsed().as_secs_f64();
        let (mut json, lines) = show(&self.database, &result, seconds);
        json["seconds"] = seconds.into();
        self.json.insert(action.to_owned(), json);
        self.text.extend(lines.iter().map(|line| print::one_line(line) + "\n"));
        Ok(result)
    }

    /// Returns a line for each action, and one for each finding.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns one object, with a field for each action that was done, and `error` if one failed.
    pub(super) fn into_json(mut self, error: Option<String>) -> Value {
        self.json.extend(error.map(|error| ("error".to_owned(), error.into())));
        self.json.into()
    }
}

pub(super) fn restored(db_path: &str, from: &Path, restored: &Restored, seconds: f64) -> Shown {
    let Restored { kept_as, copied, schema_version } = restored;
    let json = json!({
        "from": from.to_string_lossy(),
        "kept_as": kept_as.iter().map(|kept| kept.to_string_lossy()).collect::<Vec<_>>(),
        "schema_version": schema_version,
        "size_bytes": copied.size_bytes,
        "pages": copied.pages,
    });
    let size = print::size(copied.size_bytes);
    let mut lines = vec![format!("restored {db_path} from {} ({size}, {seconds:.1} s)", from.display())];
    if !kept_as.is_empty() {
        lines.push(kept_as_note(kept_as).trim_start_matches("; ").to_owned());
    }
    (json, lines)
}

pub(super) fn salvaged(db_path: &str, salvaged: &Salvaged, seconds: f64) -> Shown {
    let json = json!({
        "kept_as": salvaged.kept_as.as_deref().map(Path::to_string_lossy),
        "transactions": salvaged.transactions,
        "lost_transactions": salvaged.lost_transactions,
    });
    let kept = print::counted(salvaged.transactions, "transaction");
    let lost = print::counted(salvaged.lost_transactions, "transaction");
    let lines = match &salvaged.kept_as {
        None => vec![format!("the WAL of {db_path} is sound, with {kept}; nothing was done")],
        Some(copy) => vec![
            format!("salvaged the WAL of {db_path}: {kept} kept, {lost} lost ({seconds:.1} s)"),
            format!("the WAL as it was is kept as {}", copy.display()),
        ],
    };
    (json, lines)
}

pub(super) fn backed_up(db_path: &str, to: &Path, copied: &Copied, seconds: f64) -> Shown {
    let json = json!({
        "path": to.to_string_lossy(), "size_bytes": copied.size_bytes, "pages": copied.pages,
    });
    let (to, size) = (to.display(), print::size(copied.size_bytes));
    (json, vec![format!("backed up {db_path} to {to} ({size}, verified, {seconds:.1} s)")])
}

pub(super) fn copied(database: &str, to: &str, copied: &CopiedRows, seconds: f64) -> Shown {
    let CopiedRows { versions, events, rows, is_resumed } = copied;
    let json = json!({
        "to": to, "versions": versions, "events": events, "rows": rows, "resumed": is_resumed,
    });
    let counts = [(versions, "version"), (events, "event")].map(|(count, what)| print::counted(*count, what));
    let counts = counts.join(", ");
    (json, vec![format!("copied {database} to {to} ({counts}, every row compared, {seconds:.1} s)")])
}

pub(super) fn purged(database: &str, purged: &Purged, is_done: bool, seconds: f64) -> Shown {
    let Purged { versions, models } = purged;
    let json = json!({ "done": is_done, "versions": versions, "models": models });
    let counts = [(versions.len() as u64, "deleted version"), (*models, "deleted model")]
        .map(|(count, what)| print::counted(count, what))
        .join(" and ");
    let line = if is_done {
        format!("purged {counts} from {database} ({seconds:.1} s)")
    } else {
        format!("{counts} of {database} would be purged; repeat with --yes to remove them for good")
    };
    let listed = versions.iter().take(MAX_LISTED).map(|version| format!("  {version}"));
    let mut lines: Vec<_> = std::iter::once(line).chain(listed).collect();
    let more = versions.len().saturating_sub(MAX_LISTED) as u64;
    if more > 0 {
        lines.push(format!("  … and {}", print::counted(more, "more version")));
    }
    (json, lines)
}

pub(super) fn collected(store: &str, garbage: &Garbage, is_done: bool, seconds: f64) -> Shown {
    let Garbage { blobs, blob_bytes, uploads, upload_bytes, kept } = garbage;
    let digests: Vec<_> = blobs.iter().map(|digest| format!("sha256:{digest}")).collect();
    let json = json!({
        "done": is_done, "store": store, "blobs": digests, "blob_bytes": blob_bytes,
        "uploads": uploads, "upload_bytes": upload_bytes, "kept": kept,
    });
    let counts = [(blobs.len() as u64, "blob", blob_bytes), (*uploads, "unfinished upload", upload_bytes)]
        .map(|(count, what, bytes)| format!("{} ({})", print::counted(count, what), print::size(*bytes)))
        .join(" and ");
    let line = if is_done {
        format!("removed {counts} from {store}; {} kept ({seconds:.1} s)", print::counted(*kept, "blob"))
    } else {
        format!("{counts} of {store} would be removed; repeat with --yes to remove them for good")
    };
    let listed = digests.iter().take(MAX_LISTED).map(|digest| format!("  {digest}"));
    let mut lines: Vec<_> = std::iter::once(line).chain(listed).collect();
    let more = digests.len().saturating_sub(MAX_LISTED) as u64;
    if more > 0 {
        lines.push(format!("  … and {}", print::counted(more, "more blob")));
    }
    (json, lines)
}

pub(super) fn vacuumed(db_path: &str, vacuumed: &Vacuumed, seconds: f64) -> Shown {
    let json =
        json!({ "size_bytes_before": vacuumed.before_bytes, "size_bytes_after": vacuumed.after_bytes });
    let [before, after] = [vacuumed.before_bytes, vacuumed.after_bytes].map(print::size);
    (json, vec![format!("vacuumed {db_path} from {before} to {after} ({seconds:.1} s)")])
}

pub(super) fn optimized(db_path: &str, optimized: &Optimized, seconds: f64) -> Shown {
    let what = match optimized.ran.len() as u64 {
        0 => "the statistics were fresh".to_owned(),
        count => format!("refreshed the statistics of {}", print::counted(count, "table")),
    };
    let mut lines = vec![format!("optimized {db_path}: {what} ({seconds:.1} s)")];
    lines.extend(optimized.rebuilt.iter().map(|rebuilt| format!("  rebuilt {rebuilt}")));
    (json!({ "ran": optimized.ran, "rebuilt": optimized.rebuilt }), lines)
}

pub(super) fn checked(database: &str, report: &Report, seconds: f64) -> Shown {
    let Report { schema_version, models, events, errors, warnings } = report;
    let json = json!({
        "ok": errors.total == 0,
        "schema_version": schema_version,
        "models": models,
        "events": events,
        "error_count": errors.total,
        "errors": list(errors),
        "warning_count": warnings.total,
        "warnings": list(warnings),
    });
    let sound = if errors.total == 0 { "sound" } else { "NOT sound" };
    let counts = [(models, "version"), (events, "event")].map(|(count, what)| print::counted(*count, what));
    let found = [(errors, "error"), (warnings, "warning")];
    let totals = found.map(|(findings, severity)| print::counted(findings.total, severity));
    let mut lines = vec![format!(
        "{database} is {sound}: {}, schema {schema_version}, {} ({seconds:.1} s)",
        counts.join(", "),
        totals.join(", ")
    )];
    for (findings, severity) in found {
        for Finding { table, id, problem, remedy } in &findings.listed {
            let id = id.map(|id| format!(" {id}")).unwrap_or_default();
            lines.push(format!("  {severity}: {table}{id}: {problem}; {remedy}"));
        }
        let more = findings.total - findings.listed.len() as u64;
        if more > 0 {
            lines.push(format!("  … and {}", print::counted(more, &format!("more {severity}"))));
        }
    }
    (json, lines)
}

pub(super) fn audited(database: &str, audited: &Audited, seconds: f64) -> Shown {
    let Audited { events, digest, heads, problems, against } = audited;
    let json = json!({
        "ok": problems.total == 0,
        "events": events,
        "digest": digest,
        "heads": heads.iter().map(head).collect::<Vec<_>>(),
        "problem_count": problems.total,
        "problems": problems.listed,
        "against": against.as_ref().map(|against| json!({
            "path": against.path, "events": against.events, "digest": against.digest,
            "new_events": against.new_events,
        })),
    });
    let fits = if problems.total == 0 { "is sound" } else { "is NOT sound" };
    let counts =
        format!("{} of {}", print::counted(*events, "event"), print::counted(heads.len() as u64, "model"));
    let mut lines = vec![format!(
        "the audit trail of {database} {fits}: {counts}, {} ({seconds:.1} s)",
        print::counted(problems.total, "problem")
    )];
    lines.extend(problems.listed.iter().map(|problem| format!("  {problem}")));
    let more = problems.total - problems.listed.len() as u64;
    if more > 0 {
        lines.push(format!("  … and {}", print::counted(more, "more problem")));
    }
    if let Some(against) = against {
        lines.push(format!(
            "compared with {}, which has {} and the digest {}; {} since",
            against.path,
            print::counted(against.events, "event"),
            against.digest,
            print::counted(against.new_events, "new event")
        ));
    }
    for head in heads.iter().take(MAX_LISTED) {
        let model = model_text(head.name.as_deref(), head.model);
        lines.push(format!("  head of {model}: event {}, {}", head.event, hex::encode(&head.hash)));
    }
    let more = heads.len().saturating_sub(MAX_LISTED) as u64;
    if more > 0 {
        lines.push(format!("  … and {}; --json lists all", print::counted(more, "more head")));
    }
    lines.push(format!("the digest of the chains' ends is {digest}"));
    (json, lines)
}

fn head(head: &AuditHead) -> Value {
    json!({ "model": head.name, "model_key": head.model, "event": head.event, "hash": hex::encode(&head.hash) })
}

/// Names the files that keep the old database, to be added to another message; empty if there was none.
pub(super) fn kept_as_note(kept_as: &[PathBuf]) -> String {
    let names: Vec<_> = kept_as.iter().map(|kept| kept.display().to_string()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("; the old database is kept as {}", names.join(" and "))
}

fn list(findings: &Findings) -> Value {
    let object = |finding: &Finding| {
        let Finding { table, id, problem, remedy } = finding;
        json!({"table": table, "id": id, "problem": problem, "remedy": remedy})
    };
    findings.listed.iter().map(object).collect()
}
