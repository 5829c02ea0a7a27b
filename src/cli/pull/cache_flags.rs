//! The flags and variables of the cache.

use std::{
    env,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy as _;

use super::{
    super::{config::set, exit::Failure, print},
    cache::Cache,
};

/// The variable that names the folder of the cache.
const FOLDER_VARIABLE: &str = "CAIA_REGISTRY_CACHE";
/// The variable with the most bytes that it keeps.
const SIZE_VARIABLE: &str = "CAIA_REGISTRY_CACHE_SIZE";

/// The variables of the cache.
pub const CACHE_VARIABLES: [&str; 2] = [FOLDER_VARIABLE, SIZE_VARIABLE];

/// Enough for a few large models.
const DEFAULT_BYTES: u64 = 100_000_000_000;

/// Where files are cached.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(in crate::cli) struct CacheFlags {
    /// Folder of the cache; else CAIA_REGISTRY_CACHE, or registry in XDG_CACHE_HOME or ~/.cache
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The most that the cache keeps, such as 50GB; else CAIA_REGISTRY_CACHE_SIZE, or 100GB
    ///
    /// After each pull the files that were not used for the longest time are removed from it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    cache_size: Option<u64>,
}

impl CacheFlags {
    /// Opens the cache. `None`, with a warning, if the default one can't be used.
    ///
    /// # Errors
    /// If a flag or a variable names a cache that can't be used.
    pub(in crate::cli) fn open(&self) -> Result<Option<Cache>, Failure> {
        let variable = set(|name| env::var(name).ok(), FOLDER_VARIABLE).map(PathBuf::from);
        if let Some(folder) = self.cache.clone().or(variable) {
            return Cache::open(&folder, false).map(Some);
        }
        let Some(folder) = default_folder() else { return Ok(None) };
        Ok(Cache::open(&folder, false)
            .inspect_err(|failure| print::line(&format!("warning: {}", failure.text())))
            .ok())
    }

    /// Returns the most bytes that the cache keeps.
    ///
    /// # Errors
    /// If the variable is no size.
    pub(in crate::cli) fn limit_bytes(&self) -> Result<u64, Failure> {
        if let Some(bytes) = self.cache_size {
            return Ok(bytes);
        }
        match set(|name| env::var(name).ok(), SIZE_VARIABLE) {
            Some(text) => parse_size(&text).map_err(|why| Failure::usage(format!("{SIZE_VARIABLE}: {why}"))),
            None => Ok(DEFAULT_BYTES),
        }
    }
}

fn default_folder() -> Option<PathBuf> {
    let folder = etcetera::choose_base_strategy().ok()?.cache_dir();
    Some(folder)
        .filter(|folder| folder.is_absolute())
        .map(|folder: PathBuf| folder.join(Path::new("registry")))
}

/// Parses a number of bytes, with a decimal (kB, MB, GB, TB) or binary (KiB, MiB, GiB, TiB) unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => 0,
    };
    let bytes = if number.contains('.') {
        number.parse::<f64>().ok().map(|number| (number * factor as f64) as u64)
    } else {
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor))
    };
    let bytes = bytes.filter(|_| factor > 0);
    bytes.ok_or_else(|| format!("{text:?} is not a size; expected one like 50GB or 1.5TiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_decimal_or_a_binary_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1234", Some(1234)),
            ("50GB", Some(50_000_000_000)),
            (" 50 gb ", Some(50_000_000_000)),
            ("1.5TiB", Some(3 << 39)),
            ("2k", Some(2_000)),
            ("1 MiB", Some(1 << 20)),
            ("", None),
            ("GB", None),
            ("-1", None),
            ("5 parsec", None),
            ("1..2GB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
    }
}
