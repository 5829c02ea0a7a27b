//! The report as a page that loads nothing. It frames the page of the load test.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::{
    report::Report,
    step::{Outcome, StepResult},
};

/// Figures at the top: key, name, and unit.
const FIGURES: [(&str, &str, &str); 12] = [
    ("tests_passed", "tests passed", ""),
    ("tests_failed", "tests failed", ""),
    ("coverage_percent", "lines covered", " %"),
    ("clippy_issues_total", "lints", ""),
    ("vulns_found", "known vulnerabilities", ""),
    ("licence_faults", "licence faults", ""),
    ("concurrency_requests_success", "requests succeeded under load", ""),
    ("concurrency_writes_missing", "acknowledged writes lost", ""),
    ("concurrency_latency_ms_p50", "p50 under load", " ms"),
    ("concurrency_latency_ms_p95", "p95 under load", " ms"),
    ("benchmarks_run", "benchmarks ran", ""),
    ("audit_failures", "faults in the audit", ""),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#24292f;--mute:#59636e;--rule:#d1d9e0;--back:#fff;--good:#1a7f37;--bad:#c5221f;--odd:#8a5a00;--well:#f6f8fa}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--mute:#9198a1;--rule:#3d444d;--back:#0d1117;\
--good:#4ac26b;--bad:#ff7b72;--odd:#d29922;--well:#161b22}}\
body{margin:0 auto;padding:24px 16px 40px;max-width:912px;background:var(--back);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
h1{font-size:24px;line-height:1.25;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}\
p{margin:0 0 12px;color:var(--mute)}.verdict{font-weight:600;overflow-wrap:anywhere}\
.good{color:var(--good)}.bad{color:var(--bad)}.odd{color:var(--odd)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}\
td{padding:4px 16px 4px 0;vertical-align:top;overflow-wrap:anywhere;border-top:1px solid var(--rule)}\
td.number{text-align:right;white-space:nowrap}td.name{white-space:nowrap}\
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:12px;margin:20px 0 0}\
dl div{border:1px solid var(--rule);border-radius:6px;padding:8px 12px;display:flex;flex-direction:column-reverse;justify-content:flex-end}\
dt{color:var(--mute);font-size:13px}dd{margin:0;font-size:21px;font-variant-numeric:tabular-nums}\
pre{background:var(--well);border:1px solid var(--rule);border-radius:6px;padding:10px 12px;overflow:auto;\
font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;max-height:420px}\
iframe{border:1px solid var(--rule);border-radius:6px;width:100%;height:1500px}\
a{color:inherit}details{margin:0 0 10px}summary{cursor:pointer;overflow-wrap:anywhere}";

/// Renders the report; `chart` is the page of the load test, if it left one.
pub(super) fn page(report: &Report, chart: Option<&str>) -> String {
    let title = format!("registry {}: quality report", plain(report.value("version")));
    let failures =
        || report.results.iter().flat_map(|result| result.failures.iter().map(move |it| (result.step, it)));
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { (about(report)) }
                p.verdict.(if report.ok() { "good" } else { "bad" }) { (report.verdict()) }
                @if failures().next().is_some() {
                    h2 { "Failures" }
                    @for (step, (name, output)) in failures() {
                        details open { summary { b.bad { (step.name()) } ": " (name) } pre { (output.trim_end()) } }
                    }
                }
                dl {
                    @for (key, name, unit) in FIGURES {
                        @let value = report.value(key);
                        div title=[report.value("unavailable")[key].as_str()] {
                            dt { (name) }
                            dd { (plain(value)) @if !value.is_null() { (unit) } }
                        }
                    }
                }
                h2 { "Steps" }
                table { @for result in &report.results { (step(report, result)) } }
                @if let Some(tests) = report.value("slow_tests").as_array() {
                    h2 { "The slowest tests" }
                    table {
                        @for test in tests {
                            tr { td { (plain(&test["name"])) } td.number { (plain(&test["seconds"])) " s" } }
                        }
                    }
                }
                @if let Some(chart) = chart {
                    h2 { "The concurrency check" }
                    iframe title="The concurrency check" srcdoc=(chart) {}
                }
            }
        }
    };
    markup.into_string()
}

fn about(report: &Report) -> String {
    let value = |key: &str| plain(report.value(key));
    let at = report.value("ended_at_epoch").as_f64().unwrap_or(0.0);
    let at = time::OffsetDateTime::from_unix_timestamp(at as i64).ok();
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = at.and_then(|at| at.format(format).ok()).unwrap_or_default();
    let (commit, changed, seconds) = (value("commit"), value("changed_files"), value("qa_runtime_seconds"));
    let (platform, cores, rustc) = (value("platform"), value("cores"), value("rustc"));
    format!(
        "Commit {commit} with {changed} files changed, {at}, {platform} with {cores} cores, {rustc}; {seconds} s."
    )
}

fn step(report: &Report, result: &StepResult) -> Markup {
    let class = match result.outcome {
        Outcome::Ok => "good",
        _ if report.blocks(result) => "bad",
        _ => "odd",
    };
    html! {
        tr {
            td.name { (result.step.name()) }
            td.name.(class) { (result.outcome.name().replace('_', " ")) }
            td.number { (format!("{:.1} s", result.seconds)) }
            td { (result.note) }
            td.name { @if let Some(log) = &result.log { a href=(log) { "log" } } }
        }
    }
}

/// Returns a value without quotes, and `–` if it is unknown.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::step::Step, *};

    #[test]
    fn failures_come_first_and_outputs_are_escaped() {
        let results = vec![
            StepResult::new(Step::Clippy, false, "1 issue").because("clippy::x", "if a < b && <script>"),
            StepResult::new(Step::Advisories, Outcome::Unavailable, "no network"),
        ];
        let page = page(&Report::new(results, &[], false), Some("<p class=\"x\">pictures</p>"));
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} in {page}"));
        assert!(at("Failures") < at("tests passed") && at("tests passed") < at("Steps"));
        at("if a &lt; b &amp;&amp; &lt;script&gt;");
        at("no network");
        at("srcdoc=\"&lt;p class=&quot;x&quot;&gt;pictures");
        assert!(!page.contains(" src=") && !page.contains("http"), "it loads nothing");
    }
}
