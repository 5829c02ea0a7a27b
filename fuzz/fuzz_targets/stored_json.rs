//! For any text in a file the output is JSON, and cleaning it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::domain::json::{Value, canonical, has_reserved_key, normalized, read_object};

fuzz_target!(|text: &str| {
    if let Some(once) = normalized(text) {
        // If it nests deeper than the parser allows, it is only scanned.
        if let Err(error) = serde_json::from_str::<Value>(&once) {
            assert!(error.to_string().contains("recursion") || has_reserved_key(text), "{error}: {once}");
        }
        assert_eq!(normalized(&once).as_ref(), Some(&once));
    }
    if let Some(object) = read_object(text) {
        let once = String::from_utf8(canonical(&object)).unwrap();
        if let Some(again) = read_object(&once) {
            // A number beyond a float is spelled as in Python, which is not JSON.
            assert!(once.contains("Infinity") || canonical(&again) == once.as_bytes(), "{once}");
        }
    }
});
