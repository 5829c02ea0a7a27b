//! What the source of an MLflow version names: files somewhere, or another version.
//!
//! The registry opens no source. So it keeps local paths and logged models of a tracking store that it does not know.

use crate::{refusal::Refusal, status::Status};

use super::parse_stage;

/// The sources of prompts, which have no files.
const PROMPT_SOURCES: [&str; 2] = ["dummy-source", "prompt-template"];
/// How often a source is decoded to find a `..` in it; more rounds would mean nothing to any store.
const MAX_DECODINGS: usize = 3;

/// A source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<'a> {
    /// A location, which is kept as it is.
    Location,
    /// A version of this model.
    Copy(&'a str, CopyOf<'a>),
}

/// Which version of a model is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOf<'a> {
    /// The one with this number.
    Number(i64),
    /// The holder of this alias.
    Alias(&'a str),
    /// The newest.
    Latest,
    /// The newest with this status.
    Status(Status),
}

impl<'a> Source<'a> {
    /// Reads the source of a version with this run and this logged model.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if they contradict each other, or the source leads out of a folder.
    pub(super) fn parse(
        source: &'a str,
        run_id: Option<&str>,
        model_id: Option<&str>,
        is_prompt: bool,
    ) -> Result<Self, Refusal> {
        let is_placeholder = PROMPT_SOURCES.contains(&source);
        if is_prompt && !is_placeholder {
            return Err(Refusal::Invalid(format!(
                "Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder."
            )));
        }
        if is_prompt {
            return Ok(Self::Location);
        }
        if is_placeholder {
            return Err(refused(source, "It is a placeholder for prompts; give the location of the files."));
        }
        if let Some(uri) = source.strip_prefix("models:/") {
            return Self::of_model(source, uri.trim_start_matches('/'), model_id);
        }
        if let Some(uri) = source.strip_prefix("runs:/") {
            let run = uri.trim_start_matches('/').split('/').next();
            if run.is_none_or(str::is_empty) || run != run_id {
                return Err(refused(source, &contained("run_id")));
            }
        }
        if leads_out(source) {
            return Err(refused(
                source,
                "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, \
                 an absolute path must be provided without relative path references present. Please provide an absolute path.",
            ));
        }
        Ok(Self::Location)
    }

    fn of_model(source: &str, uri: &'a str, model_id: Option<&str>) -> Result<Self, Refusal> {
        let improper = || {
            Refusal::Invalid(format!(
                "Not a proper models:/ URI: {source}. Models URIs must be of the form 'models:/model_name/suffix' or \
                 'models:/model_name@alias' where suffix is a model version, stage, or the string 'latest' and where \
                 alias is a registered model alias. Only one of suffix or alias can be defined at a time."
            ))
        };
        let is_given = |text: &str| !text.trim().is_empty();
        if let Some((name, suffix)) = uri.split_once('/') {
            if !is_given(name) || !is_given(suffix) || suffix.contains('/') {
                return Err(improper());
            }
            let of = match suffix.parse() {
                Ok(number) if suffix.bytes().all(|byte| byte.is_ascii_digit()) => CopyOf::Number(number),
                _ if suffix.eq_ignore_ascii_case("latest") => CopyOf::Latest,
                _ => CopyOf::Status(parse_stage(suffix)?),
            };
            return Ok(Self::Copy(name, of));
        }
        match uri.rsplit_once('@') {
            Some((name, alias)) if is_given(name) && is_given(alias) => {
                Ok(Self::Copy(name, CopyOf::Alias(alias)))
            }
            None if uri.starts_with("m-") && model_id == Some(uri) => Ok(Self::Location),
            None if uri.starts_with("m-") => Err(refused(source, &contained("model_id"))),
            _ => Err(improper()),
        }
    }
}

/// Returns the refusal of a source, for this reason.
fn refused(source: &str, why: &str) -> Refusal {
    Refusal::Invalid(format!("Invalid model version source: '{source}'. {why}"))
}

fn contained(parameter: &str) -> String {
    format!("The {parameter} request parameter must identify the resource that contains the source.")
}

/// Checks that a copy names the run and the logged model of the version that it copies, if it names any. `copied` are those
/// of that version, where nothing and an empty text are the same.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_copy(source: &str, given: [Option<&str>; 2], copied: [Option<&str>; 2]) -> Result<(), Refusal> {
    let agrees = |(given, copied): (Option<&str>, Option<&str>)| {
        given.is_none_or(|given| given == copied.unwrap_or_default())
    };
    if given.into_iter().zip(copied).all(agrees) {
        return Ok(());
    }
    Err(refused(
        source,
        "The run_id and model_id request parameters must match the referenced model version.",
    ))
}

/// Returns the refusal of a source that names a prompt.
#[must_use]
pub fn prompt_copied(source: &str) -> Refusal {
    refused(source, "Prompt versions cannot be used as model version sources.")
}

/// Returns true if a segment is `..`, percent-encoded or not.
fn leads_out(source: &str) -> bool {
    let mut text = source.to_owned();
    for _ in 0..=MAX_DECODINGS {
        if text.split(['/', '\\', '?', '#']).any(|segment| segment == "..") {
            return true;
        }
        text = decoded(&text);
    }
    false
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => {
                decoded.push(byte);
                decoded.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            _ => {
                decoded.push(b'%');
                decoded.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_location_or_names_a_version() {
        let run = "11111111111111111111111111111111";
        let of_run = format!("runs:/{run}/deep/er");
        for (source, run_id, model_id, expected) in [
            ("s3://b/x", None, None, Some(Source::Location)),
            ("s3://b/a b/ü?x=1#y", None, None, Some(Source::Location)),
            ("s3://b/..x", None, None, Some(Source::Location)),
            ("/tmp/x", None, None, Some(Source::Location)),
            ("file:///tmp/x", None, None, Some(Source::Location)),
            ("models:/a/1", None, None, Some(Source::Copy("a", CopyOf::Number(1)))),
            ("models:/a@b@c", None, None, Some(Source::Copy("a@b", CopyOf::Alias("c")))),
            ("models:/a/LATEST", None, None, Some(Source::Copy("a", CopyOf::Latest))),
            ("models:/a/staging", None, None, Some(Source::Copy("a", CopyOf::Status(Status::Staging)))),
            ("models:/m-1", None, Some("m-1"), Some(Source::Location)),
            ("models:/m-1", None, None, None),
            ("models:/m-1", None, Some("m-2"), None),
            ("models:/a", None, None, None),
            ("models:/a/", None, None, None),
            ("models:/a/1/2", None, None, None),
            ("models:/a/live", None, None, None),
            ("models:/@b", None, None, None),
            (of_run.as_str(), Some(run), None, Some(Source::Location)),
            (of_run.as_str(), None, None, None),
            (of_run.as_str(), Some("2"), None, None),
            ("runs:/", Some(""), None, None),
            ("s3://b/../x", None, None, None),
            ("s3://b/x/..", None, None, None),
            ("s3://b/%2e%2E/x", None, None, None),
            ("s3://b/%252e./x", None, None, None),
            ("s3://b/100%", None, None, Some(Source::Location)),
            ("dummy-source", None, None, None),
        ] {
            assert_eq!(Source::parse(source, run_id, model_id, false).ok(), expected, "{source}");
        }
    }

    #[test]
    fn a_prompt_has_a_placeholder_as_its_source() {
        assert_eq!(Source::parse("dummy-source", None, None, true), Ok(Source::Location));
        assert_eq!(Source::parse("prompt-template", None, None, true), Ok(Source::Location));
        assert!(Source::parse("s3://b/x", None, None, true).is_err());
    }

    #[test]
    fn a_copy_agrees_with_what_it_copies() {
        for (given, copied, good) in [
            ([None, None], [Some("r"), Some("m-1")], true),
            ([Some("r"), None], [Some("r"), None], true),
            ([Some(""), Some("")], [None, None], true),
            ([Some("r"), None], [None, None], false),
            ([Some(""), None], [Some("r"), None], false),
            ([None, Some("m-2")], [None, Some("m-1")], false),
        ] {
            assert_eq!(check_copy("models:/a/1", given, copied).is_ok(), good, "{given:?} {copied:?}");
        }
    }
}
