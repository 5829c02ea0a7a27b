//! Spans of time and rates, as they are typed.

use std::{str::FromStr, time::Duration};

const MAX_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Far more than one client can send.
const MAX_RATE: f64 = 10_000_000.0;
/// One a day.
const MIN_RATE: f64 = 1.0 / 86_400.0;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadValue {
    #[error("give a number and a unit, such as 10s, 500ms or 2m")]
    NoSpan,
    #[error("it must be longer than nothing")]
    NoTime,
    #[error("it must be at most seven days")]
    LongSpan,
    #[error("give requests a second, such as 500")]
    NoRate,
    #[error("it must be more than 0; leave the flag out to send as fast as answers come")]
    Standstill,
    #[error("it must be between one a day and 10000000")]
    RateOutOfRange,
    #[error("give them as read=70,metrics=30; known are {0}")]
    NoWeights(String),
    #[error("{0} is given twice")]
    Twice(&'static str),
    #[error("a weight is a whole number from 0 to 1000000")]
    NoWeight,
    #[error("at least one weight must be more than 0")]
    NoneWeighs,
}

/// A span of time that is longer than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    /// As the standard library has it.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds = match unit.trim() {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(BadValue::NoSpan),
        };
        let number: f64 = number.parse().map_err(|_| BadValue::NoSpan)?;
        let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| BadValue::LongSpan)?;
        match span {
            Duration::ZERO => Err(BadValue::NoTime),
            span if span > MAX_SPAN => Err(BadValue::LongSpan),
            span => Ok(Self(span)),
        }
    }
}

/// Requests a second, more than none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// Requests a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let rate: f64 = text.trim().parse().map_err(|_| BadValue::NoRate)?;
        match rate {
            rate if rate.is_nan() => Err(BadValue::NoRate),
            rate if rate <= 0.0 => Err(BadValue::Standstill),
            rate if (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(Self(rate)),
            _ => Err(BadValue::RateOutOfRange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1.5", 1500),
            ("2m", 120_000),
            ("1 min", 60_000),
            (" 0.5h ", 1_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for (text, error) in [
            ("0s", BadValue::NoTime),
            ("0", BadValue::NoTime),
            ("", BadValue::NoSpan),
            ("s", BadValue::NoSpan),
            ("-1s", BadValue::NoSpan),
            ("1.2.3s", BadValue::NoSpan),
            ("10 parsecs", BadValue::NoSpan),
            ("8000h", BadValue::LongSpan),
            (&"9".repeat(400), BadValue::LongSpan),
        ] {
            assert_eq!(text.parse::<Span>(), Err(error), "{text}");
        }
    }

    #[test]
    fn rates_are_more_than_nothing() {
        assert_eq!("0.5".parse(), Ok(Rate(0.5)));
        for (text, error) in [
            ("0", BadValue::Standstill),
            ("-3", BadValue::Standstill),
            ("NaN", BadValue::NoRate),
            ("fast", BadValue::NoRate),
            ("inf", BadValue::RateOutOfRange),
            ("1e-9", BadValue::RateOutOfRange),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
    }
}
