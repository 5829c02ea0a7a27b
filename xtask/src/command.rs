//! The programs we call: cargo and git, always in the repository's folder.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// The cargo that started us.
pub(crate) fn cargo<S: AsRef<OsStr>>(root: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(root)
        .args(args)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never");
    command
}

/// Git, whatever the variables of a hook or of the user's settings say.
pub(crate) fn git<S: AsRef<OsStr>>(root: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("git");
    command.current_dir(root).args(args).env("LC_ALL", "C").env("GIT_PAGER", "cat");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    command
}

/// Another program.
pub(crate) fn plain(root: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root).env("NO_COLOR", "1");
    command
}

/// Where a program of that name is on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy();
        if word.is_empty() || word.contains([' ', '\'', '"', '$']) {
            format!("{word:?}")
        } else {
            word.into_owned()
        }
    };
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![quoted(program)];
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--", "two words"]);
        assert_eq!(words(&command), "cargo test -- \"two words\"");
    }
}
