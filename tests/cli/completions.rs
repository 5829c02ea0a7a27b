//! Output from the description of the command line: help, completions, manual pages.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write as _},
    process::{Command, Stdio},
};

use crate::{Ran, left_out::left_out, registry};

const COMMANDS: [&str; 21] = [
    "alias",
    "cat",
    "compare",
    "completions",
    "config",
    "delete",
    "events",
    "history",
    "ingest",
    "list",
    "man",
    "metrics",
    "model",
    "promote",
    "pull",
    "restore",
    "rollback",
    "serve",
    "show",
    "tag",
    "update",
];

const SUBCOMMANDS: [&str; 12] = [
    "model-list",
    "model-show",
    "model-create",
    "model-update",
    "model-rename",
    "model-delete",
    "model-restore",
    "alias-list",
    "alias-set",
    "alias-delete",
    "tag-set",
    "tag-delete",
];

/// Returns true if a tool accepts `input`; `None` if the tool is not installed.
fn accepts(tool: &str, arguments: &[&str], input: &str) -> Option<bool> {
    let spawned = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(output.status.success() && output.stderr.is_empty())
}

#[test]
fn completions_contain_the_commands_and_are_well_formed() {
    for (shell, arguments) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["-n"])] {
        let script = Ran::of(&mut registry(["completions", shell])).shown();
        for word in COMMANDS.iter().chain(&["registry-url", "no-header", "if-match", "jsonl", "production"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
        match accepts(shell, arguments, &script) {
            Some(accepted) => assert!(accepted, "{shell}"),
            None => left_out(&format!("{shell} is not installed to check its completions")),
        }
    }
}

#[test]
fn each_command_has_a_manual_page_and_no_other_file_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("share/man1");
    let run = || Ran::of(registry(["man", "--dir"]).arg(&dir));
    // The second run replaces what the first one wrote.
    for _ in 0..2 {
        let ran = run();
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stderr.contains(" pages written to "), "{ran:?}");
    }
    let files: BTreeSet<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let commands = COMMANDS.iter().chain(&SUBCOMMANDS);
    let expected: BTreeSet<String> = commands.map(|name| format!("registry-{name}.1")).collect();
    assert!(files.is_superset(&expected) && files.contains("registry.1"), "{files:?}");
    for file in &files {
        assert!(file.starts_with("registry") && file.ends_with(".1"), "{file}");
        let page = fs::read_to_string(dir.join(file)).unwrap();
        assert!(page.contains(".TH registry") && page.contains(".SH OPTIONS"), "{file}: {page}");
        if file == "registry-list.1" {
            assert!(page.contains(".SH EXAMPLES\n.nf\n") && page.contains(".SH \"EXIT STATUS\""), "{page}");
        }
    }
    let main = Ran::of(&mut registry(["man"])).stdout;
    assert_eq!(main, fs::read_to_string(dir.join("registry.1")).unwrap());
}

#[test]
fn a_folder_that_cannot_be_created_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let line = Ran::of(registry(["man", "--dir"]).arg(file.join("man1"))).failed(1);
    assert!(line.contains("can't create the folder"), "{line}");
}

#[test]
fn help_is_short_or_long_and_goes_to_stdout() {
    let page = Ran::of(&mut registry(["--help"])).shown();
    let at = |word: &str| page.find(word).unwrap_or_else(|| panic!("no {word} in {page}"));
    assert!(
        at("Register versions:") < at("  ingest ")
            && at("  list ") < at("Change:")
            && at("Change:") < at("  promote ")
    );
    for command in COMMANDS {
        let short = Ran::of(&mut registry([command, "-h"])).shown();
        let long = Ran::of(&mut registry([command, "--help"])).shown();
        assert!(!short.contains("Exit codes:") && long.len() > short.len(), "{command}");
        assert_eq!(Ran::of(&mut registry(["help", command])).shown(), long);
    }
    for (command, subcommand) in SUBCOMMANDS.iter().filter_map(|name| name.split_once('-')) {
        let long = Ran::of(&mut registry([command, subcommand, "--help"])).shown();
        assert!(long.contains("Examples:\n") && long.contains("Exit codes:\n"), "{command} {subcommand}");
        assert_eq!(Ran::of(&mut registry(["help", command, subcommand])).shown(), long);
    }
    let nothing = Ran::of(&mut registry(Vec::<&str>::new()));
    assert_eq!((nothing.code, nothing.stdout.as_str()), (2, ""), "{nothing:?}");
    let mistyped = Ran::of(&mut registry(["lst"]));
    assert!(mistyped.stderr.contains("list"), "it suggests a command: {mistyped:?}");
}
