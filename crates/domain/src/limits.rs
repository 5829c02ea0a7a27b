//! Size limits of a version, so that reading and writing it stays fast.

use crate::{json::Value, refusal::Refusal, suites::suites};

/// The maximum length of a name and of a version's label.
pub const MAX_NAME_BYTES: usize = 1_024;
/// The maximum number of tags of a version.
pub const MAX_TAGS: usize = 1_000;

/// Checks the text of `field`, which names something: a name, a label, an alias or the key of a tag.
///
/// # Errors
/// [`Refusal::Invalid`] if it is blank, which no request could address, or over [`MAX_NAME_BYTES`].
pub fn check_name(field: &str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::Invalid(format!("{field} is blank; choose one")));
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(Refusal::Invalid(format!(
            "{field} has {} bytes, and at most {MAX_NAME_BYTES} are allowed; choose a shorter one",
            text.len()
        )));
    }
    Ok(())
}

/// The maximum length of the reason of a change.
pub const MAX_REASON_BYTES: usize = 4 * 1024;

/// Checks the reason of a change.
///
/// # Errors
/// [`Refusal::Invalid`] if it is blank or over [`MAX_REASON_BYTES`].
pub fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() {
        return Err(Refusal::Invalid("reason is blank; say why the change is made".to_owned()));
    }
    if reason.len() > MAX_REASON_BYTES {
        return Err(Refusal::Invalid(format!(
            "reason has {} bytes, and at most {MAX_REASON_BYTES} are allowed; say it shorter",
            reason.len()
        )));
    }
    Ok(())
}

/// Checks the number of tags.
///
/// # Errors
/// [`Refusal::Invalid`] over [`MAX_TAGS`].
pub fn check_tags(tags: &[String]) -> Result<(), Refusal> {
    if tags.len() <= MAX_TAGS {
        return Ok(());
    }
    Err(Refusal::Invalid(format!(
        "tags has {} entries, and at most {MAX_TAGS} are allowed; send fewer",
        tags.len()
    )))
}

/// Checks the size of a version's metrics, given as JSON text before and after a change. `suite` is the one that
/// the change records.
///
/// # Errors
/// [`Refusal::MetricsTooLarge`] over `max_bytes`, unless the change makes the metrics smaller: a version that was
/// over the limit before there was one can be shrunk in steps.
pub fn check_metrics(
    before: Option<&str>,
    after: &str,
    suite: Option<&str>,
    max_bytes: usize,
) -> Result<(), Refusal> {
    let bytes = after.len();
    if bytes <= max_bytes || before.is_some_and(|before| bytes < before.len()) {
        return Ok(());
    }
    let suite = suite.map(str::to_owned).or_else(|| largest_suite(after));
    Err(Refusal::MetricsTooLarge { suite, bytes, max_bytes })
}

fn largest_suite(metrics: &str) -> Option<String> {
    let size = |scores: &Value| scores.to_string().len();
    suites(Some(metrics)).into_iter().max_by_key(|(_, scores)| size(scores)).map(|(suite, _)| suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_neither_blank_nor_longer_than_the_limit() {
        for (text, good) in [
            ("m".to_owned(), true),
            ("na me/ü".to_owned(), true),
            (String::new(), false),
            (" \t".to_owned(), false),
            ("x".repeat(MAX_NAME_BYTES), true),
            ("x".repeat(MAX_NAME_BYTES + 1), false),
            ("ü".repeat(MAX_NAME_BYTES / 2), true),
            ("ü".repeat(MAX_NAME_BYTES / 2 + 1), false),
        ] {
            let checked = check_name("version", &text).map_err(|refusal| refusal.to_string());
            assert_eq!(checked.is_ok(), good, "{} bytes", text.len());
            assert!(checked.err().is_none_or(|text| text.starts_with("version ")), "{} bytes", text.len());
        }
    }

    #[test]
    fn a_version_can_have_a_thousand_tags_and_no_more() {
        assert_eq!(check_tags(&vec![String::new(); MAX_TAGS]), Ok(()));
        assert!(matches!(check_tags(&vec![String::new(); MAX_TAGS + 1]), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn metrics_over_the_limit_are_refused_unless_they_shrink() {
        let large = r#"{"suites":{"a":{"x":1},"b":{"x":1,"y":2}}}"#;
        let max = large.len() - 1;
        for (before, after, suite, refused) in [
            (None, "{}", None, None),
            (None, large, None, Some("b")),
            (None, large, Some("a"), Some("a")),
            (Some("{}"), large, None, Some("b")),
            (Some(large), large, Some("a"), Some("a")),
            (Some(r#"{"suites":{"a":{"x":1},"b":{"x":1,"y":2,"z":3}}}"#), large, Some("a"), None),
        ] {
            let checked = check_metrics(before, after, suite, max).map_err(|refusal| refusal.to_string());
            match refused {
                None => assert_eq!(checked, Ok(()), "{before:?}"),
                Some(suite) => {
                    let text = checked.unwrap_err();
                    assert!(text.starts_with(&format!("with suite {suite:?} the metrics")), "{text}");
                    assert!(
                        text.contains(&format!("{} bytes, and at most {max} are", large.len())),
                        "{text}"
                    );
                }
            }
        }
        let text = check_metrics(None, r#"{"a":1}"#, None, 1).unwrap_err().to_string();
        assert!(text.starts_with("the metrics of this version would have 7 bytes"), "{text}");
    }
}
