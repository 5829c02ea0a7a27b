//! The report as a page that needs nothing else. Its pictures are those of the load test's own page.

use super::{
    context::{Outcome, StepResult},
    report::{self, Report},
    summary::{plain, verdict},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What stands at the top: key, what it is, and its unit.
const FIGURES: [(&str, &str, &str); 12] = [
    ("tests_passed", "tests passed", ""),
    ("tests_failed", "tests failed", ""),
    ("coverage_percent", "lines covered", " %"),
    ("clippy_issues_total", "lints", ""),
    ("vulns_found", "known vulnerabilities", ""),
    ("licence_faults", "licences that don't fit", ""),
    ("concurrency_requests_success", "requests answered under load", ""),
    ("concurrency_writes_missing", "acknowledged writes lost", ""),
    ("concurrency_latency_ms_p50", "p50 under load", " ms"),
    ("concurrency_latency_ms_p95", "p95 under load", " ms"),
    ("benchmarks_run", "benchmarks ran", ""),
    ("audit_failures", "faults in the audit", ""),
];

/// In the colours of the load test's page, where its pictures are, and with the same colours where they are not.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#24292f;--mute:#59636e;--rule:#d1d9e0;--back:#fff;--good:#1a7f37;--bad:#c5221f;--odd:#8a5a00;--well:#f6f8fa}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--mute:#9198a1;--rule:#3d444d;--back:#0d1117;\
--good:#4ac26b;--bad:#ff7b72;--odd:#d29922;--well:#161b22}}\
body{margin:0 auto;padding:24px 16px 40px;max-width:880px;background:var(--back);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
h1{font-size:24px;line-height:1.25;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}figure h2{margin-top:0}\
p{margin:0 0 12px;color:var(--mute)}.verdict{font-weight:600;overflow-wrap:anywhere}\
.good{color:var(--good)}.bad{color:var(--bad)}.odd{color:var(--odd)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}\
th,td{padding:4px 16px 4px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{font-weight:400;color:var(--mute)}tr+tr th,tr+tr td,tbody tr:first-child td{border-top:1px solid var(--rule)}\
td.number,th.number{text-align:right;white-space:nowrap}td.name{white-space:nowrap}\
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:12px;margin:20px 0 0}\
dl div{border:1px solid var(--rule);border-radius:6px;padding:8px 12px;display:flex;flex-direction:column-reverse;justify-content:flex-end}\
dt{color:var(--mute);font-size:13px}dd{margin:0;font-size:21px;font-variant-numeric:tabular-nums}dd small{font-size:13px}\
pre{background:var(--well);border:1px solid var(--rule);border-radius:6px;padding:10px 12px;overflow-x:auto;\
font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;max-height:420px}\
a{color:inherit}details{margin:0 0 10px}summary{cursor:pointer;overflow-wrap:anywhere}.scroll{overflow-x:auto}\
@media print{body{padding:0}pre{max-height:none}}";

/// `chart` is the load test's page, where there is one.
pub(super) fn page(report: &Report, chart: Option<&str>) -> String {
    let pictures = chart.map(pictures);
    let style = pictures.as_ref().and_then(|found| found.as_ref().ok()).map_or("", |found| found.style);
    let title = format!("registry {}: quality report", plain(report.value("version")));
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style)) (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { (about(report)) }
                p.verdict.(if report.ok() { "good" } else { "bad" }) { (verdict(report)) }
                (failures(report))
                dl { @for (key, name, unit) in FIGURES { (figure(report, key, name, unit)) } }
                h2 { "Steps" }
                (steps(report))
                (lints(report))
                (slow_tests(report))
                h2 { "The concurrency check" }
                @match pictures {
                    Some(Ok(found)) => (PreEscaped(found.figures)),
                    Some(Err(reason)) => p { "There is no picture: " (reason) },
                    None => p { "There is no picture: the load was not run, or left none." },
                }
                (unknown(report))
            }
        }
    };
    markup.into_string()
}

fn about(report: &Report) -> String {
    let value = |key: &str| plain(report.value(key));
    let changed = match report.value("changed_files").as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!(" with {count} files changed"),
    };
    let at = report.value("ended_at_epoch").as_f64().unwrap_or(0.0);
    let at = time::OffsetDateTime::from_unix_timestamp(at as i64).ok();
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = at.and_then(|at| at.format(format).ok()).unwrap_or_default();
    let commit: String = value("commit").chars().take(12).collect();
    let seconds = report.value("qa_runtime_seconds").as_f64().unwrap_or(0.0);
    let (platform, cores, rustc) = (value("platform"), value("cores"), value("rustc"));
    format!("Commit {commit}{changed}, {at}, {platform} with {cores} cores, {rustc}; {}.", took(seconds))
}

fn took(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if whole < 60 { format!("{seconds:.1} s") } else { format!("{} min {} s", whole / 60, whole % 60) }
}

fn failures(report: &Report) -> Markup {
    let failed =
        || report.results.iter().flat_map(|result| result.ended.failures.iter().map(move |it| (result, it)));
    html! {
        @if failed().next().is_some() {
            h2 { "What failed" }
            @for (result, failure) in failed() {
                details open {
                    summary { b.bad { (result.step.name()) } ": " (failure.name) }
                    pre { (failure.output.trim_end()) }
                }
            }
        }
    }
}

fn figure(report: &Report, key: &str, name: &str, unit: &str) -> Markup {
    let value = report.value(key);
    let reason = report.value("unavailable")[key].as_str();
    html! {
        div title=[reason] {
            dt { (name) @if value.is_null() { ", not known" } }
            dd { (plain(value)) @if !value.is_null() { small { (unit) } } }
        }
    }
}

fn steps(report: &Report) -> Markup {
    let class = |result: &StepResult| match result.outcome {
        Outcome::Ok => "good",
        Outcome::Failed => "bad",
        Outcome::Unavailable if report.is_against(result) => "bad",
        Outcome::Unavailable | Outcome::NotSelected => "odd",
    };
    html! {
        div.scroll {
            table {
                thead { tr { th { "step" } th { "outcome" } th.number { "seconds" } th { "" } th { "log" } } }
                tbody {
                    @for result in &report.results {
                        tr {
                            td.name { (result.step.name()) }
                            td.name.(class(result)) { (result.outcome.name().replace('_', " ")) }
                            td.number { (format!("{:.1}", result.seconds)) }
                            td { (result.note) }
                            td.name { @if let Some(log) = &result.log { a href=(log) { "log" } } }
                        }
                    }
                }
            }
        }
    }
}

fn lints(report: &Report) -> Markup {
    let by_lint = report.value("clippy_issues_by_lint").as_object();
    html! {
        @if let Some(by_lint) = by_lint.filter(|by_lint| !by_lint.is_empty()) {
            h2 { "Lints" }
            table { tbody { @for (lint, count) in by_lint { tr { td { (lint) } td.number { (count.to_string()) } } } } }
        }
    }
}

fn slow_tests(report: &Report) -> Markup {
    html! {
        @if let Some(tests) = report.value("slow_tests").as_array() {
            h2 { "The slowest tests" }
            table {
                thead { tr { th { "test" } th.number { "seconds" } } }
                tbody {
                    @for test in tests {
                        tr {
                            td { (plain(&test["name"])) }
                            td.number { (format!("{:.2}", test["seconds"].as_f64().unwrap_or(0.0))) }
                        }
                    }
                }
            }
        }
    }
}

fn unknown(report: &Report) -> Markup {
    // Of a step that was left out, the table of steps says enough.
    let left_out = |key: &str| {
        let result = report.results.iter().find(|result| report::step_of(key) == Some(result.step));
        result.is_some_and(|result| result.outcome == Outcome::NotSelected)
    };
    let reasons = report.value("unavailable").as_object().into_iter().flatten();
    let reasons: Vec<_> = reasons.filter(|(key, _)| !left_out(key)).collect();
    html! {
        @if !reasons.is_empty() {
            h2 { "What is not known" }
            table { tbody {
                @for (key, reason) in reasons { tr { td.name { (key) } td { (plain(reason)) } } }
            } }
        }
    }
}

/// What is taken from the load test's page.
#[derive(Debug, PartialEq)]
struct Pictures<'a> {
    style: &'a str,
    figures: &'a str,
}

fn pictures(chart: &str) -> Result<Pictures<'_>, String> {
    let between = |from: &str, to: &str| {
        let start = chart.find(from)?;
        let end = chart.rfind(to).filter(|end| *end > start)?;
        Some((start, end))
    };
    let style = between("<style>", "</style>").map(|(start, end)| &chart[start + "<style>".len()..end]);
    let figures = between("<figure>", "</figure>").map(|(start, end)| &chart[start..end + "</figure>".len()]);
    match (style, figures) {
        (Some(style), Some(figures)) if figures.contains("<svg") => Ok(Pictures { style, figures }),
        _ => Err("the page of the load test is not laid out as it was".to_owned()),
    }
}

#[cfg(test)]
mod tests_of_page {
    use super::{
        super::{
            context::Ended,
            report::tests_of_report::{about, result},
            steps::Step,
        },
        *,
    };
    use registry_loadtest::chart::{self, Chart, Second};

    fn chart_page() -> String {
        let mut latencies = hdrhistogram::Histogram::new(3).unwrap();
        (1..100).for_each(|nanos| latencies.record(nanos * 10_000).unwrap());
        let seconds = vec![Second {
            start_s: 0.0,
            width_s: 1.0,
            done: 99,
            failed: 0,
            p50_ns: 500_000,
            p99_ns: 990_000,
        }];
        let latencies = vec![("all".to_owned(), latencies)];
        chart::page(&Chart { title: "load".to_owned(), facts: Vec::new(), latencies, seconds })
    }

    #[test]
    fn the_pictures_of_the_load_tests_page_go_into_ours() {
        let chart = chart_page();
        let found = pictures(&chart).unwrap();
        assert_eq!(found.figures.matches("<figure>").count(), 2);
        assert!(found.style.contains("prefers-color-scheme:dark"));
        let page = page(&Report::of(&[result(Step::Concurrency, Ended::ok("well"))], &about()), Some(&chart));
        assert!(page.contains(found.figures) && page.contains(found.style));
        assert!(pictures("<html></html>").is_err());
    }

    #[test]
    fn failures_come_first_and_what_they_say_is_shown_as_text() {
        let failed = Ended::failed("1 lint").because("clippy::x", "if a < b && <script>");
        let results =
            [result(Step::Clippy, failed), result(Step::Advisories, Ended::unavailable("no network"))];
        let page = page(&Report::of(&results, &about()), None);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} in {page}"));
        assert!(at("What failed") < at("tests passed") && at("tests passed") < at("Steps"));
        at("if a &lt; b &amp;&amp; &lt;script&gt;");
        at("no network");
        at("There is no picture");
        assert!(!page.contains("src=") && !page.contains("http"), "it needs nothing from elsewhere");
    }
}
