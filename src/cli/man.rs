//! `registry man`: the help as manual pages, one for each command.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::{exit::Failure, print};
use crate::artifact::write_atomically;

const EXAMPLES: &str = "\
Examples:
  Read the main page:
    registry man | man -l -
  Install all pages for yourself:
    registry man --dir ~/.local/share/man/man1
    man registry-list";

/// Print the manual page, or write one for each command.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Manual {
    /// Write registry.1, registry-list.1 and so on into this folder; creates the folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Manual {
    /// Prints or writes the pages of the command line `command`.
    pub(super) fn run(self, command: Command) -> Result<(), Failure> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let failed = |error: io::Error| Failure::failed(format!("can't create a manual page: {error}"));
        let Some(dir) = self.dir else {
            return print::text(&page(&command).map_err(failed)?.1);
        };
        fs::create_dir_all(&dir).map_err(|error| {
            Failure::failed(format!("can't create the folder {}: {error}; choose another", dir.display()))
        })?;
        let (mut pages, mut commands) = (0, vec![&command]);
        while let Some(command) = commands.pop() {
            let (name, text) = page(command).map_err(failed)?;
            write_atomically(&dir.join(name), text.as_bytes())?;
            pages += 1;
            commands.extend(command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()));
        }
        print::line(&format!("{pages} pages written to {}", dir.display()));
        Ok(())
    }
}

/// File name and text of a command's page.
fn page(command: &Command) -> io::Result<(String, String)> {
    let manual = Man::new(command.clone()).source(concat!("registry ", env!("CARGO_PKG_VERSION")));
    // mangen leaves out an empty date, and the next field would take its place.
    let manual = manual.date(" ").manual("Model registry");
    let name = manual.get_filename();
    let mut text = Vec::new();
    manual.render_title(&mut text)?;
    manual.render_name_section(&mut text)?;
    manual.render_synopsis_section(&mut text)?;
    manual.render_description_section(&mut text)?;
    manual.render_options_section(&mut text)?;
    if command.has_subcommands() {
        manual.render_subcommands_section(&mut text)?;
    }
    if let Some(more) = command.get_after_long_help() {
        verbatim_lines(&more.to_string()).to_writer(&mut text)?;
    }
    Ok((name, String::from_utf8_lossy(&text).into_owned()))
}

/// Examples and exit codes with their line breaks, each in its own section.
fn verbatim_lines(text: &str) -> Roff {
    let mut roff = Roff::new();
    let title = |line: &str| match line {
        "Examples:" => Some("EXAMPLES"),
        "Exit codes:" => Some("EXIT STATUS"),
        _ => None,
    };
    roff.control("SH", [text.lines().next().and_then(title).unwrap_or("MORE")]);
    roff.control("nf", []);
    for line in text.lines() {
        match title(line) {
            Some("EXAMPLES") => {}
            Some(title) => {
                roff.control("fi", []);
                roff.control("SH", [title]);
                roff.control("nf", []);
            }
            None => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}
