//! The names in paths. A client writes the slash of `org/model` as it is, and one in a revision or a folder as `%2F`.

use actix_web::dev::{Path, Url};
use percent_encoding::percent_decode_str;

use crate::domain::hub::Missing;

use super::{super::request::Call, error::HubError};

const MODELS: &str = "/api/models/";
/// The paths of this API, besides those of files.
const PREFIXES: [&str; 4] = ["/api/models", "/api/datasets", "/api/spaces", "/api/whoami-v2"];
/// First parts of names whose files would be among the paths of another API.
const RESERVED: [&str; 6] = ["ajax-api", "api", "models", "ui", "v1", "v2"];
/// The maximum length of a name that clients accept.
const MAX_ID_BYTES: usize = 96;

/// Returns true if a request is for this API, whose errors have their own form.
pub(in crate::http) fn is_hub(path: &Path<Url>) -> bool {
    let path = path.as_str();
    let is_under = |prefix: &&str| {
        path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PREFIXES.iter().any(is_under) || is_file(path)
}

/// Returns true if a path is of a file, and does not begin as those of another API do.
pub(super) fn is_file(path: &str) -> bool {
    let name = path.split_once("/resolve/").and_then(|(name, _)| name.strip_prefix('/'));
    name.is_some_and(|name| !is_reserved(name))
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name.split('/').next().unwrap_or_default())
}

/// Returns true if clients can ask for a model with this name: they accept `name` and `org/name` of letters, digits, `_`, `.`
/// and `-`.
pub(super) fn is_reachable(name: &str) -> bool {
    let is_good = |part: &str| {
        let ends_well = |c: char| c.is_ascii_alphanumeric() || c == '_';
        part.starts_with(ends_well)
            && part.ends_with(ends_well)
            && part.chars().all(|c| ends_well(c) || matches!(c, '.' | '-'))
    };
    name.len() <= MAX_ID_BYTES
        && name.split('/').count() <= 2
        && name.split('/').all(is_good)
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(".git")
        && !is_reserved(name)
}

/// What a path names.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) revision: String,
    /// Empty for all of the version.
    pub(super) path: String,
}

/// Reads `/api/models/{name}/WORD/{revision}` and, after it, perhaps a path.
pub(super) fn at(call: &Call, word: &str) -> Result<Named, HubError> {
    named(call.path_as_sent().strip_prefix(MODELS).unwrap_or_default(), word)
}

/// Reads `/{name}/resolve/{revision}/{path}`.
pub(super) fn file(call: &Call) -> Result<Named, HubError> {
    named(call.path_as_sent().trim_start_matches('/'), "resolve")
}

/// Reads `/api/models/{name}` and the path after it, which is `after`.
pub(super) fn model(call: &Call, after: &str) -> Result<String, HubError> {
    let name = call.path_as_sent().strip_prefix(MODELS).unwrap_or_default();
    check_name(decoded(name.strip_suffix(after).unwrap_or(name))?)
}

fn named(path: &str, word: &str) -> Result<Named, HubError> {
    let (name, rest) = path.split_once(&format!("/{word}/")).unwrap_or((path, ""));
    let (revision, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = decoded(path)?.trim_matches('/').to_owned();
    Ok(Named { name: check_name(decoded(name)?)?, revision: decoded(revision)?, path })
}

/// Decodes a part of a path. What is not UTF-8 names nothing.
fn decoded(text: &str) -> Result<String, HubError> {
    let decoded = percent_decode_str(text);
    let missing = || HubError::from(Missing::Model(decoded.clone().decode_utf8_lossy().into_owned()));
    decoded.clone().decode_utf8().map(Into::into).map_err(|_| missing())
}

fn check_name(name: String) -> Result<String, HubError> {
    if is_reserved(&name) { Err(HubError::ReservedName(name)) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_the_first_word_after_the_name() {
        for (path, expected) in [
            ("m/resolve/main/a.txt", ("m", "main", "a.txt")),
            ("org/m/resolve/main/x/resolve/y", ("org/m", "main", "x/resolve/y")),
            ("org%2Fm/resolve/a%2Fb/x%20y/%C3%BC", ("org/m", "a/b", "x y/ü")),
            ("resolve/resolve/resolve/resolve", ("resolve", "resolve", "resolve")),
            ("m/resolve/main", ("m", "main", "")),
        ] {
            let Named { name, revision, path: found } = named(path, "resolve").unwrap();
            assert_eq!((name.as_str(), revision.as_str(), found.as_str()), expected, "{path}");
        }
        assert!(named("m/resolve/%FF/x", "resolve").is_err());
        assert!(matches!(named("v1/m/resolve/main/x", "resolve"), Err(HubError::ReservedName(_))));
    }

    #[test]
    fn a_request_belongs_to_this_api_by_its_path() {
        for (path, expected) in [
            ("/api/models", true),
            ("/api/models/m/refs", true),
            ("/api/modelsx", false),
            ("/api/whoami-v2", true),
            ("/api/2.0/mlflow/resolve/x", false),
            ("/m/resolve/main/x", true),
            ("/models/7/resolve/x", false),
            ("/v2/m/resolve/x", false),
            ("/health", false),
        ] {
            let url = Url::new(path.parse().unwrap());
            assert_eq!(is_hub(&Path::new(url)), expected, "{path}");
        }
    }

    #[test]
    fn clients_accept_only_some_names() {
        for (name, expected) in [
            ("gpt2", true),
            ("org/model-1.0_a", true),
            ("_a", true),
            ("a/b/c", false),
            ("a b", false),
            ("-a", false),
            ("a.", false),
            ("a--b", false),
            ("a..b", false),
            ("a.git", false),
            ("", false),
            ("a/", false),
            ("v1/a", false),
            ("ü", false),
        ] {
            assert_eq!(is_reachable(name), expected, "{name}");
        }
        assert!(!is_reachable(&"a".repeat(97)));
    }
}
