//! The use cases of the Hugging Face pull API. Each reads one state of the store.

use crate::{
    domain::{
        Cursor, ModelSummary, Page, VersionFile, VersionRef,
        files::{Entry, FileQuery},
        hub::{Commit, MAIN, Missing},
        query::ModelQuery,
    },
    store::{
        FilePage,
        hub::{self, ModelPage},
    },
};

use super::{Registry, Result};

/// What was found, or what is missing.
type Found<T> = Result<std::result::Result<T, Missing>>;

/// Models that one request looks at, if few of them are what it asks for.
const MAX_LOOKED_AT: usize = 10_000;

/// Which files to list.
pub struct HubFiles {
    /// The model.
    pub name: String,
    /// `main`, an alias, a label or a revision.
    pub revision: String,
    /// Only what this folder contains.
    pub folder: Option<String>,
    /// True to list what folders contain, in place of the folders.
    pub is_recursive: bool,
    /// The maximum number of entries.
    pub limit: u32,
    /// The end of the previous page.
    pub after: Option<Cursor>,
}

/// Which models to list.
pub struct HubModels<A> {
    /// The page.
    pub query: ModelQuery,
    /// Takes only some models.
    pub accept: A,
    /// True to read also the version that a client gets by default.
    pub with_commits: bool,
}

#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` says")]
impl Registry {
    /// Checks that there is a model with this name.
    pub async fn hub_known(&self, name: String) -> Found<()> {
        self.read(move |store| Ok(hub::find_model(store, &name)?.map(drop))).await
    }

    /// Returns the model, and the version that a revision names.
    pub async fn hub_model(&self, name: String, revision: String) -> Found<(ModelSummary, Commit)> {
        self.read(move |store| {
            let commit = hub::find_commit(store, &name, &revision)?;
            let commit = match commit {
                Ok(commit) => commit,
                Err(missing) => return Ok(Err(missing)),
            };
            Ok(hub::find_model(store, &name)?.map(|model| (model, commit)))
        })
        .await
    }

    /// Returns a file, and the version that has it.
    pub async fn hub_file(
        &self,
        name: String,
        revision: String,
        path: String,
    ) -> Found<(Commit, VersionFile)> {
        let entries = self.hub_entries(name, revision, vec![path.clone()]).await?;
        Ok(entries.and_then(|(commit, mut entries)| match entries.pop() {
            Some(Entry::File(file)) => Ok((commit, file)),
            _ => Err(commit.without(&path)),
        }))
    }

    /// Returns those of these paths that a version has.
    pub async fn hub_entries(
        &self,
        name: String,
        revision: String,
        paths: Vec<String>,
    ) -> Found<(Commit, Vec<Entry>)> {
        self.read(move |store| {
            let commit = match hub::find_commit(store, &name, &revision)? {
                Ok(commit) => commit,
                Err(missing) => return Ok(Err(missing)),
            };
            let mut entries = Vec::with_capacity(paths.len());
            for path in &paths {
                entries.extend(hub::find_entry(store, &commit, path)?);
            }
            Ok(Ok((commit, entries)))
        })
        .await
    }

    /// Returns a page of the files of a version.
    pub async fn hub_files(&self, files: HubFiles) -> Found<(Commit, FilePage)> {
        self.read(move |store| {
            let HubFiles { name, revision, folder, is_recursive, limit, after } = files;
            let commit = match hub::find_commit(store, &name, &revision)? {
                Ok(commit) => commit,
                Err(missing) => return Ok(Err(missing)),
            };
            let version = VersionRef::Id(commit.id);
            let query = FileQuery { version, under: None, is_recursive, limit, after };
            let page = hub::list_tree(store, &commit, folder.as_deref(), query)?;
            Ok(page.map(|page| (commit, page)))
        })
        .await
    }

    /// Returns the versions of a model from one on, newest first.
    pub async fn hub_commits(
        &self,
        name: String,
        revision: String,
        after: Option<Cursor>,
        limit: u32,
    ) -> Found<(Vec<Commit>, Page)> {
        self.read(move |store| match hub::find_commit(store, &name, &revision)? {
            Ok(commit) => hub::list_commits(store, &name, Some(&commit), after, limit).map(Ok),
            Err(missing) => Ok(Err(missing)),
        })
        .await
    }

    /// Returns a model, the version that a client gets by default, those that its aliases name, and its newest ones.
    pub async fn hub_refs(&self, name: String, limit: u32) -> Found<HubRefs> {
        self.read(move |store| {
            let model = match hub::find_model(store, &name)? {
                Ok(model) => model,
                Err(missing) => return Ok(Err(missing)),
            };
            let main = hub::find_commit(store, &name, MAIN)?.ok();
            let mut aliases = Vec::new();
            for alias in model.aliases {
                let found = hub::find_commit(store, &name, &alias.name)?.ok();
                aliases.extend(found.map(|commit| (alias.name, commit)));
            }
            let (versions, _) = hub::list_commits(store, &name, None, None, limit)?;
            Ok(Ok(HubRefs { main, aliases, versions }))
        })
        .await
    }

    /// Returns a page of models.
    pub async fn hub_models<A: Fn(&ModelSummary) -> bool + Send + 'static>(
        &self,
        models: HubModels<A>,
    ) -> Result<ModelPage> {
        self.read(move |store| {
            let HubModels { query, accept, with_commits } = models;
            hub::list_models(store, &query, &accept, MAX_LOOKED_AT, with_commits)
        })
        .await
    }
}

/// The names by which clients know the versions of a model.
pub struct HubRefs {
    /// The version that a client gets by default.
    pub main: Option<Commit>,
    /// Aliases with their versions.
    pub aliases: Vec<(String, Commit)>,
    /// The newest versions.
    pub versions: Vec<Commit>,
}
