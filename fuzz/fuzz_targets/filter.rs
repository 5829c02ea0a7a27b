//! An accepted filter or sort key is shown in a form that parses to the same, and an error points into the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_registry::domain::{
    Filter, SortKey,
    filter::{Field, MAX_FILTER_BYTES, Scope, Value},
};

fuzz_target!(|text: &str| {
    for scope in [Scope::Versions, Scope::Models] {
        match Filter::parse(text, scope) {
            Ok(filter) => {
                let shown = filter.to_string();
                if shown.len() <= MAX_FILTER_BYTES {
                    assert_eq!(Filter::parse(&shown, scope), Ok(filter.clone()));
                }
                let read = |_: &Field| vec![Value::Text(text.to_owned())];
                let inverse = Filter::Not(Box::new(filter.clone()));
                assert_ne!(filter.matches(&read), inverse.matches(&read));
            }
            Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.position)),
        }
        if let Ok(sort) = SortKey::parse(text, scope) {
            assert_eq!(SortKey::parse(&sort.to_string(), scope), Ok(sort));
        }
    }
});
