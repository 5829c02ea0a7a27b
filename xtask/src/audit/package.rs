//! What `cargo package` makes: that it can be made, and what is in it.

use super::{Finding, places};

const CHECK: &str = "package";
/// What a package with a program must hold.
const WANTED: [&str; 6] = ["Cargo.lock", "Cargo.toml", "CHANGELOG.md", "LICENSE", "README.md", "src/main.rs"];
/// What is the maintainers' own.
const OURS: [&str; 16] = [
    ".ci/",
    ".config/",
    ".dockerignore",
    ".github/",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    "RELEASE.md",
    "compose.yaml",
    "deny.toml",
    "fuzz/",
    "loadtest/",
    "Makefile",
    "packaging/",
    "qa_artifacts/",
    "xtask/",
];

/// A package as it would be published.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// Whether it has a program, and so is what people install.
    pub(super) is_main: bool,
    /// Its files, or why they could not be listed.
    pub(super) files: Result<Vec<String>, String>,
}

/// The packages, and whether they can be made.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) packages: Vec<Package>,
    pub(super) made: Result<&'static str, String>,
}

pub(super) fn judged(found: &Packages) -> Vec<Finding> {
    let mut findings: Vec<_> = found.packages.iter().flat_map(contents).collect();
    findings.push(match &found.made {
        Ok(how) => Finding::pass(CHECK, *how),
        Err(reason) => Finding::fail(CHECK, format!("cargo package: {reason}")),
    });
    findings
}

fn contents(package: &Package) -> Vec<Finding> {
    let name = &package.name;
    let files = match &package.files {
        Ok(files) => files,
        Err(reason) => return vec![Finding::fail(CHECK, format!("{name} can't be listed: {reason}"))],
    };
    let mut faults = Vec::new();
    if package.is_main {
        let missing = WANTED.iter().filter(|wanted| !files.iter().any(|file| file == *wanted));
        faults.extend(missing.map(|missing| format!("{name} holds no {missing}")));
    }
    for file in files {
        if let Some(kind) = places::unwanted(file) {
            faults.push(format!("{name} holds {file} ({kind})"));
        }
    }
    for ours in OURS {
        if let Some(file) =
            files.iter().find(|file| *file == ours || ours.ends_with('/') && file.starts_with(ours))
        {
            faults.push(format!(
                "{name} holds {file}, which is the maintainers'; exclude {ours} in its Cargo.toml"
            ));
        }
    }
    Finding::of_faults(CHECK, faults, format!("{name} holds {} files, and what it should", files.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Level;

    fn of(files: &[&str], is_main: bool) -> Vec<Finding> {
        let files = Ok(files.iter().map(|file| file.to_string()).collect());
        contents(&Package { name: "a".to_owned(), is_main, files })
    }

    #[test]
    fn a_package_holds_what_it_must_and_nothing_of_ours() {
        assert_eq!(of(&WANTED, true)[0].level, Level::Pass);
        assert_eq!(of(&["Cargo.toml", "src/lib.rs"], false)[0].level, Level::Pass);
        let without = of(&WANTED[..5], true);
        assert_eq!((without[0].level, without[0].text.as_str()), (Level::Fail, "a holds no src/main.rs"));
        for extra in ["test.db", ".env", "tls/server.key", ".ci/run", "xtask/src/main.rs", "Makefile"] {
            let with = of(&[extra], false);
            assert_eq!(with[0].level, Level::Fail, "{extra}");
            assert!(with[0].text.contains(extra), "{}", with[0]);
        }
    }

    #[test]
    fn one_that_cannot_be_made_is_a_failure() {
        let made = |made| judged(&Packages { packages: Vec::new(), made });
        assert_eq!(made(Ok("made"))[0].level, Level::Pass);
        let findings = made(Err("no licence".to_owned()));
        assert_eq!(
            (findings[0].level, findings[0].text.as_str()),
            (Level::Fail, "cargo package: no licence")
        );
        let unlisted = Package { name: "a".to_owned(), is_main: true, files: Err("why".to_owned()) };
        assert_eq!(contents(&unlisted)[0].level, Level::Fail);
    }
}
