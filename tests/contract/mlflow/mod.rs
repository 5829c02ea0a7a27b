//! The wire contract of MLflow 3.17.2's registry: one test for each file of `cases/`, recorded from its own server.
//!
//! A step with `fixed` departs from it on purpose and says why.

mod case;
mod compare;

use std::{collections::BTreeSet, fs, path::PathBuf};

fn cases() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract/mlflow/cases"))
}

/// One test per case, named like its file, so that a failure names the case.
macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            case::replay(&cases(), &stringify!($name).replace('_', "-"));
        })*

        #[test]
        fn every_file_of_cases_has_a_test() {
            let files: BTreeSet<_> = fs::read_dir(cases())
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            let tests: BTreeSet<_> = [$(stringify!($name).replace('_', "-")),*].into();
            assert_eq!(tests, files);
        }
    };
}

cases! {
    alias_rules alias auth_accepted auth_refused bodies latest_versions mv_copy mv_create mv_delete mv_get
    mv_search_invalid mv_search_order mv_search mv_sources mv_tags mv_update prompts rm_create_invalid rm_create rm_delete
    rm_get_missing rm_rename rm_search_invalid rm_search_order rm_search_tags rm_search rm_tags rm_update server_info
    stages_invalid stages tag_length times webhooks
}
