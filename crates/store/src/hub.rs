//! Reads for the Hugging Face pull API. Its rules are in [`registry_domain::hub`].

use std::ops::ControlFlow;

use registry_domain::{
    Cursor, ListQuery, ModelSummary, Page, VersionFile, VersionRef, VersionRow,
    files::{Entry, FileQuery, after_folder},
    hub::{self, Commit, MAIN, Missing},
    query::{CursorKey, ModelQuery},
};

use crate::{FilePage, FileRange, ReadStore, StoreError, list_files};

/// What was found, or what is missing.
pub type Found<T> = Result<Result<T, Missing>, StoreError>;

/// Returns the version that a revision of a model names.
///
/// # Errors
/// As [`ReadStore::version`].
pub fn find_commit(store: &mut dyn ReadStore, name: &str, revision: &str) -> Found<Commit> {
    for reference in hub::references(name, revision) {
        if let Some(commit) = commit(store, &reference)? {
            return Ok(commit);
        }
    }
    let Some(summary) = store.model(name)? else { return Ok(Err(Missing::Model(name.to_owned()))) };
    let newest = summary.latest.filter(|_| revision == MAIN);
    let newest = newest.map(|number| VersionRef::Number(name.to_owned(), number));
    let found = newest.map(|newest| commit(store, &newest)).transpose()?.flatten();
    Ok(found.unwrap_or_else(|| Err(Missing::revision(name, revision))))
}

fn commit(
    store: &mut dyn ReadStore,
    version: &VersionRef,
) -> Result<Option<Result<Commit, Missing>>, StoreError> {
    let mut commit = None;
    store.version(version, &mut |row| commit = Some(Commit::of(&row)))?;
    Ok(commit)
}

/// Returns the model with this name.
///
/// # Errors
/// As [`ReadStore::model`].
pub fn find_model(store: &mut dyn ReadStore, name: &str) -> Found<ModelSummary> {
    Ok(store.model(name)?.ok_or_else(|| Missing::Model(name.to_owned())))
}

/// Returns the file or folder of a version that has this path.
///
/// # Errors
/// As [`ReadStore::files`].
pub fn find_entry(
    store: &mut dyn ReadStore,
    commit: &Commit,
    path: &str,
) -> Result<Option<Entry>, StoreError> {
    if commit.derived_files.is_some() {
        return Ok(commit.derived_entry(path));
    }
    let folder = format!("{path}/");
    let mut first = |from: &str, before: &str| {
        let mut found = None;
        let range = FileRange { version: commit.id, from, before, limit: 1 };
        store.files(&range, &mut |file: VersionFile| {
            found = Some(file);
            ControlFlow::Break(())
        })?;
        Ok::<_, StoreError>(found)
    };
    // No path has this character, so the range has at most one.
    if let Some(file) = first(path, &format!("{path}\u{1}"))? {
        return Ok(Some(Entry::File(file)));
    }
    Ok(first(&folder, &after_folder(path))?.map(|_| Entry::Folder(folder)))
}

/// Returns a page of the files of a version.
///
/// # Errors
/// As [`list_files`], except that a folder may be missing.
pub fn list_tree(
    store: &mut dyn ReadStore,
    commit: &Commit,
    folder: Option<&str>,
    query: FileQuery,
) -> Found<FilePage> {
    if let Some(folder) = folder
        && !matches!(find_entry(store, commit, folder)?, Some(Entry::Folder(_)))
    {
        return Ok(Err(commit.without(folder)));
    }
    let query = FileQuery { version: VersionRef::Id(commit.id), under: folder.map(str::to_owned), ..query };
    list_files(store, &query).map(Ok)
}

/// Returns the versions of a model that have a revision, from this one or the newest on, newest first.
///
/// # Errors
/// As [`ReadStore::versions`].
pub fn list_commits(
    store: &mut dyn ReadStore,
    name: &str,
    from: Option<&Commit>,
    after: Option<Cursor>,
    limit: u32,
) -> Result<(Vec<Commit>, Page), StoreError> {
    let query = ListQuery { name: Some(name.to_owned()), limit: Some(limit), ..ListQuery::default() };
    // The list begins after the version that would have the next id.
    let before = from.map(|commit| Cursor {
        list: query.list_name(),
        key: CursorKey::Text(commit.created_at.clone()),
        id: commit.id.saturating_add(1),
    });
    let query = ListQuery { after: after.or(before), ..query };
    let mut commits = Vec::new();
    let (page, _) = store.versions(&query, &mut |row: VersionRow<'_>| {
        commits.extend(Commit::of(&row));
        ControlFlow::Continue(())
    })?;
    Ok((commits, page))
}

/// A page of models.
#[derive(Debug)]
pub struct ModelPage {
    /// Each with the version that a client gets by default, if that was read and there is one.
    pub models: Vec<(ModelSummary, Option<Commit>)>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<Cursor>,
}

/// Returns the models that `accept` takes, by name, and those of them whose version a client gets by default. It looks at no more
/// than `looked_at` models, so a page may be short.
///
/// # Errors
/// As [`ReadStore::models`].
pub fn list_models(
    store: &mut dyn ReadStore,
    query: &ModelQuery,
    accept: &dyn Fn(&ModelSummary) -> bool,
    looked_at: usize,
    with_commits: bool,
) -> Result<ModelPage, StoreError> {
    let (mut accepted, mut looked) = (Vec::new(), 0);
    let mut query = query.clone();
    let wanted = query.limit as usize;
    loop {
        query.limit = u32::try_from(wanted - accepted.len()).unwrap_or(u32::MAX);
        let (models, page) = store.models(&query)?;
        looked += models.len();
        for model in models.into_iter().filter(accept) {
            let commit = if with_commits { find_commit(store, &model.model.name, MAIN)?.ok() } else { None };
            accepted.push((model, commit));
        }
        // The last few of a page could cost many reads.
        if page.next.is_none() || accepted.len() * 2 >= wanted || looked >= looked_at {
            return Ok(ModelPage { models: accepted, next: page.next });
        }
        query.after = page.next;
    }
}
