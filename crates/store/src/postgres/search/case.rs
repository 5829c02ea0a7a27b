//! Folds case in SQL exactly as the domain does: PostgreSQL's `lower` depends on the locale of the database.

use std::{collections::HashMap, sync::LazyLock};

use registry_domain::text::fold;

use super::super::rows::{Value, Values};

/// The letters that folding changes.
struct Letters {
    /// Those that become one letter, by that letter.
    single: HashMap<char, Vec<char>>,
    /// Those that become several, with these.
    several: Vec<(char, String)>,
}

static LETTERS: LazyLock<Letters> = LazyLock::new(|| {
    let mut letters = Letters { single: HashMap::new(), several: Vec::new() };
    for letter in '\0'..=char::MAX {
        let folded = fold(letter.encode_utf8(&mut [0; 4]));
        let mut parts = folded.chars();
        match (parts.next(), parts.next()) {
            (Some(part), None) if part == letter => {}
            (Some(part), None) => letters.single.entry(part).or_default().push(letter),
            _ => letters.several.push((letter, folded)),
        }
    }
    letters
});

/// Returns SQL for a text in which those letters are folded that a pattern with these folded literals can tell apart. With
/// `counts_letters`, the pattern can tell how many letters there are.
pub(in super::super) fn folded(
    value: &str,
    literals: &str,
    counts_letters: bool,
    values: &mut Values<'_>,
) -> String {
    let mut known: Vec<char> = literals.chars().collect();
    known.sort_unstable();
    known.dedup();
    let (mut from, mut to) = (String::new(), String::new());
    for letter in &known {
        for other in LETTERS.single.get(letter).into_iter().flatten() {
            from.push(*other);
            to.push(*letter);
        }
    }
    let mut sql = value.to_owned();
    if !from.is_empty() {
        let (from, to) = (values.bind(Value::owned(&from)), values.bind(Value::owned(&to)));
        sql = format!("translate({sql}, {from}, {to})");
    }
    for (letter, several) in &LETTERS.several {
        if counts_letters || several.chars().any(|part| known.contains(&part)) {
            let letter = values.bind(Value::owned(letter.encode_utf8(&mut [0; 4])));
            let several = values.bind(Value::owned(several));
            sql = format!("replace({sql}, {letter}, {several})");
        }
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what the SQL of [`folded`] says.
    fn translated(text: &str, literals: &str) -> String {
        let mut text = text.to_owned();
        for letter in literals.chars() {
            for other in LETTERS.single.get(&letter).into_iter().flatten() {
                text = text.replace(*other, letter.encode_utf8(&mut [0; 4]));
            }
        }
        for (letter, several) in &LETTERS.several {
            text = text.replace(*letter, several);
        }
        text
    }

    proptest::proptest! {
        #[test]
        fn a_part_is_found_if_the_folded_text_contains_it(text in "[aAkK\u{212a}\u{130}i\u{307}ςσΣßſÅ\u{212b}å]{0,8}", part in "[aAkK\u{212a}\u{130}iςσΣſÅ]{1,3}") {
            let part = fold(&part);
            proptest::prop_assert_eq!(translated(&text, &part).contains(&part), fold(&text).contains(&part));
            proptest::prop_assert_eq!(translated(&text, &part).chars().count(), fold(&text).chars().count());
        }
    }

    #[test]
    fn folding_twice_changes_nothing_more() {
        for letter in LETTERS.single.keys() {
            let letter = letter.to_string();
            assert_eq!(fold(&letter), letter);
        }
    }
}
