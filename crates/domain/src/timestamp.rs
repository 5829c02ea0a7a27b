//! Times as the registry writes them: UTC, in milliseconds, as text that sorts by time.

use std::fmt;

use time::{
    Date, OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::{date, format_description},
};

/// `2026-01-31 13:05:09.250`, the form of `created_at` and `updated_at`.
const FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
/// `2026-01-31T13:05:09.250+00:00`, the form of `recorded_at`.
const ISO_FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");
/// `2026-01-31T13:05:09.250Z`, the form of times in `/v1`.
const RFC_3339_FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
/// Reads times with a fraction, and times of 0.2.0, which have none.
const READ_FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]");
/// `2026-01-31`
const DATE_FORMAT: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day]");

/// The last moment whose year has four digits, so that it fits the formats.
const LAST_MILLISECOND: i64 =
    PrimitiveDateTime::new(date!(9999 - 12 - 31), time::Time::MAX).assume_utc().unix_timestamp() * 1000 + 999;

/// Milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates a timestamp from milliseconds since 1970, clamped to the years 1970 to 9999.
    #[must_use]
    pub fn from_unix_millis(millis: i64) -> Self {
        Self(millis.clamp(0, LAST_MILLISECOND))
    }

    /// Returns the milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(self) -> i64 {
        self.0
    }

    /// Parses `YYYY-MM-DD HH:MM:SS` with or without a fraction, which is truncated to milliseconds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment = PrimitiveDateTime::parse(text, READ_FORMAT).ok()?.assume_utc();
        let millis = i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        Some(Self(millis))
    }

    /// Parses RFC 3339 with any offset, or a date (midnight UTC), from 1970 to 9999. The fraction is truncated to
    /// milliseconds.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment = match Date::parse(text, DATE_FORMAT) {
            Ok(date) => date.midnight().assume_utc(),
            Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok()?,
        };
        let millis = i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        (0..=LAST_MILLISECOND).contains(&millis).then_some(Self(millis))
    }

    /// Returns RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.format(RFC_3339_FORMAT)
    }

    /// Returns the new `updated_at` of a row that changes at `self` and had `previous`. It is always later than
    /// `previous`, even within one millisecond or after the clock was set back.
    #[must_use]
    pub fn after(self, previous: &str) -> Self {
        match Self::parse(previous) {
            Some(last) if last >= self && last.0 < LAST_MILLISECOND => Self(last.0 + 1),
            _ => self,
        }
    }

    /// Returns the time this long before, but not before 1970.
    #[must_use]
    pub fn minus(self, age: std::time::Duration) -> Self {
        let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_sub(millis))
    }

    /// Returns ISO 8601 with an explicit offset, the format of `recorded_at`.
    #[must_use]
    pub fn to_iso(self) -> String {
        self.format(ISO_FORMAT)
    }

    fn format(self, form: &[BorrowedFormatItem<'static>]) -> String {
        let nanos = i128::from(self.0) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|moment| moment.format(form).ok())
            .unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format(FORMAT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_parses_back_as_it_was_written() {
        for text in ["1970-01-01 00:00:00.000", "2026-01-31 13:05:09.250", "9999-12-31 23:59:59.999"] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        let known = Timestamp::from_unix_millis(1_769_864_709_250);
        assert_eq!(known.to_string(), "2026-01-31 13:05:09.250");
        assert_eq!(known.to_iso(), "2026-01-31T13:05:09.250+00:00");
    }

    #[test]
    fn old_rows_may_lack_the_fraction_or_carry_a_longer_one() {
        for (text, read) in [
            ("2026-01-31 13:05:09", Some("2026-01-31 13:05:09.000")),
            ("2026-01-31 13:05:09.1", Some("2026-01-31 13:05:09.100")),
            ("2026-01-31 13:05:09.123456", Some("2026-01-31 13:05:09.123")),
            ("2026-01-31T13:05:09", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()).as_deref(), read, "{text}");
        }
    }

    #[test]
    fn rfc_3339_is_read_with_any_offset_and_a_date_is_midnight() {
        for (text, read) in [
            ("2026-01-31", Some("2026-01-31 00:00:00.000")),
            ("2026-01-31T13:05:09Z", Some("2026-01-31 13:05:09.000")),
            ("2026-01-31T13:05:09.25+01:30", Some("2026-01-31 11:35:09.250")),
            ("2026-01-31T13:05:09.250999-00:00", Some("2026-01-31 13:05:09.250")),
            ("1970-01-01", Some("1970-01-01 00:00:00.000")),
            ("1970-01-01T00:00:00+00:01", None),
            ("9999-12-31T23:59:59.999Z", Some("9999-12-31 23:59:59.999")),
            ("9999-12-31T23:59:59-00:01", None),
            ("2026-02-30", None),
            ("2026-01-31T13:05:09", None),
            ("2026-01-31T25:00:00Z", None),
            (" 2026-01-31", None),
            ("yesterday", None),
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text).map(|t| t.to_string()).as_deref(), read, "{text}");
        }
        let known = Timestamp::from_unix_millis(1_769_864_709_250);
        assert_eq!(known.to_rfc3339(), "2026-01-31T13:05:09.250Z");
        for text in [known.to_iso(), known.to_rfc3339()] {
            assert_eq!(Timestamp::parse_rfc3339(&text), Some(known));
        }
    }

    #[test]
    fn a_change_is_later_than_the_last_one_even_if_the_clock_is_not() {
        let now = Timestamp::parse("2026-01-31 13:05:09.250").unwrap();
        for (previous, expected) in [
            ("2026-01-31 13:05:09.249", "2026-01-31 13:05:09.250"),
            ("2026-01-31 13:05:09.250", "2026-01-31 13:05:09.251"),
            ("2026-01-31 13:05:09.250999", "2026-01-31 13:05:09.251"),
            ("2026-01-31 13:05:09", "2026-01-31 13:05:09.250"),
            ("2026-01-31 14:05:09.999", "2026-01-31 14:05:10.000"),
            ("9999-12-31 23:59:59.999", "2026-01-31 13:05:09.250"),
            ("no time at all", "2026-01-31 13:05:09.250"),
        ] {
            assert_eq!(now.after(previous).to_string(), expected, "{previous}");
        }
    }

    #[test]
    fn a_clock_out_of_range_is_clamped_to_the_times_that_can_be_written() {
        assert_eq!(Timestamp::from_unix_millis(-5).to_string(), "1970-01-01 00:00:00.000");
        assert_eq!(Timestamp::from_unix_millis(i64::MAX).to_string(), "9999-12-31 23:59:59.999");
    }
}
