//! The names in paths, taken byte for byte.

use crate::domain::{VersionRef, manifest::is_revision};

use super::super::{error::ApiError, lenient::FromText as _, request::Call};

/// Returns the model in `/v1/models/{name}…`.
pub(super) fn model(call: &Call) -> Result<String, ApiError> {
    call.path_text(2)
}

/// Returns the version in `/v1/models/{name}/versions/{reference}…`: a number, `label:TEXT`, `@ALIAS` or a revision.
pub(super) fn version(call: &mut Call) -> Result<VersionRef, ApiError> {
    let (name, text) = (model(call)?, call.path_text(4)?);
    if let Some(label) = text.strip_prefix("label:") {
        return Ok(VersionRef::Label(name, label.to_owned()));
    }
    if let Some(alias) = text.strip_prefix('@') {
        return Ok(VersionRef::Alias(name, alias.to_owned()));
    }
    if is_revision(&text) {
        return Ok(VersionRef::Revision(name, text));
    }
    let number = i64::check_strict(&text).and_then(|()| i64::from_text(&text));
    if number.is_err() {
        call.refuse(
            "path",
            "reference",
            "Input should be a number, label: and a label, @ and an alias, or a revision",
        );
    }
    Ok(VersionRef::Number(name, number.unwrap_or_default()))
}
