//! Finds secrets, and absolute paths of home folders, in tracked texts.
//!
//! Tokens are recognised by their form; a value after a word such as `password=` is a secret if it looks random. A finding
//! shows only the first letters.

use std::collections::HashMap;

use regex::Regex;

use super::finding::Finding;
use crate::repository::Tracked;

const CHECK: &str = "secrets";
/// Lines of `rule path text # reason` for what is not a secret.
const ALLOWED_FILE: &str = "xtask/audit-allow.txt";
/// In bits per letter. Words are below it, random hexadecimal digits above.
const MIN_ENTROPY_BITS: f64 = 3.0;
/// Letters of a secret that are shown.
const SHOWN_LETTERS: usize = 4;

/// Rules by name. A group in the expression is the secret.
const RULES: [(&str, &str); 16] = [
    ("aws-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    ("private-key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("github", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    ("gitlab", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("slack", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Za-z0-9/]{20,}"),
    ("google", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("llm", r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_]{20,}"),
    ("stripe", r"\b[sr]k_live_[A-Za-z0-9]{16,}"),
    ("crates-io", r"\bcio[A-Za-z0-9]{32}\b"),
    ("npm", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("azure", r"\bAccountKey=[A-Za-z0-9+/=]{40,}"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("url", r"\b[a-z][a-z0-9+]*://[^\s/:@\x22']*:([^\s/:@\x22'{}<>$]{8,})@"),
    (BEARER, r"(?i)\b(?:bearer|basic)[ \t]+([a-z0-9+/_=.-]{16,})"),
    (
        KEY_VALUE,
        r#"(?i)(?:passw(?:or)?d|passphrase|secret|api[_-]?keys?|access[_-]?key|private[_-]?key|auth|token)[a-z_-]*["']?[ \t]*(?:=>|:=|[=:]|[ \t])[ \t]*["']?([a-z0-9+/_=.-]{16,})"#,
    ),
    (
        "home-path",
        r"(?m)(?:^|[^A-Za-z0-9_.~-])((?:/home/|/Users/)[A-Za-z0-9_.-]+|/root/[A-Za-z0-9_.-]+|(?i:[a-z]:\\{1,2}users\\{1,2})[A-Za-z0-9_.-]+)",
    ),
];
const BEARER: &str = "bearer";
const KEY_VALUE: &str = "key-value";

/// Searches all texts.
pub(super) fn check(tracked: &[Tracked]) -> Vec<Finding> {
    let list = tracked.iter().find(|file| file.path == ALLOWED_FILE);
    let list = list.and_then(|file| file.text.as_deref()).unwrap_or_default();
    let allowed: Vec<_> = list.lines().filter_map(read_allowed).collect();
    let texts = tracked.iter().filter(|file| file.path != ALLOWED_FILE);
    let texts: Vec<_> = texts.filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?))).collect();
    let mut faults = Vec::new();
    for (rule, expression) in RULES {
        let Ok(expression) = Regex::new(expression) else {
            return vec![Finding::fail(CHECK, format!("the rule {rule} is not an expression"))];
        };
        for (path, text) in &texts {
            for captures in expression.captures_iter(text) {
                let Some(found) = captures.get(1).or_else(|| captures.get(0)) else { continue };
                let (at, found) = (found.start(), found.as_str());
                if [BEARER, KEY_VALUE].contains(&rule) && !looks_random(found)
                    || allowed.iter().any(|[in_rule, in_path, part]| {
                        *in_rule == rule && in_path == path && found.contains(part)
                    })
                {
                    continue;
                }
                let line = text[..at].matches('\n').count() + 1;
                let shown: String = found.chars().take(SHOWN_LETTERS).collect();
                faults.push(format!(
                    "{path}:{line} may be a secret or private ({rule}: {shown}…); remove it, and revoke a secret, or allow it in {ALLOWED_FILE} with a reason"
                ));
            }
        }
    }
    Finding::of_faults(CHECK, faults, format!("none in {} texts", texts.len()))
}

/// Rule, path and text of a line of the allow-list. A line without a reason allows nothing.
fn read_allowed(line: &str) -> Option<[&str; 3]> {
    let (entry, _reason) = line.split_once(" # ")?;
    entry.split_whitespace().collect::<Vec<_>>().try_into().ok()
}

/// Returns true for letters and digits with few repetitions.
fn looks_random(text: &str) -> bool {
    let mut counts: HashMap<u8, usize> = HashMap::new();
    text.bytes().for_each(|byte| *counts.entry(byte).or_default() += 1);
    let shares = counts.values().map(|count| *count as f64 / text.len() as f64);
    text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && shares.map(|share| -share * share.log2()).sum::<f64>() >= MIN_ENTROPY_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Level;

    fn found(text: &str, allowed: &str) -> Vec<Finding> {
        let file = |path: &str, text: String| Tracked { path: path.to_owned(), text: Some(text) };
        check(&[file("notes.md", format!("first\n{text}\n")), file(ALLOWED_FILE, allowed.to_owned())])
    }

    #[test]
    fn each_kind_of_secret_is_found_and_not_shown() {
        let random = "8f3Kq9ZtX2vLmN7bR4wYcD1sG6hJ0pQaUeTi";
        // In parts, since this file is searched as well.
        for (rule, parts) in [
            ("aws-key", &["AK", "IAIOSFODNN7EXAMPLE"][..]),
            ("private-key", &["-----BEGIN RSA ", "PRIVATE KEY-----"]),
            ("github", &["gh", "p_", random]),
            ("gitlab", &["gl", "pat-", random]),
            ("slack", &["xo", "xb-123456789012-", random]),
            ("google", &["AI", "za", &random[1..]]),
            ("llm", &["s", "k-proj-", random]),
            ("stripe", &["sk_", "live_", random]),
            ("crates-io", &["ci", "o", &random[4..]]),
            ("npm", &["np", "m_", random]),
            ("azure", &["Account", "Key=", random, "abcd=="]),
            ("jwt", &["ey", "J", random, ".eyJ", random, ".", random]),
            ("url", &["postgres://ann:", "correct-horse", "@db/x"]),
            ("bearer", &["Authorization: Bea", "rer ", random]),
            ("key-value", &["pass", "word = \"", random, "\""]),
            ("key-value", &["--api", "-key ", random]),
            ("home-path", &["see `/ho", "me/ann/x`"]),
            ("home-path", &["C:\\Us", "ers\\ann"]),
        ] {
            let findings = found(&parts.concat(), "");
            let finding = findings.iter().find(|finding| finding.text.contains(&format!("({rule}: ")));
            let finding = finding.unwrap_or_else(|| panic!("{rule}: {findings:?}"));
            assert_eq!(finding.level, Level::Fail);
            assert!(finding.text.starts_with("notes.md:2 ") && !finding.text.contains(random), "{finding}");
        }
    }

    #[test]
    fn words_and_names_are_not_secrets() {
        for text in [
            "password = read_password_from_terminal",
            "api_key: Option<String>",
            "token = \"aaaaaaaaaaaaaaaaaaaa1\"",
            "export CAIA_REGISTRY_API_KEY=your-key-goes-here",
            "https://example.org:8001/models and https://example.org/home/ann",
            "~/.config/x and src/home/ann",
        ] {
            assert_eq!(found(text, "")[0].level, Level::Pass, "{text}");
        }
    }

    #[test]
    fn the_allow_list_needs_reasons() {
        let key = "0123456789abcdef01234567";
        let text = ["API_", "KEY=", key].concat();
        for (allowed, level) in [
            (format!("# words\n\nkey-value notes.md {key} # an example\n"), Level::Pass),
            (format!("key-value notes.md {key}\n"), Level::Fail),
            (format!("url notes.md {key} # another rule\n"), Level::Fail),
        ] {
            assert_eq!(found(&text, &allowed)[0].level, level, "{allowed}");
        }
    }
}
