//! Artifacts in object stores: `s3://`, `gs://` and `az://`.
//!
//! [`Objects`] is a blocking facade over the stores' asynchronous client; callbacks report progress and ask for
//! interruption. An uploaded object carries its SHA-256 as metadata, so its identity can be read without its bytes. This
//! module knows files, digests and the network; it must not know the registry or the terminal.

mod bucket;
mod connect;
mod download;
mod error;
mod http;
mod parts;
mod proxy;
mod read;
mod reply;
mod retry;
mod serving;
mod settings;
mod target;
mod upload;
mod uri;

pub use bucket::{ObjectInfo, Objects, Sizes};
pub use connect::{DEFAULT_S3_REGION, ObjectOptions, S3_ENDPOINT_VARIABLES};
pub use error::ObjectError;
pub use serving::ObjectStream;
pub use upload::Replace;
pub use uri::{ObjectUri, Scheme, UriError};
