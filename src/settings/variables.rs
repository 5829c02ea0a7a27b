//! The variables of the environment, read leniently: an invalid value counts as unset and causes a warning.

use std::{cell::RefCell, path::PathBuf, str::FromStr};

use clap::ValueEnum;

use super::flags::{VALID_BOOLEANS, parse_boolean};

/// Looks variables up, and collects warnings about invalid ones.
pub(super) struct Variables<'v> {
    lookup: &'v dyn Fn(&str) -> Option<String>,
    warnings: RefCell<Vec<String>>,
}

impl<'v> Variables<'v> {
    pub(super) fn new(lookup: &'v dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, warnings: RefCell::default() }
    }

    pub(super) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner()
    }

    /// Returns a variable unchanged.
    pub(super) fn raw(&self, name: &str) -> Option<String> {
        (self.lookup)(&format!("CAIA_REGISTRY_{name}"))
    }

    /// Returns a variable that other programs read too, by its whole name.
    pub(super) fn foreign(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// Returns a variable, trimmed; a blank one counts as unset.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        Some(self.raw(name)?.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn parse<T>(&self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.text(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.warn(format!(
                "CAIA_REGISTRY_{name} is {value:?}, which is not {expected}; the default is used instead"
            ));
        }
        parsed
    }

    pub(super) fn path(&self, flag: Option<PathBuf>, name: &str) -> Option<PathBuf> {
        flag.or_else(|| self.text(name).map(PathBuf::from))
    }

    pub(super) fn list(&self, flag: Vec<String>, name: &str) -> Vec<String> {
        if !flag.is_empty() {
            return flag;
        }
        self.text(name).unwrap_or_default().split(',').map(|one| one.trim().to_owned()).collect()
    }

    pub(super) fn port(&self, flag: Option<u16>) -> Option<u16> {
        flag.or_else(|| self.parse("PORT", "a port", |text| u16::from_str(text).ok()))
    }

    /// Returns a number above 0, if one is given.
    pub(super) fn positive(&self, flag: Option<u64>, name: &str) -> Option<u64> {
        let parse = |text: &str| text.parse().ok().filter(|number| *number > 0);
        flag.or_else(|| self.parse(name, "a whole number above 0", parse))
    }

    pub(super) fn number(&self, flag: Option<u64>, name: &str, default: u64) -> u64 {
        self.positive(flag, name).unwrap_or(default)
    }

    pub(super) fn count(&self, flag: Option<u64>, name: &str, default: usize) -> usize {
        self.positive(flag, name).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    }

    /// Returns true for the four words that 0.2.0 accepts, and false for everything else.
    pub(super) fn boolean(&self, flag: Option<bool>, name: &str) -> bool {
        self.boolean_or(flag, name, false)
    }

    /// Returns a boolean, by default `default`.
    pub(super) fn boolean_or(&self, flag: Option<bool>, name: &str, default: bool) -> bool {
        flag.or_else(|| self.parse(name, VALID_BOOLEANS, parse_boolean)).unwrap_or(default)
    }

    pub(super) fn choice<T: ValueEnum + Default>(&self, flag: Option<T>, name: &str) -> T {
        let parse = |text: &str| T::from_str(text, true).ok();
        flag.or_else(|| self.parse(name, "one of its values", parse)).unwrap_or_default()
    }
}
