//! The page: heading, facts, and two pictures, each in a wide and a narrow form of which the reader's screen
//! shows one. No script, and nothing from elsewhere.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::{
    Chart, Second,
    axis::{Axis, Labels, Scale},
    marks::STYLE,
    plot::{Mark, Panel, Plot, Series, inline_svg},
    text::{escaped, figure, number},
};

const NANOS_PER_MILLI: f64 = 1e6;
/// Points of a line for each halving of what is left up to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 20;
/// The percentiles in the table. The last is the slowest of all.
const PERCENTILES: [(&str, f64); 6] =
    [("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("99.9 %", 0.999), ("99.99 %", 0.9999), ("slowest", 1.0)];
/// A wide screen, paper; and a phone, whose letters must not shrink.
const FORMS: [(&str, f64, f64); 2] = [("wide", 880.0, 300.0), ("narrow", 350.0, 220.0)];

const PAGE_STYLE: &str = "\
:root{color-scheme:light dark;--ink:#24292f;--mute:#59636e;--rule:#d1d9e0;--back:#fff}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--mute:#9198a1;--rule:#3d444d;--back:#0d1117}}\
body{margin:0 auto;padding:24px 16px 40px;max-width:880px;background:var(--back);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
h1{font-size:24px;line-height:1.25;margin:0 0 16px;overflow-wrap:anywhere}h2{font-size:17px;margin:0 0 4px}\
p{margin:0 0 12px;color:var(--mute)}figure{margin:32px 0 0;break-inside:avoid}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:3px 20px 3px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{font-weight:400;color:var(--mute)}tr+tr th,tr+tr td{border-top:1px solid var(--rule)}\
.scroll{overflow-x:auto;margin-top:12px}\
.figures th:not(:first-child),.figures td{text-align:right;padding:3px 0 3px 20px;white-space:nowrap}\
.figures th:first-child{white-space:nowrap}.figures thead th{border-bottom:1px solid var(--rule)}\
svg{display:block;width:100%;height:auto}.narrow{display:none}\
@media screen and (max-width:640px){.wide{display:none}.narrow{display:block}\
.figures th:not(:first-child),.figures td{padding-left:12px}}\
@media print{body{padding:0}}";

/// The page of a run.
#[must_use]
pub fn page(chart: &Chart) -> String {
    let title = escaped(&chart.title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>{PAGE_STYLE}{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    if !chart.facts.is_empty() {
        page.push_str("<table>\n");
        for (name, value) in &chart.facts {
            let (name, value) = (escaped(name), escaped(value));
            let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
        }
        page.push_str("</table>\n");
    }
    figure_of(
        &mut page,
        "Latency by percentile",
        "How many of all requests took at most how long. At 99 %, one of a hundred took longer.",
        vec![latency_panel(&chart.latencies)],
    );
    page.push_str(&table(&chart.latencies));
    page.push_str("</figure>\n");
    let failed: u64 = chart.seconds.iter().map(|second| second.failed).fold(0, u64::saturating_add);
    let failures = match failed {
        0 => "No request failed.".to_owned(),
        1 => "1 request failed, where the red bar stands.".to_owned(),
        more => format!("{} requests failed, where the red bars stand.", number(more as f64, 1.0)),
    };
    let panels = vec![rate_panel(&chart.seconds), latency_over_time(&chart.seconds)];
    figure_of(&mut page, "The run over time", &failures, panels);
    page.push_str("</figure>\n</body>\n</html>\n");
    page
}

/// A figure up to its pictures; what ends it is the caller's.
fn figure_of(page: &mut String, title: &str, text: &str, panels: Vec<Panel>) {
    let (title, text) = (escaped(title), escaped(text));
    let _ = write!(page, "<figure>\n<h2>{title}</h2>\n<p>{text}</p>\n");
    let share = if panels.len() > 1 { 0.6 } else { 1.0 };
    let mut plot = Plot { panels, columns: 1, ..Plot::default() };
    for (form, width, height) in FORMS {
        (plot.width, plot.panel_height) = (width, height * share);
        let _ = writeln!(page, "<div class=\"{form}\">{}</div>", inline_svg(&plot).trim_end());
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_MILLI
}

fn latency_panel(latencies: &[(String, Histogram<u64>)]) -> Panel {
    let recorded = || latencies.iter().filter(|(_, histogram)| !histogram.is_empty());
    let most = recorded().map(|(_, histogram)| histogram.len()).max().unwrap_or(0) as f64;
    let low = recorded().map(|(_, histogram)| histogram.value_at_quantile(0.5)).min().unwrap_or(0);
    let high = recorded().map(|(_, histogram)| histogram.max()).max().unwrap_or(0);
    let series = recorded().map(|(label, histogram)| Series {
        label: label.clone(),
        points: percentiles(histogram),
        mark: Mark::Line,
    });
    let x = Axis {
        title: "of the requests".to_owned(),
        scale: Scale::Log,
        labels: Labels::Percentile,
        range: Some((1.0, most.max(10.0))),
    };
    Panel { title: "Latency".to_owned(), x, y: time_axis(low, high), series: series.collect(), limit: None }
}

fn time_axis(low_ns: u64, high_ns: u64) -> Axis {
    let scale = Scale::for_spread(millis(low_ns.max(1)), millis(high_ns));
    let title = if scale == Scale::Log { "ms, log scale" } else { "ms" };
    Axis { title: title.to_owned(), scale, ..Axis::default() }
}

/// 1/(1-p) and the latency there in milliseconds. What lies beyond the last of n values stands at n.
fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let end = histogram.len() as f64;
    let steps = histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE);
    let points = steps.map(|step| {
        let left = 1.0 - step.quantile_iterated_to();
        let at = if left > 0.0 { (1.0 / left).min(end) } else { end };
        (at, millis(step.value_iterated_to().min(histogram.max())))
    });
    points.collect()
}

fn table(latencies: &[(String, Histogram<u64>)]) -> String {
    let mut table =
        "<div class=\"scroll\"><table class=\"figures\">\n<thead><tr><th scope=\"col\">ms</th>".to_owned();
    for (name, _) in PERCENTILES {
        let _ = write!(table, "<th scope=\"col\">{name}</th>");
    }
    table.push_str("<th scope=\"col\">requests</th></tr></thead>\n<tbody>\n");
    for (label, histogram) in latencies {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", escaped(label));
        for (_, quantile) in PERCENTILES {
            // A percentile finer than one of all is the slowest by another name.
            let known = histogram.len() as f64 * (1.0 - quantile) >= 1.0 || quantile == 1.0;
            let value = if histogram.is_empty() || !known {
                "–".to_owned()
            } else {
                figure(millis(histogram.value_at_quantile(quantile).min(histogram.max())))
            };
            let _ = write!(table, "<td>{value}</td>");
        }
        let _ = writeln!(table, "<td>{}</td></tr>", number(histogram.len() as f64, 1.0));
    }
    table.push_str("</tbody>\n</table></div>\n");
    table
}

/// Those of the pieces that have a length.
fn drawable(seconds: &[Second]) -> impl Iterator<Item = &Second> {
    seconds.iter().filter(|second| {
        second.start_s.is_finite()
            && second.start_s >= 0.0
            && second.width_s.is_finite()
            && second.width_s > 0.0
    })
}

fn rate_panel(seconds: &[Second]) -> Panel {
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for second in drawable(seconds) {
        let rate = second.done as f64 / second.width_s;
        done.extend([(second.start_s, rate), (second.start_s + second.width_s, rate)]);
        if second.failed > 0 {
            failed.push((second.start_s + second.width_s / 2.0, second.failed as f64 / second.width_s));
        }
    }
    let mut series = vec![Series { label: "answered".to_owned(), points: done, mark: Mark::Area }];
    if !failed.is_empty() {
        series.push(Series { label: "failed".to_owned(), points: failed, mark: Mark::Failures });
    }
    Panel {
        title: "Requests".to_owned(),
        x: Axis { range: run(seconds), ..Axis::default() },
        y: Axis { title: "a second".to_owned(), ..Axis::default() },
        series,
        limit: None,
    }
}

fn latency_over_time(seconds: &[Second]) -> Panel {
    let mut lines = [("p50", Vec::new()), ("p99", Vec::new())];
    let (mut low, mut high) = (u64::MAX, 0);
    for second in drawable(seconds) {
        for ((_, points), nanos) in lines.iter_mut().zip([second.p50_ns, second.p99_ns]) {
            let at = second.start_s + second.width_s / 2.0;
            // A second in which nothing was answered is a gap.
            points.push((at, if second.done > 0 { millis(nanos) } else { f64::NAN }));
            if second.done > 0 {
                (low, high) = (low.min(nanos), high.max(nanos));
            }
        }
    }
    let series = lines.map(|(label, points)| Series { label: label.to_owned(), points, mark: Mark::Line });
    Panel {
        title: "Latency".to_owned(),
        x: Axis { title: "seconds since the start".to_owned(), range: run(seconds), ..Axis::default() },
        y: time_axis(low.min(high), high),
        series: series.into(),
        limit: None,
    }
}

/// From the start to the end of the last piece.
fn run(seconds: &[Second]) -> Option<(f64, f64)> {
    let end = drawable(seconds).map(|second| second.start_s + second.width_s).fold(0.0, f64::max);
    (end > 0.0).then_some((0.0, end))
}
