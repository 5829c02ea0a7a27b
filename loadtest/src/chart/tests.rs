use hdrhistogram::Histogram;

use super::*;

fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_max(3_600_000_000_000, 3).unwrap();
    for value in values {
        histogram.saturating_record(value);
    }
    histogram
}

fn interval(at: u32, done: u64, failed: u64) -> Interval {
    Interval {
        start_s: at.into(),
        width_s: 1.0,
        done,
        failed,
        percentiles_ns: [400_000, 1_900_000, 2_500_000],
    }
}

fn chart(latencies: Vec<(String, Histogram<u64>)>, intervals: Vec<Interval>) -> Chart {
    let facts = vec![("server".to_owned(), "http://a/?b&c".to_owned())];
    Chart { title: "a run".to_owned(), facts, latencies, intervals }
}

#[test]
fn the_page_shows_heading_facts_labels_and_percentiles_and_loads_nothing() {
    let latencies = vec![
        ("POST <metrics>".to_owned(), histogram((1..5000).map(|at| at * 1000))),
        ("GET by id".to_owned(), histogram((1..5000).map(|at| at * 100))),
    ];
    let page = page(&chart(latencies, vec![interval(0, 4000, 0), interval(1, 5000, 3)]));
    for text in [
        "a run",
        "http://a/?b&amp;c",
        "POST &lt;metrics&gt;",
        "GET by id",
        "90 %",
        "99.9 %",
        "succeeded",
        "failed",
        "p50",
        "p95",
        "p99",
        "seconds since the start",
        "3 requests failed, at the red bars.",
        "prefers-color-scheme:dark",
    ] {
        assert!(page.contains(text), "{text:?} is missing");
    }
    for forbidden in ["<script", "<link", "<img", "href=", "src=", "url(", "@import"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn runs_of_every_kind_are_drawn() {
    let one = |value| vec![("one".to_owned(), histogram([value]))];
    let short =
        Interval { start_s: 0.0, width_s: 0.25, done: 200, failed: 0, percentiles_ns: [1, 2, u64::MAX] };
    for (name, latencies, intervals) in [
        ("nothing", vec![], vec![]),
        ("a label without a value", vec![("none".to_owned(), histogram([]))], vec![]),
        ("one value", one(1_000_000), vec![interval(0, 1, 0)]),
        ("zero", one(0), vec![interval(0, 0, 0)]),
        (
            "an outlier",
            vec![("far".to_owned(), histogram((0..1000).chain([u64::MAX])))],
            vec![interval(0, u64::MAX, 1)],
        ),
        ("all failed", vec![], vec![interval(0, 0, 500), interval(1, 0, u64::MAX)]),
        ("a short interval", one(5_000), vec![short]),
        ("many labels", (0..40).map(|at| (format!("kind {at}\u{0}"), histogram([at]))).collect(), vec![]),
        (
            "a long run",
            one(5_000),
            (0..240).map(|at| interval(at, u64::from(at) % 77, u64::from(at) % 5)).collect(),
        ),
    ] {
        let page = page(&chart(latencies, intervals));
        assert_eq!(page.matches("<svg ").count(), 2, "{name}");
        assert_eq!(page.matches("</svg>").count(), 2, "{name}");
        assert!(!page.contains("NaN") && !page.contains('\0') && page.len() < 1_000_000, "{name}");
    }
}

fn plot(series: Vec<Series>, scale: Scale) -> String {
    let axis = |title: &str| Axis { title: title.to_owned(), scale, range: None };
    let limit = Some((5.0, "goal: 5 ms".to_owned()));
    let panel = Panel { title: "search".to_owned(), x: axis("models"), y: axis("ms"), series, limit };
    svg(&Plot {
        title: "Cost & size".to_owned(),
        note: "by hand".to_owned(),
        panels: vec![panel],
        columns: 1,
        width: 600,
        panel_height: 200,
    })
}

fn series(points: &[(f64, f64)], mark: Mark) -> Vec<Series> {
    vec![Series { label: "a < b".to_owned(), points: points.to_vec(), mark }]
}

#[test]
fn a_plot_is_one_file_with_titles_ticks_limits_and_names() {
    let drawn = plot(series(&[(1e3, 0.1), (1e6, 20.0)], Mark::Line), Scale::Log);
    assert!(drawn.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    for text in ["Cost &amp; size", "by hand", "search", "a &lt; b", "1,000,000", "goal: 5 ms"] {
        assert!(drawn.contains(text), "{text:?} is missing");
    }
}

#[test]
fn a_point_that_is_not_finite_is_a_gap() {
    let points = [(0.0, 9.0), (1.0, f64::NAN), (2.0, 9.0), (3.0, 9.0)];
    let drawn = plot(series(&points, Mark::Line), Scale::Linear);
    assert_eq!(drawn.matches("<circle").count(), 3);
    assert!(!drawn.contains("nothing was measured"));
    assert!(plot(series(&points[1..2], Mark::Line), Scale::Linear).contains("nothing was measured"));
}
