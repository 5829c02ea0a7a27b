//! The registry that a command talks to, and the key for it.
//!
//! A flag wins over `--profile`, which wins over variables, which win over the configuration file.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use super::{
    config::{self, Config, set},
    exit::Failure,
    print,
};
use crate::client::{Client, SecretKey, parse_base_url};

const DEFAULT_URL: &str = "http://localhost:8001";
const URL_FLAG: &str = "--registry-url";
pub(super) const URL_VARIABLE: &str = "CAIA_REGISTRY_URL";
const KEY_VARIABLE: &str = "CAIA_REGISTRY_API_KEY";
const KEYS_VARIABLE: &str = "CAIA_REGISTRY_API_KEYS";
const KEY_FILE_VARIABLE: &str = "CAIA_REGISTRY_API_KEY_FILE";

/// The variables that the commands read, besides the server's.
pub const VARIABLES: [&str; 6] = [
    URL_VARIABLE,
    KEY_VARIABLE,
    KEYS_VARIABLE,
    KEY_FILE_VARIABLE,
    config::PROFILE_VARIABLE,
    config::CONFIG_VARIABLE,
];

/// The flags of every command that talks to a registry.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct Remote {
    /// URL of the registry; else (except for loadtest) CAIA_REGISTRY_URL, the configuration file, or
    /// http://localhost:8001
    #[arg(long, visible_alias = "url", value_name = "URL")]
    registry_url: Option<String>,
    /// API key; else CAIA_REGISTRY_API_KEY, the first of CAIA_REGISTRY_API_KEYS, or the configuration file
    ///
    /// Other users of this machine can see the flags of a running command, but not its variables and files.
    #[arg(long, value_name = "KEY", value_parser = |text: &str| Ok::<_, String>(KeyText(text.to_owned())))]
    api_key: Option<KeyText>,
    /// File that contains only the key; else CAIA_REGISTRY_API_KEY_FILE
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    api_key_file: Option<PathBuf>,
    /// Profile of the configuration file; else CAIA_REGISTRY_PROFILE
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Configuration file; else CAIA_REGISTRY_CONFIG, or ~/.config/caia/registry.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A key as typed. It is checked after parsing, because the parser repeats a value that it refuses.
#[derive(Clone)]
struct KeyText(String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(redacted)")
    }
}

/// The registry, key and configuration that flags, variables and file yield.
pub(super) struct Connection {
    pub(super) url: Sourced<String>,
    pub(super) key: Option<Sourced<SecretKey>>,
    pub(super) config: Config,
    /// True if a flag chose the profile, so that variables do not count.
    by_profile: bool,
}

/// A value and its source.
pub(super) struct Sourced<T> {
    pub(super) value: T,
    /// A flag, a variable or a file, for messages.
    pub(super) source: String,
}

impl<T> Sourced<T> {
    fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }
}

impl Remote {
    /// Returns a client for the registry that flags, variables and configuration name.
    ///
    /// # Errors
    /// If the key is missing or can't be sent, or the URL is invalid.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        self.connection()?.client()
    }

    /// Returns the URL of that registry and the key for it.
    pub(super) fn named(&self) -> Result<(String, SecretKey), Failure> {
        self.connection()?.complete()
    }

    /// Returns true if a flag names the registry, so that no variable and no default file does.
    pub(super) fn names_a_registry(&self) -> bool {
        self.registry_url.is_some() || self.profile.is_some()
    }

    /// Returns the flag that gives the key, if one does.
    pub(super) fn key_flag(&self) -> Option<&'static str> {
        let given = [(self.api_key.is_some(), "--api-key"), (self.api_key_file.is_some(), "--api-key-file")];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// Resolves flags, variables and configuration.
    ///
    /// # Errors
    /// If the configuration is wrong, or a key can't be read or sent.
    pub(super) fn connection(&self) -> Result<Connection, Failure> {
        self.connection_with(|name| env::var(name).ok())
    }

    /// Returns the path of the configuration file, which may not exist.
    pub(super) fn config_path(&self) -> Option<PathBuf> {
        config::named(self.config.as_deref(), |name| env::var(name).ok()).or_else(config::default_path)
    }

    fn connection_with(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Connection, Failure> {
        let config = match Config::read(self.config.as_deref(), self.profile.as_deref(), &variable) {
            Err(failure) if self.needs_no_config() => {
                let why = failure.text();
                print::line(&format!("warning: {why}; the flags name registry and key, so it is not needed"));
                Config::default()
            }
            read => read?,
        };
        // --profile asks for exactly that profile, so variables of the shell don't count.
        let hidden = |name: &str| if self.profile.is_some() { None } else { variable(name) };
        let url = self.url(hidden, &config);
        // Checked before any message shows it: a URL with a password must not be repeated.
        check_url(&url)?;
        let key = match self.flag_or_variable_key(hidden)? {
            Some(key) => Some(key),
            None => key_of(&config, &url)?,
        };
        let key = key.map(|key| Ok::<_, Failure>(Sourced::new(SecretKey::new(&key.value)?, key.source)));
        Ok(Connection { url, key: key.transpose()?, config, by_profile: self.profile.is_some() })
    }

    /// Returns true if flags give URL and key, so that a broken default file need not fail the command.
    fn needs_no_config(&self) -> bool {
        let key = self.api_key.is_some() || self.api_key_file.is_some();
        self.registry_url.is_some() && key && self.config.is_none() && self.profile.is_none()
    }

    fn url(&self, variable: impl Fn(&str) -> Option<String>, config: &Config) -> Sourced<String> {
        if let Some(url) = &self.registry_url {
            return Sourced::new(url.clone(), URL_FLAG);
        }
        if let Some(url) = set(variable, URL_VARIABLE) {
            return Sourced::new(url, URL_VARIABLE);
        }
        match (&config.profile.url, &config.path) {
            (Some(url), Some(path)) => Sourced::new(url.clone(), path.display().to_string()),
            _ => Sourced::new(DEFAULT_URL.to_owned(), "default"),
        }
    }

    /// Returns the first key that is not blank.
    fn flag_or_variable_key(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Sourced<String>>, Failure> {
        if let Some(KeyText(key)) = self.api_key.as_ref().filter(|key| !key.0.trim().is_empty()) {
            return Ok(Some(Sourced::new(key.clone(), "--api-key")));
        }
        let from_file = |path: &Path| {
            config::read_key_file(path).map(|key| Some(Sourced::new(key, path.display().to_string())))
        };
        if let Some(path) = &self.api_key_file {
            return from_file(path);
        }
        if let Some(key) = set(&variable, KEY_VARIABLE) {
            return Ok(Some(Sourced::new(key, KEY_VARIABLE)));
        }
        let keys = variable(KEYS_VARIABLE).unwrap_or_default();
        if let Some(key) = keys.split(',').find(|key| !key.trim().is_empty()) {
            return Ok(Some(Sourced::new(key.to_owned(), KEYS_VARIABLE)));
        }
        match set(&variable, KEY_FILE_VARIABLE) {
            Some(path) => from_file(Path::new(&path)),
            None => Ok(None),
        }
    }
}

/// # Errors
/// If the URL is invalid; the message contains no password.
fn check_url(url: &Sourced<String>) -> Result<(), Failure> {
    let Err(error) = parse_base_url(&url.value) else { return Ok(()) };
    let failure = Failure::from(error);
    // The message names this flag already.
    if url.source == URL_FLAG {
        return Err(failure);
    }
    Err(failure.followed_by(&format!("; this one is from {}", url.source)))
}

/// Returns the key of the configuration. It is never sent to a registry other than the configuration's own.
fn key_of(config: &Config, url: &Sourced<String>) -> Result<Option<Sourced<String>>, Failure> {
    let Some(source) = config.key_path().map(|path| path.display().to_string()) else { return Ok(None) };
    if let (Some(own), Some(path)) = (&config.profile.url, &config.path) {
        let own = Sourced::new(own.clone(), path.display().to_string());
        check_url(&own)?;
        if !is_same_registry(&own.value, &url.value) {
            return Err(Failure::key(format!(
                "there is no API key for {} (from {}): the one in {source} belongs to {} and is not sent to others; \
                 give one in {KEY_VARIABLE}",
                url.value, url.source, own.value
            )));
        }
    }
    Ok(config.api_key()?.map(|key| Sourced::new(key, source)))
}

/// Returns true if both URLs name one registry: the case of the host, the default port and a trailing slash don't
/// matter.
fn is_same_registry(one: &str, other: &str) -> bool {
    let parsed =
        |text: &str| parse_base_url(text).ok().map(|url| url.as_str().trim_end_matches('/').to_owned());
    parsed(one).is_some_and(|url| parsed(other) == Some(url))
}

impl Connection {
    /// Returns the URL and the key.
    fn complete(self) -> Result<(String, SecretKey), Failure> {
        let Some(key) = self.key else { return Err(missing_key(&self.config, self.by_profile)) };
        Ok((self.url.value, key.value.from_source(key.source)))
    }

    /// Returns a client for this connection.
    ///
    /// # Errors
    /// If there is no key, or the URL is invalid.
    pub(super) fn client(self) -> Result<Client, Failure> {
        let (url, key) = self.complete()?;
        Ok(Client::new(&url, key)?)
    }
}

/// Returns the failure for a missing key, which says where to put one.
fn missing_key(config: &Config, by_profile: bool) -> Failure {
    let Config { path, profile_name, .. } = config;
    if let (true, Some(name), Some(path)) = (by_profile, profile_name, path) {
        return Failure::key(format!(
            "profile {name} in {} has no API key (variables don't count with --profile); add api_key or \
             api_key_file there, or use --api-key-file",
            path.display()
        ));
    }
    let file = path.clone().or_else(config::default_path);
    let file = file.map(|path| format!(" or as api_key in {}", path.display())).unwrap_or_default();
    Failure::key(format!("there is no API key; give one in {KEY_VARIABLE}, with --api-key{file}"))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeSet, fs};

    use super::*;

    /// Flags of a command whose configuration file holds `config`.
    fn remote(config: &str) -> (tempfile::TempDir, Remote) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        fs::write(&path, config).unwrap();
        (folder, Remote { config: Some(path), ..Remote::default() })
    }

    fn key_source(remote: &Remote, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        remote.connection_with(variable).unwrap().key.map(|key| key.source)
    }

    #[test]
    fn the_key_comes_from_the_flag_or_else_the_variables_or_else_the_file() {
        let (_folder, file) = remote("api_key = 'c'");
        let (folder, bare) = remote("");
        let filed = folder.path().join("key");
        fs::write(&filed, "k\n").unwrap();
        let filed = filed.to_str().unwrap();
        let all = [(KEY_VARIABLE, "o"), (KEYS_VARIABLE, "m"), (KEY_FILE_VARIABLE, filed)];
        assert_eq!(key_source(&bare, &[]), None);
        assert_eq!(key_source(&bare, &all).as_deref(), Some(KEY_VARIABLE));
        assert_eq!(key_source(&file, &all).as_deref(), Some(KEY_VARIABLE));
        assert_eq!(
            key_source(&bare, &[(KEY_VARIABLE, " "), (KEYS_VARIABLE, " ,m")]).as_deref(),
            Some(KEYS_VARIABLE)
        );
        assert_eq!(key_source(&bare, &[(KEYS_VARIABLE, " ,")]), None);
        assert_eq!(key_source(&bare, &[(KEY_FILE_VARIABLE, filed)]).as_deref(), Some(filed));
        assert!(key_source(&file, &[]).unwrap().ends_with("registry.toml"));
        let flag = Remote { api_key: Some(KeyText("f".to_owned())), ..file };
        assert_eq!(key_source(&flag, &all).as_deref(), Some("--api-key"));
        let blank = Remote { api_key: Some(KeyText(" ".to_owned())), ..flag };
        assert_eq!(key_source(&blank, &all).as_deref(), Some(KEY_VARIABLE));
    }

    #[test]
    fn all_variables_are_named_and_read() {
        let asked = RefCell::new(BTreeSet::new());
        let connection = Remote::default().connection_with(|name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            // An empty file instead of the user's own.
            (name == config::CONFIG_VARIABLE).then(|| "/dev/null".to_owned())
        });
        assert!(connection.is_ok());
        assert_eq!(asked.into_inner(), VARIABLES.map(str::to_owned).into());
    }

    #[test]
    fn the_url_comes_from_the_flag_or_else_the_variable_or_else_the_file() {
        for (flag, set, file, expected) in [
            (Some("http://f"), Some("http://v"), "url = 'http://c'", "http://f"),
            (None, Some("http://v"), "url = 'http://c'", "http://v"),
            (None, Some(" "), "url = 'http://c'", "http://c"),
            (None, Some(" "), "", DEFAULT_URL),
            (None, None, "", DEFAULT_URL),
        ] {
            let (_folder, mut remote) = remote(file);
            remote.registry_url = flag.map(str::to_owned);
            let variable = |name: &str| set.filter(|_| name == URL_VARIABLE).map(str::to_owned);
            assert_eq!(
                remote.connection_with(variable).unwrap().url.value,
                expected,
                "{flag:?} {set:?} {file}"
            );
        }
    }

    #[test]
    fn a_profile_given_by_flag_wins_over_the_variables() {
        let (_folder, mut remote) = remote("[profiles.p]\nurl = 'http://p'\napi_key = 'p'");
        let variable = |name: &str| match name {
            URL_VARIABLE => Some("http://v".to_owned()),
            KEY_VARIABLE => Some("v".to_owned()),
            config::PROFILE_VARIABLE => Some("p".to_owned()),
            _ => None,
        };
        assert_eq!(remote.connection_with(variable).unwrap().url.value, "http://v");
        remote.profile = Some("p".to_owned());
        let connection = remote.connection_with(variable).unwrap();
        assert_eq!(connection.url.value, "http://p");
        assert!(connection.key.unwrap().source.ends_with("registry.toml"));
    }

    #[test]
    fn a_key_of_the_file_is_not_sent_to_another_registry() {
        let (_folder, mut remote) = remote("url = 'http://own/'\napi_key = 'hush'");
        for (url, sent) in [("http://own", true), ("http://other", false)] {
            remote.registry_url = Some(url.to_owned());
            let connection = remote.connection_with(|_| None);
            assert_eq!(connection.is_ok(), sent, "{url}");
            if let Err(failure) = connection {
                let text = format!("{failure:?}");
                assert!(text.contains("belongs to http://own/") && !text.contains("hush"), "{text}");
            }
        }
    }

    #[test]
    fn equivalent_spellings_of_a_url_are_the_same_registry() {
        for (one, other, same) in [
            ("http://own", "HTTP://OWN:80/", true),
            ("https://own:443/r", " https://own/r/ ", true),
            ("http://own", "https://own", false),
            ("http://own/r", "http://own/R", false),
            ("http://own", "http://own:8080", false),
        ] {
            assert_eq!(is_same_registry(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let remote = Remote { api_key: Some(KeyText("hush".to_owned())), ..Remote::default() };
        assert!(!format!("{remote:?}").contains("hush"));
    }
}
