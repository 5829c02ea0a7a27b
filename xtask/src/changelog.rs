//! `cargo xtask changelog`: the sections of CHANGELOG.md, one of which becomes the notes of a release.

use std::process::ExitCode;

use clap::Args;
use time::{Date, macros::format_description};

use crate::{error::Error, files, process::Interrupt, repository::Repository};

pub(crate) const FILE: &str = "CHANGELOG.md";
const UNRELEASED: &str = "Unreleased";

/// Print a section of the changelog, such as the notes of a release
#[derive(Debug, Args)]
pub(crate) struct Changelog {
    /// Which one: a version, or unreleased [default: the one on top]
    version: Option<String>,
    /// Without the heading, which a page of releases has already
    #[arg(long)]
    notes: bool,
}

impl Changelog {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let root = Repository::find_root(&Interrupt::listen()?)?;
        let text = files::read(&root.join(FILE))?;
        let section = find(&text, self.version.as_deref())?;
        if !self.notes {
            println!("{}\n", section.heading);
        }
        println!("{}", section.body);
        Ok(ExitCode::SUCCESS)
    }
}

/// A version's part of the changelog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    pub(crate) heading: &'a str,
    /// As it stands in brackets: a version, or `Unreleased`.
    pub(crate) name: &'a str,
    /// What stands behind the brackets.
    pub(crate) date: &'a str,
    /// Without blank lines at either end.
    pub(crate) body: &'a str,
}

impl Section<'_> {
    pub(crate) fn is_unreleased(&self) -> bool {
        self.name.eq_ignore_ascii_case(UNRELEASED)
    }

    /// Whether its date is one, as `2026-11-26`.
    pub(crate) fn is_dated(&self) -> bool {
        Date::parse(self.date, format_description!("[year]-[month]-[day]")).is_ok()
    }

    /// Whether it says anything: headings say nothing.
    pub(crate) fn has_content(&self) -> bool {
        self.body.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
    }
}

/// All sections, from the top.
pub(crate) fn sections(text: &str) -> Vec<Section<'_>> {
    let mut starts: Vec<(usize, &str)> = Vec::new();
    let mut end = text.len();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("## [") {
            starts.push((at, line.trim_end()));
        } else if is_link(line) && !starts.is_empty() {
            // Where the links of the headings stand, the sections are over.
            end = at;
            break;
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let pairs = starts.iter().zip(ends);
    pairs
        .filter_map(|(&(start, heading), end)| {
            let (name, behind) = heading.strip_prefix("## [")?.split_once(']')?;
            let date = behind.trim().trim_start_matches(['-', '–']).trim();
            Some(Section { heading, name, date, body: text[start + heading.len()..end].trim() })
        })
        .collect()
}

/// `[0.3.0]: https://…`
fn is_link(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// The section of that version, or the top one.
pub(crate) fn find<'a>(text: &'a str, version: Option<&str>) -> Result<Section<'a>, Error> {
    let all = sections(text);
    let Some(wanted) = version else {
        let none = || Error::Failed(format!("{FILE} has no section; begin one with: ## [{UNRELEASED}]"));
        return all.first().copied().ok_or_else(none);
    };
    let bare = wanted.strip_prefix('v').unwrap_or(wanted);
    all.iter().find(|section| section.name.eq_ignore_ascii_case(bare)).copied().ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|section| section.name).collect();
        Error::Failed(format!("{FILE} has no section {wanted}; it has: {}", known.join(", ")))
    })
}

/// The text with what is unreleased given to `version`, and an empty section for what comes.
pub(crate) fn released(text: &str, version: &str, date: Date) -> Result<String, Error> {
    let all = sections(text);
    let top = all.first().filter(|section| section.is_unreleased() && section.has_content());
    let top = top.ok_or_else(|| {
        Error::Failed(format!(
            "the top section of {FILE} is not [{UNRELEASED}] with something in it; say what is new"
        ))
    })?;
    let date = date.format(format_description!("[year]-[month]-[day]"));
    let date = date.map_err(|error| Error::Failed(format!("today's date can't be written: {error}")))?;
    let heading = format!("## [{UNRELEASED}]\n\n## [{version}] - {date}");
    Ok(text.replacen(top.heading, &heading, 1))
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    const TEXT: &str = "\
# Changelog

Words.

## [Unreleased]

### Added

- New.

## [0.2.0] - 2025-01-31

- Old.

## [0.1.0] - soon

### Added

[0.2.0]: https://example.org/0.2.0
";

    #[test]
    fn a_section_goes_from_its_heading_to_the_next() {
        let top = find(TEXT, None).unwrap();
        assert_eq!((top.name, top.body, top.is_unreleased()), ("Unreleased", "### Added\n\n- New.", true));
        for spelled in ["0.2.0", "v0.2.0"] {
            let section = find(TEXT, Some(spelled)).unwrap();
            assert_eq!((section.heading, section.body), ("## [0.2.0] - 2025-01-31", "- Old."));
            assert!(section.is_dated() && section.has_content());
        }
        let last = find(TEXT, Some("0.1.0")).unwrap();
        assert_eq!((last.body, last.is_dated(), last.has_content()), ("### Added", false, false));
        assert_eq!(find(TEXT, Some("unreleased")).unwrap(), top);
    }

    #[test]
    fn a_version_that_is_not_there_is_answered_with_those_that_are() {
        let error = find(TEXT, Some("9.9.9")).unwrap_err().to_string();
        assert_eq!(error, "CHANGELOG.md has no section 9.9.9; it has: Unreleased, 0.2.0, 0.1.0");
        assert!(find("# Changelog\n", None).is_err());
    }

    #[test]
    fn a_release_takes_what_is_unreleased_and_leaves_room_for_what_comes() {
        let text = released(TEXT, "0.3.0", date!(2026 - 11 - 26)).unwrap();
        let names: Vec<_> = sections(&text).iter().map(|section| section.name.to_owned()).collect();
        assert_eq!(names, ["Unreleased", "0.3.0", "0.2.0", "0.1.0"]);
        let section = find(&text, Some("0.3.0")).unwrap();
        assert_eq!((section.date, section.body), ("2026-11-26", "### Added\n\n- New."));
        assert!(!find(&text, None).unwrap().has_content());
        // Nothing is new by then.
        assert!(released(&text, "0.4.0", date!(2026 - 11 - 26)).is_err());
    }
}
