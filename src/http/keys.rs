//! The API keys of this server's environment, kept as digests. Their owners are administrators. Digests are equal in length, so a
//! comparison reveals nothing, and no log or dump shows a key.
//!
//! `NAME=KEY` gives a key a name. Keys that contain `=` are older than names, so the whole text is a key too.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::domain::{
    Principal,
    key::{actor_of, is_key_name},
};

/// A key's SHA-256.
pub(super) type Digest = [u8; 32];

/// The largest file of keys, in bytes: far more than a team needs.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The shortest key that a file may contain: with fewer characters it could be guessed.
pub const MIN_KEY_CHARS: usize = 16;

/// Why a file of keys can't be used. Keys that are loaded already stay valid.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum KeyFileError {
    #[error("{path} can't be read: {source}; it must contain one API key per line")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} contains no API key; write one per line (lines that begin with # are comments)")]
    Empty { path: PathBuf },
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes, so it can't be a file of API keys")]
    TooLarge { path: PathBuf },
    #[error(
        "line {line} of {path} contains a key of fewer than {MIN_KEY_CHARS} characters, which could be guessed; replace it, for \
         instance by the output of: openssl rand -hex 24"
    )]
    TooShort { path: PathBuf, line: usize },
}

/// How much of a key without a name the audit trail shows.
const ACTOR_KEY_CHARS: usize = 4;

/// A key, and whom it makes known.
#[derive(Clone)]
struct EnvironmentKey {
    digest: Digest,
    /// Of the text with the name.
    named_digest: Option<Digest>,
    owner: Arc<Principal>,
}

impl EnvironmentKey {
    fn read(text: &[u8]) -> Self {
        match split_name(text) {
            Some((name, key)) => Self {
                digest: digest_of(key),
                named_digest: Some(digest_of(text)),
                owner: Arc::new(Principal::administrator(actor_of(name))),
            },
            None => {
                let prefix: String = String::from_utf8_lossy(text).chars().take(ACTOR_KEY_CHARS).collect();
                Self {
                    digest: digest_of(text),
                    named_digest: None,
                    owner: Arc::new(Principal::administrator(format!("key:{prefix}…"))),
                }
            }
        }
    }
}

/// Splits `NAME=KEY`, if the name is one of a key and the key can't be guessed.
fn split_name(text: &[u8]) -> Option<(&str, &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    let (name, key) = (std::str::from_utf8(text.get(..at)?).ok()?, text.get(at + 1..)?.trim_ascii());
    let is_long = String::from_utf8_lossy(key).chars().count() >= MIN_KEY_CHARS;
    (is_key_name(name) && is_long).then_some((name, key))
}

/// The valid keys. Clones share them, so a reload reaches all of them.
#[derive(Clone)]
pub struct Keys {
    /// Keys that do not come from the file. A reload keeps them.
    configured: Arc<[EnvironmentKey]>,
    file: Option<Arc<Path>>,
    current: Arc<ArcSwap<Vec<EnvironmentKey>>>,
}

impl Keys {
    /// Makes these keys valid, and keeps only their digests.
    pub fn of<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let configured: Arc<[_]> = keys.into_iter().map(|key| EnvironmentKey::read(key.as_bytes())).collect();
        let current = Arc::new(ArcSwap::from_pointee(configured.to_vec()));
        Self { configured, file: None, current }
    }

    /// Adds the keys of a file: one per line, without the space around it. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// [`KeyFileError`] if the file can't be read, contains no key or one that is too short.
    pub fn with_file(self, path: &Path) -> Result<Self, KeyFileError> {
        let keys = Self { file: Some(path.into()), ..self };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads the file again, if there is one. Keys that it no longer contains become invalid.
    ///
    /// # Errors
    /// As [`Keys::with_file`]; the loaded keys then stay valid.
    pub fn reload(&self) -> Result<(), KeyFileError> {
        let Some(path) = &self.file else { return Ok(()) };
        let filed = read(path)?;
        self.current.store(Arc::new(self.configured.iter().cloned().chain(filed).collect()));
        Ok(())
    }

    /// Returns the file, if other users of this machine can read it.
    #[must_use]
    pub fn exposed_file(&self) -> Option<&Path> {
        let path = self.file.as_deref()?;
        let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        (mode & 0o077 != 0).then_some(path)
    }

    /// Returns the number of valid keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current.load().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    /// Returns the owner of the key with this digest. It compares all digests, so that the time does not reveal which one matched.
    pub(super) fn owner(&self, digest: &Digest) -> Option<Arc<Principal>> {
        let mut owner = None;
        for key in self.current.load().iter() {
            let named = key.named_digest.as_ref().map_or(Choice::from(0), |named| named.ct_eq(digest));
            if bool::from(key.digest.ct_eq(digest) | named) && owner.is_none() {
                owner = Some(Arc::clone(&key.owner));
            }
        }
        owner
    }

    /// Returns true if a key has this name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        let actor = actor_of(name);
        self.current.load().iter().any(|key| key.owner.name == actor)
    }

    /// Returns the names in the audit trail that several different keys have.
    #[must_use]
    pub fn ambiguous_actors(&self) -> BTreeSet<String> {
        let keys = self.current.load();
        let is_shared = |one: &EnvironmentKey| {
            let mut same = keys.iter().filter(|other| other.owner.name == one.owner.name);
            same.any(|other| other.digest != one.digest)
        };
        keys.iter().filter(|key| is_shared(key)).map(|key| key.owner.name.clone()).collect()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.count())
    }
}

pub(super) fn digest_of(key: &[u8]) -> Digest {
    Sha256::digest(key).into()
}

fn read(path: &Path) -> Result<Vec<EnvironmentKey>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    let text = fs::read(path).map_err(unreadable)?;
    let mut keys = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate() {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if String::from_utf8_lossy(line).chars().count() < MIN_KEY_CHARS {
            return Err(KeyFileError::TooShort { path: path.to_owned(), line: number + 1 });
        }
        keys.push(EnvironmentKey::read(line));
    }
    if keys.is_empty() {
        return Err(KeyFileError::Empty { path: path.to_owned() });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_key_per_line_and_can_be_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# of the pipeline\n first-key-of-many \r\n\nsecond-key-of-many").unwrap();
        let keys = Keys::of(["configured"]).with_file(&path).unwrap();
        let taken = |key: &str| keys.clone().owner(&digest_of(key.as_bytes())).is_some();
        assert!(["configured", "first-key-of-many", "second-key-of-many"].into_iter().all(taken));
        assert!(!taken("# of the pipeline") && !taken("") && !taken("third-key-of-many"));
        fs::write(&path, "third-key-of-many\n").unwrap();
        assert!(taken("first-key-of-many") && !taken("third-key-of-many"));
        keys.reload().unwrap();
        assert!(taken("configured") && taken("third-key-of-many") && !taken("first-key-of-many"));
        fs::write(&path, "# of the pipeline\nfifteen-letters\n").unwrap();
        assert!(keys.reload().unwrap_err().to_string().starts_with("line 2 of "));
        fs::write(&path, "# nothing\n").unwrap();
        assert!(keys.reload().unwrap_err().to_string().contains("contains no API key"));
        fs::remove_file(&path).unwrap();
        assert!(keys.reload().unwrap_err().to_string().contains("can't be read"));
        assert!(taken("configured") && taken("third-key-of-many"), "the loaded keys stay valid");
        assert_eq!(format!("{keys:?}"), "Keys(2)");
    }

    #[test]
    fn a_key_may_have_a_name_and_one_that_contains_an_equals_sign_stays_valid() {
        let owner =
            |keys: &Keys, key: &str| keys.owner(&digest_of(key.as_bytes())).map(|owner| owner.name.clone());
        for (text, key, actor) in [
            ("alice=0123456789abcdef", "0123456789abcdef", "key:alice"),
            ("alice=0123456789abcdef", "alice=0123456789abcdef", "key:alice"),
            // Older than names: base64, and keys whose rest could be guessed.
            ("MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZg==", "key:MDEy…"),
            ("alice=secret", "alice=secret", "key:alic…"),
            ("1=0123456789abcdefg", "1=0123456789abcdefg", "key:1=01…"),
            ("0123456789abcdef", "0123456789abcdef", "key:0123…"),
        ] {
            let keys = Keys::of([text]);
            assert_eq!(owner(&keys, key).as_deref(), Some(actor), "{text}");
            assert_eq!(keys.count(), 1);
        }
        assert_eq!(owner(&Keys::of(["alice=secret"]), "secret"), None);
        assert_eq!(owner(&Keys::of(["MDEyMzQ1Njc4OWFiY2RlZg=="]), "="), None);
        assert!(Keys::of(["alice=0123456789abcdef"]).has_name("alice"));
    }

    #[test]
    fn keys_that_the_audit_trail_could_not_tell_apart_are_found() {
        let keys = Keys::of([
            "teamkey-alice-0001",
            "teamkey-bob-00002",
            "other-key-0000003",
            "x=teamkey-carol-0004",
        ]);
        assert_eq!(keys.ambiguous_actors(), BTreeSet::from(["key:team…".to_owned()]));
        let keys = Keys::of(["alice=teamkey-alice-0001", "bob=teamkey-bob-00002"]);
        assert_eq!(keys.ambiguous_actors(), BTreeSet::new());
    }

    #[test]
    fn a_file_that_others_can_read_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "a-key-of-some-length").unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let keys = Keys::of([]).with_file(&path).unwrap();
            assert_eq!(keys.exposed_file().is_some(), exposed, "{mode:o}");
        }
    }
}
