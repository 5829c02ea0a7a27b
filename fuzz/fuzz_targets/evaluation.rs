#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| model_registry::http::probe::evaluation(body));
