//! `cargo xtask release VERSION`: prepares the tree for a release. It prints the commands that commit, tag and push; the
//! maintainer runs them.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use semver::Version;
use time::{Date, OffsetDateTime};

use crate::{
    audit::{self, Audit, Finding, Level},
    changelog,
    repository::{Repository, printed},
};

const CHECK: &str = "release";
const MAIN: &str = "main";
/// Holds every version of the workspace; the other manifests inherit.
const MANIFEST: &str = "Cargo.toml";
const README: &str = "README.md";

/// Prepare the tree for a release: check everything, raise the versions, date the changelog
///
/// Nothing is committed, tagged or pushed: the commands for that are printed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Release {
    /// The version, such as 0.3.1
    #[arg(value_parser = parse)]
    version: Version,
    /// Check everything, print what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

fn parse(text: &str) -> Result<Version, semver::Error> {
    Version::parse(text.strip_prefix('v').unwrap_or(text))
}

impl Release {
    pub(crate) fn run(&self) -> Result<bool> {
        let (repository, version) = (Repository::here()?, &self.version);
        let current = audit::version(&repository.metadata()?);
        let state = State {
            branch: repository.git(&["rev-parse", "--abbrev-ref", "HEAD"])?.trim().to_owned(),
            changes: repository.changes()?,
            tags: repository.git(&["tag", "--list", "v*"])?.lines().map(str::to_owned).collect(),
            changelog: repository.read(changelog::FILE)?,
            current: current.clone(),
        };
        let mut findings = state.check(version);
        findings.iter().for_each(|finding| println!("{finding}"));
        findings.extend(Audit::default().findings(&repository, &mut |finding| println!("{finding}"))?);
        let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
        ensure!(failed == 0, "{failed} checks failed; nothing was changed");
        if self.dry_run {
            println!(
                "\nWithout --dry-run this would raise {current} to {version} in {MANIFEST}, Cargo.lock and"
            );
            println!("{README}, and date the section of {}.", changelog::FILE);
        } else {
            prepare(&repository, &current, version, OffsetDateTime::now_utc().date())?;
            println!("\nChanged:\n{}", repository.git(&["diff", "--stat"])?.trim_end());
        }
        println!(
            "\nRead it (git diff), then:\n  git commit --all --message 'release: {version}'\n  \
             cargo xtask audit --release --compile-package\n  \
             git tag --annotate v{version} --message 'registry {version}'\n  git push origin {MAIN} v{version}\n\
             The notes of the release: cargo xtask changelog {version} --notes"
        );
        Ok(true)
    }
}

/// The repository before the release.
#[derive(Debug)]
struct State {
    branch: String,
    changes: Vec<String>,
    /// Tags that begin with `v`.
    tags: Vec<String>,
    changelog: String,
    /// The workspace's version.
    current: String,
}

impl State {
    fn check(&self, version: &Version) -> Vec<Finding> {
        let mut faults = Vec::new();
        if self.branch != MAIN {
            faults.push(format!(
                "this is {}, not {MAIN}; releases are made there: git switch {MAIN}",
                self.branch
            ));
        }
        if !self.changes.is_empty() {
            faults.push(format!(
                "{} files differ from the last commit; commit or stash them",
                self.changes.len()
            ));
        }
        let tag = format!("v{version}");
        if self.tags.contains(&tag) {
            faults.push(format!("the tag {tag} exists; choose the next version"));
        }
        let sections = changelog::sections(&self.changelog);
        let released = sections.iter().map(|section| section.name);
        let tagged = self.tags.iter().filter_map(|tag| tag.strip_prefix('v'));
        let last = released.chain(tagged).filter_map(|version| Version::parse(version).ok()).max();
        if let Some(last) = last.filter(|last| version <= last) {
            faults.push(format!("{version} is not above {last}, the last release"));
        }
        if Version::parse(&self.current).is_ok_and(|current| *version < current) {
            faults.push(format!("{version} is below {}, the version of {MANIFEST}", self.current));
        }
        if !sections.first().is_some_and(|top| top.is_unreleased() && top.has_content()) {
            faults.push(format!("{} has nothing under [Unreleased]", changelog::FILE));
        }
        Finding::of_faults(CHECK, faults, format!("{version} can follow"))
    }
}

/// Raises the versions and dates the changelog. If anything fails, the last commit is restored: [`State::check`] has
/// found no other changes.
fn prepare(repository: &Repository, current: &str, version: &Version, today: Date) -> Result<()> {
    let to = version.to_string();
    let edit = || -> Result<()> {
        let write = |path: &str, text: String| {
            fs::write(repository.root.join(path), text).with_context(|| format!("{path} can't be written"))
        };
        write(changelog::FILE, changelog::released(&repository.read(changelog::FILE)?, &to, today)?)?;
        write(MANIFEST, raised(&repository.read(MANIFEST)?, current, &to))?;
        write(README, repository.read(README)?.replace(current, &to))?;
        printed(repository.cargo(["update", "--workspace", "--offline"]))?;
        let found = audit::version(&repository.metadata()?);
        ensure!(found == to, "{MANIFEST} has the version {found}");
        Ok(())
    };
    if let Err(error) = edit() {
        repository.git(&["restore", "."])?;
        bail!("{error:#}; nothing was changed");
    }
    Ok(())
}

/// Returns the root manifest with the versions of the workspace and of its path dependencies raised.
fn raised(manifest: &str, from: &str, to: &str) -> String {
    let raise = |line: &str| {
        let is_ours = line.starts_with("version = ") || line.contains("path = ");
        if is_ours { line.replace(&format!("\"{from}\""), &format!("\"{to}\"")) } else { line.to_owned() }
    };
    manifest.split_inclusive('\n').map(raise).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    const TODAY: Date = date!(2026 - 11 - 26);

    fn state() -> State {
        State {
            branch: "main".to_owned(),
            changes: Vec::new(),
            tags: vec!["v0.2.0".to_owned()],
            changelog: "## [Unreleased]\n\n- New.\n\n## [0.2.0] - 2025-01-31\n\n- Old.\n".to_owned(),
            current: "0.3.0".to_owned(),
        }
    }

    fn faults(state: &State, version: &str) -> Vec<String> {
        let findings = state.check(&Version::parse(version).unwrap()).into_iter();
        findings.filter(|finding| finding.level == Level::Fail).map(|finding| finding.text).collect()
    }

    #[test]
    fn a_release_can_follow_only_if_everything_is_ready() {
        assert_eq!(faults(&state(), "0.3.0"), [""; 0]);
        assert_eq!(faults(&state(), "1.0.0"), [""; 0]);
        let tags = vec!["v0.3.0".to_owned()];
        for (state, version, fault) in [
            (State { branch: "topic".to_owned(), ..state() }, "0.3.0", "this is topic"),
            (State { changes: vec!["?? x".to_owned()], ..state() }, "0.3.0", "1 files differ"),
            (State { tags, current: "0.2.0".to_owned(), ..state() }, "0.3.0", "the tag v0.3.0"),
            (State { current: "0.1.0".to_owned(), ..state() }, "0.2.0", "0.2.0 is not above 0.2.0"),
            (state(), "0.2.9", "0.2.9 is below 0.3.0"),
            (state(), "0.3.0-rc.1", "0.3.0-rc.1 is below 0.3.0"),
            (
                State { changelog: "## [Unreleased]\n".to_owned(), ..state() },
                "0.3.0",
                "CHANGELOG.md has nothing",
            ),
        ] {
            let faults = faults(&state, version);
            assert!(faults.iter().any(|found| found.starts_with(fault)), "{fault}: {faults:?}");
        }
        assert!(parse("v0.4.0").is_ok() && parse("next").is_err());
    }

    #[test]
    fn only_versions_of_ours_are_raised() {
        let manifest = "version = \"0.3.0\"\nx = { path = \"x\", version = \"0.3.0\" }\ny = \"0.3.0\"\n";
        let expected = "version = \"0.4.0\"\nx = { path = \"x\", version = \"0.4.0\" }\ny = \"0.3.0\"\n";
        assert_eq!(raised(manifest, "0.3.0", "0.4.0"), expected);
    }

    /// Returns a committed repository without dependencies.
    fn repository() -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        fs::create_dir(root.join("src")).unwrap();
        for (path, text) in [
            ("src/lib.rs", ""),
            ("README.md", "small 0.3.0\n"),
            ("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- New.\n"),
            (".gitignore", "/target/\n"),
            (
                "Cargo.toml",
                "[workspace]\n[workspace.package]\nversion = \"0.3.0\"\n[package]\nname = \"small\"\n\
                 version.workspace = true\n",
            ),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        let repository = Repository { root };
        printed(repository.cargo(["generate-lockfile", "--offline"])).unwrap();
        repository.git(&["init", "--quiet", "--initial-branch=main"]).unwrap();
        repository.git(&["add", "--all"]).unwrap();
        let who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        repository.git(&[&who[..], &["commit", "--quiet", "--message", "all"]].concat()).unwrap();
        (folder, repository)
    }

    #[test]
    fn a_release_raises_all_versions_and_commits_nothing() {
        let (_folder, repository) = repository();
        prepare(&repository, "0.3.0", &Version::new(0, 4, 0), TODAY).unwrap();
        for path in ["Cargo.toml", "Cargo.lock", "README.md"] {
            let text = repository.read(path).unwrap();
            assert!(text.contains("0.4.0") && !text.contains("0.3.0"), "{text}");
        }
        let changelog = repository.read("CHANGELOG.md").unwrap();
        assert!(changelog.contains("## [Unreleased]\n\n## [0.4.0] - 2026-11-26\n\n- New."), "{changelog}");
        assert_eq!(repository.git(&["rev-list", "--count", "HEAD"]).unwrap().trim(), "1");
        assert_eq!(repository.changes().unwrap().len(), 4);
    }

    #[test]
    fn a_release_that_fails_restores_the_tree() {
        let (_folder, repository) = repository();
        // The manifest keeps its version, since this is not the one it has.
        let error = prepare(&repository, "0.9.9", &Version::new(1, 0, 0), TODAY).unwrap_err();
        assert!(error.to_string().ends_with("nothing was changed"), "{error}");
        assert_eq!(repository.changes().unwrap(), [""; 0]);
    }
}
