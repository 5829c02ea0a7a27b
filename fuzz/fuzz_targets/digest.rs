//! An accepted digest is shown as 64 lower-case hex digits, which parse to the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::domain::Digest;

fuzz_target!(|text: &str| {
    if let Ok(Some(digest)) = Digest::parse("f", text) {
        let shown = digest.to_string();
        assert!(shown.len() == 64 && shown.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert!(text.to_ascii_lowercase().contains(&shown));
        assert_eq!(Digest::parse("f", &shown), Ok(Some(digest)));
        assert_eq!(Digest::parse("f", &format!(" SHA256:{} ", shown.to_uppercase())), Ok(Some(digest)));
    }
});
