//! For any text in a file the output is JSON, and cleaning it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::domain::json::{Value, canonical, has_reserved_key, read_object, respelled, servable};

fuzz_target!(|text: &str| {
    let served = servable(text);
    // If it nests deeper than the parser allows, it is only scanned.
    if let Err(error) = serde_json::from_str::<Value>(&served) {
        assert!(error.to_string().contains("recursion") || has_reserved_key(text), "{error}: {served}");
    }
    if let Some(spelled) = respelled(text) {
        assert_eq!(respelled(&spelled), None);
    }
    if let Some(object) = read_object(text) {
        let once = canonical(&object);
        if let Some(again) = read_object(&once) {
            // A number beyond a float is spelled as in Python, which is not JSON.
            assert!(once.contains("Infinity") || canonical(&again) == once, "{once}");
        }
    }
});
