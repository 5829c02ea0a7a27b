//! An object whose last field is a list of a version's files, of which there may be many.

use actix_web::web::Data;

use crate::{
    domain::files::{Entry, FileQuery},
    registry::Result,
};

use super::{
    app::App,
    stream::{Begun, Source, first_limit_bytes, turn_to_start},
};

/// Writes an entry of the list. It is a function of an API, with what its call asks for.
pub(super) trait WriteEntry: Fn(&mut Vec<u8>, &Entry) + Clone + 'static {}

impl<W: Fn(&mut Vec<u8>, &Entry) + Clone + 'static> WriteEntry for W {}

/// The list, from what is written already.
#[derive(Clone)]
pub(super) struct FileList<W> {
    app: Data<App>,
    query: FileQuery,
    write: W,
    /// The object up to the list, until it is written.
    start: Option<Vec<u8>>,
    is_first: bool,
}

impl<W: WriteEntry> FileList<W> {
    /// Reads the first of the files that `query` lists. `start` is the object up to its list.
    ///
    /// # Errors
    /// [`crate::domain::Refusal::NotFound`] if there is no such version, or no such folder in it.
    pub(super) async fn begin(
        app: &Data<App>,
        query: FileQuery,
        start: Vec<u8>,
        write: W,
    ) -> Result<Begun<Self>> {
        let before = Self { app: app.clone(), query, write, start: Some(start), is_first: true };
        let _turn = turn_to_start().await?;
        Begun::read(before, first_limit_bytes()).await
    }
}

impl<W: WriteEntry> Source for FileList<W> {
    async fn read(mut self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>)> {
        let mut bytes = self.start.take().unwrap_or_default();
        loop {
            let page = self.app.registry.files(self.query.clone()).await?;
            for entry in &page.entries {
                if !std::mem::take(&mut self.is_first) {
                    bytes.push(b',');
                }
                (self.write)(&mut bytes, entry);
            }
            self.query.after = page.next;
            if self.query.after.is_none() {
                bytes.extend_from_slice(b"]}");
                return Ok((bytes, None));
            }
            if bytes.len() >= limit_bytes {
                return Ok((bytes, Some(self)));
            }
        }
    }
}
