//! The configuration file of the commands: URLs of registries and their keys.
//!
//! Only the commands read it; `registry serve` has flags and variables.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{exit::Failure, print};

/// The variable that names another configuration file.
pub(super) const CONFIG_VARIABLE: &str = "CAIA_REGISTRY_CONFIG";
/// The variable that names a profile.
pub(super) const PROFILE_VARIABLE: &str = "CAIA_REGISTRY_PROFILE";
/// Relative to `XDG_CONFIG_HOME`, by default `~/.config`.
const DEFAULT_FILE: &str = "caia/registry.toml";

/// The fields of a `[profiles.NAME]`.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with url, api_key or api_key_file and such")]
pub(super) struct Profile {
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "quoted_key")]
    api_key: Option<String>,
    api_key_file: Option<PathBuf>,
    pub(super) s3_endpoint_url: Option<String>,
    pub(super) s3_region: Option<String>,
}

/// The top level of the file. It repeats the fields of a profile, because flattened fields lose their line numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    profile: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
    url: Option<String>,
    #[serde(default, deserialize_with = "quoted_key")]
    api_key: Option<String>,
    api_key_file: Option<PathBuf>,
    s3_endpoint_url: Option<String>,
    s3_region: Option<String>,
}

/// Accepts only a quoted key: one without quotes may parse as a number or a date, and the parser's message would show it.
fn quoted_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(key) => Ok(Some(key)),
        _ => Err(D::Error::custom("api_key must be a string in quotes")),
    }
}

/// The part of the file that applies to this run.
#[derive(Default)]
pub(super) struct Config {
    /// The file, if it exists.
    pub(super) path: Option<PathBuf>,
    /// The chosen profile, if any.
    pub(super) profile_name: Option<String>,
    pub(super) profile: Profile,
    /// All profiles of the file.
    pub(super) profile_names: Vec<String>,
}

impl Config {
    /// Reads the file that `explicit` or the variable names, or else the default file, which may be absent. The profile
    /// is `profile`, or else the variable's, or else the file's own `profile`.
    ///
    /// # Errors
    /// If a named file is missing, or the file can't be read or parsed, or has no such profile.
    pub(super) fn read(
        explicit: Option<&Path>,
        profile: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let named = named(explicit, &variable);
        let profile = profile.map(str::to_owned).or_else(|| set(&variable, PROFILE_VARIABLE));
        let read = named.clone().or_else(default_path).map(|path| (fs::read_to_string(&path), path));
        let (path, text) = match read {
            Some((Ok(text), path)) => (path, text),
            Some((Err(error), path)) if named.is_some() || error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::failed(format!(
                    "the configuration {} can't be read: {error}; check --config and {CONFIG_VARIABLE}",
                    path.display()
                )));
            }
            absent => {
                let at = absent.map(|(_, path)| format!(" at {}", path.display())).unwrap_or_default();
                return match profile {
                    Some(name) => Err(Failure::failed(format!(
                        "there is no profile {name:?}: there is no configuration file{at}"
                    ))),
                    None => Ok(Self::default()),
                };
            }
        };
        let bad = |what: &str| {
            Failure::failed(format!(
                "the configuration {} is wrong: {what}; correct it and try again",
                path.display()
            ))
        };
        let File { profile: chosen, mut profiles, url, api_key, api_key_file, s3_endpoint_url, s3_region } =
            toml::from_str(&text).map_err(|error| bad(&line_and_reason(&text, &error)))?;
        let top = Profile { url, api_key, api_key_file, s3_endpoint_url, s3_region };
        let profile_name = profile.or(chosen);
        let profile_names = profiles.keys().cloned().collect();
        let profile = match &profile_name {
            None => top,
            Some(name) => match profiles.remove(name) {
                Some(profile) => profile.over(top),
                None => return Err(bad(&format!("it has no table [profiles.{name}]"))),
            },
        };
        Ok(Self { path: Some(path), profile_name, profile, profile_names })
    }

    /// Returns the file that holds the key: this one, or the one that it names.
    pub(super) fn key_path(&self) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        match (&self.profile.api_key, &self.profile.api_key_file) {
            (Some(_), _) => Some(path.clone()),
            (None, Some(file)) => Some(resolve(path, file)),
            (None, None) => None,
        }
    }

    /// Reads the key, and warns if other users can read it too. Called only for a key that is used.
    ///
    /// # Errors
    /// If the key's file can't be read.
    pub(super) fn api_key(&self) -> Result<Option<String>, Failure> {
        let Some(path) = self.key_path() else { return Ok(None) };
        let key = match &self.profile.api_key {
            Some(key) => key.clone(),
            None => read_key_file(&path)?,
        };
        warn_if_others_can_read(&path);
        Ok(Some(key))
    }
}

impl Profile {
    /// Fills missing fields from the top level of the file. A key is only used with the URL next to it.
    fn over(self, top: Self) -> Self {
        let has_key = self.api_key.is_some() || self.api_key_file.is_some();
        let inherits_key = !has_key && self.url.is_none();
        Self {
            url: self.url.or(top.url),
            api_key: self.api_key.or_else(|| top.api_key.filter(|_| inherits_key)),
            api_key_file: self.api_key_file.or_else(|| top.api_key_file.filter(|_| inherits_key)),
            s3_endpoint_url: self.s3_endpoint_url.or(top.s3_endpoint_url),
            s3_region: self.s3_region.or(top.s3_region),
        }
    }
}

/// Returns the file that the flag or the variable names.
pub(super) fn named(explicit: Option<&Path>, variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    explicit.map(Path::to_owned).or_else(|| set(&variable, CONFIG_VARIABLE).map(PathBuf::from))
}

/// Returns the path of the default file.
pub(super) fn default_path() -> Option<PathBuf> {
    etcetera::base_strategy::choose_base_strategy().ok().map(|base| base.config_dir().join(DEFAULT_FILE))
}

/// Reads a file that contains only a key.
pub(super) fn read_key_file(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::key(format!("the API key in {} can't be read: {error}", path.display())))?;
    let key = text.trim();
    if key.is_empty() {
        return Err(Failure::key(format!("{} is blank; it should hold an API key", path.display())));
    }
    Ok(key.to_owned())
}

/// Returns the value of a variable that is not blank.
pub(super) fn set(variable: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.trim().is_empty())
}

/// Resolves a path in the file: relative to the file's folder, and `~/` to the home directory.
fn resolve(config: &Path, path: &Path) -> PathBuf {
    if let Ok(rest) = path.strip_prefix("~")
        && let Ok(home) = etcetera::home_dir()
    {
        return home.join(rest);
    }
    config.parent().unwrap_or(Path::new("")).join(path)
}

/// Returns a message without keys. The parser's own display shows the whole line, and its message for a wrong type or value
/// repeats that value.
fn line_and_reason(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message();
    let message = match (message.split_once(": "), message.rsplit_once(", expected ")) {
        (Some((what @ ("invalid type" | "invalid value"), _)), Some((_, expected))) => {
            format!("{what}, expected {expected}")
        }
        _ => message.to_owned(),
    };
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

fn warn_if_others_can_read(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        print::line(&format!(
            "warning: {} holds an API key and others on this machine can read it; chmod 600 it",
            path.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, profile: Option<&str>) -> Result<Config, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        fs::write(&path, text).unwrap();
        fs::write(folder.path().join("key"), " filed \n").unwrap();
        let config = Config::read(Some(&path), profile, |_| None)?;
        // Read before the folder is removed.
        let key = config.api_key()?;
        Ok(Config { profile: Profile { api_key: key, ..config.profile }, ..config })
    }

    const FILE: &str = "
        url = 'http://top'
        api_key = 'top-key'
        s3_region = 'eu-1'
        [profiles.staging]
        url = 'http://staging'
        api_key_file = 'key'
        [profiles.same]
        s3_region = 'eu-2'
        [profiles.keyless]
        url = 'http://elsewhere'";

    #[test]
    fn a_profile_overrides_the_top_level_and_a_key_stays_with_its_url() {
        for (profile, url, key, region) in [
            (None, "http://top", Some("top-key"), "eu-1"),
            (Some("staging"), "http://staging", Some("filed"), "eu-1"),
            (Some("same"), "http://top", Some("top-key"), "eu-2"),
            (Some("keyless"), "http://elsewhere", None, "eu-1"),
        ] {
            let read = read(FILE, profile).unwrap().profile;
            assert_eq!(
                (read.url.as_deref(), read.api_key.as_deref(), read.s3_region.as_deref()),
                (Some(url), key, Some(region)),
                "{profile:?}"
            );
        }
        let chosen = read(&format!("profile = 'staging'\n{FILE}"), None).unwrap();
        assert_eq!(chosen.profile.url.as_deref(), Some("http://staging"));
    }

    #[test]
    fn messages_about_a_wrong_file_never_show_a_key() {
        for (text, said) in [
            ("url = 'a'\napi_key = s3cret", "line 2"),
            ("url = 'a'\napi_kee = 's3cret'", "line 2: unknown field `api_kee`"),
            ("[profiles.a]\napi_key = 's3cret'\nkey = 1", "line 3: unknown field `key`"),
            ("\napi_key = ['s3cret']", "line 2: api_key must be a string in quotes"),
            ("url = 'a'\napi_key = 123456789", "line 2: api_key must be a string in quotes"),
            ("api_key = 1979-05-27", "line 1: api_key must be a string in quotes"),
            ("[profiles.a]\napi_key = 123456789", "line 2: api_key must be a string in quotes"),
            ("api_key_file = 123456789", "line 1: invalid type, expected "),
            ("[profiles]\napi_key = 's3cret'", "line 2: invalid type, expected a table"),
            ("[profiles]\na = ', expected s3cret'", "line 2: invalid type, expected a table"),
            ("url = 123456789", "line 1: invalid type, expected a string"),
            ("profile = 'none'", "it has no table [profiles.none]"),
        ] {
            let failure = read(text, None).err().map(|failure| format!("{failure:?}")).unwrap();
            assert!(failure.contains(said), "{text}: {failure}");
            for hidden in ["s3cret", "123456789", "1979"] {
                assert!(!failure.contains(hidden), "{text}: {failure}");
            }
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let failure = Config::read(Some(Path::new("/no/such.toml")), None, |_| None).err().unwrap();
        assert!(format!("{failure:?}").contains("/no/such.toml can't be read"));
    }
}
