//! An accepted name has a step, and the name made from it parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::artifact::CheckpointName;

fuzz_target!(|text: &str| {
    if let Some(name) = CheckpointName::parse(text) {
        assert!(name.step >= 0);
        let is_final = if name.is_final { "final_" } else { "" };
        let again = CheckpointName::parse(&format!("checkpoint_{is_final}step_{}.pt", name.step));
        assert_eq!(again, Some(name));
        assert_eq!(name.to_string().contains("final"), name.is_final);
    }
});
