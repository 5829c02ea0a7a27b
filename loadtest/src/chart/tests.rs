//! What holds for every picture, whatever was measured.

use proptest::prelude::*;

use super::*;

fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    for value in values {
        histogram.saturating_record(value);
    }
    histogram
}

fn second(at: u32, done: u64, failed: u64) -> Second {
    Second { start_s: at.into(), width_s: 1.0, done, failed, p50_ns: 400_000, p99_ns: 2_500_000 }
}

fn chart(latencies: Vec<(String, Histogram<u64>)>, seconds: Vec<Second>) -> Chart {
    Chart {
        title: "a run".to_owned(),
        facts: vec![("server".to_owned(), "http://a/?b&c".to_owned())],
        latencies,
        seconds,
    }
}

/// Reads markup as a strict parser would and returns its texts; panics where tags don't match, a text holds what
/// it may not, or something from elsewhere is asked for.
fn texts(markup: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut texts = Vec::new();
    let mut rest = markup.trim_start_matches("<!DOCTYPE html>");
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "{text:?}");
        for entity in text.split('&').skip(1) {
            let name = entity.split_once(';').map(|(name, _)| name);
            assert!(matches!(name, Some("amp" | "lt" | "gt" | "quot" | "#39")), "{entity:?}");
        }
        if !text.trim().is_empty() {
            texts.push(text.trim().to_owned());
        }
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        assert!(
            !["script", "link", "img", "image", "use", "iframe", "a", "foreignObject"].contains(&name),
            "{tag}"
        );
        for attribute in ["href=", "src=", "url(", "@import"] {
            assert!(!tag.contains(attribute), "{tag}");
        }
        if name == "path" || name == "circle" || name == "text" {
            inside(tag, view_box(markup, rest));
        }
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest:?}");
    texts
}

/// The size of the picture in which what comes before `rest` stands.
fn view_box(markup: &str, rest: &str) -> (f64, f64) {
    let before = &markup[..markup.len() - rest.len()];
    let (_, after) = before.rsplit_once("viewBox=\"0 0 ").expect("a picture with a view box");
    let (size, _) = after.split_once('"').expect("a closed attribute");
    let (width, height) = size.split_once(' ').expect("a width and a height");
    (width.parse().unwrap(), height.parse().unwrap())
}

/// Asserts that what a tag draws lies within the picture.
fn inside(tag: &str, (width, height): (f64, f64)) {
    let attribute = |name: &str| {
        let (_, after) = tag.split_once(&format!(" {name}=\""))?;
        after.split_once('"').map(|(value, _)| value)
    };
    if let Some(path) = attribute("d") {
        let (mut x, mut y) = (0.0, 0.0);
        // Each piece holds the numbers of one command and the letter of the next.
        let pieces: Vec<_> = path.split_inclusive(char::is_alphabetic).collect();
        for step in pieces.windows(2) {
            let command = step[0].chars().last().unwrap();
            let numbers: Vec<f64> = step[1]
                .trim_end_matches(char::is_alphabetic)
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            match (command, numbers.as_slice()) {
                ('M' | 'L', [to_x, to_y]) => (x, y) = (*to_x, *to_y),
                ('H', [to_x]) => x = *to_x,
                ('V', [to_y]) => y = *to_y,
                ('Z', []) => {}
                other => panic!("{other:?} in {tag}"),
            }
            assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{x} {y} in {tag}");
        }
        return;
    }
    for (name, most) in [("x", width), ("cx", width), ("y", height), ("cy", height)] {
        if let Some(at) = attribute(name) {
            let at: f64 = at.parse().unwrap();
            assert!((0.0..=most).contains(&at), "{name}={at} in {tag}");
        }
    }
}

fn assert_sound(chart: &Chart) {
    let page = page(chart);
    let texts = texts(&page);
    for (label, _) in &chart.latencies {
        let label = text::escaped(label);
        assert!(label.trim().is_empty() || texts.contains(&label.trim().to_owned()), "{label} is missing");
    }
}

#[test]
fn a_run_is_shown_with_its_heading_its_facts_and_every_label() {
    let latencies = vec![
        ("POST metrics".to_owned(), histogram((1..5000).map(|at| at * 1000))),
        ("GET by id".to_owned(), histogram((1..5000).map(|at| at * 100))),
    ];
    let chart = chart(latencies, vec![second(0, 4000, 0), second(1, 5000, 3)]);
    let texts = texts(&page(&chart));
    for text in [
        "a run",
        "server",
        "http://a/?b&amp;c",
        "POST metrics",
        "GET by id",
        "90 %",
        "99 %",
        "99.9 %",
        "answered",
        "failed",
        "p50",
        "p99",
        "seconds since the start",
        "3 requests failed, where the red bars stand.",
    ] {
        assert!(texts.iter().any(|found| found == text), "{text:?} is missing");
    }
}

#[test]
fn runs_of_every_kind_are_drawn() {
    let one = |value| vec![("one".to_owned(), histogram([value]))];
    let sub_second =
        Second { start_s: 0.0, width_s: 0.25, done: 200, failed: 0, p50_ns: 1, p99_ns: u64::MAX };
    let no_length = Second { start_s: 0.0, width_s: 0.0, ..sub_second };
    let nowhere = Second { start_s: f64::NAN, width_s: f64::INFINITY, ..sub_second };
    for (name, latencies, seconds) in [
        ("nothing", vec![], vec![]),
        ("a label without a value", vec![("none".to_owned(), histogram([]))], vec![]),
        ("one value", one(1_000_000), vec![second(0, 1, 0)]),
        ("zero", one(0), vec![second(0, 0, 0)]),
        ("two values", vec![("two".to_owned(), histogram([1, 2]))], vec![second(0, 1, 0), second(1, 1, 0)]),
        ("all the same", vec![("same".to_owned(), histogram(vec![77_000; 1000]))], vec![second(0, 10, 0); 3]),
        (
            "an outlier",
            vec![("far".to_owned(), histogram((0..1000).chain([u64::MAX])))],
            vec![second(0, u64::MAX, 1)],
        ),
        ("all failed", vec![], vec![second(0, 0, 500), second(1, 0, u64::MAX)]),
        ("shorter than a second", one(5_000), vec![sub_second]),
        ("no length and nowhere", one(5_000), vec![no_length, nowhere]),
        ("many labels", (0..40).map(|at| (format!("kind {at}"), histogram([at]))).collect(), vec![]),
        (
            "a long run",
            one(5_000),
            (0..20_000).map(|at| second(at, u64::from(at) % 77, u64::from(at) % 5)).collect(),
        ),
    ] {
        let chart = chart(latencies, seconds);
        assert_sound(&chart);
        assert!(page(&chart).len() < 1_000_000, "{name}");
    }
}

#[test]
fn a_second_without_an_answer_is_a_gap_and_not_a_zero() {
    let chart = chart(vec![], vec![second(0, 9, 0), second(1, 0, 0), second(2, 9, 0), second(3, 9, 0)]);
    let page = page(&chart);
    let p99 = page.split("<title>p99</title>").nth(1).and_then(|rest| rest.split("</g>").next()).unwrap();
    assert_eq!(
        (p99.matches("class=\"line\"").count(), p99.matches("class=\"dot\"").count()),
        (1, 3),
        "{p99}"
    );
}

#[test]
fn a_single_failure_among_many_can_be_seen() {
    let plot = |failed| {
        let points = |y| vec![(0.0, y), (1.0, y)];
        let series = |points, mark| Series { label: "s".to_owned(), points, mark };
        let panel = Panel {
            series: vec![series(points(100_000.0), Mark::Area), series(points(failed), Mark::Failures)],
            ..Panel::default()
        };
        svg(&Plot { panels: vec![panel], columns: 1, width: 600.0, panel_height: 200.0, ..Plot::default() })
    };
    // One bar stands beside the name.
    assert_eq!(plot(1.0).matches("class=\"bar\"").count(), 2);
    assert_eq!(plot(0.0).matches("class=\"bar\"").count(), 1);
}

#[test]
fn a_plot_by_itself_is_one_file_with_panels_limits_and_names() {
    let series = |label: &str, factor: f64| Series {
        label: label.to_owned(),
        points: [1e3, 1e4, 1e5, 1e6].map(|n| (n, n * factor)).to_vec(),
        mark: Mark::Line,
    };
    let axis = |title: &str| Axis { title: title.to_owned(), scale: Scale::Log, ..Axis::default() };
    let panel = |title: &str| Panel {
        title: title.to_owned(),
        x: axis("models"),
        y: axis("ms"),
        series: vec![
            series("q <rare>", 1e-5),
            series("a label that is so long that no room is wide enough for it", 1e-4),
        ],
        limit: Some((5.0, "wanted: 5 ms".to_owned())),
    };
    let plot = Plot {
        title: "Cost & size".to_owned(),
        note: "by hand".to_owned(),
        panels: vec![panel("search"), panel("lists"), panel("writes")],
        columns: 2,
        width: 960.0,
        panel_height: 200.0,
    };
    let drawn = svg(&plot);
    assert!(drawn.starts_with("<svg ") && drawn.contains("xmlns=\"http://www.w3.org/2000/svg\""));
    let texts = texts(&drawn.replace("xmlns=", "data-xmlns="));
    for text in [
        "Cost &amp; size",
        "by hand",
        "search",
        "lists",
        "writes",
        "q &lt;rare&gt;",
        "1,000,000",
        "wanted: 5 ms",
    ] {
        assert!(texts.iter().any(|found| found == text), "{text:?} is missing");
    }
    assert!(texts.iter().any(|text| text.ends_with('…')));
    assert!(texts.iter().any(|text| text.starts_with("a label") && text.ends_with("for it")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_was_measured_is_drawn_within_the_picture(
        kinds in prop::collection::vec((".{0,40}", prop::collection::vec(any::<u64>(), 0..20)), 0..5),
        seconds in prop::collection::vec((any::<f64>(), any::<f64>(), any::<[u64; 4]>()), 0..20),
    ) {
        let latencies = kinds.into_iter().map(|(label, values)| (label, histogram(values))).collect();
        let seconds = seconds.into_iter().map(|(start_s, width_s, [done, failed, p50_ns, p99_ns])| {
            Second { start_s, width_s, done, failed, p50_ns, p99_ns }
        });
        assert_sound(&chart(latencies, seconds.collect()));
    }

    #[test]
    fn a_run_on_a_clock_is_drawn_within_the_picture(
        values in prop::collection::vec(1_u64..60_000_000_000, 1..60),
        pieces in prop::collection::vec((1_u64..100_000, 0_u64..50), 1..60),
        last in 0.001_f64..1.0,
    ) {
        let mut seconds: Vec<_> = (0..).zip(&pieces).map(|(at, (done, failed))| second(at, *done, *failed)).collect();
        if let Some(piece) = seconds.last_mut() {
            piece.width_s = last;
        }
        assert_sound(&chart(vec![("all".to_owned(), histogram(values))], seconds));
    }
}
