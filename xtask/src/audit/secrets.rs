//! Secrets and absolute paths of somebody's home in tracked texts.
//!
//! Tokens are known by their shape. What merely stands behind a word such as `password=` is one where it looks drawn by lot.
//! A finding never shows the secret.

use std::{collections::HashMap, sync::LazyLock};

use regex::{Regex, RegexSet};

use super::{Finding, allowed::Allowed};
use crate::repository::Tracked;

const SECRETS: &str = "secrets";
const HOMES: &str = "home paths";

/// The rule for what stands behind a telling word.
const BEHIND_A_WORD: &str = "key-value";
/// And for credentials of the header `Authorization`.
const BEARER: &str = "bearer";
/// In bits a letter: what a person would call random. Words are below, drawn hexadecimal digits above.
const MIN_ENTROPY_BITS: f64 = 3.0;

/// Rules by name. Where one has a group, that is the secret.
const RULES: [(&str, &str); 15] = [
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
    (BEARER, r"(?i)\b(?:bearer|basic)\s+([a-z0-9+/_=.-]{16,})"),
    (
        BEHIND_A_WORD,
        r#"(?i)(?:passw(?:or)?d|passphrase|secret|api[_-]?keys?|access[_-]?key|private[_-]?key|auth|token)[a-z_-]*["']?\s*(?:=>|:=|[=:]|\s)\s*["']?([a-z0-9+/_=.-]{16,})"#,
    ),
];

const HOME: &str = r"(?:^|[^A-Za-z0-9_.~-])((?:/home/|/Users/)[A-Za-z0-9_.-]+|/root/[A-Za-z0-9_.-]+|(?i:[a-z]:\\{1,2}users\\{1,2})[A-Za-z0-9_.-]+)";

/// `None` where a rule of ours is no expression, which a test rules out.
static ANY: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(RULES.map(|(_, expression)| expression)).ok());
static EACH: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| RULES.map(|(_, expression)| Regex::new(expression).ok()).into());
static HOME_PATH: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(HOME).ok());

/// Lines that seem to hold a secret.
pub(super) fn secrets(tracked: &[Tracked], allowed: &mut Allowed) -> Vec<Finding> {
    let mut faults = Vec::new();
    each_line(tracked, |path, number, line| {
        let Some(any) = &*ANY else { return };
        for rule in any.matches(line) {
            let Some(expression) = EACH.get(rule).and_then(Option::as_ref) else { continue };
            let name = RULES[rule].0;
            for captures in expression.captures_iter(line) {
                let Some(found) = captures.get(1).or_else(|| captures.get(0)).map(|found| found.as_str())
                else {
                    continue;
                };
                if ([BEHIND_A_WORD, BEARER].contains(&name) && !looks_random(found))
                    || allowed.allows(name, path, found)
                {
                    continue;
                }
                let shown = shown(found);
                faults.push(format!(
                    "{path}:{number} seems to hold a secret ({name}: {shown}); take it out and make it void, or \
                     allow it in {} with a reason",
                    super::allowed::FILE
                ));
            }
        }
    });
    let texts = tracked.iter().filter(|file| file.text.is_some()).count();
    Finding::of_faults(SECRETS, faults, format!("none in {texts} texts"))
}

/// Lines with a path of a person's home.
pub(super) fn home_paths(tracked: &[Tracked], allowed: &mut Allowed) -> Vec<Finding> {
    let mut faults = Vec::new();
    each_line(tracked, |path, number, line| {
        let Some(expression) = &*HOME_PATH else { return };
        for captures in expression.captures_iter(line) {
            let Some(found) = captures.get(1).map(|found| found.as_str()) else { continue };
            if !allowed.allows("home-path", path, found) {
                faults.push(format!(
                    "{path}:{number} has the path {found}; write it relative, or as ~, or allow it in {} with a reason",
                    super::allowed::FILE
                ));
            }
        }
    });
    Finding::of_faults(HOMES, faults, "no absolute path of anybody's home".to_owned())
}

/// All lines of all texts but those of the allow-list, which repeats what it allows.
fn each_line(tracked: &[Tracked], mut act: impl FnMut(&str, usize, &str)) {
    for file in tracked.iter().filter(|file| file.path != super::allowed::FILE) {
        for (at, line) in file.text.iter().flat_map(|text| text.lines()).enumerate() {
            act(&file.path, at + 1, line);
        }
    }
}

/// Enough to find it, too little to use it.
fn shown(secret: &str) -> String {
    format!("{}…", secret.chars().take(4).collect::<String>())
}

/// Letters and digits together, and hardly any of them twice.
fn looks_random(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && entropy_bits(text) >= MIN_ENTROPY_BITS
}

/// Shannon's, in bits a letter.
fn entropy_bits(text: &str) -> f64 {
    let mut counts: HashMap<char, usize> = HashMap::new();
    for letter in text.chars() {
        *counts.entry(letter).or_default() += 1;
    }
    let all = text.chars().count() as f64;
    counts.values().map(|count| *count as f64 / all).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Level;

    fn file(text: &str) -> Vec<Tracked> {
        vec![Tracked { path: "notes.md".to_owned(), text: Some(format!("first\n{text}\n")) }]
    }

    /// In two parts, since this file is looked through as well.
    fn joined(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn each_kind_of_secret_is_found_where_it_stands_and_not_shown() {
        let drawn = "8f3Kq9ZtX2vLmN7bR4wYcD1sG6hJ0pQaUeTi";
        for (rule, text, secret) in [
            ("aws-key", joined(&["AK", "IAIOSFODNN7EXAMPLE"]), "IOSFODNN7EXAMPLE"),
            ("private-key", joined(&["-----BEGIN RSA ", "PRIVATE KEY-----"]), "PRIVATE KEY"),
            ("private-key", joined(&["-----BEGIN ", "PRIVATE KEY-----"]), "PRIVATE KEY"),
            ("github", joined(&["gh", "p_", drawn]), drawn),
            ("gitlab", joined(&["gl", "pat-", drawn]), drawn),
            ("slack", joined(&["xo", "xb-123456789012-", drawn]), drawn),
            ("google", joined(&["AI", "za", &drawn[1..]]), &drawn[1..]),
            ("llm", joined(&["s", "k-proj-", drawn]), drawn),
            ("stripe", joined(&["sk_", "live_", drawn]), drawn),
            ("crates-io", joined(&["ci", "o", &drawn[4..]]), &drawn[4..]),
            ("npm", joined(&["np", "m_", drawn]), drawn),
            ("azure", joined(&["Account", "Key=", drawn, "abcd=="]), drawn),
            ("jwt", joined(&["ey", "J", drawn, ".eyJ", drawn, ".", drawn]), drawn),
            ("url", joined(&["postgres://ann:", "correct-horse", "@db/x"]), "correct-horse"),
            ("url", joined(&["redis://", ":correct-", "horse@db/x"]), "correct-horse"),
            ("bearer", joined(&["Authorization: Bea", "rer ", drawn]), drawn),
            ("key-value", joined(&["pass", "word = \"", drawn, "\""]), drawn),
            ("key-value", joined(&["MY_API", "_KEY=", "0123456789abcdef01234567"]), "0123456789abcdef"),
            ("key-value", joined(&["--api", "-key ", drawn]), drawn),
        ] {
            let findings = secrets(&file(&text), &mut Allowed::default());
            let told = findings.iter().find(|finding| finding.text.contains(&format!("({rule}: ")));
            let told = told.unwrap_or_else(|| panic!("{rule}: {findings:?}"));
            assert_eq!(told.level, Level::Fail);
            assert!(told.text.starts_with("notes.md:2 "), "{told}");
            assert!(rule == "private-key" || !told.text.contains(secret), "{told}");
        }
    }

    #[test]
    fn words_and_names_are_no_secrets() {
        for text in [
            "password = read_password_from_terminal",
            "api_key: Option<String>",
            "token = \"aaaaaaaaaaaaaaaaaaaa1\"",
            "export CAIA_REGISTRY_API_KEY=your-key-goes-here",
            "https://example.org:8001/models",
            "the secret is kept",
        ] {
            assert_eq!(secrets(&file(text), &mut Allowed::default())[0].level, Level::Pass, "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_passed_by() {
        let key = "0123456789abcdef01234567";
        let text = joined(&["API_", "KEY=", key]);
        let (mut allowed, _) = Allowed::read(&format!("key-value notes.md {key} # an example\n"));
        assert_eq!(secrets(&file(&text), &mut allowed)[0].level, Level::Pass);
    }

    #[test]
    fn a_path_of_somebodys_home_is_found() {
        for path in
            [joined(&["/ho", "me/ann/x"]), joined(&["/Us", "ers/ann"]), joined(&["C:\\Us", "ers\\ann"])]
        {
            let findings = home_paths(&file(&format!("see `{path}`")), &mut Allowed::default());
            assert_eq!(findings[0].level, Level::Fail, "{path}");
            assert!(findings[0].text.starts_with("notes.md:2 "), "{}", findings[0]);
        }
        for text in ["~/.config/x", "src/home/ann", "https://example.org/home/ann"] {
            assert_eq!(home_paths(&file(text), &mut Allowed::default())[0].level, Level::Pass, "{text}");
        }
    }

    #[test]
    fn all_rules_are_expressions() {
        assert!(ANY.is_some() && HOME_PATH.is_some() && EACH.iter().all(Option::is_some));
    }
}
