//! The description of a version with all its files, of which there may be many.

use actix_web::web::Data;

use crate::{
    domain::{Cursor, VersionId, VersionRef, files::FileQuery},
    registry::Result,
};

use super::super::{
    app::App,
    json::hub::write_sibling,
    stream::{Begun, Source, first_limit_bytes, turn_to_start},
};

/// Files that one read requests.
const READ_FILES: u32 = 1_000;

/// An object whose last field is the list of files.
#[derive(Clone)]
pub(super) struct Siblings {
    app: Data<App>,
    version: VersionId,
    with_blobs: bool,
    /// The object up to the list, until it is written.
    start: Option<Vec<u8>>,
    is_first: bool,
    after: Option<Cursor>,
}

impl Siblings {
    pub(super) async fn begin(
        app: &Data<App>,
        version: VersionId,
        with_blobs: bool,
        start: Vec<u8>,
    ) -> Result<Begun<Self>> {
        let before =
            Self { app: app.clone(), version, with_blobs, start: Some(start), is_first: true, after: None };
        let _turn = turn_to_start().await?;
        Begun::read(before, first_limit_bytes()).await
    }
}

impl Source for Siblings {
    async fn read(mut self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>)> {
        let mut bytes = self.start.take().unwrap_or_default();
        loop {
            let version = VersionRef::Id(self.version);
            let after = self.after.take();
            let query = FileQuery { version, under: None, is_recursive: true, limit: READ_FILES, after };
            let page = self.app.registry.files(query).await?;
            for entry in &page.entries {
                if !std::mem::take(&mut self.is_first) {
                    bytes.push(b',');
                }
                write_sibling(&mut bytes, entry, self.with_blobs);
            }
            self.after = page.next;
            if self.after.is_none() {
                bytes.extend_from_slice(b"]}");
                return Ok((bytes, None));
            }
            if bytes.len() >= limit_bytes {
                return Ok((bytes, Some(self)));
            }
        }
    }
}
