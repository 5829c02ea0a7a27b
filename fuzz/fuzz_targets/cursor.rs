//! An accepted cursor can be encoded again.
#![no_main]

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use model_registry::domain::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let made = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    for text in [&made, &*String::from_utf8_lossy(bytes)] {
        for list in ["created_at.desc", "updated_at.asc", "training_step.desc", "events.desc"] {
            if let Ok(cursor) = Cursor::decode(text, list) {
                assert_eq!(Cursor::decode(&cursor.encode(), list), Ok(cursor));
            }
        }
    }
});
