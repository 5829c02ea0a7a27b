//! One test for each recorded case.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::case;

fn cases() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract/cases"))
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
    actor actor_untrusted auth auth_many_keys auth_unconfigured compare corrected corrected_auth corrected_gate
    cors_default cors_list cors_none delete events get hash_limit immutable limits list local_paths
    local_paths_exposed local_paths_off metrics metrics_lock migrate_v1 promote promote_gate public register
    register_coerced register_config register_invalid update
}
