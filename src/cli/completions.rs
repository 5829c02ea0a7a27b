//! `registry completions`: a script for shells that completes commands and flags.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{exit::Failure, print};

const EXAMPLES: &str = "\
Examples:
  bash:
    registry completions bash > ~/.local/share/bash-completion/completions/registry
  zsh, into a folder of $fpath:
    registry completions zsh > ~/.zfunc/_registry
  fish:
    registry completions fish > ~/.config/fish/completions/registry.fish";

/// Print a shell script that completes commands and flags.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints the script for the command line `command`.
    pub(super) fn run(self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        // Into memory first, because clap panics on a closed pipe.
        clap_complete::generate(self.shell, &mut command, "registry", &mut script);
        print::text(&String::from_utf8_lossy(&script))
    }
}
