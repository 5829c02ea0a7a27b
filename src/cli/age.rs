//! Lengths of time on the command line, like `30d`.

use std::time::Duration;

/// Parses a length of time in days, hours or minutes.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let unit = text.char_indices().last().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return Err("expected a number and d, h or m, like 30d".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "expected a whole number before the unit, like 30d".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_whole_number_with_a_unit() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3_600));
        assert_eq!([age("30d"), age("12h"), age("0d")], [hours(720), hours(12), hours(0)]);
        assert_eq!(age("90m"), Ok(Duration::from_secs(5_400)));
        for text in ["", "d", "30", "1.5d", "-1d", "30 d", "30s", "3é"] {
            assert!(age(text).unwrap_err().contains("like 30d"), "{text}");
        }
    }
}
