//! Where the database is: a URL with the parameters of libpq.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use super::tls::{TlsFiles, Trust};

/// How long connecting to one address may take, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long sent data may stay unacknowledged before the connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// When an idle connection is first probed.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const DEFAULT_PORT: u16 = 5432;

/// Why a URL can't be used. No message contains the password.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum UrlError {
    #[error("it must look like postgres://user@host:5432/database; a password may also be in PGPASSWORD")]
    Scheme,
    #[error("{0}; it must look like postgres://user@host:5432/database?sslmode=verify-full")]
    Malformed(String),
    #[error("it has a ? or & before something that is no parameter; in a password, write %3F and %26")]
    Parameter,
    #[error("sslmode={0:?} is unknown; choose disable, prefer, require, verify-ca or verify-full")]
    SslMode(String),
    #[error("{name}={value:?} is neither true nor false")]
    Boolean { name: &'static str, value: String },
    #[error(
        "sslmode={0} needs the certificate of the authority that signed the server's: add sslrootcert=FILE"
    )]
    NoRoot(&'static str),
    #[error("sslcert and sslkey belong together; add the one that is missing")]
    HalfOfCertificate,
    #[error("it names no host; add one, or host=/var/run/postgresql for a local socket")]
    NoHost,
    #[error("it names no user; write postgres://user@host/database")]
    NoUser,
    #[error("the password file {path} can't be read: {why}")]
    PasswordFile { path: PathBuf, why: std::io::Error },
}

/// Where the database is and how to use it.
#[derive(Clone)]
pub struct Options {
    pub(super) config: Config,
    pub(super) trust: Trust,
    pub(super) files: TlsFiles,
    /// True if connections lead to PgBouncer in transaction mode: there are no named statements and no settings that
    /// outlive a transaction.
    pub(super) is_pooled: bool,
    /// How long a write waits for locks of others and for a lost database.
    pub write_timeout: Duration,
    /// Connections that write; at least one.
    pub writers: usize,
}

impl Options {
    /// Reads a URL like `postgres://user@host:5432/database?sslmode=verify-full&sslrootcert=ca.pem`.
    ///
    /// `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and `pgbouncer` are read here, and tokio-postgres reads the other
    /// parameters of libpq, among them several hosts and `target_session_attrs`.
    ///
    /// # Errors
    /// [`UrlError`] says what is wrong.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(UrlError::Scheme);
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut trust = None;
        let mut files = TlsFiles::default();
        let (mut is_pooled, mut others) = (false, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let file = || Some(PathBuf::from(&value)).filter(|path| !path.as_os_str().is_empty());
            match name {
                "sslmode" => trust = Some(Trust::parse(&value).ok_or(UrlError::SslMode(value))?),
                "sslrootcert" => files.roots = file(),
                "sslcert" => files.certificate = file(),
                "sslkey" => files.key = file(),
                "pgbouncer" => {
                    is_pooled = match value.as_str() {
                        "true" => true,
                        "false" => false,
                        _ => return Err(UrlError::Boolean { name: "pgbouncer", value }),
                    }
                }
                // What is no name may be a part of the password, so it is not shown.
                _ if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    return Err(UrlError::Parameter);
                }
                _ => others.push(parameter),
            }
        }
        let url = format!("{place}?{}", others.join("&"));
        let mut config: Config = url.parse().map_err(|error| UrlError::Malformed(shown(&error)))?;
        let trust = trust.unwrap_or(Trust::Prefer);
        if files.certificate.is_some() != files.key.is_some() {
            return Err(UrlError::HalfOfCertificate);
        }
        if let (Trust::Authority | Trust::Full, None) = (trust, &files.roots) {
            return Err(UrlError::NoRoot(trust.as_str()));
        }
        if config.get_hosts().is_empty() {
            return Err(UrlError::NoHost);
        }
        if config.get_user().is_none() {
            return Err(UrlError::NoUser);
        }
        config.ssl_mode(match trust {
            Trust::Disable => SslMode::Disable,
            Trust::Prefer => SslMode::Prefer,
            Trust::Require | Trust::Authority | Trust::Full => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        if !others.iter().any(|parameter| parameter.starts_with("keepalives_idle=")) {
            config.keepalives_idle(KEEPALIVES_IDLE);
        }
        if config.get_application_name().is_none() {
            config.application_name("registry");
        }
        Ok(Self { config, trust, files, is_pooled, write_timeout: Duration::from_secs(5), writers: 1 })
    }

    /// Takes the password that libpq would take if the URL has none: `password`, or the first line of the file that fits.
    ///
    /// # Errors
    /// [`UrlError::PasswordFile`].
    pub fn with_password(mut self, password: Option<&str>, file: Option<&Path>) -> Result<Self, UrlError> {
        if self.has_password() {
            return Ok(self);
        }
        if let Some(password) = password {
            self.config.password(password);
        } else if let Some(path) = file {
            let lines = fs::read_to_string(path)
                .map_err(|why| UrlError::PasswordFile { path: path.to_owned(), why })?;
            if let Some(password) = lines.lines().find_map(|line| self.password_in(line)) {
                self.config.password(password);
            }
        }
        Ok(self)
    }

    /// Returns the password of a line `host:port:database:user:password`, if it is for this database.
    fn password_in(&self, line: &str) -> Option<String> {
        if line.starts_with('#') {
            return None;
        }
        let mut fields = vec![String::new()];
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => fields.last_mut()?.extend(letters.next()),
                ':' if fields.len() < 5 => fields.push(String::new()),
                letter => fields.last_mut()?.push(letter),
            }
        }
        let [host, port, database, user, password] = <[String; 5]>::try_from(fields).ok()?;
        let fits = |field: &str, value: &str| field == "*" || field == value;
        let is_place = self.places().any(|(name, own)| {
            let name = if name.starts_with('/') { "localhost" } else { &name };
            fits(&host, name) && fits(&port, &own.to_string())
        });
        let is_fit = is_place && fits(&database, self.database()) && fits(&user, self.user());
        is_fit.then_some(password)
    }

    /// Returns true if there is a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    pub(super) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    pub(super) fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }

    /// Returns host or socket folder, and port, of each server.
    fn places(&self) -> impl Iterator<Item = (String, u16)> {
        let ports = self.config.get_ports();
        self.config.get_hosts().iter().enumerate().map(move |(index, host)| {
            let host = match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            };
            (host, ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT))
        })
    }

    /// Returns the hosts, for messages.
    pub(super) fn hosts(&self) -> String {
        self.places().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Returns the files that hold secrets.
    #[must_use]
    pub fn secret_files(&self) -> Vec<PathBuf> {
        self.files.key.iter().cloned().collect()
    }
}

/// Shows the database without the password.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, hosts, database) = (self.user(), self.hosts(), self.database());
        write!(f, "postgres://{user}@{hosts}/{database}?sslmode={}", self.trust.as_str())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns an error with its causes.
pub(super) fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            (
                "postgres://ann:s3cret@db.example.org:6432/models?sslmode=require",
                "postgres://ann@db.example.org:6432/models?sslmode=require",
            ),
            ("postgresql://ann:s3cret@db", "postgres://ann@db:5432/ann?sslmode=prefer"),
            (
                "postgres://ann@/models?host=/run/pg&password=s3cret&sslmode=disable",
                "postgres://ann@/run/pg:5432/models?sslmode=disable",
            ),
            (
                "postgres://ann:s3cret@one:1,two:2/models?target_session_attrs=read-write",
                "postgres://ann@one:1,two:2/models?sslmode=prefer",
            ),
        ] {
            let options = Options::parse(url).unwrap();
            assert_eq!(options.to_string(), shown);
            assert!(!format!("{options:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_wrong_url_is_refused_with_what_to_do_and_without_the_password() {
        for (url, said) in [
            ("db.example.org/models", "must look like postgres://"),
            ("mysql://ann:s3cret@db/models", "must look like postgres://"),
            ("postgres://ann:s3cret@db:port/models", "must look like postgres://"),
            ("postgres://ann:s3cret@db/models?sslmode=sometimes", "choose disable, prefer"),
            ("postgres://ann:s3cret@db/models?sslmode=verify-full", "add sslrootcert=FILE"),
            ("postgres://ann:s3cret@db/models?sslcert=a.pem", "belong together"),
            ("postgres://ann:s3cret@db/models?pgbouncer=yes", "neither true nor false"),
            ("postgres://ann:s3cret@db/models?colour=red", "colour"),
            ("postgres://ann:?s3cret@db/models", "in a password, write %3F"),
            ("postgres:///models?user=ann&password=s3cret", "no host"),
            ("postgres://db/models", "no user"),
        ] {
            let error = Options::parse(url).unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_password_comes_from_the_url_then_the_variable_then_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgpass");
        fs::write(&file, "# comment\nother:*:*:*:no\ndb:5432:models:ann:a\\:b\\\\:c\n*:*:*:*:last\n")
            .unwrap();
        let password = |url: &str, variable, file: Option<&Path>| {
            let options = Options::parse(url).unwrap().with_password(variable, file).unwrap();
            options.config.get_password().map(|password| String::from_utf8(password.to_vec()).unwrap())
        };
        let url = "postgres://ann@db/models";
        let given = Some("variable");
        assert_eq!(password("postgres://ann:url@db/models", given, Some(&file)).as_deref(), Some("url"));
        assert_eq!(password(url, given, Some(&file)).as_deref(), given);
        assert_eq!(password(url, None, Some(&file)).as_deref(), Some("a:b\\:c"));
        assert_eq!(password("postgres://bob@db/models", None, Some(&file)).as_deref(), Some("last"));
        assert_eq!(password(url, None, None), None);
        let missing = folder.path().join("none");
        assert!(Options::parse(url).unwrap().with_password(None, Some(&missing)).is_err());
    }
}
