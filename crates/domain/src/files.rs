//! The files of a version.

use crate::{limits::MAX_NAME_BYTES, text_enum::text_enum, version::Version};

text_enum! {
    /// What a file is for.
    FileRole {
        /// Parameters of the model.
        Weights = "weights",
        /// A configuration.
        Config = "config",
        /// A tokenizer, or a part of one.
        Tokenizer = "tokenizer",
        /// Anything else.
        Other = "other",
    }
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFile {
    /// Unique within the version; relative, with `/` between folders.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: Option<i64>,
    /// 64 lower-case hex digits.
    pub sha256: Option<String>,
    /// What it is for.
    pub role: FileRole,
}

impl VersionFile {
    /// Returns the files of a version that was registered with a checkpoint and perhaps a configuration. There is one for
    /// each of the two of which a path, a size or a digest is known.
    ///
    /// A file is named after the last segment of its path. Without a path, the checkpoint is named after the last segment of
    /// the artifact's URI, or else `checkpoint`, and the configuration is named `config`. If both names are equal, the
    /// configuration becomes `config/NAME`.
    #[must_use]
    pub fn of<S: AsRef<str>>(version: &Version<S>) -> Vec<Self> {
        let text = |text: &'_ Option<S>| text.as_ref().map(|text| text.as_ref().to_owned());
        let (uri, path) = (text(&version.artifact_uri), text(&version.checkpoint_path));
        // The column can't be empty, so it contains the URI if there is no path.
        let path = path.filter(|path| !path.is_empty() && Some(path) != uri.as_ref());
        let name = path.as_deref().or_else(|| uri.as_deref().and_then(path_of_uri)).and_then(last_name);
        let checkpoint = Self {
            path: name.unwrap_or("checkpoint").to_owned(),
            size_bytes: version.checkpoint_size_bytes,
            sha256: text(&version.checkpoint_sha256),
            role: FileRole::Weights,
        };
        let config_path = text(&version.config_path).filter(|path| !path.is_empty());
        let mut config = Self {
            path: config_path.as_deref().and_then(last_name).unwrap_or("config").to_owned(),
            size_bytes: version.config_size_bytes,
            sha256: text(&version.config_sha256),
            role: FileRole::Config,
        };
        let is_known = |path: bool, file: &Self| path || file.size_bytes.is_some() || file.sha256.is_some();
        let mut files = Vec::new();
        if is_known(path.is_some(), &checkpoint) {
            files.push(checkpoint);
        }
        if is_known(config_path.is_some(), &config) {
            if files.iter().any(|file| file.path == config.path) {
                config.path = format!("config/{}", config.path);
            }
            files.push(config);
        }
        files
    }
}

/// Returns the path in a URI; `None` if it has none, as in `sha256:…`.
fn path_of_uri(uri: &str) -> Option<&str> {
    let uri = uri.split(['?', '#']).next()?;
    match uri.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(_, path)| path),
        None => uri.contains('/').then_some(uri),
    }
}

/// Returns the last name in a path, if a file can be called that everywhere.
fn last_name(path: &str) -> Option<&str> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    let is_good = !["", ".", ".."].contains(&name) && name.len() <= MAX_NAME_BYTES && !name.contains('\0');
    is_good.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::sample;

    #[test]
    fn a_version_has_a_file_for_each_of_checkpoint_and_configuration_that_is_known() {
        let size = Some(7);
        let none = None::<&str>;
        for (uri, path, checkpoint_size, config_path, config_size, expected) in [
            ("s3://b/m.pt", none, None, none, None, &[][..]),
            ("s3://b/m.pt", none, size, none, None, &["m.pt"]),
            ("s3://b/run/", none, size, none, None, &["run"]),
            ("s3://bucket", none, size, none, size, &["checkpoint", "config"]),
            ("https://h/a/b.pt?sign=a/b#c", none, size, none, None, &["b.pt"]),
            ("sha256:00ff", none, size, none, None, &["checkpoint"]),
            ("s3://b/..", none, size, none, None, &["checkpoint"]),
            ("s3://b/m.pt", Some("/data/step-5.pt"), None, none, None, &["step-5.pt"]),
            ("s3://b/m.pt", Some("step-5.pt"), None, none, None, &["step-5.pt"]),
            ("s3://b/m.pt", Some("/data/a\0b"), None, none, None, &["checkpoint"]),
            ("s3://b/m.pt", none, None, Some("/data/config.json"), None, &["config.json"]),
            ("s3://b/m.pt", none, size, Some("/data/m.pt"), None, &["m.pt", "config/m.pt"]),
            ("s3://b/config", none, size, none, size, &["config", "config/config"]),
        ] {
            let version = Version {
                artifact_uri: Some(uri.to_owned()),
                checkpoint_path: Some(path.unwrap_or(uri).to_owned()),
                checkpoint_size_bytes: checkpoint_size,
                config_path: config_path.map(str::to_owned),
                config_size_bytes: config_size,
                ..sample()
            };
            let paths: Vec<_> = VersionFile::of(&version).into_iter().map(|file| file.path).collect();
            assert_eq!(paths, expected, "{uri} {path:?}");
        }
        let digests = Version {
            checkpoint_sha256: Some("aa".to_owned()),
            config_sha256: Some("bb".to_owned()),
            ..sample()
        };
        let files = VersionFile::of(&digests);
        let known: Vec<_> = files.iter().map(|file| (file.role, file.sha256.as_deref())).collect();
        assert_eq!(known, [(FileRole::Weights, Some("aa")), (FileRole::Config, Some("bb"))]);
    }
}
