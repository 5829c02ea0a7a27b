//! Versions with a manifest: a part of the suite that every store passes.

use std::ops::ControlFlow;

use model_registry::{
    domain::{
        Digest, Draft, FileRole, Force, Gate, LabelReuse, Manifest, ManifestFile, ManifestSummary, Patch,
        Precondition, Principal, Refusal, SearchQuery, SortKey, Timestamp, Version, VersionRef,
        files::{Entry, FileQuery},
        filter::{Filter, Scope},
        manifest::revision_of,
    },
    store::{
        FilePage, FileRange, StoreError, WriteStore, list_files,
        operations::{self, Context},
    },
};

use crate::suite::Fixture;

fn run<T>(
    store: &mut impl Fixture,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let gate = Gate::default();
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: Timestamp::from_unix_millis(1_769_817_600_000),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    store.write(|store| operation(store, &context))
}

/// Returns a manifest of these files, each with a digest and a size of its own.
fn manifest(paths: &[&str]) -> Manifest {
    let file = |(number, path): (u8, &&str)| ManifestFile {
        path: (*path).to_owned(),
        size_bytes: number.into(),
        sha256: Digest::from_bytes([number; 32]),
        role: FileRole::of_path(path),
    };
    Manifest::new((1..).zip(paths).map(file).collect()).unwrap()
}

fn draft(label: &str, manifest: Manifest) -> Draft {
    let mut draft = Draft::named("m", label).unwrap();
    draft.set_manifest(manifest, true);
    draft.resolve_artifact_uri().unwrap();
    draft
}

fn register(store: &mut impl Fixture, draft: Draft) -> Result<Version, StoreError> {
    run(store, |store, context| operations::register(store, draft, LabelReuse::ForSameBytes, context))
}

fn found(store: &mut impl Fixture, reference: &VersionRef) -> Option<Version> {
    let mut found = None;
    store.reader().version(reference, &mut |row| found = Some(row.into_owned())).unwrap();
    found
}

fn query(number: i64) -> FileQuery {
    FileQuery {
        version: VersionRef::Number("m".to_owned(), number),
        under: None,
        is_recursive: true,
        limit: 1_000,
        after: None,
    }
}

fn paths(page: &FilePage) -> Vec<&str> {
    page.entries.iter().map(Entry::path).collect()
}

/// Reads all pages of a list.
fn all_pages(store: &mut impl Fixture, mut query: FileQuery) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = list_files(store.reader(), &query).unwrap();
        assert!(page.entries.len() <= query.limit as usize, "{query:?}");
        all.extend(paths(&page).into_iter().map(str::to_owned));
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

const FILES: [&str; 7] = ["README.md", "a-b", "a/1", "a/2/x", "a/2/y", "a.safetensors", "ü/config.json"];
const SORTED: [&str; 7] = ["README.md", "a-b", "a.safetensors", "a/1", "a/2/x", "a/2/y", "ü/config.json"];

pub fn files_are_listed_by_path_with_and_without_folders_in_pages(store: &mut impl Fixture) {
    let version = register(store, draft("1", manifest(&FILES))).unwrap();
    let summary = ManifestSummary { files: 7, total_bytes: 28, is_stored: true };
    assert_eq!(version.manifest, Some(summary));
    assert_eq!(found(store, &VersionRef::Id(version.id)), Some(version.clone()));
    register(store, draft("2", manifest(&["other"]))).unwrap();

    let written = store.write(|store| store.manifest_files(version.id)).unwrap();
    assert_eq!(written.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), SORTED);
    assert_eq!(Manifest::of(written).unwrap(), manifest(&FILES));

    let folders = ["README.md", "a-b", "a.safetensors", "a/", "ü/"];
    for (under, is_recursive, expected) in [
        (None, true, &SORTED[..]),
        (None, false, &folders),
        (Some("a"), true, &["a/1", "a/2/x", "a/2/y"]),
        (Some("a"), false, &["a/1", "a/2/"]),
        (Some("a/2"), false, &["a/2/x", "a/2/y"]),
        (Some("ü"), true, &["ü/config.json"]),
    ] {
        for limit in [1, 2, 3, 1_000] {
            let query = FileQuery { under: under.map(str::to_owned), is_recursive, limit, ..query(1) };
            assert_eq!(all_pages(store, query.clone()), expected, "{query:?}");
        }
    }
    for under in ["b", "a-b", "a/1", "a/2/x/z", "A"] {
        let query = FileQuery { under: Some(under.to_owned()), ..query(1) };
        let missing = list_files(store.reader(), &query).unwrap_err();
        assert!(matches!(missing, StoreError::Refused(Refusal::NotFound(_))), "{under}: {missing}");
    }
    let missing = list_files(store.reader(), &query(3)).unwrap_err();
    assert!(matches!(missing, StoreError::Refused(Refusal::NotFound(_))), "{missing}");
    let page = list_files(store.reader(), &query(1)).unwrap();
    let Some(Entry::File(file)) = page.entries.first() else { panic!("{page:?}") };
    assert_eq!((file.size_bytes, file.role), (Some(1), FileRole::Other));
    assert_eq!(file.sha256.as_deref(), Some("01".repeat(32).as_str()));
}

pub fn a_version_without_a_manifest_lists_the_files_of_its_row(store: &mut impl Fixture) {
    let mut draft = Draft::named("m", "1").unwrap();
    draft.artifact_uri = Some("s3://b/model.pt".to_owned());
    draft.checkpoint.sha256 = Some(Digest::from_bytes([1; 32]));
    draft.config.size_bytes = Some(7);
    let version = register(store, draft).unwrap();
    assert_eq!((version.manifest, &version.digest), (None, &None), "the configuration has no digest");
    assert_eq!(all_pages(store, query(1)), ["config", "model.pt"]);
    assert_eq!(all_pages(store, FileQuery { limit: 1, ..query(1) }), ["config", "model.pt"]);
    let mut patch = Patch::default();
    patch.config.sha256 = Some(Digest::from_bytes([2; 32]));
    run(store, |store, context| {
        operations::update(store, version.id, &patch, &Precondition::default(), context)
    })
    .unwrap();
    let digest = found(store, &VersionRef::Id(version.id)).unwrap().digest.unwrap();
    let by_revision = VersionRef::Revision("m".to_owned(), revision_of(&digest).to_owned());
    assert_eq!(found(store, &by_revision).map(|found| found.id), Some(version.id));
}

pub fn the_files_of_a_version_go_with_it_to_the_trash_and_come_back(store: &mut impl Fixture) {
    let version = register(store, draft("1", manifest(&FILES))).unwrap();
    run(store, |store, context| {
        operations::delete(store, version.id, Force::None, &Precondition::default(), context)
    })
    .unwrap();
    assert!(list_files(store.reader(), &query(1)).is_err());
    let mut kept = Vec::new();
    let range = FileRange { version: version.id, from: "a", before: "b", limit: 3 };
    store
        .reader()
        .files(&range, &mut |file| {
            kept.push(file.path);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(kept, ["a-b", "a.safetensors", "a/1"], "they are needed to restore it");

    // The label is spent for other bytes, and not for the same.
    let other = register(store, draft("1", manifest(&FILES[..6]))).unwrap_err();
    assert!(matches!(other, StoreError::Refused(Refusal::LabelSpent(_))), "{other}");
    run(store, |store, context| operations::restore(store, version.id, context)).unwrap();
    assert_eq!(all_pages(store, query(1)), SORTED);
    let restored = found(store, &VersionRef::Id(version.id)).unwrap();
    assert_eq!((restored.manifest, restored.digest), (version.manifest, version.digest));
}

pub fn a_version_is_found_by_its_revision_and_by_the_digest_of_any_file(store: &mut impl Fixture) {
    let first = register(store, draft("1", manifest(&FILES))).unwrap();
    let same = register(store, draft("2", manifest(&FILES))).unwrap();
    let other = register(store, draft("3", manifest(&FILES[..1]))).unwrap();
    for (version, newest) in [(&first, same.id), (&other, other.id)] {
        let revision = revision_of(version.digest.as_deref().unwrap()).to_owned();
        let reference = VersionRef::Revision("m".to_owned(), revision);
        assert_eq!(found(store, &reference).map(|found| found.id), Some(newest));
        let id = run(store, |store, _| operations::find_version(store, &reference)).unwrap();
        assert_eq!(id, newest);
    }
    for (name, revision) in [("m", "0".repeat(40)), ("n", first.digest.clone().unwrap()[..40].to_owned())] {
        let reference = VersionRef::Revision(name.to_owned(), revision);
        assert_eq!(found(store, &reference), None);
        run(store, |store, _| operations::find_version(store, &reference)).unwrap_err();
    }
    run(store, |store, context| {
        operations::delete(store, same.id, Force::None, &Precondition::default(), context)
    })
    .unwrap();
    for (number, expected) in [(1, vec![first.id, other.id]), (5, vec![first.id]), (9, vec![])] {
        let filter =
            Filter::parse(&format!("sha256 = '{}'", Digest::from_bytes([number; 32])), Scope::Versions)
                .unwrap();
        let sort = SortKey::parse("number", Scope::Versions).unwrap();
        let query = SearchQuery { filter: Some(filter), sort, limit: 10, after: None };
        let mut ids = Vec::new();
        store
            .reader()
            .search(&query, &mut |row| {
                ids.push(row.id);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(ids, expected, "{number}");
    }
}

pub fn the_files_of_a_registered_version_do_not_change(store: &mut impl Fixture) {
    let version = register(store, draft("1", manifest(&FILES))).unwrap();
    assert_eq!(version.artifact_uri, Some(format!("sha256:{}", version.digest.clone().unwrap())));
    let mut patch = Patch { artifact_uri: Some("s3://elsewhere".to_owned()), ..Patch::default() };
    patch.checkpoint.sha256 = Some(Digest::from_bytes([9; 32]));
    let none = Precondition::default();
    let refused = run(store, |store, context| operations::update(store, version.id, &patch, &none, context))
        .unwrap_err();
    assert!(refused.to_string().contains("artifact_uri, checkpoint_sha256 can't change"), "{refused}");
    let patch = Patch { description: Some(Some("d".to_owned())), ..Patch::default() };
    let changed =
        run(store, |store, context| operations::update(store, version.id, &patch, &none, context)).unwrap();
    assert_eq!((changed.digest, changed.manifest), (version.digest, version.manifest));
    assert_eq!(all_pages(store, query(1)), SORTED);
}
