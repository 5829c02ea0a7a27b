//! The variables of the code, and the texts that name them: `.env.example`, the README, the help and the packages.
//!
//! The code is the source: `Settings::resolve` reads the server's variables, `cli::VARIABLES` lists the variables of the
//! commands. A setting that a text lacks, or still names after its removal, fails here.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use model_registry::{
    cli,
    settings::{self, ServeFlags, Settings},
};

use crate::{Ran, registry};

const PREFIX: &str = "CAIA_REGISTRY_";

type Names = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the variables that the server reads.
fn of_server() -> Names {
    let asked = RefCell::new(Names::new());
    let settings = Settings::resolve(ServeFlags::default(), 2, |name| {
        asked.borrow_mut().insert(name.to_owned());
        None
    });
    assert!(settings.is_ok());
    asked.into_inner()
}

fn of_commands() -> Names {
    cli::VARIABLES.iter().chain(&cli::CACHE_VARIABLES).map(|name| (*name).to_owned()).collect()
}

fn all() -> Names {
    &of_server() | &of_commands()
}

/// Returns the variables that a text names.
fn named(text: &str) -> Names {
    let rest = |start: usize| {
        let text = &text[start..];
        let end = text.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    // The prefix alone, as in a sentence about all variables, is not a name.
    text.match_indices(PREFIX).map(|(start, _)| rest(start)).filter(|name| name != PREFIX).collect()
}

/// `.env.example`: each name with its default.
fn example() -> BTreeMap<String, String> {
    let text = read(".env.example");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (name, value) = line.strip_prefix('#').and_then(|line| line.split_once('=')).unwrap_or_else(|| {
            panic!("each line is a comment (\"# \") or a commented-out variable (\"#\"), so that a copy sets none: {line}")
        });
        assert!(found.insert(name.to_owned(), value.to_owned()).is_none(), "{name} is listed twice");
    }
    found
}

/// Returns the files under `path` in the repository; none in a package without them.
fn files(path: &str) -> Vec<PathBuf> {
    let path = root().join(path);
    if path.is_dir() {
        let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        return entries.flat_map(|entry| files(entry.to_str().unwrap())).collect();
    }
    path.is_file().then_some(path).into_iter().collect()
}

#[test]
fn the_example_names_every_variable_with_its_default_and_no_secret() {
    let example = example();
    let ours = example.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect::<Names>();
    assert_eq!(ours, all());
    for secret in ["API_KEY", "API_KEYS"].map(|name| format!("{PREFIX}{name}")) {
        assert_eq!(example[&secret], "", "{secret}");
    }
    for secret in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MINIO_ROOT_PASSWORD", "POSTGRES_PASSWORD"] {
        assert_eq!(example[secret], "", "{secret}");
    }
    // Removing every # without filling in values gives the same settings as no file.
    let filled = Settings::resolve(ServeFlags::default(), 2, |name| example.get(name).cloned()).unwrap();
    let defaults = Settings::resolve(ServeFlags::default(), 2, |_| None).unwrap();
    assert_eq!(format!("{filled:?}"), format!("{defaults:?}"));
    assert_eq!(filled.warnings, defaults.warnings);
    assert_eq!((filled.log_format, &filled.log_level), (defaults.log_format, &defaults.log_level));
    assert_eq!(settings::own_url(|name| example.get(name).cloned()), settings::own_url(|_| None));
}

#[test]
fn the_readme_names_every_variable_and_no_other() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("\n## Settings\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let table = section.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    assert_eq!(named(&table), of_server(), "the table lists the variables of the server");
    assert_eq!(named(section), all(), "the section also names the variables of the commands");
    assert!(named(&readme).is_subset(&all()), "{:?}", &named(&readme) - &all());
}

#[test]
fn the_help_of_the_server_names_its_variables_and_the_defaults_of_the_example() {
    let help = Ran::of(&mut registry(["serve", "--help"])).shown();
    assert_eq!(named(&help), of_server());
    let example = example();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut compared = 0;
    for (_, rest) in help.match_indices("[env: ").map(|(start, found)| help[start..].split_at(found.len())) {
        let Some((name, rest)) = rest.split_once(']') else { continue };
        let Some((default, _)) = rest.strip_prefix(" [default: ").and_then(|rest| rest.split_once(']'))
        else {
            continue;
        };
        // A default in words, such as "the cores", has no value in the example.
        let (value, shown) = (example[name].as_str(), default.split(',').next().unwrap());
        if value.is_empty() {
            assert!(default.contains(' '), "{name}: {default}");
        } else if !shown.contains(' ') {
            assert_eq!(value, shown, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 12, "{compared}");
}

#[test]
fn the_help_of_the_commands_names_theirs() {
    let help = |command| named(&Ran::of(&mut registry([command, "--help"])).shown());
    assert_eq!(help("list"), cli::VARIABLES.map(str::to_owned).into());
    assert_eq!(help("pull"), of_commands());
    assert_eq!(help("cat"), of_commands());
}

#[test]
fn no_other_file_names_an_unknown_variable() {
    let known = all();
    let mut read = 0;
    for place in
        ["src", "docs", "packaging", ".github", "Dockerfile", "compose.yaml", "CHANGELOG.md", "SECURITY.md"]
    {
        for path in files(place) {
            // Binary files name no variables.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let others = &named(&text) - &known;
            assert!(others.is_empty(), "{}: {others:?}", path.display());
            read += 1;
        }
    }
    assert!(read > 100, "{read}");
}
