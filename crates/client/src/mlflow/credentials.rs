//! The URL of an MLflow server, and the credentials for it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use ureq::http::{HeaderValue, Uri};
use url::Url;

use super::MlflowError;

/// Credentials of an MLflow server. They are formatted as `(redacted)`.
#[derive(Clone, PartialEq, Eq)]
pub enum MlflowCredentials {
    /// A bearer token.
    Token(String),
    /// A user's name and password.
    Basic {
        /// May be empty.
        user: String,
        /// The password, or the key of a registry.
        password: String,
    },
}

impl fmt::Debug for MlflowCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlflowCredentials(redacted)")
    }
}

impl MlflowCredentials {
    /// Chooses as MLflow's client does: user and password if there are both, else the token.
    #[must_use]
    pub fn choose(token: Option<String>, user: Option<String>, password: Option<String>) -> Option<Self> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        match (given(user), given(password)) {
            (Some(user), Some(password)) => Some(Self::Basic { user, password }),
            _ => given(token).map(Self::Token),
        }
    }

    pub(super) fn header(&self) -> Result<HeaderValue, MlflowError> {
        let text = match self {
            Self::Token(token) => format!("Bearer {token}"),
            Self::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| MlflowError::BadCredentials)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Splits a URL into the one that is called and the credentials in it. Error texts contain no password.
///
/// # Errors
/// [`MlflowError::BadUrl`].
pub(super) fn split_url(text: &str) -> Result<(Url, Option<MlflowCredentials>), MlflowError> {
    // The text may contain a password.
    let shown = if text.contains('@') { "" } else { text };
    let bad = |why: &str| MlflowError::BadUrl(format!("{shown:?} {why}"));
    let mut url = Url::parse(text.trim()).map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("does not begin with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("contains ? or #, which is not allowed"));
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decoded(url.username());
    let credentials =
        url.password().map(|password| MlflowCredentials::Basic { user, password: decoded(password) });
    if credentials.is_none() && !url.username().is_empty() {
        return Err(bad("contains a user without a password"));
    }
    // They fail only for URLs without a host, which http has.
    let _ = (url.set_username(""), url.set_password(None));
    if url.as_str().parse::<Uri>().is_err() {
        return Err(bad("contains characters that must be percent-encoded"));
    }
    Ok((url, credentials))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Option<MlflowCredentials> {
        Some(MlflowCredentials::Basic { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn user_and_password_are_taken_out_of_the_url() {
        for (text, url, credentials) in [
            ("http://h:5000", "http://h:5000/", None),
            (" https://h/mlflow/ ", "https://h/mlflow/", None),
            ("http://ann:p%40ss@h", "http://h/", basic("ann", "p@ss")),
            ("http://:key@h", "http://h/", basic("", "key")),
        ] {
            let (found, given) = split_url(text).unwrap();
            assert_eq!((found.as_str(), given), (url, credentials), "{text}");
        }
        for bad in ["", "h:5000", "sqlite:///mlflow.db", "http://h/?a=1", "http://h/#/models", "http://ann@h"]
        {
            let text = split_url(bad).unwrap_err().to_string();
            assert!(text.contains("give one like http://mlflow.example.org:5000"), "{bad}: {text}");
        }
        let text = split_url("http://ann:hunter2@h:port").unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn user_and_password_win_over_the_token_and_one_alone_does_not_count() {
        let text = |text: &str| Some(text.to_owned());
        let token = || Some(MlflowCredentials::Token("t".to_owned()));
        for (given, chosen) in [
            ((None, None, None), None),
            ((text("t"), None, None), token()),
            ((text("t"), text("ann"), None), token()),
            ((text("t"), None, text("p")), token()),
            ((text("t"), text("ann"), text("p")), basic("ann", "p")),
            ((None, text("ann"), text("")), None),
        ] {
            let shown = format!("{given:?}");
            assert_eq!(MlflowCredentials::choose(given.0, given.1, given.2), chosen, "{shown}");
        }
    }

    #[test]
    fn credentials_become_a_header_and_are_never_shown() {
        let given = basic("ann", "p\u{e4}ss").unwrap();
        assert_eq!(given.header().unwrap(), "Basic YW5uOnDDpHNz");
        assert_eq!(MlflowCredentials::Token("abc".to_owned()).header().unwrap(), "Bearer abc");
        assert_eq!(MlflowCredentials::Token("a\nb".to_owned()).header(), Err(MlflowError::BadCredentials));
        assert!(!format!("{given:?}").contains("ss"));
    }
}
