//! Lists the files of a version, from its manifest or, if it has none, from its row.

use std::ops::ControlFlow;

use registry_domain::{
    Cursor, Refusal, Version, VersionFile, VersionId,
    files::{Entry, FileQuery, after_folder},
    query::CursorKey,
};

use crate::{ReadStore, StoreError};

/// Sorts after every path.
const END: &str = "\u{10ffff}";

/// A part of a manifest: the files whose paths are at least `from` and less than `before`, byte by byte, in order.
#[derive(Debug, Clone, Copy)]
pub struct FileRange<'r> {
    /// The version, which may be in the trash.
    pub version: VersionId,
    /// The first path.
    pub from: &'r str,
    /// The end.
    pub before: &'r str,
    /// The maximum number of files.
    pub limit: u32,
}

/// A page of the files of a version.
#[derive(Debug)]
pub struct FilePage {
    /// The version.
    pub version: Version,
    /// Files and, unless folders are listed with all they contain, folders.
    pub entries: Vec<Entry>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<Cursor>,
}

/// Returns a page of the files of a version.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such version, or no such folder in it.
pub fn list_files(store: &mut dyn ReadStore, query: &FileQuery) -> Result<FilePage, StoreError> {
    let mut version = None;
    store.version(&query.version, &mut |row| version = Some(row.into_owned()))?;
    let version = version.ok_or_else(|| query.version.missing())?;
    if query.after.as_ref().is_some_and(|after| after.id != version.id) {
        return Err(Refusal::Invalid(
            "the cursor belongs to the files of another version, which this reference named before; begin again"
                .to_owned(),
        )
        .into());
    }
    let mut files = Files { store, version: &version };
    let (prefix, end) = match &query.under {
        Some(folder) => (format!("{folder}/"), after_folder(folder)),
        None => (String::new(), END.to_owned()),
    };
    let mut from = match &query.after {
        Some(Cursor { key: CursorKey::Text(last), .. }) => after(last).max(prefix.clone()),
        _ => prefix.clone(),
    };
    let (mut entries, mut next) = (Vec::new(), None);
    'pages: loop {
        let page = files.read(&from, &end, query.limit + 1)?;
        let is_last = page.len() <= query.limit as usize;
        for file in page {
            if file.path < from {
                // It is in a folder that is listed already.
                continue;
            }
            let entry = Entry::of(file, &prefix, query.is_recursive);
            if entries.len() == query.limit as usize {
                next = entries.last().map(|last: &Entry| Cursor {
                    list: FileQuery::LIST_NAME.to_owned(),
                    key: CursorKey::Text(last.path().to_owned()),
                    id: version.id,
                });
                break 'pages;
            }
            from = after(entry.path());
            entries.push(entry);
        }
        if is_last {
            break;
        }
    }
    if let (Some(folder), true, None) = (&query.under, entries.is_empty(), &query.after) {
        return Err(Refusal::NotFound(format!("the version has no folder {folder:?}")).into());
    }
    Ok(FilePage { version, entries, next })
}

/// Returns the first path after an entry: a folder, which ends with `/`, or a file.
fn after(entry: &str) -> String {
    match entry.strip_suffix('/') {
        Some(folder) => after_folder(folder),
        // No path has this character, so none is between the two.
        None => format!("{entry}\u{1}"),
    }
}

struct Files<'s> {
    store: &'s mut dyn ReadStore,
    version: &'s Version,
}

impl Files<'_> {
    fn read(&mut self, from: &str, before: &str, limit: u32) -> Result<Vec<VersionFile>, StoreError> {
        let mut files = Vec::new();
        if self.version.manifest.is_some() {
            let range = FileRange { version: self.version.id, from, before, limit };
            self.store.files(&range, &mut |file| {
                files.push(file);
                ControlFlow::Continue(())
            })?;
        } else {
            files = VersionFile::of(self.version);
            files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
            files.retain(|file| file.path.as_str() >= from && file.path.as_str() < before);
            files.truncate(limit as usize);
        }
        Ok(files)
    }
}
