//! The keys of this server, kept as digests: equal in length, so comparing them tells nothing of a key, and nothing that
//! is printed or dumped shows one.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// A key's SHA-256.
pub(super) type Digest = [u8; 32];

/// The largest file of keys: far more than anybody has.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a file of keys can't be used. What was in force before stays.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KeyFileError {
    #[error("{path} can't be read: {source}; it is to hold one API key a line")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} holds no API key; write one a line (lines that begin with # are remarks)")]
    Empty { path: PathBuf },
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes, so no file of API keys")]
    TooLarge { path: PathBuf },
}

/// The keys that are taken; clones share them, and see those of the file replaced.
#[derive(Clone)]
pub struct Keys {
    /// From variables and the like: they stay.
    configured: Arc<[Digest]>,
    file: Option<Arc<Path>>,
    current: Arc<ArcSwap<Vec<Digest>>>,
}

impl Keys {
    /// Takes these keys; they themselves are not kept.
    pub fn of<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let configured: Arc<[_]> = keys.into_iter().map(|key| digest_of(key.as_bytes())).collect();
        let current = Arc::new(ArcSwap::from_pointee(configured.to_vec()));
        Self { configured, file: None, current }
    }

    /// These, and those of a file: one a line, without the space around it; lines that begin with `#` are remarks.
    ///
    /// # Errors
    /// [`KeyFileError`] where there are none in it.
    pub fn with_file(self, path: &Path) -> Result<Self, KeyFileError> {
        let keys = Self { file: Some(path.into()), ..self };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads the file again, if there is one: keys that it does not hold any more are refused from now on.
    ///
    /// # Errors
    /// As [`Keys::with_file`]; those in force stay then.
    pub fn reload(&self) -> Result<(), KeyFileError> {
        let Some(path) = &self.file else { return Ok(()) };
        let filed = read(path)?;
        self.current.store(Arc::new(self.configured.iter().copied().chain(filed).collect()));
        Ok(())
    }

    /// The file, where others on this machine can read it.
    #[must_use]
    pub fn exposed_file(&self) -> Option<&Path> {
        let path = self.file.as_deref()?;
        let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        (mode & 0o077 != 0).then_some(path)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current.load().len()
    }

    pub(super) fn are_none(&self) -> bool {
        self.current.load().is_empty()
    }

    pub(super) fn include(&self, digest: &Digest) -> bool {
        one_of(&self.current.load(), digest)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} of them)", self.count())
    }
}

pub(super) fn digest_of(key: &[u8]) -> Digest {
    Sha256::digest(key).into()
}

/// All are compared, so that the time does not tell which one it was.
fn one_of(digests: &[Digest], digest: &Digest) -> bool {
    digests.iter().fold(Choice::from(0), |known, one| known | one.ct_eq(digest)).into()
}

fn read(path: &Path) -> Result<Vec<Digest>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    let text = fs::read(path).map_err(unreadable)?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let digests: Vec<_> = keys.map(digest_of).collect();
    if digests.is_empty() {
        return Err(KeyFileError::Empty { path: path.to_owned() });
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_key_a_line_and_is_read_again_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# of the pipeline\n first \r\n\nsecond").unwrap();
        let keys = Keys::of(["configured"]).with_file(&path).unwrap();
        let taken = |key: &str| keys.clone().include(&digest_of(key.as_bytes()));
        assert!(["configured", "first", "second"].into_iter().all(taken));
        assert!(!taken("# of the pipeline") && !taken("") && !taken("third"));
        fs::write(&path, "third\n").unwrap();
        assert!(taken("first") && !taken("third"));
        keys.reload().unwrap();
        assert!(taken("configured") && taken("third") && !taken("first"));
        fs::write(&path, "# nothing\n").unwrap();
        assert!(keys.reload().unwrap_err().to_string().contains("holds no API key"));
        fs::remove_file(&path).unwrap();
        assert!(keys.reload().unwrap_err().to_string().contains("can't be read"));
        assert!(taken("configured") && taken("third"), "those in force stay");
        assert_eq!(format!("{keys:?}"), "Keys(2 of them)");
    }

    #[test]
    fn a_file_that_others_can_read_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "key").unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let keys = Keys::of([]).with_file(&path).unwrap();
            assert_eq!(keys.exposed_file().is_some(), exposed, "{mode:o}");
        }
    }
}
