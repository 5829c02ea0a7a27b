//! Line plots as SVG, drawn by plotters: panels in a grid, each with its axes, series and legend.
//!
//! It draws numbers and knows nothing of load tests. The picture carries its own styles for light and dark pages.

use std::fmt::Write as _;

use plotters::{
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// A picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plot {
    /// The heading; empty for a picture that is part of a page.
    pub title: String,
    /// A line below the heading, such as how the numbers were measured.
    pub note: String,
    /// The panels, row by row.
    pub panels: Vec<Panel>,
    /// Panels in a row, at least one.
    pub columns: usize,
    /// The width of the picture in pixels.
    pub width: u32,
    /// The height of each panel in pixels, with its title, legend and labels.
    pub panel_height: u32,
}

/// Series over one pair of axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top. Its title is beside the title of the panel.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
    /// A height to mark, and its name.
    pub limit: Option<(f64, String)>,
}

/// One direction of a panel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What the numbers are, or their unit.
    pub title: String,
    /// How numbers become distances.
    pub scale: Scale,
    /// The first and the last number; `None` to take them from the data.
    pub range: Option<(f64, f64)>,
}

/// How numbers become distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal differences are equal distances. The axis includes zero.
    #[default]
    Linear,
    /// Equal ratios are equal distances. Zero and less are not drawn.
    Log,
    /// As [`Scale::Log`], for numbers 1/(1-p) that are labelled with p as a percentage.
    Percentile,
}

impl Scale {
    /// Returns the scale on which numbers from `low` to `high` can all be read.
    #[must_use]
    pub fn for_spread(low: f64, high: f64) -> Self {
        if low > 0.0 && high / low > 20.0 { Self::Log } else { Self::Linear }
    }
}

/// Points with a name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend.
    pub label: String,
    /// Its points, from left to right. A point that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    /// How the points are drawn.
    pub mark: Mark,
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// A line; few points get a dot each.
    #[default]
    Line,
    /// A line, filled down to the axis.
    Area,
    /// A red bar for each point, high enough to be seen.
    Failures,
}

/// A colour on a light page, and what replaces it on a dark one.
type Colour = (RGBColor, &'static str);

const BACK: Colour = (RGBColor(0xff, 0xff, 0xff), "#0d1117");
const INK: Colour = (RGBColor(0x24, 0x29, 0x2f), "#e6edf3");
const MUTED: Colour = (RGBColor(0x59, 0x63, 0x6e), "#9198a1");
const GRID: Colour = (RGBColor(0xe4, 0xe8, 0xec), "#262c34");
const BASE: Colour = (RGBColor(0x81, 0x8b, 0x98), "#6e7681");
const BAD: Colour = (RGBColor(0xb3, 0x26, 0x1e), "#ff6b57");
/// Mostly of Okabe and Ito's palette, which people with colour blindness can tell apart.
const SERIES: [Colour; 7] = [
    (RGBColor(0x00, 0x72, 0xb2), "#56b4e9"),
    (RGBColor(0xd1, 0x7a, 0x00), "#f0a030"),
    (RGBColor(0x00, 0x80, 0x5a), "#2fc08f"),
    (RGBColor(0xa8, 0x45, 0x7f), "#e08fc0"),
    (RGBColor(0x3f, 0x3f, 0x9f), "#a5a5ff"),
    (RGBColor(0x6b, 0x72, 0x80), "#b0b8c1"),
    (RGBColor(0x8a, 0x6d, 0x00), "#e3cf57"),
];

/// Plotters draws in whole pixels, so the picture is drawn this much larger than it is shown.
const ZOOM: i32 = 4;
const TEXT_PX: i32 = 12;
const LINE_PX: i32 = 18;
/// The heading of a picture, and the title of a panel.
const HEADING_PX: i32 = 60;
const TITLE_PX: i32 = 22;
/// The average width of a letter at [`TEXT_PX`].
const LETTER_PX: i32 = 7;
const MAX_LABEL_LETTERS: usize = 40;
const MAX_POINTS_WITH_DOTS: usize = 12;
/// Failures are at least this share of the height, so that one among a hundred thousand is seen.
const LEAST_BAR: f64 = 0.05;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Returns the picture as one SVG element, which can be a file or part of a page.
#[must_use]
pub fn svg(plot: &Plot) -> String {
    let rows = plot.panels.len().div_ceil(plot.columns.max(1));
    let heading = if plot.title.is_empty() { 0 } else { HEADING_PX };
    let (width, height) = (plot.width as i32, heading + plot.panel_height as i32 * rows as i32);
    let mut markup = String::new();
    {
        let size = ((width * ZOOM) as u32, (height * ZOOM) as u32);
        let root = SVGBackend::with_string(&mut markup, size).into_drawing_area();
        // Writing to a string can't fail, so there is no error to report.
        let _ = draw(plot, &root, heading);
    }
    let Some((_, drawn)) = markup.split_once('>') else { return markup };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\">\n<style>{}</style>{drawn}",
        width * ZOOM,
        height * ZOOM,
        style(),
    )
}

/// On dark pages each colour is replaced. A rule wins over an attribute.
fn style() -> String {
    let mut style = ".plot text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}\
                     @media screen and (prefers-color-scheme:dark){"
        .to_owned();
    for (RGBColor(r, g, b), dark) in [BACK, INK, MUTED, GRID, BASE, BAD].into_iter().chain(SERIES) {
        for attribute in ["fill", "stroke"] {
            let _ = write!(style, ".plot [{attribute}=\"#{r:02X}{g:02X}{b:02X}\"]{{{attribute}:{dark}}}");
        }
    }
    style + "}"
}

fn draw(plot: &Plot, root: &Area<'_>, heading: i32) -> Drawn {
    root.fill(&BACK.0)?;
    let (top, body) = root.split_vertically(heading * ZOOM);
    if heading > 0 {
        top.draw(&text(&plot.title, (12, 12), INK, TEXT_PX + 4, HPos::Left))?;
        top.draw(&text(&plot.note, (12, 36), MUTED, TEXT_PX, HPos::Left))?;
    }
    let rulers: Vec<_> = plot.panels.iter().map(|panel| rulers(panel, plot.panel_height)).collect();
    let labels = rulers.iter().flat_map(|(_, y)| y.ticks.iter().map(|at| y.format_ext(at).chars().count()));
    let left = labels.max().unwrap_or(1) as i32 * LETTER_PX + 10;
    let columns = plot.columns.max(1);
    let cells = body.split_evenly((plot.panels.len().div_ceil(columns), columns));
    for ((panel, (x, y)), area) in plot.panels.iter().zip(rulers).zip(cells) {
        // Pictures with a heading are files, which have an edge.
        let margin = if heading > 0 { 12 } else { 0 } * ZOOM;
        draw_panel(panel, (x, y), left, &area.margin(8 * ZOOM, 8 * ZOOM, margin, margin))?;
    }
    root.present()?;
    Ok(())
}

fn rulers(panel: &Panel, height_px: u32) -> (Ruler, Ruler) {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let limit = panel.limit.iter().map(|(at, _)| *at);
    let x = Ruler::of(&panel.x, points().map(|(x, _)| *x), 8);
    (x, Ruler::of(&panel.y, points().map(|(_, y)| *y).chain(limit), height_px as usize / 45))
}

fn draw_panel(panel: &Panel, (x, y): (Ruler, Ruler), left: i32, area: &Area<'_>) -> Drawn {
    let (width, height) = (area.dim_in_pixel().0 as i32 / ZOOM, area.dim_in_pixel().1 as i32 / ZOOM);
    area.draw(&text(&panel.title, (0, 2), INK, TEXT_PX + 1, HPos::Left))?;
    let unit_at = (panel.title.chars().count() as i32 + 1) * (LETTER_PX + 1);
    area.draw(&text(&panel.y.title, (unit_at, 3), MUTED, TEXT_PX, HPos::Left))?;
    let top = TITLE_PX + draw_legend(panel, area, width)?;
    let mut builder = ChartBuilder::on(area);
    builder.margin_top(top * ZOOM).margin_right(30 * ZOOM).y_label_area_size(left * ZOOM);
    builder.x_label_area_size(if panel.x.title.is_empty() { 24 } else { 40 } * ZOOM);
    let mut chart = builder.build_cartesian_2d(x.clone(), y.clone())?;
    let label_style = text_style(MUTED, TEXT_PX, HPos::Left);
    chart
        .configure_mesh()
        .bold_line_style(GRID.0.stroke_width(ZOOM as u32))
        .light_line_style(TRANSPARENT)
        .axis_style(BASE.0.stroke_width(ZOOM as u32))
        .label_style(label_style)
        .x_desc(panel.x.title.as_str())
        .set_all_tick_mark_size(3 * ZOOM)
        .draw()?;

    let floor = y.from;
    for (at, series) in panel.series.iter().enumerate() {
        let colour = colour_of(at, series);
        let line = colour.stroke_width(2 * ZOOM as u32);
        let points: Vec<_> = series
            .points
            .iter()
            .map(|(at_x, at_y)| (x.scale.position(*at_x), y.scale.position(*at_y)))
            .collect();
        for piece in
            points.split(|(x, y)| !(x.is_finite() && y.is_finite())).filter(|piece| !piece.is_empty())
        {
            let piece = piece.iter().copied();
            match series.mark {
                Mark::Line => {
                    chart.draw_series(LineSeries::new(piece.clone(), line))?;
                }
                Mark::Area => {
                    let area = AreaSeries::new(piece.clone(), floor, colour.mix(0.15));
                    chart.draw_series(area.border_style(line))?;
                }
                Mark::Failures => {
                    let least = floor + (y.to - floor) * LEAST_BAR;
                    let bars = piece.clone().filter(|(_, y)| *y > floor);
                    let bars = bars.map(|(x, y)| PathElement::new([(x, floor), (x, y.max(least))], line));
                    chart.draw_series(bars)?;
                }
            }
            let alone = piece.len() == 1;
            if series.mark != Mark::Failures && (alone || series.points.len() <= MAX_POINTS_WITH_DOTS) {
                chart.draw_series(piece.map(|point| Circle::new(point, 3 * ZOOM, colour.filled())))?;
            }
        }
    }
    if let Some((at, name)) = &panel.limit {
        let at = y.scale.position(*at);
        let line = BAD.0.stroke_width(ZOOM as u32);
        chart.draw_series(DashedLineSeries::new([(x.from, at), (x.to, at)], 5 * ZOOM, 4 * ZOOM, line))?;
        let style = text_style(BAD, TEXT_PX, HPos::Left).pos(Pos::new(HPos::Left, VPos::Bottom));
        chart.draw_series([Text::new(name.clone(), (x.from, at), style)])?;
    }
    let mut points = panel.series.iter().flat_map(|series| &series.points);
    if !points.any(|(x, y)| x.is_finite() && y.is_finite()) {
        let middle = (width / 2, i32::midpoint(top, height) - LINE_PX);
        area.draw(&text("nothing was measured", middle, MUTED, TEXT_PX, HPos::Center))?;
    }
    Ok(())
}

/// Draws the names of the series below the panel's title, and returns the height of those lines.
fn draw_legend(panel: &Panel, area: &Area<'_>, width: i32) -> Result<i32, Box<dyn std::error::Error>> {
    let (mut left, mut top) = (0, TITLE_PX);
    for (at, series) in panel.series.iter().enumerate() {
        let mut label: String = series.label.chars().take(MAX_LABEL_LETTERS).collect();
        if label.len() < series.label.len() {
            label.push('…');
        }
        let needed = 20 + (label.chars().count() as i32 + 2) * LETTER_PX;
        if left > 0 && left + needed > width {
            (left, top) = (0, top + LINE_PX);
        }
        let colour = colour_of(at, series);
        let height = if series.mark == Mark::Failures { 8 } else { 3 };
        let (from, to) = ((left, top + 8 - height / 2), (left + 14, top + 8 + height - height / 2));
        let zoomed = |(x, y)| (x * ZOOM, y * ZOOM);
        area.draw(&Rectangle::new([zoomed(from), zoomed(to)], colour.filled()))?;
        area.draw(&text(&label, (left + 20, top + 2), INK, TEXT_PX, HPos::Left))?;
        left += needed;
    }
    Ok(if panel.series.is_empty() { 0 } else { top + LINE_PX - TITLE_PX + 8 })
}

fn colour_of(at: usize, series: &Series) -> RGBColor {
    if series.mark == Mark::Failures { BAD.0 } else { SERIES[at % SERIES.len()].0 }
}

fn text_style(colour: Colour, px: i32, side: HPos) -> TextStyle<'static> {
    // Plotters writes a size as 1.24 times what it is in SVG.
    let size = f64::from(px * ZOOM) * 1.24;
    ("sans-serif", size).into_font().color(&colour.0).pos(Pos::new(side, VPos::Top))
}

fn text(
    words: &str,
    (x, y): (i32, i32),
    colour: Colour,
    px: i32,
    side: HPos,
) -> Text<'static, (i32, i32), String> {
    // XML can't contain control characters.
    let words = words.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), " ");
    Text::new(words, (x * ZOOM, y * ZOOM), text_style(colour, px, side))
}

impl Scale {
    /// Returns the position of a number on the axis; not finite if it has none.
    fn position(self, value: f64) -> f64 {
        if self == Self::Linear { value } else { value.log10() }
    }
}

/// An axis with its range and ticks, as positions.
#[derive(Clone)]
struct Ruler {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Ruler {
    /// Creates an axis over `values` with at most about `max_ticks` ticks.
    fn of(axis: &Axis, values: impl Iterator<Item = f64>, max_ticks: usize) -> Self {
        let scale = axis.scale;
        let values = match axis.range {
            Some((from, to)) => vec![from, to],
            None => values.collect(),
        };
        let positions = values.into_iter().map(|value| scale.position(value)).filter(|at| at.is_finite());
        let (mut from, mut to) =
            positions.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        let margin = if axis.range.is_none() { 0.05 } else { 0.0 };
        if scale == Scale::Linear {
            from = from.min(0.0);
            to = if to > from { to + (to - from) * margin } else { 1.0 };
            let ticks = RangedCoordf64::from(from..to).key_points(max_ticks.max(2));
            return Self { scale, from, to, ticks };
        }
        let margin = if to - from < 0.5 { 0.3 } else { margin };
        (from, to) = (from - margin, to + margin);
        let decades = (to.ceil() - from.floor()) as usize;
        let (mantissas, stride): (&[f64], _) = match scale {
            Scale::Log if decades <= 3 => (&[1.0, 2.0, 5.0], 1),
            Scale::Log => (&[1.0], decades.div_ceil(max_ticks.max(3))),
            _ => (&[1.0], 1),
        };
        let exponents = (from.floor() as i32..=to.ceil() as i32).step_by(stride);
        let ticks =
            exponents.flat_map(|exponent| mantissas.iter().map(move |m| f64::from(exponent) + m.log10()));
        let ticks = ticks.filter(|tick| (from - 1e-9..=to + 1e-9).contains(tick)).collect();
        Self { scale, from, to, ticks }
    }
}

impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, position: &f64, (first_px, last_px): (i32, i32)) -> i32 {
        let share = ((position - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        first_px + (share * f64::from(last_px - first_px)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, position: &f64) -> String {
        match self.scale {
            Scale::Linear => number(*position),
            Scale::Log => number(10_f64.powf(*position)),
            Scale::Percentile => match position.round() as usize {
                0 => "0 %".to_owned(),
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                more => format!("99.{} %", "9".repeat(more - 2)),
            },
        }
    }
}

/// Formats a number with at most six significant digits and thousands separators: `0.05`, `12,500`.
#[must_use]
pub fn number(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    if rounded != 0.0 && !(1e-6..1e12).contains(&rounded.abs()) {
        return format!("{rounded:e}");
    }
    let plain = rounded.abs().to_string();
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = if rounded < 0.0 { "−".to_owned() } else { String::new() };
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if fraction.is_empty() { text } else { format!("{text}.{fraction}") }
}
