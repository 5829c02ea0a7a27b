//! Which registry a command talks to, and with which key.

use std::{env, fmt};

use super::exit::Failure;
use crate::client::{Client, SecretKey};

const DEFAULT_URL: &str = "http://localhost:8001";
const URL_VARIABLE: &str = "CAIA_REGISTRY_URL";
const KEY_VARIABLE: &str = "CAIA_REGISTRY_API_KEY";
const KEYS_VARIABLE: &str = "CAIA_REGISTRY_API_KEYS";

/// The flags of every command that talks to a registry.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registry")]
pub struct Remote {
    /// Where the registry is; else the variable CAIA_REGISTRY_URL, else http://localhost:8001
    #[arg(long, value_name = "URL")]
    registry_url: Option<String>,
    /// The key to show it; else the variable CAIA_REGISTRY_API_KEY, else the first of CAIA_REGISTRY_API_KEYS
    ///
    /// Other users of this machine can see the flags of a running command, but not its variables.
    #[arg(long, value_name = "KEY", value_parser = |text: &str| Ok::<_, String>(KeyText(text.to_owned())))]
    api_key: Option<KeyText>,
}

/// A key as it was typed. It is not judged while flags are parsed, since a parser repeats what it refuses.
#[derive(Clone)]
struct KeyText(String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(redacted)")
    }
}

impl Remote {
    /// A client of the registry that the flags and variables name.
    ///
    /// # Errors
    /// Where there is no key, it can't be sent, or the URL is none.
    pub fn client(&self) -> Result<Client, Failure> {
        let variable = |name: &str| env::var(name).ok();
        let key = key(self.api_key.as_ref().map(|key| key.0.as_str()), variable).ok_or_else(|| {
            Failure::key(format!("there is no API key; give one with --api-key or in {KEY_VARIABLE}"))
        })?;
        let url = url(self.registry_url.as_deref(), variable);
        Ok(Client::new(&url, SecretKey::new(&key)?)?)
    }
}

fn url(flag: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> String {
    let set = || variable(URL_VARIABLE).filter(|url| !url.trim().is_empty());
    flag.map(str::to_owned).or_else(set).unwrap_or_else(|| DEFAULT_URL.to_owned())
}

/// The first key that is not blank.
fn key(flag: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let keys = variable(KEYS_VARIABLE).unwrap_or_default();
    flag.map(str::to_owned)
        .into_iter()
        .chain(variable(KEY_VARIABLE))
        .chain(keys.split(',').map(str::to_owned))
        .find(|key| !key.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_comes_from_the_flag_or_else_the_variables() {
        for (flag, one, many, expected) in [
            (Some("f"), Some("o"), Some("m"), Some("f")),
            (Some(" "), Some("o"), Some("m"), Some("o")),
            (None, Some(""), Some(" , m1 ,m2"), Some(" m1 ")),
            (None, None, Some("m1,m2"), Some("m1")),
            (None, None, Some(" ,"), None),
            (None, None, None, None),
        ] {
            let variable = |name: &str| match name {
                KEY_VARIABLE => one.map(str::to_owned),
                KEYS_VARIABLE => many.map(str::to_owned),
                _ => None,
            };
            assert_eq!(key(flag, variable).as_deref(), expected, "{flag:?} {one:?} {many:?}");
        }
    }

    #[test]
    fn the_url_comes_from_the_flag_or_else_the_variable() {
        for (flag, set, expected) in [
            (Some("http://f"), Some("http://v"), "http://f"),
            (None, Some("http://v"), "http://v"),
            (None, Some(" "), DEFAULT_URL),
            (None, None, DEFAULT_URL),
        ] {
            let variable = |name: &str| set.filter(|_| name == URL_VARIABLE).map(str::to_owned);
            assert_eq!(url(flag, variable), expected, "{flag:?} {set:?}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let remote = Remote { registry_url: None, api_key: Some(KeyText("hush".to_owned())) };
        assert!(!format!("{remote:?}").contains("hush"));
    }
}
