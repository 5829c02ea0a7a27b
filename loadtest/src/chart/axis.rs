//! Axes: from what to what they go, where their lines are, and what stands beside each.

use super::text::{number, width};

/// How far apart numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// By their difference, from zero where none is below it.
    #[default]
    Linear,
    /// By their ratio. What is zero or less is drawn at the lower end.
    Log,
}

impl Scale {
    /// The scale on which numbers from `low` to `high` can all be read.
    #[must_use]
    pub fn for_spread(low: f64, high: f64) -> Self {
        if low > 0.0 && high / low > 20.0 { Self::Log } else { Self::Linear }
    }
}

/// What stands beside the lines of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Labels {
    /// The number.
    #[default]
    Number,
    /// The number is 1/(1-p), and p is told, as a percentage. Wants [`Scale::Log`].
    Percentile,
}

/// One direction of a panel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What the numbers are, or their unit.
    pub title: String,
    /// How far apart they are drawn.
    pub scale: Scale,
    /// What is written at each line.
    pub labels: Labels,
    /// From what to what; `None` for what the data need.
    pub range: Option<(f64, f64)>,
}

/// A line across a panel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// An axis made to measure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruler {
    scale: Scale,
    from: f64,
    to: f64,
    pub(super) ticks: Vec<Tick>,
}

/// Whether an axis ends where its data end, or at the line beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    AtData,
    AtTick,
}

impl Ruler {
    /// A ruler for `values` with about `wanted` lines.
    pub(super) fn of(axis: &Axis, values: impl Iterator<Item = f64>, ends: Ends, wanted: usize) -> Self {
        // The logarithm of what is smaller than normal numbers is none to count lines by.
        let usable = |value: &f64| match axis.scale {
            Scale::Linear => value.is_finite(),
            Scale::Log => *value > 0.0 && value.is_normal(),
        };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let range = axis.range.map(|(from, to)| [from, to]).into_iter().flatten();
        for value in values.filter(|_| axis.range.is_none()).chain(range).filter(usable) {
            (low, high) = (low.min(value), high.max(value));
        }
        let wanted = wanted.max(2);
        let exact = axis.range.is_some() || ends == Ends::AtData;
        match axis.scale {
            Scale::Linear => Self::linear(low, high, exact, wanted),
            Scale::Log => Self::log(low, high, exact, wanted, axis.labels),
        }
    }

    fn linear(low: f64, high: f64, exact: bool, wanted: usize) -> Self {
        let (mut from, mut to) = if low <= high { (low.min(0.0), high.max(0.0)) } else { (0.0, 1.0) };
        if from == to {
            to = 1.0;
        }
        // Halved before they are subtracted, since the difference of two numbers may be none.
        let step = round_up((to / 2.0 - from / 2.0) / wanted as f64 * 2.0).max(f64::MIN_POSITIVE);
        if !exact {
            (from, to) = ((from / step).floor() * step, (to / step).ceil() * step);
        }
        let (first, last) = ((from / step - 1e-9).ceil(), (to / step + 1e-9).floor());
        let count = (last - first).clamp(0.0, wanted as f64 + 2.0) as usize;
        let at = |line: usize| (first + line as f64) * step + 0.0;
        let ticks = (0..=count).map(at).map(|at| Tick { at, label: number(at, step) }).collect();
        Self { scale: Scale::Linear, from, to, ticks }
    }

    fn log(low: f64, high: f64, exact: bool, wanted: usize, labels: Labels) -> Self {
        let (low, high) = if low <= high { (low, high) } else { (1.0, 10.0) };
        let (mut from, mut to) = if exact { (low, high) } else { (step_below(low), step_above(high)) };
        if from == to {
            (from, to) = (step_below(from / 2.0), step_above(to * 2.0));
        }
        // Beyond what a number can hold, half a step is as good.
        (from, to) = (from.max(f64::MIN_POSITIVE), to.min(f64::MAX));
        let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
        let decades = usize::try_from(last - first).unwrap_or(0);
        let mantissas: &[f64] = match labels {
            Labels::Number if decades * 3 <= wanted + 4 => &[1.0, 2.0, 5.0],
            Labels::Number => &[1.0],
            // 50 % and 75 % stand where there is room.
            Labels::Percentile => &[1.0, 2.0, 4.0],
        };
        let stride = match labels {
            Labels::Number => decades.div_ceil(wanted).max(1),
            Labels::Percentile => 1,
        };
        let mut ticks = Vec::new();
        for exponent in (first..=last).step_by(stride) {
            // Parsed in place of multiplied, so that 10⁻³ is the 0.001 that is written.
            let unit: f64 = format!("1e{exponent}").parse().unwrap_or(1.0);
            for mantissa in mantissas {
                let at = mantissa * unit;
                let within = at >= from * (1.0 - 1e-9) && at <= to * (1.0 + 1e-9);
                if within && (labels == Labels::Number || *mantissa == 1.0 || exponent == 0) {
                    let label = match labels {
                        Labels::Number => number(at, unit),
                        Labels::Percentile => percentile(at, exponent),
                    };
                    ticks.push(Tick { at, label });
                }
            }
        }
        Self { scale: Scale::Log, from, to, ticks }
    }

    /// How far along the axis `value` stands, from 0 to 1; what lies outside is put at the end.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value / 2.0 - self.from / 2.0) / (self.to / 2.0 - self.from / 2.0),
            Scale::Log if value <= 0.0 => 0.0,
            Scale::Log => (value.ln() - self.from.ln()) / (self.to.ln() - self.from.ln()),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Takes the labels away that would run into others on an axis of this length. Whole decades go first.
    pub(super) fn thin_labels(&mut self, length: f64, size: f64) {
        let by_rank = |tick: &Tick| tick.at.log10().fract().abs() > 1e-9;
        let mut order: Vec<usize> = (0..self.ticks.len()).collect();
        if self.scale == Scale::Log {
            order.sort_by_key(|at| by_rank(&self.ticks[*at]));
        }
        let mut taken: Vec<(f64, f64)> = Vec::new();
        for at in order {
            let half = width(&self.ticks[at].label, size) / 2.0 + size / 3.0;
            let middle = self.share(self.ticks[at].at) * length;
            let (left, right) = (middle - half, middle + half);
            if taken.iter().any(|(from, to)| left < *to && right > *from) {
                self.ticks[at].label.clear();
            } else {
                taken.push((left, right));
            }
        }
    }
}

fn percentile(at: f64, exponent: i32) -> String {
    match exponent {
        0 => format!("{} %", 100.0 - 100.0 / at),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more.clamp(3, 22) as usize - 2)),
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `value`.
fn round_up(value: f64) -> f64 {
    if value > 0.0 && value.is_finite() { step_above(value) } else { 1.0 }
}

fn step_above(value: f64) -> f64 {
    steps_around(value).into_iter().find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(value)
}

fn step_below(value: f64) -> f64 {
    steps_around(value).into_iter().rev().find(|step| *step <= value * (1.0 + 1e-9)).unwrap_or(value)
}

fn steps_around(value: f64) -> [f64; 5] {
    let exponent = value.log10().floor();
    let unit: f64 = format!("1e{exponent}").parse().unwrap_or(1.0);
    [unit / 2.0, unit, unit * 2.0, unit * 5.0, unit * 10.0]
        .map(|step| if step.is_finite() { step } else { f64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(scale: Scale, labels: Labels, values: &[f64], ends: Ends) -> Vec<String> {
        let axis = Axis { scale, labels, ..Axis::default() };
        Ruler::of(&axis, values.iter().copied(), ends, 5).ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn lines_stand_at_round_numbers() {
        use Ends::{AtData, AtTick};
        for (values, ends, expected) in [
            (&[0.0, 97.0][..], AtTick, &["0", "20", "40", "60", "80", "100"][..]),
            (&[0.3], AtTick, &["0.0", "0.1", "0.2", "0.3"]),
            (&[0.0, 20.4], AtData, &["0", "5", "10", "15", "20"]),
            (&[-30.0, 70.0], AtTick, &["−40", "−20", "0", "20", "40", "60", "80"]),
            (&[], AtTick, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            (&[0.0, 0.0], AtTick, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            (&[12_345.0], AtTick, &["0", "5,000", "10,000", "15,000"]),
        ] {
            assert_eq!(labels(Scale::Linear, Labels::Number, values, ends), expected, "{values:?}");
        }
        for (values, ends, expected) in [
            (
                &[1000.0, 1e6][..],
                AtData,
                &[
                    "1,000",
                    "2,000",
                    "5,000",
                    "10,000",
                    "20,000",
                    "50,000",
                    "100,000",
                    "200,000",
                    "500,000",
                    "1,000,000",
                ][..],
            ),
            (&[0.04, 700.0], AtTick, &["0.1", "1", "10", "100", "1,000"]),
            (&[0.3, 4.0], AtTick, &["0.2", "0.5", "1", "2", "5"]),
            (&[7.0], AtTick, &["5", "10"]),
            (&[10.0], AtTick, &["5", "10", "20"]),
            (&[0.0, -1.0], AtTick, &["1", "2", "5", "10"]),
        ] {
            assert_eq!(labels(Scale::Log, Labels::Number, values, ends), expected, "{values:?}");
        }
    }

    #[test]
    fn percentiles_are_told_by_their_nines() {
        let found = labels(Scale::Log, Labels::Percentile, &[1.0, 20_000.0], Ends::AtData);
        assert_eq!(found, ["0 %", "50 %", "75 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn labels_that_would_run_into_others_are_left_out_and_decades_stay() {
        let axis = Axis { scale: Scale::Log, labels: Labels::Percentile, ..Axis::default() };
        let mut ruler = Ruler::of(&axis, [1.0, 1e5].into_iter(), Ends::AtData, 5);
        ruler.thin_labels(230.0, 12.0);
        let shown: Vec<_> = ruler.ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(shown, ["0 %", "", "", "90 %", "99 %", "99.9 %", "", "99.999 %"]);
    }

    proptest! {
        #[test]
        fn every_number_finds_a_place_on_every_axis(
            values in prop::collection::vec(prop::num::f64::ANY, 0..5),
            range in prop::option::of((prop::num::f64::ANY, prop::num::f64::ANY)),
            log: bool,
            snug: bool,
        ) {
            let scale = if log { Scale::Log } else { Scale::Linear };
            let axis = Axis { scale, range, ..Axis::default() };
            let ends = if snug { Ends::AtData } else { Ends::AtTick };
            let ruler = Ruler::of(&axis, values.iter().copied(), ends, 5);
            prop_assert!(ruler.ticks.len() <= 40, "{} lines", ruler.ticks.len());
            for value in values.iter().chain(ruler.ticks.iter().map(|tick| &tick.at)) {
                prop_assert!((0.0..=1.0).contains(&ruler.share(*value)));
            }
        }
    }
}
