//! `cargo xtask audit`: may this tree be released?
//!
//! Each check is a function from what was found (tracked files, texts, outputs) to findings, and has a test that makes it
//! fail. What was found comes from [`gather`] alone.

use std::{collections::BTreeMap, fmt, process::ExitCode};

use clap::Args;

use crate::{
    changelog,
    error::{Error, FAILED},
    files, manifest,
    repository::{Repository, Tracked},
};

mod agreement;
mod allowed;
mod gather;
mod package;
mod places;
mod secrets;

pub(crate) use gather::{built, own_settings};

/// Say whether this tree may be released: secrets, stray files, versions, changelog, lock file, package
#[derive(Debug, Default, Args)]
pub(crate) struct Audit {
    /// As for a release: changes that no version has yet, and files that differ from the commit, are failures
    #[arg(long)]
    release: bool,
    /// Compile the package as its users will, which takes minutes
    #[arg(long)]
    compile_package: bool,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Pass,
    Warn,
    Fail,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) check: &'static str,
    /// What is so, or what is wrong and what to do.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn pass(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Pass, check, text: text.into() }
    }

    pub(crate) fn warn(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Warn, check, text: text.into() }
    }

    pub(crate) fn fail(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fail, check, text: text.into() }
    }

    /// All faults of a check, or that there is none.
    fn of_faults(check: &'static str, faults: Vec<String>, none: String) -> Vec<Self> {
        if faults.is_empty() {
            return vec![Self::pass(check, none)];
        }
        faults.into_iter().map(|fault| Self::fail(check, fault)).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.level.name(), self.check, self.text)
    }
}

impl Audit {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let findings = self.findings(&Repository::here()?, &mut |finding| println!("{finding}"))?;
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (warned, failed) = (count(Level::Warn), count(Level::Fail));
        println!("{} passed, {warned} to look at, {failed} failed", count(Level::Pass));
        Ok(if failed > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
    }

    /// All checks, each told as soon as it is known.
    pub(crate) fn findings(
        &self,
        repository: &Repository,
        tell: &mut dyn FnMut(&Finding),
    ) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let mut add = |more: Vec<Finding>| {
            more.iter().for_each(&mut *tell);
            findings.extend(more);
        };
        let tracked = repository.tracked()?;
        add(texts(&tracked));
        let manifests = manifests(&tracked)?;
        let changelog = files::read(&repository.root.join(changelog::FILE)).unwrap_or_default();
        add(agreement::changelog(&changelog, workspace_version(&manifests), self.release));
        add(agreement::lock_file(&gather::lock_file(repository)?));
        add(agreement::manifests(&manifests));
        let (binary, document) = gather::binary(repository)?;
        add(agreement::told(workspace_version(&manifests), &binary, &document));
        add(package::judged(&gather::package(repository, &manifests, self.compile_package)?));
        add(agreement::working_tree(&repository.changes()?, self.release));
        Ok(findings)
    }
}

/// What the tracked files alone tell.
fn texts(tracked: &[Tracked]) -> Vec<Finding> {
    let (mut allowed, mut findings) = match tracked.iter().find(|file| file.path == allowed::FILE) {
        Some(Tracked { text: Some(text), .. }) => allowed::Allowed::read(text),
        _ => (allowed::Allowed::default(), Vec::new()),
    };
    findings.extend(places::stray(tracked));
    findings.extend(secrets::secrets(tracked, &mut allowed));
    findings.extend(secrets::home_paths(tracked, &mut allowed));
    findings.extend(allowed.unused());
    findings
}

/// All manifests, by their paths.
pub(crate) type Manifests = BTreeMap<String, manifest::Manifest>;

pub(crate) const ROOT_MANIFEST: &str = "Cargo.toml";

/// Those of the workspace's members: all that are tracked, but for workspaces of their own.
pub(crate) fn manifests(tracked: &[Tracked]) -> Result<Manifests, Error> {
    let is_manifest = |path: &str| path == ROOT_MANIFEST || path.ends_with("/Cargo.toml");
    let mut manifests = Manifests::new();
    for file in tracked.iter().filter(|file| is_manifest(&file.path)) {
        let read = manifest::read(&file.path, file.text.as_deref().unwrap_or_default())?;
        if file.path == ROOT_MANIFEST || !read.is_workspace {
            manifests.insert(file.path.clone(), read);
        }
    }
    Ok(manifests)
}

/// The version that all of them share.
pub(crate) fn workspace_version(manifests: &Manifests) -> Option<&str> {
    manifests.get(ROOT_MANIFEST)?.workspace_version.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    fn failures(fixture: &Fixture, audit: &Audit) -> Vec<String> {
        let findings = audit.findings(&fixture.repository, &mut |_| {}).unwrap();
        findings.iter().filter(|finding| finding.level == Level::Fail).map(Finding::to_string).collect()
    }

    /// One repository, since each of its own would be compiled.
    #[test]
    fn a_sound_repository_passes_and_each_fault_put_into_it_is_told() {
        let fixture = Fixture::new();
        let usual = Audit::default();
        assert_eq!(failures(&fixture, &usual), [""; 0]);
        let release = Audit { release: true, ..Audit::default() };
        assert_eq!(failures(&fixture, &release).len(), 1, "the changelog has no version yet");

        let sound = |path: &str| fixture.read(path);
        let (manifest, changelog, program) =
            (sound("Cargo.toml"), sound("CHANGELOG.md"), sound("src/main.rs"));
        let secret = format!("pass{}", "word = \"8f3Kq9ZtX2vLmN7bR4wYcD1sG6hJ\"\n");
        for (path, text, told) in [
            (".env", "", "[FAIL] tracked files: .env is tracked"),
            ("notes.db", "", "[FAIL] tracked files: notes.db is tracked"),
            ("notes.txt", &secret, "[FAIL] secrets: notes.txt:1"),
            ("notes.txt", concat!("/ho", "me/ann\n"), "[FAIL] home paths: notes.txt:1"),
            (allowed::FILE, "half a line\n", "[FAIL] allow-list: "),
            ("CHANGELOG.md", "# Changelog\n", "[FAIL] changelog: "),
            (
                "part/Cargo.toml",
                "[package]\nname = \"part\"\nversion = \"0.1.0\"\n",
                "[FAIL] versions: part/Cargo.toml",
            ),
            ("Cargo.toml", &manifest.replacen("0.3.0", "0.4.0", 1), "[FAIL] lock file: "),
            (
                "Cargo.toml",
                &manifest.replace("license = \"MIT\"", "include = [\"src\"]"),
                "[FAIL] package: small holds no",
            ),
            (
                "src/main.rs",
                &program.replace("env!(\"CARGO_PKG_VERSION\")", "\"0.1.0\""),
                "[FAIL] versions: the binary says",
            ),
            ("src/main.rs", "fn main() {", "[FAIL] versions: the binary can't be asked"),
        ] {
            let before = fixture.repository.root.join(path).is_file().then(|| fixture.read(path));
            fixture.write(path, text);
            fixture.git(&["add", "--force", path]);
            let failures = failures(&fixture, &usual);
            assert!(failures.iter().any(|failure| failure.starts_with(told)), "{told}: {failures:?}");
            match before {
                Some(text) => fixture.write(path, &text),
                None => fixture.git(&["rm", "--quiet", "--force", path]).clear(),
            }
            fixture.git(&["add", "--all"]);
        }
        assert_eq!(fixture.read("CHANGELOG.md"), changelog);
        assert_eq!(failures(&fixture, &usual), [""; 0]);
        // A workspace of its own has versions of its own.
        fixture.write("fuzz/Cargo.toml", "[workspace]\n[package]\nname = \"fuzz\"\nversion = \"0.0.0\"\n");
        fixture.git(&["add", "--all"]);
        assert_eq!(failures(&fixture, &usual), [""; 0]);
        // What is deleted is no longer there.
        std::fs::remove_file(fixture.repository.root.join("LICENSE")).unwrap();
        let failures = failures(&fixture, &release);
        assert!(failures.iter().any(|failure| failure.starts_with("[FAIL] working tree: ")), "{failures:?}");
        assert!(
            failures.iter().any(|failure| failure == "[FAIL] package: small holds no LICENSE"),
            "{failures:?}"
        );
    }
}
