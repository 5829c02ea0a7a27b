//! `cargo xtask changelog`: the sections of CHANGELOG.md. One of them becomes the notes of a release.

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use time::{Date, macros::format_description};

use crate::repository::Repository;

pub(crate) const FILE: &str = "CHANGELOG.md";
const UNRELEASED: &str = "Unreleased";

/// Print a section of the changelog, such as the notes of a release
#[derive(Debug, Args)]
pub(crate) struct Changelog {
    /// A version, or unreleased [default: the section on top]
    version: Option<String>,
    /// Without the heading, which the page of a release already has
    #[arg(long)]
    notes: bool,
}

impl Changelog {
    pub(crate) fn run(&self) -> Result<bool> {
        let text = Repository::here()?.read(FILE)?;
        let section = find(&text, self.version.as_deref())?;
        if !self.notes {
            println!("{}\n", section.heading);
        }
        println!("{}", section.body);
        Ok(true)
    }
}

/// The section of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    pub(crate) heading: &'a str,
    /// A version, or `Unreleased`.
    pub(crate) name: &'a str,
    pub(crate) date: &'a str,
    /// Without blank lines at either end.
    pub(crate) body: &'a str,
}

impl Section<'_> {
    pub(crate) fn is_unreleased(&self) -> bool {
        self.name.eq_ignore_ascii_case(UNRELEASED)
    }

    /// Returns true if it has a valid date, such as `2026-11-26`.
    pub(crate) fn is_dated(&self) -> bool {
        Date::parse(self.date, format_description!("[year]-[month]-[day]")).is_ok()
    }

    /// Returns true if it has a line that is not a heading.
    pub(crate) fn has_content(&self) -> bool {
        self.body.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
    }
}

/// Returns all sections, from the top.
pub(crate) fn sections(text: &str) -> Vec<Section<'_>> {
    // The links of the headings come after the last section.
    let end = text.find("\n[").unwrap_or(text.len());
    let starts: Vec<_> = text[..end].match_indices("\n## [").map(|(at, _)| at + 1).collect();
    let starts: Vec<_> = text.starts_with("## [").then_some(0).into_iter().chain(starts).collect();
    let ends = starts.iter().skip(1).copied().chain([end]);
    let section = |(start, end): (usize, usize)| {
        let (heading, body) = text[start..end].split_once('\n').unwrap_or((&text[start..end], ""));
        let (name, date) = heading.strip_prefix("## [")?.split_once(']')?;
        let date = date.trim().trim_start_matches(['-', '–']).trim();
        Some(Section { heading, name, date, body: body.trim() })
    };
    starts.iter().copied().zip(ends).filter_map(section).collect()
}

/// Returns the section of a version, or the top one.
pub(crate) fn find<'a>(text: &'a str, version: Option<&str>) -> Result<Section<'a>> {
    let all = sections(text);
    let Some(version) = version else {
        let none = || anyhow!("{FILE} has no section; begin one with: ## [{UNRELEASED}]");
        return all.first().copied().ok_or_else(none);
    };
    let bare = version.strip_prefix('v').unwrap_or(version);
    all.iter().find(|section| section.name.eq_ignore_ascii_case(bare)).copied().ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|section| section.name).collect();
        anyhow!("{FILE} has no section {version}; it has: {}", known.join(", "))
    })
}

/// Returns the text after the release of `version`: the unreleased section has its name, and an empty one is above it.
pub(crate) fn released(text: &str, version: &str, date: Date) -> Result<String> {
    let all = sections(text);
    let Some(top) = all.first().filter(|section| section.is_unreleased() && section.has_content()) else {
        bail!("the top section of {FILE} is not [{UNRELEASED}] with some content; describe what is new");
    };
    let date = date.format(format_description!("[year]-[month]-[day]")).context("today's date")?;
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
    fn an_unknown_version_is_answered_with_the_known_ones() {
        let error = find(TEXT, Some("9.9.9")).unwrap_err().to_string();
        assert_eq!(error, "CHANGELOG.md has no section 9.9.9; it has: Unreleased, 0.2.0, 0.1.0");
        assert!(find("# Changelog\n", None).is_err());
    }

    #[test]
    fn a_release_dates_the_unreleased_section_and_begins_an_empty_one() {
        let text = released(TEXT, "0.3.0", date!(2026 - 11 - 26)).unwrap();
        let names: Vec<_> = sections(&text).iter().map(|section| section.name.to_owned()).collect();
        assert_eq!(names, ["Unreleased", "0.3.0", "0.2.0", "0.1.0"]);
        let section = find(&text, Some("0.3.0")).unwrap();
        assert_eq!((section.date, section.body), ("2026-11-26", "### Added\n\n- New."));
        assert!(!find(&text, None).unwrap().has_content());
        assert!(released(&text, "0.4.0", date!(2026 - 11 - 26)).is_err(), "nothing is new");
    }
}
