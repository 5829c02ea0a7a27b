//! An accepted template is shown as it was written, and expands to text with all of its values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::{
    artifact::{Field, UriTemplate, Values},
    domain::Digest,
};

fuzz_target!(|text: &str| {
    // Any text with doubled braces is a template of itself.
    let plain = text.trim().replace('{', "{{").replace('}', "}}");
    if let Ok(template) = plain.parse::<UriTemplate>() {
        assert_eq!(template.expand(&Values::default()), Ok(Some(text.trim().to_owned())));
    } else {
        assert!(text.trim().is_empty());
    }
    let Ok(template) = text.parse::<UriTemplate>() else { return };
    assert_eq!(template.to_string(), text.trim());
    assert_eq!(template.to_string().parse(), Ok(template.clone()));
    let values = Values {
        name: "<name>",
        version: "<version>",
        step: Some(4711),
        basename: Some("<basename>"),
        sha256: Some(Digest::from_bytes([0xab; 32])),
    };
    let expanded = template.expand(&values).unwrap().unwrap();
    for (field, value) in [
        (Field::Name, "<name>"),
        (Field::Version, "<version>"),
        (Field::Step, "4711"),
        (Field::Basename, "<basename>"),
        (Field::Sha256, "abababab"),
    ] {
        assert!(!template.has(field) || expanded.contains(value), "{expanded}");
    }
});
