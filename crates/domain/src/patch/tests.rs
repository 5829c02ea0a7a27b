use super::*;
use crate::version::{ManifestSummary, tests::sample};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn path(to: &str) -> FileRecord {
    FileRecord { path: text(to), ..FileRecord::default() }
}

/// Returns one patch for each field that may be given, by the name it has in the audit trail.
fn one_of_each() -> Vec<(&'static str, Patch)> {
    let none = Patch::default;
    let sha256 = Some(Digest::from_bytes([1; 32]));
    let provenance = |provenance| Patch { provenance, ..none() };
    let architecture = |architecture| Patch { architecture, ..none() };
    vec![
        ("status", Patch { status: Some(Status::Staging), ..none() }),
        ("artifact_uri", Patch { artifact_uri: text("s3://x"), ..none() }),
        ("checkpoint_sha256", Patch { checkpoint: FileRecord { sha256, ..FileRecord::default() }, ..none() }),
        (
            "checkpoint_size_bytes",
            Patch { checkpoint: FileRecord { size_bytes: Some(1), ..FileRecord::default() }, ..none() },
        ),
        ("config_sha256", Patch { config: FileRecord { sha256, ..FileRecord::default() }, ..none() }),
        (
            "config_size_bytes",
            Patch { config: FileRecord { size_bytes: Some(1), ..FileRecord::default() }, ..none() },
        ),
        ("run_id", provenance(Provenance { run_id: text("r"), ..Provenance::default() })),
        ("git_commit", provenance(Provenance { git_commit: text("g"), ..Provenance::default() })),
        ("created_by", provenance(Provenance { created_by: text("c"), ..Provenance::default() })),
        ("source_host", provenance(Provenance { source_host: text("h"), ..Provenance::default() })),
        ("frozen", Patch { frozen: Some(true), ..none() }),
        ("d_model", architecture(Architecture { d_model: Some(1), ..Architecture::default() })),
        ("n_layers", architecture(Architecture { n_layers: Some(1), ..Architecture::default() })),
        ("n_heads", architecture(Architecture { n_heads: Some(1), ..Architecture::default() })),
        ("vocab_size", architecture(Architecture { vocab_size: Some(1), ..Architecture::default() })),
        ("params", Patch { params: Some(1), ..none() }),
        ("training_step", Patch { training_step: Some(1), ..none() }),
        ("training_loss", Patch { training_loss: Some(1.0), ..none() }),
        ("dataset", Patch { dataset: text("d"), ..none() }),
        ("description", Patch { description: Some(text("d")), ..none() }),
        ("tags", Patch { tags: Some(vec![]), ..none() }),
        ("metrics", Patch { metrics: Some(Object::new()), ..none() }),
    ]
}

#[test]
fn immutable_versions_accept_the_mutable_fields_and_nothing_else() {
    let open = sample();
    let frozen = Version { frozen: true, ..sample() };
    let production = Version { status: Status::Production, ..sample() };
    for (field, patch) in one_of_each() {
        assert_eq!(patch.updated_fields(), [field]);
        assert_eq!(patch.check_allowed(&open), Ok(()), "{field}");
        for model in [&frozen, &production] {
            assert_eq!(patch.check_allowed(model).is_ok(), MUTABLE_FIELDS.contains(&field), "{field}");
        }
        let mut changed = open.clone();
        patch.apply(&mut changed);
        assert_ne!(changed, open, "{field} was applied");
    }
}

#[test]
fn the_files_of_a_manifest_are_immutable_and_everything_else_is_as_without_one() {
    let manifest = Some(ManifestSummary { files: 2, total_bytes: 3, is_stored: false });
    let mut version = Version { manifest, digest: text(&"d".repeat(64)), ..sample() };
    for (field, patch) in one_of_each() {
        match patch.check_allowed(&version) {
            Ok(()) => assert!(!FILE_FIELDS.contains(&field), "{field}"),
            Err(refusal) => {
                assert!(FILE_FIELDS.contains(&field), "{field}");
                let text = refusal.to_string();
                assert!(
                    text.contains("files of this version are immutable") && text.contains(field),
                    "{text}"
                );
            }
        }
    }
    Patch { description: Some(text("d")), ..Patch::default() }.apply(&mut version);
    assert_eq!(version.digest, text(&"d".repeat(64)));
}

#[test]
fn a_version_that_was_in_production_keeps_its_files_and_nothing_else() {
    for (field, patch) in one_of_each() {
        match patch.check_files_kept() {
            Ok(()) => assert!(!FILE_FIELDS.contains(&field), "{field}"),
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(FILE_FIELDS.contains(&field) && text.contains(field), "{text}");
            }
        }
    }
}

#[test]
fn the_digest_of_a_version_without_a_manifest_follows_its_files() {
    let mut version = sample();
    assert_eq!(version.digest, None);
    let sha256 = Some(Digest::from_bytes([1; 32]));
    let digest = FileRecord { sha256, ..FileRecord::default() };
    Patch { checkpoint: digest.clone(), ..Patch::default() }.apply(&mut version);
    assert_eq!(version.digest, text(&"01".repeat(32)));
    Patch { config: FileRecord { size_bytes: Some(1), ..FileRecord::default() }, ..Patch::default() }
        .apply(&mut version);
    assert_eq!(version.digest, None, "the configuration has no digest");
    Patch { config: digest, ..Patch::default() }.apply(&mut version);
    assert!(version.digest.is_some_and(|digest| digest != "01".repeat(32)));
}

#[test]
fn an_empty_patch_names_no_field_and_changes_nothing() {
    let mut model = sample();
    assert!(Patch::default().updated_fields().is_empty());
    Patch::default().apply(&mut model);
    assert_eq!(model, sample());
}

#[test]
fn a_frozen_version_cannot_be_unfrozen() {
    let thaw = Patch { frozen: Some(false), ..Patch::default() };
    assert_eq!(thaw.check_allowed(&sample()), Ok(()));
    assert!(thaw.check_allowed(&Version { frozen: true, ..sample() }).is_err());
}

#[test]
fn blank_uris_and_paths_and_too_many_tags_are_refused_and_uris_trimmed() {
    for patch in [
        Patch { tags: Some(vec![String::new(); crate::limits::MAX_TAGS + 1]), ..Patch::default() },
        Patch { artifact_uri: text(" "), ..Patch::default() },
        Patch { checkpoint: path(""), ..Patch::default() },
        Patch { config: path(" \t"), ..Patch::default() },
    ] {
        assert!(matches!(patch.check(), Err(Refusal::Invalid(_))));
    }
    let patch = Patch { artifact_uri: text(" s3://x "), ..Patch::default() }.check().unwrap();
    assert_eq!(patch.artifact_uri, text("s3://x"));
}

#[test]
fn a_new_path_replaces_digest_and_size_even_if_the_file_is_too_large_to_digest() {
    let mut model =
        Version { checkpoint_sha256: text(&"a".repeat(64)), checkpoint_size_bytes: Some(16), ..sample() };
    let mut patch = Patch { checkpoint: path("/data/new"), ..Patch::default() };
    patch.measured(Some(&Measurement { sha256: None, size_bytes: 7 }), None).unwrap();
    let fields = ["local_checkpoint_path", "checkpoint_sha256", "checkpoint_size_bytes"];
    assert_eq!(patch.updated_fields(), fields);
    patch.apply(&mut model);
    assert_eq!(model.checkpoint_path, text("/data/new"));
    assert_eq!((model.checkpoint_sha256, model.checkpoint_size_bytes), (None, Some(7)));
}

#[test]
fn a_tag_that_is_listed_loses_its_value_and_all_tags_together_are_within_the_limit() {
    let mut model = Version { properties: text(r#"{"a":"1","b":"2"}"#), ..sample() };
    let listed = |count: usize| Patch {
        tags: Some((0..count).map(|at| at.to_string()).chain(["b".to_owned()]).collect()),
        ..Patch::default()
    };
    assert_eq!(listed(crate::limits::MAX_TAGS - 2).check_allowed(&model), Ok(()));
    assert!(matches!(listed(crate::limits::MAX_TAGS - 1).check_allowed(&model), Err(Refusal::Conflict(_))));
    listed(1).apply(&mut model);
    assert_eq!((model.tags, model.properties), (text(r#"["0","b"]"#), text(r#"{"a":"1"}"#)));
}

#[test]
fn a_path_that_repeats_the_uri_changes_with_it() {
    let mut model = sample();
    Patch { artifact_uri: text("s3://x"), ..Patch::default() }.apply(&mut model);
    assert_eq!(model.checkpoint_path, text("s3://x"));
    model.checkpoint_path = text("/data/a");
    Patch { artifact_uri: text("s3://y"), ..Patch::default() }.apply(&mut model);
    assert_eq!(model.checkpoint_path, text("/data/a"));
}
