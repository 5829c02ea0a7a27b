//! Counting tests from what Rust's own test runner prints, where nothing better is there: documentation tests, and all of
//! them without cargo-nextest.

/// What its closing lines say together: one for each binary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    /// How many binaries told.
    pub(super) binaries: u64,
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
pub(super) fn count(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        counts.binaries += 1;
        let Some((_, told)) = line.split_once(". ") else { continue };
        for part in told.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.ignored += number,
                _ => {}
            }
        }
    }
    counts
}

/// Tests that failed, with what they said.
pub(super) fn failures(output: &str) -> Vec<(String, String)> {
    let mut failures: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in output.lines() {
        let heading = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----"));
        if let Some(name) = heading {
            failures.push((name.to_owned(), String::new()));
            inside = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            inside = false;
        } else if let Some((_, said)) = failures.last_mut().filter(|_| inside) {
            said.push_str(line);
            said.push('\n');
        }
    }
    failures
}

#[cfg(test)]
mod tests_of_libtest {
    use super::*;

    const OUTPUT: &str = "\
running 2 tests
test a ... ok
test b ... FAILED

failures:

---- b stdout ----
thread 'b' panicked

failures:
    b

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn the_closing_lines_of_all_binaries_are_added_up() {
        assert_eq!(count(OUTPUT), Counts { passed: 4, failed: 1, ignored: 2, binaries: 2 });
        assert_eq!(count("error: could not compile"), Counts::default());
    }

    #[test]
    fn what_failed_keeps_its_words() {
        assert_eq!(failures(OUTPUT), [("b".to_owned(), "thread 'b' panicked\n\n".to_owned())]);
    }
}
