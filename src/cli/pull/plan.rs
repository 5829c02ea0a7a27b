//! What to pull: the version, its files, and where their bytes are.
//!
//! It checks what the registry says of the files, and must not know the network: the same plan comes from an answer and from the
//! cache.

use std::collections::HashSet;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::Value;

use super::super::{exit::Failure, print, version_arg};
use crate::domain::{
    Digest, FileRole, Manifest, ManifestFile,
    manifest::{MAX_FILES, check_path},
};

/// A file to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct WantedFile {
    /// Relative, and checked.
    pub(in crate::cli) path: String,
    pub(in crate::cli) size_bytes: u64,
    pub(in crate::cli) sha256: Digest,
}

/// What the registered location of an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Base {
    /// The only file.
    File,
    /// The folder of the files.
    Folder,
    /// The only file, or its folder.
    Either,
}

/// A version with its files.
#[derive(Debug)]
pub(in crate::cli) struct Plan {
    /// The version as `/v1` shows it.
    pub(in crate::cli) version: Value,
    /// By path.
    pub(in crate::cli) files: Vec<WantedFile>,
    /// Files of which the registry knows no digest or no location.
    pub(in crate::cli) unknown: Vec<String>,
    pub(in crate::cli) base: Base,
}

impl Plan {
    /// Reads the registry's answers for a version and its files.
    ///
    /// # Errors
    /// If a path leads elsewhere, or the files can't be together in a folder.
    pub(in crate::cli) fn new(version: Value, files: &[Value]) -> Result<Self, Failure> {
        let refused = |why: &dyn std::fmt::Display| {
            Failure::failed(format!("the files of {} can't be pulled: {why}", version_arg::label(&version)))
        };
        if files.len() > MAX_FILES {
            return Err(refused(&format!("there are more than {MAX_FILES}")));
        }
        let base = base_of(&version, files);
        let mut known = Vec::with_capacity(files.len());
        let mut unknown = Vec::new();
        for file in files {
            let path = file["path"].as_str().unwrap_or_default();
            check_path(path).map_err(|error| refused(&error))?;
            let size_bytes = file["size_bytes"].as_i64();
            let digest = file["sha256"].as_str().unwrap_or_default();
            let digest = Digest::parse("sha256", digest).map_err(|error| refused(&error))?;
            // Of the configuration of a checkpoint the registry has no location.
            let is_located = base != Base::File || files.len() == 1 || file["role"] != "config";
            match (digest, size_bytes) {
                (Some(sha256), Some(size_bytes)) if is_located => {
                    known.push(ManifestFile {
                        path: path.to_owned(),
                        size_bytes,
                        sha256,
                        role: FileRole::Other,
                    });
                }
                _ => unknown.push(path.to_owned()),
            }
        }
        let manifest = Manifest::new(known).map_err(|error| refused(&error))?;
        let files = manifest.files().iter().map(|file| WantedFile {
            path: file.path.clone(),
            // A manifest has no negative sizes.
            size_bytes: u64::try_from(file.size_bytes).unwrap_or_default(),
            sha256: file.sha256,
        });
        let files = files.collect();
        Ok(Self { version, files, unknown, base })
    }

    /// Keeps the files that the globs select.
    ///
    /// # Errors
    /// If none is left.
    pub(in crate::cli) fn select(&mut self, selection: &Selection) -> Result<(), Failure> {
        let all = self.files.len();
        self.files.retain(|file| selection.includes(&file.path));
        self.unknown.retain(|path| selection.includes(path));
        if self.files.is_empty() && all > 0 {
            return Err(Failure::failed(format!(
                "{} has no file that --include and --exclude select; `registry files` lists its {}",
                self.label(),
                print::counted(all as u64, "file")
            )));
        }
        Ok(())
    }

    /// Returns `name:label`.
    pub(in crate::cli) fn label(&self) -> String {
        version_arg::label(&self.version)
    }

    /// Returns the name of the model.
    pub(in crate::cli) fn model(&self) -> &str {
        self.version["model"].as_str().unwrap_or_default()
    }

    /// Returns the bytes of all files.
    pub(in crate::cli) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Returns the digests of all files.
    pub(in crate::cli) fn digests(&self) -> HashSet<Digest> {
        self.files.iter().map(|file| file.sha256).collect()
    }
}

/// Returns what the location of a version is. A version that was registered as a checkpoint and a configuration may have the location
/// of the checkpoint.
fn base_of(version: &Value, files: &[Value]) -> Base {
    let uri = version["artifact_uri"].as_str().unwrap_or_default().trim();
    let last = uri.split(['?', '#']).next().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
    let name = |file: &Value| {
        let path = file["path"].as_str().unwrap_or_default();
        path.rsplit('/').next().unwrap_or(path).to_owned()
    };
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_owned());
    match files {
        _ if last.is_empty() => Base::Folder,
        [file] if name(file) == last => Base::File,
        [_] => Base::Either,
        [one, other] if version["manifest"] != true => {
            let weights = if one["role"] == "config" { other } else { one };
            let is_alike = name(weights) == last
                || ending(&name(weights)).is_some() && ending(&name(weights)) == ending(last);
            if is_alike { Base::File } else { Base::Folder }
        }
        _ => Base::Folder,
    }
}

/// Which files to pull.
#[derive(Debug, Default)]
pub(in crate::cli) struct Selection {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl Selection {
    /// Reads globs. A glob without a slash also matches the name of a file in any folder; one that ends with a slash matches all
    /// that a folder contains.
    ///
    /// # Errors
    /// If one is invalid.
    pub(in crate::cli) fn new(include: &[String], exclude: &[String]) -> Result<Self, Failure> {
        Ok(Self { include: set(include)?, exclude: set(exclude)? })
    }

    fn includes(&self, path: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(path))
            && !self.exclude.as_ref().is_some_and(|globs| globs.is_match(path))
    }
}

fn set(globs: &[String]) -> Result<Option<GlobSet>, Failure> {
    if globs.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    let bad = |error: globset::Error| {
        Failure::usage(print::one_line(&format!("{error}; expected a glob like '*.safetensors'")))
    };
    for glob in globs {
        let glob = glob.strip_prefix("./").unwrap_or(glob);
        let glob = match glob.strip_suffix('/') {
            Some(folder) => format!("{folder}/**"),
            None => glob.to_owned(),
        };
        if !glob.contains('/') {
            set.add(Glob::new(&format!("**/{glob}")).map_err(bad)?);
        }
        set.add(Glob::new(&glob).map_err(bad)?);
    }
    set.build().map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn plan(paths: &[&str]) -> Result<Plan, Failure> {
        let files: Vec<_> =
            paths.iter().map(|path| json!({"path": path, "size_bytes": 1, "sha256": A})).collect();
        Plan::new(json!({"model": "m", "label": "v1"}), &files)
    }

    #[test]
    fn a_path_that_leads_out_of_the_folder_is_refused_though_the_registry_lists_it() {
        for path in ["../x", "/etc/passwd", "a/../../x", "", "a\0b", "C:/x", "a\\..\\b"] {
            let text = plan(&[path]).unwrap_err().text();
            assert!(text.starts_with("the files of m:v1 can't be pulled: the path"), "{text}");
        }
        for paths in [["a", "a/b"], ["a", "A"], ["a", "a"]] {
            assert!(plan(&paths).is_err(), "{paths:?}");
        }
    }

    #[test]
    fn globs_select_files_by_path_or_by_name() {
        let all = ["README.md", "config.json", "model.safetensors", "onnx/model.onnx", "onnx/q/config.json"];
        for (include, exclude, expected) in [
            (&[][..], &[][..], &all[..]),
            (&["*.safetensors"], &[], &["model.safetensors"]),
            (&["config.json"], &[], &["config.json", "onnx/q/config.json"]),
            (&["onnx/"], &[], &["onnx/model.onnx", "onnx/q/config.json"]),
            (&["onnx/*"], &["*.json"], &["onnx/model.onnx"]),
            (&["*.json", "./README.md"], &["onnx/"], &["README.md", "config.json"]),
            (&["model.{onnx,safetensors}"], &[], &["model.safetensors", "onnx/model.onnx"]),
        ] {
            let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
            let selection = Selection::new(&owned(include), &owned(exclude)).unwrap();
            let mut plan = plan(&all).unwrap();
            plan.select(&selection).unwrap();
            let paths: Vec<_> = plan.files.iter().map(|file| file.path.as_str()).collect();
            assert_eq!(paths, expected, "{include:?} {exclude:?}");
        }
        let none = Selection::new(&["*.gguf".to_owned()], &[]).unwrap();
        assert!(plan(&all).unwrap().select(&none).unwrap_err().text().contains("lists its 5 files"));
        assert_eq!(Selection::new(&["[".to_owned()], &[]).unwrap_err().code(), 2);
    }

    #[test]
    fn the_location_is_a_folder_or_the_only_file() {
        let weights = |path: &str| json!({"path": path, "role": "weights"});
        let config = json!({"path": "config.json", "role": "config"});
        for (uri, files, base) in [
            ("s3://b/m.pt", vec![weights("m.pt")], Base::File),
            ("https://h/m.pt?sig=a/b", vec![weights("m.pt")], Base::File),
            ("s3://b/v1.pt", vec![weights("m.pt")], Base::Either),
            ("s3://b/run7", vec![weights("m.pt")], Base::Either),
            ("s3://b/run7/", vec![weights("m.pt")], Base::Folder),
            ("s3://b/v1.pt", vec![weights("m.pt"), config.clone()], Base::File),
            ("s3://b/run7", vec![config.clone(), weights("m.pt")], Base::Folder),
            ("s3://b/run7", vec![config.clone(), weights("a.pt"), weights("b.pt")], Base::Folder),
        ] {
            assert_eq!(base_of(&json!({"artifact_uri": uri}), &files), base, "{uri} {files:?}");
        }
        let published = json!({"artifact_uri": "s3://b/v1.pt", "manifest": true});
        assert_eq!(base_of(&published, &[weights("m.pt"), config]), Base::Folder, "a folder was published");
    }

    #[test]
    fn a_file_without_a_digest_is_known_by_name_only() {
        let files = [json!({"path": "m.pt", "size_bytes": 3, "sha256": null, "role": "weights"})];
        let plan = Plan::new(json!({"model": "m", "label": "v1"}), &files).unwrap();
        assert_eq!((plan.files.len(), plan.unknown), (0, vec!["m.pt".to_owned()]));
    }
}
