//! Checks that the versions of all manifests, the changelog and the last commit agree.
//!
//! The binary and the OpenAPI document take their version from the manifest; `tests/api/openapi.rs` checks that.

use semver::Version;
use serde_json::Value;

use super::finding::Finding;
use crate::changelog::{self, FILE};

const VERSIONS: &str = "versions";
const CHANGELOG: &str = "changelog";
const TREE: &str = "working tree";
/// Changed files that are named.
const MAX_NAMED_FILES: usize = 5;

/// Returns the packages of the workspace: those that come from no registry.
pub(super) fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten().filter(|package| package["source"].is_null())
}

/// Returns the version of the root package.
pub(crate) fn version(metadata: &Value) -> String {
    let root = format!("{}/Cargo.toml", metadata["workspace_root"].as_str().unwrap_or_default());
    let root = packages(metadata).find(|package| package["manifest_path"] == root.as_str());
    root.and_then(|package| package["version"].as_str()).unwrap_or_default().to_owned()
}

/// Compares the versions of all manifests.
pub(super) fn versions(metadata: &Value) -> Vec<Finding> {
    let version = version(metadata);
    let mut faults = Vec::new();
    for package in packages(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        if package["version"] != version.as_str() {
            faults.push(format!("{name} has the version {}, the workspace {version}", package["version"]));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let required = dependency["req"].as_str().unwrap_or_default().trim_start_matches(['=', '^']);
            if !dependency["path"].is_null() && !["*", &version].contains(&required) {
                faults.push(format!("{name} requires {} {required}, not {version}", dependency["name"]));
            }
        }
    }
    Finding::of_faults(VERSIONS, faults, format!("{version} in {} packages", packages(metadata).count()))
}

/// Compares the changelog with the version.
pub(super) fn changelog(text: &str, version: &str, release: bool) -> Vec<Finding> {
    let sections = changelog::sections(text);
    let unreleased = sections.first().is_some_and(|top| top.is_unreleased() && top.has_content());
    let Some(last) = sections.iter().find(|section| !section.is_unreleased()) else {
        let text = format!("nothing is released yet; cargo xtask release {version} begins a section");
        return vec![Finding::warn_or_fail(CHANGELOG, text, release || !unreleased)];
    };
    let (Ok(found), Ok(version)) = (Version::parse(last.name), Version::parse(version)) else {
        return vec![Finding::fail(CHANGELOG, format!("{:?} or {version:?} is not a version", last.heading))];
    };
    let mut faults = Vec::new();
    if !last.is_dated() {
        faults.push(format!("{:?} has no date; write: ## [{found}] - YYYY-MM-DD", last.heading));
    }
    if !last.has_content() {
        faults.push(format!("the section {found} is empty"));
    }
    if found > version || (found < version && !unreleased) {
        faults.push(format!("the last version of {FILE} is {found}, and Cargo.toml has {version}"));
    }
    if faults.is_empty() && unreleased {
        let text = "it has unreleased changes; cargo xtask release VERSION gives them a version";
        return vec![Finding::warn_or_fail(CHANGELOG, text, release)];
    }
    Finding::of_faults(CHANGELOG, faults, format!("{found} of {}", last.date))
}

/// Reports uncommitted changes, which no other clone has.
pub(super) fn working_tree(changes: &[String], release: bool) -> Vec<Finding> {
    if changes.is_empty() {
        return vec![Finding::pass(TREE, "as committed")];
    }
    let names: Vec<_> = changes.iter().take(MAX_NAMED_FILES).map(|change| change.trim()).collect();
    let more = if changes.len() > MAX_NAMED_FILES { ", …" } else { "" };
    let text = format!("{} files differ from the last commit: {}{more}", changes.len(), names.join(", "));
    vec![Finding::warn_or_fail(TREE, text, release)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::finding::Level::{self, Fail, Pass, Warn};

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn packages_and_path_dependencies_of_another_version_are_named() {
        let metadata = |version: &str, required: &str| {
            json!({"workspace_root": "/w", "packages": [
                {"name": "a", "version": "0.3.0", "source": null, "manifest_path": "/w/Cargo.toml",
                 "dependencies": [{"name": "b", "req": required, "path": "/w/b"}, {"name": "c", "req": "^7"}]},
                {"name": "b", "version": version, "source": null, "manifest_path": "/w/b/Cargo.toml"},
                {"name": "c", "version": "7.0.0", "source": "registry"},
            ]})
        };
        let found = versions(&metadata("0.3.0", "^0.3.0"));
        assert_eq!((levels(&found), found[0].text.as_str()), (vec![Pass], "0.3.0 in 2 packages"));
        let found = versions(&metadata("0.2.9", "=0.2.0"));
        assert_eq!(levels(&found), [Fail, Fail]);
        assert_eq!(found[0].text, "a requires \"b\" 0.2.0, not 0.3.0");
        assert_eq!(found[1].text, "b has the version \"0.2.9\", the workspace 0.3.0");
    }

    #[test]
    fn the_changelog_leads_to_the_version() {
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
                let findings = changelog(&text, "0.3.0", release);
                assert_eq!(levels(&findings), [expected], "{release} {text}: {findings:?}");
            }
        }
    }

    #[test]
    fn uncommitted_files_are_a_warning_and_fail_a_release() {
        let changes: Vec<_> = (0..7).map(|at| format!(" M file{at}")).collect();
        assert_eq!(levels(&working_tree(&[], true)), [Pass]);
        let findings = working_tree(&changes, false);
        assert!(findings[0].text.starts_with("7 files differ") && findings[0].text.ends_with("M file4, …"));
        assert_eq!((levels(&findings), levels(&working_tree(&changes, true))), (vec![Warn], vec![Fail]));
    }
}
