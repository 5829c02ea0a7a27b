//! Parses spans of time and rates.

use std::{str::FromStr, time::Duration};

const MAX_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Far more than one client can send.
const MAX_RATE: f64 = 10_000_000.0;
/// One per day.
const MIN_RATE: f64 = 1.0 / 86_400.0;

/// Why a text is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ValueError {
    #[error("give a number and a unit, such as 10s, 500ms or 2m")]
    NoSpan,
    #[error("it must be longer than 0")]
    NoTime,
    #[error("it must be at most seven days")]
    LongSpan,
    #[error("give requests per second, such as 500")]
    NoRate,
    #[error("it must be more than 0; leave the flag out to send as fast as answers come")]
    Standstill,
    #[error("it must be between one per day and 10000000")]
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

/// A span of time, longer than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    /// As a [`Duration`].
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds = match unit.trim() {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(ValueError::NoSpan),
        };
        let number: f64 = number.parse().map_err(|_| ValueError::NoSpan)?;
        let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| ValueError::LongSpan)?;
        match span {
            Duration::ZERO => Err(ValueError::NoTime),
            span if span > MAX_SPAN => Err(ValueError::LongSpan),
            span => Ok(Self(span)),
        }
    }
}

/// Requests per second, more than 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// Requests per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let rate: f64 = text.trim().parse().map_err(|_| ValueError::NoRate)?;
        match rate {
            rate if rate.is_nan() => Err(ValueError::NoRate),
            rate if rate <= 0.0 => Err(ValueError::Standstill),
            rate if (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(Self(rate)),
            _ => Err(ValueError::RateOutOfRange),
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
            ("0s", ValueError::NoTime),
            ("0", ValueError::NoTime),
            ("", ValueError::NoSpan),
            ("s", ValueError::NoSpan),
            ("-1s", ValueError::NoSpan),
            ("1.2.3s", ValueError::NoSpan),
            ("10 parsecs", ValueError::NoSpan),
            ("8000h", ValueError::LongSpan),
            (&"9".repeat(400), ValueError::LongSpan),
        ] {
            assert_eq!(text.parse::<Span>(), Err(error), "{text}");
        }
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!("0.5".parse(), Ok(Rate(0.5)));
        for (text, error) in [
            ("0", ValueError::Standstill),
            ("-3", ValueError::Standstill),
            ("NaN", ValueError::NoRate),
            ("fast", ValueError::NoRate),
            ("inf", ValueError::RateOutOfRange),
            ("1e-9", ValueError::RateOutOfRange),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
    }
}
