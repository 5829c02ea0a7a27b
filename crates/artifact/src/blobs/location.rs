//! Where an artifact store is: a folder or a bucket.

use std::{fmt, path::PathBuf};

/// Where an artifact store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A folder, `file:///path` or a path.
    Folder(PathBuf),
    /// A bucket, perhaps with the beginning of its keys: `s3://bucket/prefix`.
    #[cfg(feature = "objects")]
    Bucket(crate::objects::ObjectUri),
}

impl StoreLocation {
    /// Parses `file:///path`, `s3://bucket/prefix`, `gs://…`, `az://…`, or a path.
    ///
    /// # Errors
    /// What is wrong, in words that say what to give.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        if scheme.eq_ignore_ascii_case("file") {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(format!(
                    "{text:?} has no absolute path; expected one like file:///var/lib/registry/artifacts"
                ));
            }
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        Self::bucket(text)
    }

    #[cfg(feature = "objects")]
    fn bucket(text: &str) -> Result<Self, String> {
        let expected = "expected one like file:///var/lib/registry/artifacts or s3://bucket/artifacts";
        let blobs = format!("{}/blobs/sha256", text.trim_end_matches('/'));
        let uri = crate::objects::ObjectUri::parse(&blobs);
        uri.map(Self::Bucket)
            .map_err(|error| format!("{text:?} can't be used: {}; {expected}", error.reason()))
    }

    #[cfg(not(feature = "objects"))]
    fn bucket(text: &str) -> Result<Self, String> {
        Err(format!("{text:?} is not a folder, and this program was built without object stores"))
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "objects")]
            Self::Bucket(uri) => f.write_str(uri.to_string().trim_end_matches("/blobs/sha256")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_folder_or_a_bucket() {
        for (text, shown) in [
            ("file:///var/lib/registry", "/var/lib/registry"),
            ("file://localhost/var/lib", "/var/lib"),
            ("./artifacts", "./artifacts"),
            #[cfg(feature = "objects")]
            ("s3://bucket", "s3://bucket"),
            #[cfg(feature = "objects")]
            (" gs://bucket/a/b/ ", "gs://bucket/a/b"),
            #[cfg(feature = "objects")]
            ("az://container/p", "az://container/p"),
        ] {
            assert_eq!(StoreLocation::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["file://artifacts", "ftp://host/x", "s3://", "s3://b//x", "http://host"] {
            assert!(StoreLocation::parse(text).is_err(), "{text}");
        }
    }
}
