//! What an import may give beside the values of a model or a version: its times and its number.
//!
//! Events keep the registry's own clock, so the audit trail still says when something was imported.

use crate::{refusal::Refusal, timestamp::Timestamp};

/// When a model or a version was created and last changed elsewhere. The clock gives what is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in `Version`")]
pub struct GivenTimes {
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
}

impl GivenTimes {
    /// Refuses times in the future, and a change before the creation.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn check(self, now: Timestamp) -> Result<(), Refusal> {
        let (created_at, updated_at) = self.or_now(now);
        for (field, time) in [("created_at", created_at), ("updated_at", updated_at)] {
            if time > now {
                return Err(Refusal::Invalid(format!(
                    "{field} is {}, which is in the future; the registry's clock says {}",
                    time.to_rfc3339(),
                    now.to_rfc3339()
                )));
            }
        }
        if updated_at < created_at {
            return Err(Refusal::Invalid(format!(
                "updated_at is {}, before created_at, which is {}; give a later one, or leave it out",
                updated_at.to_rfc3339(),
                created_at.to_rfc3339()
            )));
        }
        Ok(())
    }

    /// Returns both times, `now` for each that is not given.
    #[must_use]
    pub fn or_now(self, now: Timestamp) -> (Timestamp, Timestamp) {
        (self.created_at.unwrap_or(now), self.updated_at.unwrap_or(now))
    }
}

/// The highest number that a registration may ask for, so that numbers never run out.
pub const MAX_GIVEN_NUMBER: i64 = 2_000_000_000;

/// Checks that a version of `model` may get `number`, if the next one would be `next`. The numbers between them stay spent.
///
/// # Errors
/// [`Refusal::Invalid`] if it is not from 1 to [`MAX_GIVEN_NUMBER`]; [`Refusal::Conflict`] if it was given out before.
pub fn check_number(model: &str, number: i64, next: i64) -> Result<(), Refusal> {
    if !(1..=MAX_GIVEN_NUMBER).contains(&number) {
        return Err(Refusal::Invalid(format!(
            "number is {number}, and must be from 1 to {MAX_GIVEN_NUMBER}"
        )));
    }
    if number < next {
        return Err(Refusal::Conflict(format!(
            "number {number} of {model:?} was given out before or left out, and numbers are not reused; the next one is {next}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_times_are_in_order_and_not_in_the_future() {
        let time = |millis: Option<i64>| millis.map(Timestamp::from_unix_millis);
        for (created_at, updated_at, problem) in [
            (None, None, None),
            (Some(5), None, None),
            (Some(5), Some(5), None),
            (Some(5), Some(10), None),
            (Some(10), Some(10), None),
            (Some(11), None, Some("created_at is 1970-01-01T00:00:00.011Z, which is in the future")),
            (Some(5), Some(11), Some("updated_at is 1970-01-01T00:00:00.011Z, which is in the future")),
            (Some(5), Some(4), Some("before created_at")),
            (None, Some(9), Some("before created_at")),
        ] {
            let times = GivenTimes { created_at: time(created_at), updated_at: time(updated_at) };
            let checked = times.check(Timestamp::from_unix_millis(10)).map_err(|refusal| refusal.to_string());
            match problem {
                None => assert_eq!(checked, Ok(()), "{times:?}"),
                Some(problem) => assert!(checked.unwrap_err().contains(problem), "{times:?}"),
            }
        }
    }

    #[test]
    fn a_number_is_the_next_one_or_a_later_one() {
        for (number, next, is_allowed) in [
            (1, 1, true),
            (7, 7, true),
            (9, 7, true),
            (MAX_GIVEN_NUMBER, 7, true),
            (6, 7, false),
            (0, 1, false),
            (-1, 1, false),
            (MAX_GIVEN_NUMBER + 1, 1, false),
            (i64::MAX, 1, false),
        ] {
            assert_eq!(check_number("m", number, next).is_ok(), is_allowed, "{number} {next}");
        }
    }
}
