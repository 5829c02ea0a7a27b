//! The entity tags in `If-Match` and `If-None-Match`.

use actix_web::http::header::HeaderMap;

/// The entity tags of a conditional request.
pub(super) enum EntityTags {
    Absent,
    /// `*`
    Any,
    /// As they were sent.
    These(Vec<String>),
}

/// Returns the revision in an entity tag, with or without quotes.
pub(super) fn revision(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
}

impl EntityTags {
    /// Reads the list of tags in a header.
    pub(super) fn read(head: &HeaderMap, name: &str) -> Self {
        if !head.contains_key(name) {
            return Self::Absent;
        }
        let texts = head.get_all(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let tags =
            texts.flat_map(|text| text.split(',').map(|tag| tag.trim().to_owned()).collect::<Vec<_>>());
        let tags: Vec<_> = tags.filter(|tag| !tag.is_empty()).collect();
        if tags.iter().any(|tag| tag == "*") { Self::Any } else { Self::These(tags) }
    }

    /// Returns true if the caller already has this revision.
    pub(super) fn include(&self, revision: &str) -> bool {
        match self {
            Self::Absent => false,
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| self::revision(tag) == revision),
        }
    }
}
