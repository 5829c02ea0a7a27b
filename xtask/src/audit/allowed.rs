//! What looks like a fault in a text and is none, each with its reason: `xtask/audit-allow.txt`.

use super::Finding;

pub(super) const FILE: &str = "xtask/audit-allow.txt";
const CHECK: &str = "allow-list";

/// One line: `rule path text # reason`.
#[derive(Debug)]
struct Entry {
    line: usize,
    rule: String,
    path: String,
    text: String,
    used: bool,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Allowed(Vec<Entry>);

impl Allowed {
    /// Reads it. Lines that are none, or give no reason, are faults and allow nothing.
    pub(super) fn read(text: &str) -> (Self, Vec<Finding>) {
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (entry, reason) = line.split_once(" # ").unwrap_or((line, ""));
            let words: Vec<_> = entry.split_whitespace().collect();
            match words[..] {
                [rule, path, text] if !reason.trim().is_empty() => {
                    let [rule, path, text] = [rule, path, text].map(str::to_owned);
                    entries.push(Entry { line: at + 1, rule, path, text, used: false });
                }
                _ => faults.push(Finding::fail(
                    CHECK,
                    format!("{FILE}:{} is not `rule path text # reason`: {line}", at + 1),
                )),
            }
        }
        (Self(entries), faults)
    }

    /// Whether what `rule` found in that file is allowed.
    pub(super) fn allows(&mut self, rule: &str, path: &str, found: &str) -> bool {
        let fitting =
            |entry: &&mut Entry| entry.rule == rule && entry.path == path && found.contains(&entry.text);
        self.0.iter_mut().find(fitting).map(|entry| entry.used = true).is_some()
    }

    /// Lines that allowed nothing: what they were for is gone.
    pub(super) fn unused(&self) -> Vec<Finding> {
        let unused = self.0.iter().filter(|entry| !entry.used);
        unused
            .map(|entry| {
                let place = format!("{FILE}:{}", entry.line);
                Finding::warn(CHECK, format!("{place} allows what is no longer there; take the line away"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Level;

    #[test]
    fn a_line_allows_one_rule_in_one_file_and_needs_a_reason() {
        let (mut allowed, faults) =
            Allowed::read("# words\n\nhome-path README.md ~ann # the user of the examples\nrule file text\n");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].level, Level::Fail);
        assert!(faults[0].text.contains("audit-allow.txt:4"), "{}", faults[0]);
        assert!(!allowed.allows("home-path", "other.md", "~ann"));
        assert!(!allowed.allows("secret", "README.md", "~ann"));
        assert!(!allowed.allows("rule", "file", "text"));
        assert_eq!(allowed.unused().len(), 1);
        assert!(allowed.allows("home-path", "README.md", "~ann/.config"));
        assert!(allowed.unused().is_empty());
    }
}
