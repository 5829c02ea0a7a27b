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
    Ok(reference(call, "path", "reference", name, &text))
}

/// Reads a reference to a version of the model `name`, which `part` of the request has as `field`.
pub(super) fn reference(
    call: &mut Call,
    part: &'static str,
    field: &'static str,
    name: String,
    text: &str,
) -> VersionRef {
    if let Some(label) = text.strip_prefix("label:") {
        return VersionRef::Label(name, label.to_owned());
    }
    if let Some(alias) = text.strip_prefix('@') {
        return VersionRef::Alias(name, alias.to_owned());
    }
    if is_revision(text) {
        return VersionRef::Revision(name, text.to_owned());
    }
    let number = i64::check_strict(text).and_then(|()| i64::from_text(text));
    if number.is_err() {
        call.refuse(
            part,
            field,
            "Input should be a number, label: and a label, @ and an alias, or a revision",
        );
    }
    VersionRef::Number(name, number.unwrap_or_default())
}
