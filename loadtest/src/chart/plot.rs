//! Line plots as SVG: panels under and beside each other, each with two axes, its lines, and their names.
//!
//! It draws numbers; what they mean is said by who asks for it. No text becomes markup, no coordinate leaves the
//! view box, and what is no number is a gap in its line.

use std::fmt::Write as _;

use super::{
    axis::{Axis, Ends, Ruler},
    marks::{SAMPLE, STYLE, class, draw_series, pieces, sample, write_line, write_text},
    text::{cut, escaped, place, width},
};

/// A picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plot {
    /// Its heading; none where it is empty.
    pub title: String,
    /// What stands small beneath the heading, say how it was measured.
    pub note: String,
    /// What is drawn, row by row.
    pub panels: Vec<Panel>,
    /// Panels in a row; at least one.
    pub columns: usize,
    /// How wide the picture is, in pixels.
    pub width: f64,
    /// How high each panel's plot is, without what is written around it.
    pub panel_height: f64,
}

/// Lines over one pair of axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// From left to right. It ends where the data end.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// A height that matters, and what it is.
    pub limit: Option<(f64, String)>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name.
    pub label: String,
    /// Its points, from left to right. One that is no number is a gap.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Joined by a line; a few of them are marked too.
    #[default]
    Line,
    /// The same, filled down to the axis.
    Area,
    /// Each a bar from the axis, in the colour of what went wrong; what is not nothing can be seen.
    Failures,
}

/// The sizes of letters.
const SIZE: f64 = 12.0;
const TITLE_SIZE: f64 = 17.0;
/// Around the picture, and between panels.
const MARGIN: f64 = 14.0;
const GAP: f64 = 26.0;
/// From one line of text to the next.
const LINE: f64 = 16.0;
const MAX_LABEL: f64 = 170.0;
/// In narrower panels names stand above the lines, not beside them.
const DIRECT_LABELS_FROM: f64 = 380.0;

/// The picture as a file of its own, on its own background: it can be read on a light page and on a dark one.
#[must_use]
pub fn svg(plot: &Plot) -> String {
    draw(plot, true)
}

/// The picture as part of a page, which brings [`STYLE`] and the background.
pub(super) fn inline_svg(plot: &Plot) -> String {
    draw(plot, false)
}

fn draw(plot: &Plot, alone: bool) -> String {
    let margin = if alone { MARGIN } else { 0.0 };
    let columns = plot.columns.max(1);
    let inner = (plot.width - 2.0 * margin - GAP * (columns - 1) as f64).max(1.0);
    let cell_width = inner / columns as f64;
    let direct = cell_width >= DIRECT_LABELS_FROM
        && plot.panels.iter().all(|panel| panel.series.len() as f64 * LINE <= plot.panel_height);
    let frames: Vec<Frame<'_>> =
        plot.panels.iter().map(|panel| Frame::of(panel, cell_width, plot.panel_height, direct)).collect();

    let mut drawn = String::new();
    let mut top = margin;
    for (text, class, size) in [(&plot.title, "t", TITLE_SIZE), (&plot.note, "m", SIZE)] {
        if !text.is_empty() {
            top += size;
            write_text(&mut drawn, (margin, top), class, "start", text);
            top += 8.0;
        }
    }
    if top > margin {
        top += 8.0;
    }
    for row in frames.chunks(columns) {
        // Panels of a row and of a column begin and end at the same places.
        let legend = row.iter().map(|frame| frame.legend_height).fold(0.0, f64::max);
        for (column, frame) in row.iter().enumerate() {
            let of_column = || frames.iter().skip(column).step_by(columns);
            let left = of_column().map(|frame| frame.left).fold(0.0, f64::max);
            let right = of_column().map(|frame| frame.right).fold(0.0, f64::max);
            let x = margin + column as f64 * (cell_width + GAP);
            let place = Place {
                left: x + left,
                right: (x + cell_width - right).max(x + left + 1.0),
                top: top + LINE + legend + 8.0,
                height: plot.panel_height,
                outer: (x, top),
            };
            frame.draw(&mut drawn, &place);
        }
        let below = row.iter().map(Frame::below).fold(0.0, f64::max);
        top += LINE + legend + 8.0 + plot.panel_height + below + GAP / 2.0;
    }
    let height = (top - GAP / 2.0 + margin).max(1.0);

    let (shown_width, shown_height) = (place(plot.width), place(height));
    let label = escaped(&heading(plot));
    let (size, before) = if alone {
        let (edge_x, edge_y) = (place(plot.width - 1.0), place(height - 1.0));
        let back = format!(
            "<rect class=\"back\" x=\"0.5\" y=\"0.5\" width=\"{edge_x}\" height=\"{edge_y}\" rx=\"8\"/>"
        );
        (
            format!(
                " xmlns=\"http://www.w3.org/2000/svg\" width=\"{shown_width}\" height=\"{shown_height}\""
            ),
            format!("<title>{label}</title><style>{STYLE}</style>{back}"),
        )
    } else {
        (String::new(), String::new())
    };
    format!(
        "<svg class=\"plot\"{size} viewBox=\"0 0 {shown_width} {shown_height}\" role=\"img\" aria-label=\"{label}\">{before}{drawn}</svg>\n"
    )
}

/// What is told to who can't see it.
fn heading(plot: &Plot) -> String {
    if plot.title.is_empty() {
        return plot.panels.iter().map(|panel| panel.title.as_str()).collect::<Vec<_>>().join("; ");
    }
    plot.title.clone()
}

/// A panel with its axes made, before it is known where it stands.
struct Frame<'a> {
    panel: &'a Panel,
    x: Ruler,
    y: Ruler,
    direct: bool,
    /// The room that the scale's numbers take, and that the names do.
    left: f64,
    right: f64,
    legend: Vec<(f64, f64, String)>,
    legend_height: f64,
}

/// Where a panel's plot stands, and the corner of all that belongs to it.
struct Place {
    left: f64,
    right: f64,
    top: f64,
    height: f64,
    outer: (f64, f64),
}

impl<'a> Frame<'a> {
    fn of(panel: &'a Panel, cell_width: f64, height: f64, direct: bool) -> Self {
        let points = || panel.series.iter().flat_map(|series| &series.points);
        let points = || points().filter(|(x, y)| x.is_finite() && y.is_finite());
        let limit = panel.limit.iter().map(|(at, _)| *at);
        let y = Ruler::of(
            &panel.y,
            points().map(|(_, y)| *y).chain(limit),
            Ends::AtTick,
            (height / 30.0) as usize,
        );
        let x = Ruler::of(&panel.x, points().map(|(x, _)| *x), Ends::AtData, (cell_width / 90.0) as usize);
        let widest = |labels: &mut dyn Iterator<Item = f64>| labels.fold(0.0, f64::max);
        let left = widest(&mut y.ticks.iter().map(|tick| width(&tick.label, SIZE))) + 10.0;
        let names = |room: f64| panel.series.iter().map(move |series| cut(&series.label, room, SIZE));
        let mut legend = Vec::new();
        let (mut right, mut legend_height) = (width("0 %", SIZE), 0.0);
        if panel.series.is_empty() {
        } else if direct {
            right = widest(&mut names(MAX_LABEL).map(|name| width(&name, SIZE))) + SAMPLE + 26.0;
        } else {
            let mut at = 0.0;
            for name in names(cell_width - SAMPLE - 8.0) {
                let needs = SAMPLE + 6.0 + width(&name, SIZE) + 14.0;
                if at > 0.0 && at + needs > cell_width {
                    at = 0.0;
                    legend_height += LINE;
                }
                legend.push((at, legend_height, name));
                at += needs;
            }
            legend_height += LINE + 2.0;
        }
        Self { panel, x, y, direct, left, right, legend, legend_height }
    }

    /// What is written under the plot.
    fn below(&self) -> f64 {
        if self.panel.x.title.is_empty() { LINE + 4.0 } else { 2.0 * LINE + 4.0 }
    }

    fn draw(&self, out: &mut String, place_of: &Place) {
        let Place { left, right, top, height, outer } = *place_of;
        let bottom = top + height;
        let to_x = |x: f64| left + self.x.share(x) * (right - left);
        let to_y = |y: f64| bottom - self.y.share(y) * height;

        self.title(out, outer);
        for tick in &self.y.ticks {
            let y = to_y(tick.at);
            write_line(out, "grid", (left, y), (right, y));
            write_text(out, (left - 6.0, y + 4.0), "m", "end", &tick.label);
        }
        let mut x = self.x.clone();
        x.thin_labels(right - left, SIZE);
        for tick in x.ticks.iter().filter(|tick| !tick.label.is_empty()) {
            let at = to_x(tick.at);
            write_line(out, "grid", (at, top), (at, bottom));
            write_text(out, (at, bottom + LINE), "m", "middle", &tick.label);
        }
        write_line(out, "base", (left, bottom), (right, bottom));
        if !self.panel.x.title.is_empty() {
            write_text(out, (right, bottom + 2.0 * LINE), "m", "end", &self.panel.x.title);
        }
        if let Some((at, _)) = &self.panel.limit {
            write_line(out, "limit", (left, to_y(*at)), (right, to_y(*at)));
        }
        let mut ends = Vec::new();
        for (at, series) in self.panel.series.iter().enumerate() {
            let _ =
                write!(out, "<g class=\"{}\"><title>{}</title>", class(at, series), escaped(&series.label));
            let pieces = pieces(series, to_x, to_y, right - left);
            draw_series(out, at, series, &pieces, bottom, top);
            out.push_str("</g>");
            ends.push(pieces.last().and_then(|piece| piece.last().copied()).unwrap_or((right, bottom)));
        }
        if self
            .panel
            .series
            .iter()
            .all(|series| !series.points.iter().any(|(x, y)| x.is_finite() && y.is_finite()))
        {
            write_text(
                out,
                ((left + right) / 2.0, (top + bottom) / 2.0),
                "m",
                "middle",
                "nothing was measured",
            );
        }
        if let Some((at, what)) = &self.panel.limit {
            write_text(out, (left + 4.0, to_y(*at) - 4.0), "limit-text", "start", what);
        }
        if self.direct {
            self.names_beside(out, &ends, place_of);
        }
        for (at, (x, y, name)) in self.legend.iter().enumerate() {
            let (x, y) = (outer.0 + x, outer.1 + LINE + y + 12.0);
            sample(out, at, &self.panel.series[at], (x, y - 4.0));
            write_text(out, (x + SAMPLE + 6.0, y), "", "start", name);
        }
    }

    /// What is shown, and the unit of its height.
    fn title(&self, out: &mut String, (x, y): (f64, f64)) {
        let (title, unit) = (escaped(&self.panel.title), escaped(&self.panel.y.title));
        let (x, y) = (place(x), place(y + 12.0));
        let _ = write!(
            out,
            "<text x=\"{x}\" y=\"{y}\"><tspan class=\"h\">{title}</tspan><tspan class=\"m\" dx=\"8\">{unit}</tspan></text>"
        );
    }

    /// Each name as near to the end of its line as the others leave room.
    fn names_beside(&self, out: &mut String, ends: &[(f64, f64)], place_of: &Place) {
        let (top, bottom) = (place_of.top + 4.0, place_of.top + place_of.height);
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by(|one, other| ends[*one].1.total_cmp(&ends[*other].1));
        let mut heights: Vec<f64> = order.iter().map(|at| ends[*at].1).collect();
        for at in 0..heights.len() {
            let least = if at == 0 { top } else { heights[at - 1] + LINE };
            heights[at] = heights[at].max(least);
        }
        let mut most = bottom;
        for height in heights.iter_mut().rev() {
            *height = height.min(most);
            most = *height - LINE;
        }
        for (at, height) in order.into_iter().zip(heights) {
            let (series, end) = (&self.panel.series[at], ends[at]);
            let x = place_of.right + 16.0;
            // Bars have no end that a name could be led to.
            if series.mark != Mark::Failures {
                let (from_x, from_y) = (place(end.0), place(end.1));
                let (turn, to_x, to_y) = (place(place_of.right + 3.0), place(x - 2.0), place(height));
                let lead = format!("M{from_x} {from_y}H{turn}L{to_x} {to_y}");
                let _ =
                    write!(out, "<g class=\"{}\"><path class=\"lead\" d=\"{lead}\"/></g>", class(at, series));
            }
            sample(out, at, series, (x, height));
            let name = cut(&series.label, MAX_LABEL, SIZE);
            write_text(out, (x + SAMPLE + 6.0, height + 4.0), "", "start", &name);
        }
    }
}
