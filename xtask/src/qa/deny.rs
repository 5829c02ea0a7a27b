//! What cargo-deny says of the dependencies: by `deny.toml`, from its messages in JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    context::{Context, Ended},
    steps::Step,
    tools::DENY,
};
use crate::{error::Error, repository::last_lines};

const CHECKED: [&str; 3] = ["bans", "licenses", "sources"];

/// Licences, banned crates and sources, for which no network is needed.
pub(super) fn licences(context: &Context<'_>) -> Result<Ended, Error> {
    if !context.tools.deny {
        return Ok(missing());
    }
    let said = checked(context, Step::Licences, "deny-licences.jsonl", &CHECKED)?;
    if said.summary.is_none() {
        return Ok(Ended::failed("cargo deny failed").because("cargo deny", said.problems()));
    }
    let faults: Vec<_> = said.diagnostics.iter().filter(|found| found.is_error).collect();
    let well = said.success && faults.is_empty();
    let note = match faults.len() {
        0 if well => "all may be used".to_owned(),
        count => format!("{count} faults"),
    };
    let mut ended = Ended::by(well, note).with("licence_faults", faults.len());
    for fault in faults {
        ended = ended.because(format!("{}: {}", fault.code, fault.message), fault.rendered.clone());
    }
    Ok(if !well && ended.failures.is_empty() { ended.because("cargo deny", said.problems()) } else { ended })
}

/// Known vulnerabilities. The database is fetched, so where there is no network nothing is known.
pub(super) fn advisories(context: &Context<'_>) -> Result<Ended, Error> {
    if !context.tools.deny {
        return Ok(missing());
    }
    let said = checked(context, Step::Advisories, "deny-advisories.jsonl", &["advisories"])?;
    Ok(judged(&said))
}

fn missing() -> Ended {
    Ended::unavailable(format!("cargo-deny is not installed: {DENY}"))
}

fn judged(said: &Said) -> Ended {
    if said.summary.is_none() {
        let reason =
            said.logged.first().map_or("it gave no summary", |line| line.lines().next().unwrap_or(line));
        return match said.could_not_fetch() {
            true => Ended::unavailable(format!(
                "the advisory database can't be reached: {}",
                reason.split(" with ").next().unwrap_or(reason)
            )),
            false => Ended::failed(format!("cargo deny failed: {}", cut(reason)))
                .because("cargo deny", said.problems()),
        };
    }
    let vulnerabilities: Vec<_> =
        said.diagnostics.iter().filter(|found| found.code == "vulnerability").collect();
    let ids: BTreeSet<_> = vulnerabilities.iter().filter_map(|found| found.advisory.as_deref()).collect();
    let affected: BTreeSet<_> = vulnerabilities.iter().flat_map(|found| &found.crates).collect();
    let others =
        said.diagnostics.iter().filter(|found| found.code != "vulnerability" && found.is_told).count();
    let well = said.success && ids.is_empty();
    let note = match ids.len() {
        0 if well => "no known vulnerabilities".to_owned(),
        0 => "advisories other than vulnerabilities".to_owned(),
        1 => "1 vulnerability".to_owned(),
        more => format!("{more} vulnerabilities"),
    };
    let mut ended = Ended::by(well, note)
        .with("vulns_found", ids.len())
        .with("vuln_deps_affected", affected.len())
        .with("advisories_other", others);
    for found in said.diagnostics.iter().filter(|found| found.is_error) {
        let name = found.advisory.as_deref().unwrap_or(&found.code);
        ended = ended.because(format!("{name}: {}", found.message), found.rendered.clone());
    }
    ended
}

/// The beginning, for one line.
fn cut(reason: &str) -> String {
    const LETTERS: usize = 200;
    let short: String = reason.chars().take(LETTERS).collect();
    if short.len() < reason.len() { format!("{short}…") } else { short }
}

/// What cargo-deny said.
#[derive(Debug, Default, Clone)]
struct Said {
    success: bool,
    diagnostics: Vec<Diagnostic>,
    /// Errors of its own.
    logged: Vec<String>,
    /// There only where the checks were made.
    summary: Option<Value>,
    raw: String,
}

#[derive(Debug, Clone)]
struct Diagnostic {
    code: String,
    message: String,
    is_error: bool,
    /// Error or warning.
    is_told: bool,
    advisory: Option<String>,
    /// `name version`, each crate it is about.
    crates: Vec<String>,
    rendered: String,
}

impl Said {
    fn problems(&self) -> String {
        if self.logged.is_empty() { last_lines(&self.raw, 5) } else { self.logged.join("\n") }
    }

    fn could_not_fetch(&self) -> bool {
        self.logged.iter().any(|line| line.contains("failed to fetch") || line.contains("failed to clone"))
    }
}

fn checked(context: &Context<'_>, step: Step, artifact: &str, what: &[&str]) -> Result<Said, Error> {
    let args = [&["deny", "--workspace", "--format", "json", "check"], what].concat();
    // Cargo-deny writes its messages to stderr.
    let ran = context.run_apart(step, &mut context.cargo(args))?;
    let said = read(&ran.log, ran.success);
    context.keep(artifact, &ran.log)?;
    Ok(said)
}

fn read(raw: &str, success: bool) -> Said {
    let mut said = Said { success, raw: raw.to_owned(), ..Said::default() };
    for line in raw.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let fields = &line["fields"];
        let text = |key: &str| fields[key].as_str().unwrap_or_default().to_owned();
        match line["type"].as_str() {
            Some("diagnostic") => said.diagnostics.push(Diagnostic {
                code: text("code"),
                message: text("message"),
                is_error: fields["severity"] == "error",
                is_told: fields["severity"] == "error" || fields["severity"] == "warning",
                advisory: fields["advisory"]["id"].as_str().map(str::to_owned),
                crates: crates(fields),
                rendered: rendered(fields),
            }),
            Some("summary") => said.summary = Some(fields.clone()),
            Some("log") if fields["level"] == "ERROR" => said.logged.push(text("message")),
            _ => {}
        }
    }
    said
}

/// The crates at the roots of its graphs; who depends on them comes behind.
fn crates(fields: &Value) -> Vec<String> {
    let graphs = fields["graphs"].as_array().into_iter().flatten();
    let named = |found: &Value| Some(format!("{} {}", found["name"].as_str()?, found["version"].as_str()?));
    graphs.filter_map(|graph| named(&graph["Krate"])).collect()
}

fn rendered(fields: &Value) -> String {
    let mut lines = crates(fields);
    let labels = fields["labels"].as_array().into_iter().flatten();
    lines.extend(labels.map(|label| {
        let text = |key: &str| label[key].as_str().unwrap_or_default().trim().to_owned();
        format!("{}: {}", text("message"), text("span"))
    }));
    for key in ["title", "url", "description"] {
        lines.extend(fields["advisory"][key].as_str().map(str::to_owned));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests_of_deny {
    use serde_json::json;

    use super::{super::context::Outcome, *};

    fn diagnostic(code: &str, id: &str, crates: &[&str]) -> String {
        let graphs: Vec<_> =
            crates.iter().map(|name| json!({"Krate": {"name": name, "version": "1.0.0"}})).collect();
        let fields = json!({"code": code, "severity": "error", "message": "m", "advisory": {"id": id}, "graphs": graphs});
        json!({"type": "diagnostic", "fields": fields}).to_string()
    }

    fn summary() -> String {
        json!({"type": "summary", "fields": {"advisories": {"errors": 0}}}).to_string()
    }

    #[test]
    fn a_database_out_of_reach_leaves_the_figures_unknown() {
        let raw = json!({"type": "log", "fields": {"level": "ERROR", "message": "failed to fetch advisory database x with cli: more"}});
        let ended = judged(&read(&raw.to_string(), false));
        assert_eq!((ended.outcome, ended.figures.len()), (Outcome::Unavailable, 0));
        assert_eq!(ended.note, "the advisory database can't be reached: failed to fetch advisory database x");
        let broken = json!({"type": "log", "fields": {"level": "ERROR", "message": "failed to validate configuration"}});
        assert_eq!(judged(&read(&broken.to_string(), false)).outcome, Outcome::Failed);
        assert_eq!(judged(&read("", false)).outcome, Outcome::Failed);
    }

    #[test]
    fn vulnerabilities_and_the_crates_they_are_in_are_counted_once_each() {
        let raw = [
            diagnostic("vulnerability", "RUSTSEC-1", &["a"]),
            diagnostic("vulnerability", "RUSTSEC-1", &["b"]),
            diagnostic("vulnerability", "RUSTSEC-2", &["a"]),
            diagnostic("unmaintained", "RUSTSEC-3", &["c"]),
            summary(),
        ]
        .join("\n");
        let ended = judged(&read(&raw, false));
        let figures: Vec<_> = ended.figures.iter().map(|(key, value)| (*key, value.as_u64())).collect();
        assert_eq!(
            figures,
            [("vulns_found", Some(2)), ("vuln_deps_affected", Some(2)), ("advisories_other", Some(1))]
        );
        assert_eq!((ended.outcome, ended.failures.len()), (Outcome::Failed, 4));
        let none = judged(&read(&summary(), true));
        assert_eq!((none.outcome, none.figures[0].1.as_u64()), (Outcome::Ok, Some(0)));
    }
}
