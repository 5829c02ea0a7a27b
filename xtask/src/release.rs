//! `cargo xtask release VERSION`: the tree made ready for a release. What only the maintainer may do, committing, tagging
//! and pushing, is printed and not done.

use std::{path::Path, process::ExitCode};

use clap::Args;
use semver::Version;
use time::{Date, OffsetDateTime};

use crate::{
    audit::{self, Audit, Finding, Level, Manifests, ROOT_MANIFEST},
    changelog,
    error::Error,
    files::{self, Edits},
    manifest,
    repository::{Repository, last_lines},
};

const CHECK: &str = "release";
const MAIN: &str = "main";
const LOCK_FILE: &str = "Cargo.lock";
/// Texts for users that may name the version.
const MENTIONS: [&str; 1] = ["README.md"];

/// Make the tree ready for a release: check everything, raise the versions, date the changelog
///
/// Nothing is committed, tagged or pushed: the commands for that are printed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Release {
    /// The version, such as 0.3.1
    version: String,
    /// Check everything, say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Release {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        self.run_in(&Repository::here()?, OffsetDateTime::now_utc().date())
    }

    fn run_in(&self, repository: &Repository, today: Date) -> Result<ExitCode, Error> {
        let bare = self.version.strip_prefix('v').unwrap_or(&self.version);
        let version = Version::parse(bare).map_err(|error| {
            Error::Usage(format!("{} is no semantic version, such as 0.3.1: {error}", self.version))
        })?;
        let manifests = audit::manifests(&repository.tracked()?)?;
        let found = Found {
            branch: repository.git(&["rev-parse", "--abbrev-ref", "HEAD"])?.trim().to_owned(),
            changes: repository.changes()?,
            tags: repository.git(&["tag", "--list", "v*"])?.lines().map(str::to_owned).collect(),
            changelog: files::read(&repository.root.join(changelog::FILE))?,
            current: audit::workspace_version(&manifests).unwrap_or_default().to_owned(),
        };
        let mut findings = found.judged(&version);
        findings.iter().for_each(|finding| println!("{finding}"));
        let audit = Audit::default();
        findings.extend(audit.findings(repository, &mut |finding| println!("{finding}"))?);
        let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
        if failed > 0 {
            return Err(Error::Failed(format!("{failed} checks failed; nothing was changed")));
        }
        let changes = changes(repository, &manifests, &found, &version, today)?;
        if self.dry_run {
            println!("\nWith --dry-run nothing is changed. It would be:");
            changes.iter().for_each(|(path, _)| println!("  {path}"));
        } else {
            make(repository, &changes, &version)?;
            println!("\nWhat is changed:\n{}", repository.git(&["diff", "--stat"])?.trim_end());
        }
        println!("\nLook it through (git diff), then:\n{}", commands(&version));
        Ok(ExitCode::SUCCESS)
    }
}

/// What there is before the release.
#[derive(Debug)]
struct Found {
    branch: String,
    changes: Vec<String>,
    /// Those that begin with `v`.
    tags: Vec<String>,
    changelog: String,
    /// The workspace's version.
    current: String,
}

impl Found {
    fn judged(&self, version: &Version) -> Vec<Finding> {
        let mut faults = Vec::new();
        if self.branch != MAIN {
            faults.push(format!(
                "this is {}, not {MAIN}; releases are made there: git switch {MAIN}",
                self.branch
            ));
        }
        if !self.changes.is_empty() {
            let count = self.changes.len();
            faults.push(format!("{count} files differ from the last commit; commit them or put them away"));
        }
        let tag = format!("v{version}");
        if self.tags.contains(&tag) {
            faults.push(format!("the tag {tag} is there already; choose the next version"));
        }
        if let Some(last) = self.last_release().filter(|last| version <= last) {
            faults.push(format!("{version} is not above {last}, the last release"));
        }
        if Version::parse(&self.current).is_ok_and(|current| *version < current) {
            faults.push(format!("{version} is below {}, the version of {ROOT_MANIFEST}", self.current));
        }
        let sections = changelog::sections(&self.changelog);
        if !sections.first().is_some_and(|top| top.is_unreleased() && top.has_content()) {
            faults.push(format!("{} says nothing under [Unreleased]", changelog::FILE));
        }
        if faults.is_empty() {
            return vec![Finding::pass(CHECK, format!("{version} can follow"))];
        }
        faults.into_iter().map(|fault| Finding::fail(CHECK, fault)).collect()
    }

    /// By the changelog and by tags.
    fn last_release(&self) -> Option<Version> {
        let sections = changelog::sections(&self.changelog);
        let told = sections.iter().map(|section| section.name);
        let tagged = self.tags.iter().filter_map(|tag| tag.strip_prefix('v'));
        told.chain(tagged).filter_map(|version| Version::parse(version).ok()).max()
    }
}

/// The files that change, with their new texts. The lock file is cargo's to write.
fn changes(
    repository: &Repository,
    manifests: &Manifests,
    found: &Found,
    version: &Version,
    today: Date,
) -> Result<Vec<(String, String)>, Error> {
    let to = version.to_string();
    let mut changes = vec![(changelog::FILE.to_owned(), changelog::released(&found.changelog, &to, today)?)];
    for path in manifests.keys() {
        let text = files::read(&repository.root.join(path))?;
        let raised = manifest::raised(path, &text, &found.current, &to)?;
        if raised != text {
            changes.push((path.clone(), raised));
        }
    }
    for path in MENTIONS.iter().filter(|path| repository.root.join(path).is_file()) {
        let text = files::read(&repository.root.join(path))?;
        let raised = mentioning(&text, &found.current, &to);
        if raised != text {
            changes.push(((*path).to_owned(), raised));
        }
    }
    Ok(changes)
}

/// The text with the version `from`, where it stands by itself, made `to`.
fn mentioning(text: &str, from: &str, to: &str) -> String {
    let part_of_version = |c: char| c.is_ascii_digit();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from).filter(|_| !from.is_empty()) {
        let (before, behind) = (&rest[..at], &rest[at + from.len()..]);
        let mut next = behind.chars();
        let goes_on = match next.next() {
            Some('.') => next.next().is_some_and(part_of_version),
            Some('-' | '+') => next.next().is_some_and(char::is_alphanumeric),
            Some(c) => part_of_version(c),
            None => false,
        };
        let begun = before.ends_with(part_of_version) || before.ends_with('.');
        out.push_str(before);
        out.push_str(if goes_on || begun { from } else { to });
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Writes them and lets cargo bring the lock file up. Where anything fails, all is as it was.
fn make(repository: &Repository, changes: &[(String, String)], version: &Version) -> Result<(), Error> {
    let mut edits = Edits::default();
    for (path, text) in changes {
        if repository.interrupt.is_wanted() {
            return Err(Error::Interrupted("nothing was changed".to_owned()));
        }
        edits.write(&repository.root.join(path), text)?;
    }
    let lock_file = repository.root.join(LOCK_FILE);
    edits.remember(&lock_file)?;
    let undone = |error| match error {
        Error::Interrupted(_) => Error::Interrupted("nothing was changed".to_owned()),
        other => other,
    };
    let updated = repository.cargo(&["update", "--workspace", "--offline"]).map_err(undone)?;
    let locked = repository.cargo(&["metadata", "--locked", "--format-version", "1"]).map_err(undone)?;
    for (what, ended) in [("cargo update --workspace", &updated), ("cargo metadata --locked", &locked)] {
        if !ended.success {
            let said = last_lines(&ended.stderr, 3);
            return Err(Error::Failed(format!("{what} failed: {said}; nothing was changed")));
        }
    }
    let text = files::read(&lock_file)?;
    if !text.contains(&format!("version = \"{version}\"")) {
        let path = Path::new(LOCK_FILE).display();
        return Err(Error::Failed(format!("{path} does not name {version} after all; nothing was changed")));
    }
    edits.keep();
    Ok(())
}

fn commands(version: &Version) -> String {
    format!(
        "  git commit --all --message 'release: {version}'\n  cargo xtask audit --release --compile-package\n  \
         git tag --annotate v{version} --message 'registry {version}'\n  git push origin {MAIN} v{version}\n\
         The notes of the release: cargo xtask changelog {version} --notes"
    )
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;
    use crate::testing::Fixture;

    const TODAY: Date = date!(2026 - 11 - 26);

    fn release(version: &str) -> Release {
        Release { version: version.to_owned(), dry_run: false }
    }

    fn found() -> Found {
        Found {
            branch: MAIN.to_owned(),
            changes: Vec::new(),
            tags: vec!["v0.2.0".to_owned()],
            changelog: "## [Unreleased]\n\n- New.\n\n## [0.2.0] - 2025-01-31\n\n- Old.\n".to_owned(),
            current: "0.3.0".to_owned(),
        }
    }

    fn faults(found: &Found, version: &str) -> Vec<String> {
        let findings = found.judged(&Version::parse(version).unwrap());
        findings
            .into_iter()
            .filter(|finding| finding.level == Level::Fail)
            .map(|finding| finding.text)
            .collect()
    }

    #[test]
    fn a_release_can_follow_only_where_all_is_ready() {
        assert_eq!(faults(&found(), "0.3.0"), [""; 0]);
        assert_eq!(faults(&found(), "1.0.0"), [""; 0]);
        for (found, version, fault) in [
            (Found { branch: "topic".to_owned(), ..found() }, "0.3.0", "this is topic"),
            (Found { changes: vec!["?? x".to_owned()], ..found() }, "0.3.0", "1 files differ"),
            (
                Found { tags: vec!["v0.3.0".to_owned()], current: "0.2.0".to_owned(), ..found() },
                "0.3.0",
                "the tag v0.3.0",
            ),
            (Found { current: "0.1.0".to_owned(), ..found() }, "0.2.0", "0.2.0 is not above 0.2.0"),
            (found(), "0.2.9", "0.2.9 is below 0.3.0"),
            (found(), "0.3.0-rc.1", "0.3.0-rc.1 is below 0.3.0"),
            (
                Found { changelog: "## [Unreleased]\n".to_owned(), ..found() },
                "0.3.0",
                "CHANGELOG.md says nothing",
            ),
        ] {
            let faults = faults(&found, version);
            assert!(faults.iter().any(|told| told.starts_with(fault)), "{fault}: {faults:?}");
        }
    }

    #[test]
    fn the_version_is_raised_where_it_stands_by_itself() {
        let text = "registry 0.3.0, v0.3.0 and 0.3.0.\nNot 10.3.0, 0.3.01, 0.3.0.1 or 0.3.0-rc1. 0.2.0";
        let expected = "registry 0.4.0, v0.4.0 and 0.4.0.\nNot 10.3.0, 0.3.01, 0.3.0.1 or 0.3.0-rc1. 0.2.0";
        assert_eq!(mentioning(text, "0.3.0", "0.4.0"), expected);
        assert_eq!(mentioning(text, "", "0.4.0"), text);
    }

    #[test]
    fn a_version_that_is_none_is_refused() {
        let fixture = Fixture::new();
        let error = release("next").run_in(&fixture.repository, TODAY).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
    }

    #[test]
    fn a_release_raises_everything_and_commits_nothing() {
        let fixture = Fixture::new();
        release("v0.4.0").run_in(&fixture.repository, TODAY).unwrap();
        let root = fixture.read("Cargo.toml");
        assert!(root.contains("version = \"0.4.0\"") && !root.contains("0.3.0"), "{root}");
        assert!(fixture.read("Cargo.lock").contains("version = \"0.4.0\""));
        assert!(fixture.read("README.md").contains("0.4.0"));
        let changelog = fixture.read("CHANGELOG.md");
        assert!(changelog.contains("## [Unreleased]\n\n## [0.4.0] - 2026-11-26\n\n- New."), "{changelog}");
        assert_eq!(fixture.git(&["rev-list", "--count", "HEAD"]).trim(), "1");
        assert_eq!(fixture.git(&["tag"]), "");
        let changes = fixture.git(&["status", "--porcelain"]);
        assert_eq!(changes.lines().count(), 4, "{changes}");
        fixture.commit();
        // What is released once is not released again.
        assert!(release("0.4.0").run_in(&fixture.repository, TODAY).is_err());
    }

    #[test]
    fn a_dry_run_changes_nothing() {
        let fixture = Fixture::new();
        let dry = Release { dry_run: true, ..release("0.4.0") };
        dry.run_in(&fixture.repository, TODAY).unwrap();
        assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    }

    #[test]
    fn a_release_that_fails_on_the_way_leaves_the_tree_as_it_was() {
        let fixture = Fixture::new();
        let version = Version::parse("0.4.0").unwrap();
        let broken = vec![
            ("CHANGELOG.md".to_owned(), "changed".to_owned()),
            ("Cargo.toml".to_owned(), "[package\n".to_owned()),
        ];
        let error = make(&fixture.repository, &broken, &version).unwrap_err();
        assert!(error.to_string().ends_with("nothing was changed"), "{error}");
        assert_eq!(fixture.git(&["status", "--porcelain"]), "");
        let changed = vec![("CHANGELOG.md".to_owned(), "changed".to_owned())];
        fixture.repository.interrupt.ask();
        let error = make(&fixture.repository, &changed, &version).unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
    }
}
