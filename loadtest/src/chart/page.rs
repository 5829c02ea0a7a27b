//! The page: heading, facts, percentiles, and two pictures. It has no script and loads nothing.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::plot::{Axis, Mark, Panel, Plot, Scale, Series, number, svg};

const NANOS_PER_MILLI: f64 = 1e6;
/// Points of a line for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 20;
/// The percentiles in the table. The last is the slowest request.
const PERCENTILES: [(&str, f64); 7] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];
const WIDTH_PX: u32 = 880;

/// What the page shows of a run.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// Settings and results: name and value.
    pub facts: Vec<(String, String)>,
    /// Latencies in nanoseconds by name, such as a kind of request.
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// The run over time, in order.
    pub intervals: Vec<Interval>,
}

/// A part of a run. The last one may be shorter than the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its start, from the start of the run.
    pub start_s: f64,
    /// Its length, more than 0.
    pub width_s: f64,
    /// Requests that succeeded in it.
    pub done: u64,
    /// Requests that failed in it.
    pub failed: u64,
    /// Latencies in nanoseconds at 50, 95 and 99 %. Meaningless if nothing was done.
    pub percentiles_ns: [u64; 3],
}

/// Phones scroll the pictures sideways, since letters must not shrink.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#24292f;--mute:#59636e;--rule:#d1d9e0;--back:#fff}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--mute:#9198a1;--rule:#3d444d;--back:#0d1117}}\
body{margin:0 auto;padding:24px 16px 40px;max-width:880px;background:var(--back);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
h1{font-size:24px;line-height:1.25;margin:0 0 16px;overflow-wrap:anywhere}h2{font-size:17px;margin:0 0 4px}\
p{margin:0 0 12px;color:var(--mute)}figure{margin:32px 0 0;break-inside:avoid}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:3px 20px 3px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{font-weight:400;color:var(--mute)}tr+tr th,tr+tr td{border-top:1px solid var(--rule)}\
.scroll{overflow-x:auto;margin-top:12px}.scroll>svg{display:block;width:100%;min-width:640px;height:auto}\
.figures th:not(:first-child),.figures td{text-align:right;padding:3px 0 3px 20px;white-space:nowrap}\
.figures th:first-child{white-space:nowrap}.figures thead th{border-bottom:1px solid var(--rule)}\
@media print{body{padding:0}}";

/// Returns the page of a run.
#[must_use]
pub fn page(chart: &Chart) -> String {
    let title = escaped(&chart.title);
    let mut facts = String::new();
    for (name, value) in &chart.facts {
        let _ =
            writeln!(facts, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escaped(name), escaped(value));
    }
    let failed: u64 = chart.intervals.iter().map(|interval| interval.failed).fold(0, u64::saturating_add);
    let failures = match failed {
        0 => "No request failed.".to_owned(),
        1 => "1 request failed, at the red bar.".to_owned(),
        more => format!("{} requests failed, at the red bars.", number(more as f64)),
    };
    let plot = |panels: Vec<Panel>, panel_height| {
        let plot = Plot { panels, columns: 1, width: WIDTH_PX, panel_height, ..Plot::default() };
        format!("<div class=\"scroll\">{}</div>", svg(&plot))
    };
    let distribution = plot(vec![latency_panel(&chart.latencies)], 360);
    let over_time = plot(vec![rate_panel(&chart.intervals), latency_over_time(&chart.intervals)], 260);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <table>\n{facts}</table>\n\
         <figure>\n<h2>Latency by percentile</h2>\n<p>At 99 %, one request of a hundred took longer.</p>\n\
         {distribution}\n{}</figure>\n\
         <figure>\n<h2>The run over time</h2>\n<p>{failures}</p>\n{over_time}\n</figure>\n</body>\n</html>\n",
        table(&chart.latencies),
    )
}

/// Escapes `text` for HTML and XML.
fn escaped(text: &str) -> String {
    let mut markup = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            letter if letter.is_control() => markup.push(' '),
            letter => markup.push(letter),
        }
    }
    markup
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
        scale: Scale::Percentile,
        range: Some((1.0, most.max(10.0))),
    };
    Panel { title: "Latency".to_owned(), x, y: time_axis(low, high), series: series.collect(), limit: None }
}

fn time_axis(low_ns: u64, high_ns: u64) -> Axis {
    let scale = Scale::for_spread(millis(low_ns.max(1)), millis(high_ns));
    let title = if scale == Scale::Log { "ms, log scale" } else { "ms" };
    Axis { title: title.to_owned(), scale, range: None }
}

/// 1/(1-p), and the latency there in milliseconds. The last of n values is at n.
fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
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
            // With few requests there is no percentile as fine as this one.
            let known = quantile == 1.0 || histogram.len() as f64 * (1.0 - quantile) >= 1.0;
            let value = millis(histogram.value_at_quantile(quantile).min(histogram.max()));
            let value = if histogram.is_empty() || !known { "–".to_owned() } else { three_digits(value) };
            let _ = write!(table, "<td>{value}</td>");
        }
        let _ = writeln!(table, "<td>{}</td></tr>", number(histogram.len() as f64));
    }
    table.push_str("</tbody>\n</table></div>\n");
    table
}

/// Formats a number with three significant digits: `0.0123`, `4.57`, `1,230`.
#[must_use]
pub fn three_digits(value: f64) -> String {
    let decimals = if value > 0.0 { (2.0 - value.log10().floor()).clamp(0.0, 6.0) as usize } else { 0 };
    if decimals == 0 { number(value.round()) } else { format!("{value:.decimals$}") }
}

fn rate_panel(intervals: &[Interval]) -> Panel {
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for interval in intervals {
        let (start, width) = (interval.start_s, interval.width_s);
        let rate = interval.done as f64 / width;
        done.extend([(start, rate), (start + width, rate)]);
        if interval.failed > 0 {
            failed.push((start + width / 2.0, interval.failed as f64 / width));
        }
    }
    let mut series = vec![Series { label: "succeeded".to_owned(), points: done, mark: Mark::Area }];
    if !failed.is_empty() {
        series.push(Series { label: "failed".to_owned(), points: failed, mark: Mark::Failures });
    }
    let y = Axis { title: "per second".to_owned(), ..Axis::default() };
    Panel { title: "Requests".to_owned(), x: time(intervals, ""), y, series, limit: None }
}

fn latency_over_time(intervals: &[Interval]) -> Panel {
    let lines = ["p50", "p95", "p99"].into_iter().enumerate().map(|(line, label)| Series {
        label: label.to_owned(),
        points: intervals
            .iter()
            .map(|interval| {
                // An interval without an answer is a gap.
                let value = if interval.done > 0 { millis(interval.percentiles_ns[line]) } else { f64::NAN };
                (interval.start_s + interval.width_s / 2.0, value)
            })
            .collect(),
        mark: Mark::Line,
    });
    let measured = || intervals.iter().filter(|interval| interval.done > 0);
    let low = measured().map(|interval| interval.percentiles_ns[0]).min().unwrap_or(0);
    let high = measured().map(|interval| interval.percentiles_ns[2]).max().unwrap_or(0);
    Panel {
        title: "Latency".to_owned(),
        x: time(intervals, "seconds since the start"),
        y: time_axis(low, high),
        series: lines.collect(),
        limit: None,
    }
}

/// Returns the axis from the start to the end of the last interval.
fn time(intervals: &[Interval], title: &str) -> Axis {
    let end = intervals.last().map(|interval| interval.start_s + interval.width_s);
    Axis { title: title.to_owned(), scale: Scale::Linear, range: end.map(|end| (0.0, end)) }
}
