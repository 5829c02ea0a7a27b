//! What must say the same: manifests, changelog, lock file, the binary, its OpenAPI document, and the last commit.

use super::{Finding, Manifests, ROOT_MANIFEST};
use crate::{
    changelog::{self, FILE},
    manifest::Version,
    process::Captured,
    repository::last_lines,
};

const VERSIONS: &str = "versions";
const CHANGELOG: &str = "changelog";
const LOCK_FILE: &str = "lock file";
const TREE: &str = "working tree";
/// Changed files that are told by name.
const NAMED: usize = 5;

/// The manifests among themselves.
pub(super) fn manifests(manifests: &Manifests) -> Vec<Finding> {
    let Some(version) = super::workspace_version(manifests) else {
        return vec![Finding::fail(VERSIONS, format!("{ROOT_MANIFEST} has no [workspace.package] version"))];
    };
    let mut faults = Vec::new();
    if let Err(error) = semver::Version::parse(version) {
        faults.push(format!("{version} in {ROOT_MANIFEST} is no semantic version: {error}"));
    }
    for (path, manifest) in manifests {
        if let Some(Version::Own(own)) = &manifest.version
            && own != version
        {
            faults.push(format!("{path} has the version {own}, the workspace {version}"));
        }
        for (name, asked) in &manifest.path_dependencies {
            if asked.trim_start_matches(['=', '^']) != version {
                faults.push(format!("{path} asks for {name} {asked}, and it is {version}"));
            }
        }
    }
    Finding::of_faults(VERSIONS, faults, format!("{version} in {} manifests", manifests.len()))
}

/// The changelog, and the version it leads to.
pub(super) fn changelog(text: &str, version: Option<&str>, release: bool) -> Vec<Finding> {
    let sections = changelog::sections(text);
    let unreleased = sections.first().filter(|top| top.is_unreleased() && top.has_content());
    let Some(version) = version.and_then(|version| semver::Version::parse(version).ok()) else {
        return vec![Finding::fail(CHANGELOG, "there is no version to hold it against".to_owned())];
    };
    let waiting = |text: String| match release {
        true => Finding::fail(CHANGELOG, text),
        false => Finding::warn(CHANGELOG, text),
    };
    let Some(last) = sections.iter().find(|section| !section.is_unreleased()) else {
        let text = match unreleased {
            Some(_) => {
                format!("nothing is released yet; cargo xtask release {version} makes a section of it")
            }
            None => {
                return vec![Finding::fail(CHANGELOG, format!("{FILE} has nothing to say; begin a section"))];
            }
        };
        return vec![waiting(text)];
    };
    let Ok(told) = semver::Version::parse(last.name) else {
        let text = format!("the heading {:?} names no version", last.heading);
        return vec![Finding::fail(CHANGELOG, text)];
    };
    let mut findings = Vec::new();
    if !last.is_dated() {
        let text = format!("{:?} has no date; write: ## [{told}] - YYYY-MM-DD", last.heading);
        findings.push(Finding::fail(CHANGELOG, text));
    }
    if !last.has_content() {
        findings.push(Finding::fail(CHANGELOG, format!("the section {told} says nothing")));
    }
    if told > version || (told < version && unreleased.is_none()) {
        let text = format!("its last version is {told}, that of {ROOT_MANIFEST} is {version}");
        findings.push(Finding::fail(CHANGELOG, text));
    } else if unreleased.is_some() {
        let text = "it has changes that no version has yet; cargo xtask release VERSION gives them one";
        findings.push(waiting(text.to_owned()));
    }
    if findings.is_empty() {
        findings.push(Finding::pass(CHANGELOG, format!("{told} of {}", last.date)));
    }
    findings
}

/// `metadata` is how `cargo metadata --locked` ended.
pub(super) fn lock_file(metadata: &Captured) -> Vec<Finding> {
    if metadata.success {
        return vec![Finding::pass(LOCK_FILE, "it fits the manifests")];
    }
    let said = last_lines(&metadata.stderr, 3);
    vec![Finding::fail(
        LOCK_FILE,
        format!("cargo metadata --locked: {said}; run cargo metadata, and commit Cargo.lock"),
    )]
}

/// The binary by `--version`, and the server's OpenAPI document by `info.version`; or why they could not be asked.
pub(super) fn told(
    version: Option<&str>,
    binary: &Result<String, String>,
    document: &Result<String, String>,
) -> Vec<Finding> {
    let version = version.unwrap_or("unknown");
    let mut findings = Vec::new();
    findings.push(match binary {
        Ok(told) if told.split_whitespace().last() == Some(version) => {
            Finding::pass(VERSIONS, format!("the binary says: {}", told.trim()))
        }
        Ok(told) => {
            Finding::fail(VERSIONS, format!("the binary says {:?}, {ROOT_MANIFEST} {version}", told.trim()))
        }
        Err(reason) => Finding::fail(VERSIONS, format!("the binary can't be asked: {reason}")),
    });
    findings.push(match document {
        Ok(told) if told == version => Finding::pass(VERSIONS, format!("the OpenAPI document says {told}")),
        Ok(told) => {
            let text = format!("the OpenAPI document says {told:?}, {ROOT_MANIFEST} {version}");
            Finding::fail(VERSIONS, text)
        }
        Err(reason) => Finding::fail(VERSIONS, format!("the server gives no OpenAPI document: {reason}")),
    });
    findings
}

/// What differs from the last commit is in nobody else's tree.
pub(super) fn working_tree(changes: &[String], release: bool) -> Vec<Finding> {
    if changes.is_empty() {
        return vec![Finding::pass(TREE, "as committed")];
    }
    let names: Vec<_> = changes.iter().take(NAMED).map(|change| change.trim()).collect();
    let more = if changes.len() > NAMED { ", …" } else { "" };
    let text = format!("{} differ from the last commit: {}{more}", changes.len(), names.join(", "));
    vec![if release { Finding::fail(TREE, text) } else { Finding::warn(TREE, text) }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::Level, manifest};

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    fn read(texts: &[(&str, &str)]) -> Manifests {
        let read = |(path, text): &(&str, &str)| (path.to_string(), manifest::read(path, text).unwrap());
        texts.iter().map(read).collect()
    }

    const ROOT: &str =
        "[workspace.package]\nversion = \"0.3.0\"\n[package]\nname = \"a\"\nversion.workspace = true\n";

    #[test]
    fn manifests_that_differ_are_a_failure_that_names_them() {
        let good = read(&[("Cargo.toml", ROOT), ("b/Cargo.toml", "[package]\nversion.workspace = true\n")]);
        assert_eq!(levels(&manifests(&good)), [Level::Pass]);
        let own = read(&[("Cargo.toml", ROOT), ("b/Cargo.toml", "[package]\nversion = \"0.2.9\"\n")]);
        let findings = manifests(&own);
        assert_eq!(levels(&findings), [Level::Fail]);
        assert_eq!(findings[0].text, "b/Cargo.toml has the version 0.2.9, the workspace 0.3.0");
        let asked = format!("{ROOT}[dependencies]\nb = {{ path = \"b\", version = \"0.2.0\" }}\n");
        assert_eq!(levels(&manifests(&read(&[("Cargo.toml", &asked)]))), [Level::Fail]);
        assert_eq!(
            levels(&manifests(&read(&[("Cargo.toml", "[package]\nversion = \"1.0.0\"\n")]))),
            [Level::Fail]
        );
        let odd = ROOT.replace("0.3.0", "0.3");
        assert_eq!(levels(&manifests(&read(&[("Cargo.toml", &odd)]))), [Level::Fail]);
    }

    #[test]
    fn the_changelog_leads_to_the_version() {
        use Level::{Fail, Pass, Warn};
        let dated = "## [0.3.0] - 2026-11-26\n\n- New.\n";
        let waiting = "## [Unreleased]\n\n- Newer.\n\n";
        for (text, usually, at_release) in [
            (dated.to_owned(), Pass, Pass),
            (format!("## [Unreleased]\n\n{dated}"), Pass, Pass),
            (format!("{waiting}{dated}"), Warn, Fail),
            (waiting.to_owned(), Warn, Fail),
            (String::new(), Fail, Fail),
            ("## [Unreleased]\n".to_owned(), Fail, Fail),
            (dated.replace("0.3.0", "0.2.0"), Fail, Fail),
            (format!("{waiting}{}", dated.replace("0.3.0", "0.2.0")), Warn, Fail),
            (dated.replace("0.3.0", "0.4.0"), Fail, Fail),
            (format!("{waiting}{}", dated.replace("0.3.0", "0.4.0")), Fail, Fail),
            (dated.replace(" - 2026-11-26", ""), Fail, Fail),
            (dated.replace("11-26", "13-26"), Fail, Fail),
            (dated.replace("- New.", ""), Fail, Fail),
            (dated.replace("0.3.0", "next"), Fail, Fail),
        ] {
            for (release, expected) in [(false, usually), (true, at_release)] {
                let findings = changelog(&text, Some("0.3.0"), release);
                assert_eq!(levels(&findings), [expected], "{release} {text}: {findings:?}");
            }
        }
        assert_eq!(levels(&changelog(dated, None, false)), [Fail]);
    }

    #[test]
    fn a_lock_file_that_is_behind_is_a_failure() {
        let ended =
            |success| Captured { success, stdout: String::new(), stderr: "error: behind\n".to_owned() };
        assert_eq!(levels(&lock_file(&ended(true))), [Level::Pass]);
        let findings = lock_file(&ended(false));
        assert_eq!(levels(&findings), [Level::Fail]);
        assert!(findings[0].text.contains("error: behind"), "{}", findings[0]);
    }

    #[test]
    fn a_binary_or_a_document_of_another_version_is_a_failure() {
        use Level::{Fail, Pass};
        let ok = |text: &str| Ok::<_, String>(text.to_owned());
        let none = || Err::<String, _>("there is none".to_owned());
        for (binary, document, expected) in [
            (ok("registry 0.3.0\n"), ok("0.3.0"), [Pass, Pass]),
            (ok("registry 0.2.0\n"), ok("0.2.0"), [Fail, Fail]),
            (none(), none(), [Fail, Fail]),
        ] {
            assert_eq!(levels(&told(Some("0.3.0"), &binary, &document)), expected);
        }
    }

    #[test]
    fn a_tree_that_differs_is_told_and_fails_a_release() {
        let changes: Vec<_> = (0..7).map(|at| format!(" M file{at}")).collect();
        assert_eq!(levels(&working_tree(&[], true)), [Level::Pass]);
        let findings = working_tree(&changes, false);
        assert_eq!(levels(&findings), [Level::Warn]);
        assert!(
            findings[0].text.starts_with("7 differ") && findings[0].text.ends_with("M file4, …"),
            "{}",
            findings[0]
        );
        assert_eq!(levels(&working_tree(&changes, true)), [Level::Fail]);
    }
}
