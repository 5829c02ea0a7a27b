//! What is drawn of a line: its colour, its points, and the sample before its name; and what everything looks
//! like, in a light and in a dark surrounding.

use std::fmt::Write as _;

use super::{
    plot::{Mark, Series},
    text::{escaped, place},
};

/// The sample of a line before its name.
pub(super) const SAMPLE: f64 = 18.0;
const MAX_MARKED_POINTS: usize = 12;
/// How high a bar is at least, so that one failure among a hundred thousand is seen.
const LEAST_BAR: f64 = 10.0;
/// Colours there are; the lines beyond them are dashed.
const COLOURS: usize = 7;

/// How it looks, light and dark. Blue, orange, green and purple are of Okabe and Ito's colours, made darker or
/// lighter for their background; all differ in lightness too.
pub(super) const STYLE: &str = "\
.plot{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:12px}\
.plot text{fill:#24292f}.plot .t{font-size:17px;font-weight:600}.plot .h{font-size:13px;font-weight:600}\
.plot .m{fill:#59636e}.plot .back{fill:#fff;stroke:#d1d9e0}.plot .grid{stroke:#e4e8ec;stroke-width:1}\
.plot .base{stroke:#818b98;stroke-width:1}.plot .limit{stroke:#b3261e;stroke-width:1;stroke-dasharray:5 4}\
.plot .limit-text{fill:#b3261e;stroke:#fff;stroke-width:4px;paint-order:stroke}\
.plot .line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.plot .lead{fill:none;stroke:currentColor;stroke-width:1;opacity:.45}.plot .area{fill:currentColor;stroke:none;opacity:.16}\
.plot .dot{fill:currentColor;stroke:#fff;stroke-width:1}.plot .bar{stroke:currentColor}\
.plot .dashed{stroke-dasharray:6 4}\
.plot .c0{color:#0072b2}.plot .c1{color:#d17a00}.plot .c2{color:#00805a}.plot .c3{color:#a8457f}\
.plot .c4{color:#3f3f9f}.plot .c5{color:#6b7280}.plot .c6{color:#8a6d00}.plot .bad{color:#b3261e}\
@media screen and (prefers-color-scheme:dark){\
.plot text{fill:#e6edf3}.plot .m{fill:#9198a1}.plot .back{fill:#0d1117;stroke:#3d444d}.plot .grid{stroke:#262c34}\
.plot .base{stroke:#6e7681}.plot .limit{stroke:#ff8a78}.plot .limit-text{fill:#ff8a78;stroke:#0d1117}.plot .dot{stroke:#0d1117}\
.plot .c0{color:#56b4e9}.plot .c1{color:#f0a030}.plot .c2{color:#2fc08f}.plot .c3{color:#e08fc0}\
.plot .c4{color:#a5a5ff}.plot .c5{color:#b0b8c1}.plot .c6{color:#e3cf57}.plot .bad{color:#ff6b57}}";

/// The colour of a line.
pub(super) fn class(at: usize, series: &Series) -> String {
    if series.mark == Mark::Failures { "bad".to_owned() } else { format!("c{}", at % COLOURS) }
}

fn line_class(at: usize) -> &'static str {
    if at >= COLOURS { "line dashed" } else { "line" }
}

/// A piece of a line, with its mark, to stand before its name.
pub(super) fn sample(out: &mut String, at: usize, series: &Series, (x, y): (f64, f64)) {
    let _ = write!(out, "<g class=\"{}\">", class(at, series));
    if series.mark == Mark::Failures {
        let (x, from, to) = (place(x + SAMPLE / 2.0), place(y + LEAST_BAR / 2.0), place(y - LEAST_BAR / 2.0));
        let _ = write!(out, "<path class=\"bar\" stroke-width=\"6\" d=\"M{x} {from}V{to}\"/>");
    } else {
        write_line(out, line_class(at), (x, y), (x + SAMPLE, y));
    }
    if series.mark == Mark::Line && series.points.len() <= MAX_MARKED_POINTS {
        dot(out, at, (x + SAMPLE / 2.0, y));
    }
    out.push_str("</g>");
}

/// The line where it stands in the picture, cut at its gaps, with no more points than can be told apart.
pub(super) fn pieces(
    series: &Series,
    to_x: impl Fn(f64) -> f64,
    to_y: impl Fn(f64) -> f64,
    length: f64,
) -> Vec<Vec<(f64, f64)>> {
    let whole = series.points.split(|(x, y)| !(x.is_finite() && y.is_finite()));
    let whole = whole.filter(|piece| !piece.is_empty());
    let placed = whole.map(|piece| piece.iter().map(|(x, y)| (to_x(*x), to_y(*y))).collect::<Vec<_>>());
    let many = series.points.len() as f64 > 2.0 * length;
    placed.map(|piece| if many { thinned(&piece) } else { piece }).collect()
}

/// Of all points within one pixel's width the first, the highest, the lowest and the last: what a line through
/// all of them would cover.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for column in points.chunk_by(|one, other| one.0.floor() == other.0.floor()) {
        let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let (high, low) = (column.iter().min_by(by_height), column.iter().max_by(by_height));
        for point in [column.first(), high, low, column.last()].into_iter().flatten() {
            if kept.last() != Some(point) {
                kept.push(*point);
            }
        }
    }
    kept
}

pub(super) fn draw_series(
    out: &mut String,
    at: usize,
    series: &Series,
    pieces: &[Vec<(f64, f64)>],
    bottom: f64,
    top: f64,
) {
    if series.mark == Mark::Failures {
        let bars: Vec<_> = pieces.iter().flatten().filter(|(_, y)| *y < bottom).collect();
        let apart = bars.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(6.0, f64::min);
        let mut path = String::new();
        for (x, y) in bars {
            let _ = write!(
                path,
                "M{} {}V{}",
                place(*x),
                place(bottom),
                place(y.min(bottom - LEAST_BAR).max(top))
            );
        }
        if !path.is_empty() {
            let _ = write!(
                out,
                "<path class=\"bar\" stroke-width=\"{}\" d=\"{path}\"/>",
                place(apart.clamp(1.5, 6.0))
            );
        }
        return;
    }
    for piece in pieces {
        let mut path = String::new();
        for (number, (x, y)) in piece.iter().enumerate() {
            let _ = write!(path, "{}{} {}", if number == 0 { "M" } else { "L" }, place(*x), place(*y));
        }
        if let (Mark::Area, [first, .., last]) = (series.mark, piece.as_slice()) {
            let (from, to, bottom) = (place(first.0), place(last.0), place(bottom));
            let _ = write!(out, "<path class=\"area\" d=\"{path}L{to} {bottom}L{from} {bottom}Z\"/>");
        }
        if piece.len() > 1 {
            let _ = write!(out, "<path class=\"{}\" d=\"{path}\"/>", line_class(at));
        }
    }
    let points = pieces.iter().map(Vec::len).sum::<usize>();
    for piece in pieces {
        if piece.len() == 1 || (points <= MAX_MARKED_POINTS && series.mark == Mark::Line) {
            piece.iter().for_each(|point| dot(out, at, *point));
        }
    }
}

/// The mark of a point: a shape for each line, so that colours are not all that tells them apart.
fn dot(out: &mut String, at: usize, (x, y): (f64, f64)) {
    let corners: &[(f64, f64)] = match at % 4 {
        0 => {
            let _ = write!(out, "<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"4\"/>", place(x), place(y));
            return;
        }
        1 => &[(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)],
        2 => &[(0.0, -4.5), (4.5, 3.5), (-4.5, 3.5)],
        _ => &[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)],
    };
    let path: Vec<_> =
        corners.iter().map(|(dx, dy)| format!("{} {}", place(x + dx), place(y + dy))).collect();
    let _ = write!(out, "<path class=\"dot\" d=\"M{}Z\"/>", path.join("L"));
}

pub(super) fn write_line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(place);
    let _ = write!(out, "<path class=\"{class}\" d=\"M{x1} {y1}L{x2} {y2}\"/>");
}

pub(super) fn write_text(out: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let anchor = if anchor == "start" { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
    let _ =
        write!(out, "<text x=\"{}\" y=\"{}\"{class}{anchor}>{}</text>", place(x), place(y), escaped(text));
}
