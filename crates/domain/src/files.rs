//! The files of a version.

use crate::{
    limits::MAX_NAME_BYTES,
    query::Cursor,
    text_enum::text_enum,
    version::{Version, VersionRef},
};

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

/// Endings of names of files with weights.
const WEIGHTS: [&str; 22] = [
    "safetensors",
    "gguf",
    "ggml",
    "bin",
    "pt",
    "pth",
    "ckpt",
    "onnx",
    "h5",
    "hdf5",
    "keras",
    "msgpack",
    "pb",
    "tflite",
    "pdparams",
    "npz",
    "npy",
    "mlmodel",
    "engine",
    "nemo",
    "joblib",
    "pkl",
];
/// Endings of names of configurations.
const CONFIG: [&str; 6] = ["json", "yaml", "yml", "toml", "ini", "cfg"];
/// Beginnings of names of parts of a tokenizer.
const TOKENIZER: [&str; 8] = [
    "tokenizer",
    "vocab.",
    "merges.",
    "special_tokens_map.",
    "added_tokens.",
    "spiece.",
    "sentencepiece.",
    "chat_template.",
];
/// Beginnings of names of files that only resume a training.
const TRAINING_STATE: [&str; 7] =
    ["optimizer.", "scheduler.", "scaler.", "rng_state", "random_states", "training_args.", "trainer_state."];

impl FileRole {
    /// Returns what a file is for, by its name.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if is_training_state(path) {
            Self::Other
        } else if TOKENIZER.iter().any(|start| name.starts_with(start)) || ending == "tiktoken" {
            Self::Tokenizer
        } else if WEIGHTS.contains(&ending) {
            Self::Weights
        } else if CONFIG.contains(&ending) {
            Self::Config
        } else {
            Self::Other
        }
    }
}

/// Returns true if a file only serves to resume a training: the state of an optimizer, a scheduler or a generator of random
/// numbers.
#[must_use]
pub fn is_training_state(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    TRAINING_STATE.iter().any(|start| name.starts_with(start)) || name.contains("optim_states")
}

/// Which files of a version to list.
#[derive(Debug, Clone, PartialEq)]
pub struct FileQuery {
    /// The version.
    pub version: VersionRef,
    /// Only what this folder contains; without `/` at its end.
    pub under: Option<String>,
    /// True to list what folders contain, in place of the folders.
    pub is_recursive: bool,
    /// The maximum number of entries.
    pub limit: u32,
    /// The end of the previous page: the path of its last entry, of a folder with `/` at its end, and the id of the version.
    pub after: Option<Cursor>,
}

impl FileQuery {
    /// The number of entries of a page, unless a request gives another.
    pub const DEFAULT_LIMIT: u32 = 1_000;
    /// The maximum number of entries of a page.
    pub const MAX_LIMIT: u32 = 10_000;
    /// The name of the list in cursors.
    pub const LIST_NAME: &'static str = "path.asc";
}

/// An entry of a list of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The path of a folder, with `/` at its end.
    Folder(String),
    /// A file.
    File(VersionFile),
}

impl Entry {
    /// Returns the entry of a file below `prefix`, which is a folder with `/` or empty: the file, or the folder in which it is.
    #[must_use]
    pub fn of(file: VersionFile, prefix: &str, is_recursive: bool) -> Self {
        let rest = file.path.get(prefix.len()..).filter(|_| !is_recursive);
        match rest.and_then(|rest| rest.find('/')) {
            Some(end) => Self::Folder(file.path.get(..=prefix.len() + end).unwrap_or_default().to_owned()),
            None => Self::File(file),
        }
    }

    /// Returns its path; of a folder with `/` at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Folder(path) => path,
            Self::File(file) => &file.path,
        }
    }
}

/// Returns the first path that sorts after all files of a folder, byte by byte.
#[must_use]
pub fn after_folder(folder: &str) -> String {
    // The character after '/'.
    format!("{folder}0")
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
    ///
    /// The files of a version with a manifest are not in its row, and none is returned.
    #[must_use]
    pub fn of<S: AsRef<str>>(version: &Version<S>) -> Vec<Self> {
        if version.manifest.is_some() {
            return Vec::new();
        }
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
    fn the_name_of_a_file_tells_what_it_is_for() {
        for (path, role) in [
            ("model.safetensors", FileRole::Weights),
            ("a/b/pytorch_model-00001-of-00002.bin", FileRole::Weights),
            ("MODEL.GGUF", FileRole::Weights),
            ("config.json", FileRole::Config),
            ("model.safetensors.index.json", FileRole::Config),
            ("1_Pooling/config.json", FileRole::Config),
            ("tokenizer.json", FileRole::Tokenizer),
            ("tokenizer.model", FileRole::Tokenizer),
            ("vocab.txt", FileRole::Tokenizer),
            ("merges.txt", FileRole::Tokenizer),
            ("cl100k.tiktoken", FileRole::Tokenizer),
            ("README.md", FileRole::Other),
            ("LICENSE", FileRole::Other),
            ("optimizer.pt", FileRole::Other),
            ("rng_state_0.pth", FileRole::Other),
            ("global_step5/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", FileRole::Other),
            (".bin", FileRole::Weights),
        ] {
            assert_eq!(FileRole::of_path(path), role, "{path}");
            assert_eq!(is_training_state(path), path.contains("optim") || path.contains("rng"), "{path}");
        }
    }

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
