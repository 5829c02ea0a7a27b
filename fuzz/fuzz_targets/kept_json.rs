//! Whatever the file holds, what goes out is JSON, and its spelling settles at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::domain::json::{Value, canonical, has_reserved_key, read_object, respelled, servable};

fuzz_target!(|text: &str| {
    let served = servable(text);
    // Where it goes deeper than the parser it is only looked through.
    if let Err(error) = serde_json::from_str::<Value>(&served) {
        assert!(error.to_string().contains("recursion") || has_reserved_key(text), "{error}: {served}");
    }
    if let Some(spelled) = respelled(text) {
        assert_eq!(respelled(&spelled), None);
    }
    if let Some(object) = read_object(text) {
        let once = canonical(&object);
        if let Some(again) = read_object(&once) {
            // What is beyond a float is spelled as Python has it, which is no JSON.
            assert!(once.contains("Infinity") || canonical(&again) == once, "{once}");
        }
    }
});
