//! Texts as they are searched: folded, and cut into runs of one to three letters.
//!
//! FTS5 has a tokenizer for trigrams, but it folds case by its own tables and can't find parts shorter than three
//! letters. So the runs are cut here, and FTS5 keeps each as one word.

/// Runs that are asked for at most, for a long part. Each makes the answer rarer; the row has the last word.
const MAX_ASKED: usize = 8;
/// Letters in a run at most.
const RUN: usize = 3;
/// Where in Unicode's private use area the ASCII letters go that FTS5's tokenizer would take for gaps.
const PRIVATE: u32 = 0xE000;
/// Bits that any letter of Unicode fits.
const LETTER_BITS: usize = 21;

/// Whether `part`, [`folded`] already, stands in `text` whatever the case of its letters. LIKE folds ASCII only
/// and gives `%` and `_` a meaning.
pub(in super::super) fn contains(text: &str, part: &str) -> bool {
    if text.is_ascii() && part.is_ascii() {
        return text.to_ascii_lowercase().contains(part);
    }
    folded(text).contains(part)
}

/// The text with the case of its letters taken away, each for itself: lower-casing a whole text writes a
/// sigma at the end of a word otherwise than the same sigma inside one.
pub(in super::super) fn folded(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

/// Every run of one to three letters of these texts, once each, with a space behind it.
pub(in super::super) fn runs<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    // Three letters fit one number, which is quick to sort; 0 is no letter, since `indexed` leaves none.
    let mut found: Vec<u64> = Vec::new();
    for text in texts {
        let mut last = 0_u64;
        for (position, letter) in folded(text).chars().enumerate() {
            last = (last << LETTER_BITS | u64::from(indexed(letter))) & run_of(RUN);
            found.extend((1..=RUN.min(position + 1)).map(|length| last & run_of(length)));
        }
    }
    found.sort_unstable();
    found.dedup();
    let mut words = String::with_capacity(found.len() * (RUN + 1));
    for run in found {
        let letters = (0..RUN).rev().map(|place| run >> (LETTER_BITS * place) & run_of(1));
        let letters = letters.filter(|letter| *letter != 0);
        words.extend(letters.filter_map(|letter| char::from_u32(letter as u32)));
        words.push(' ');
    }
    words
}

/// What to ask FTS5 for to find every text with `part`, [`folded`] already and not empty, and few others: one run
/// where it is short, and for a long one runs that lie side by side, spread over it.
pub(in super::super) fn asked(part: &str) -> String {
    let letters: Vec<char> = part.chars().collect();
    let last = letters.len().saturating_sub(RUN);
    let side_by_side = letters.len().div_ceil(RUN);
    let count = side_by_side.min(MAX_ASKED);
    let starts =
        (0..count).map(|place| if count == side_by_side { place * RUN } else { place * last / (count - 1) });
    let mut asked = String::new();
    for start in starts {
        let start = start.min(last);
        if !asked.is_empty() {
            asked.push_str(" AND ");
        }
        asked.push('"');
        let run = letters.iter().skip(start).take(RUN);
        asked.extend(run.filter_map(|letter| char::from_u32(indexed(*letter))));
        asked.push('"');
    }
    asked
}

/// The letter as it is indexed: FTS5's tokenizer takes every letter beyond ASCII for part of a word, and of ASCII
/// only those of words. Where a text holds the letters that take their place, it is found too often, no harm.
fn indexed(letter: char) -> u32 {
    let is_gap = letter.is_ascii() && !letter.is_ascii_alphanumeric();
    u32::from(letter) + if is_gap { PRIVATE } else { 0 }
}

/// The bits of so many letters.
fn run_of(letters: usize) -> u64 {
    (1 << (LETTER_BITS * letters)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_whatever_the_case_and_wildcards_are_letters() {
        for (text, part, found) in [
            ("Hello world", "hello", true),
            ("Hello world", "o w", true),
            ("hello", "", true),
            ("", "a", false),
            ("100 percent", "100%", false),
            ("100%", "0%", true),
            ("axb", "a_b", false),
            ("ТЕГ", "тег", true),
            ("ΟΔΟΣΑ", "ΟΔΟΣ", true),
            ("ΟΔΟΣΑ", "οδος", true),
            ("οδος", "ΟΔΟΣ", true),
            ("modèle", "modele", false),
            ("short", "longer than it", false),
        ] {
            assert_eq!(contains(text, &folded(part)), found, "{part:?} in {text:?}");
        }
    }

    #[test]
    fn a_text_is_cut_into_all_its_runs_and_gaps_are_letters() {
        assert_eq!(runs(["aBa"]), "a b ab ba aba ");
        assert_eq!(runs(["a", "A"]), "a ");
        assert_eq!(runs(["", "é-"]), "é \u{e02d} é\u{e02d} ");
        assert_eq!(runs(["\0\""]), "\u{e000} \u{e022} \u{e000}\u{e022} ");
        assert_eq!(runs(["😀"]), "😀 ");
    }

    #[test]
    fn a_part_is_asked_for_by_runs_that_cover_it_up_to_a_bound() {
        for (part, runs) in [
            ("a", "\"a\""),
            ("ab", "\"ab\""),
            ("abc", "\"abc\""),
            ("abcd", "\"abc\" AND \"bcd\""),
            ("abcdef", "\"abc\" AND \"def\""),
            ("a\"*c", "\"a\u{e022}\u{e02a}\" AND \"\u{e022}\u{e02a}c\""),
        ] {
            assert_eq!(asked(part), runs);
        }
        let long: String = ('a'..='z').cycle().take(300).collect();
        assert_eq!(asked(&long).matches(" AND ").count() + 1, MAX_ASKED);
    }

    proptest::proptest! {
        #[test]
        fn every_run_that_is_asked_for_stands_in_each_text_that_has_the_part(
            before in ".{0,9}", part in ".{1,40}", after in ".{0,9}"
        ) {
            let text = format!("{before}{part}{after}");
            let words = runs([text.as_str()]);
            let words: Vec<_> = words.split_terminator(' ').collect();
            let folded = folded(&part);
            proptest::prop_assert!(contains(&text, &folded));
            for run in asked(&folded).split(" AND ") {
                proptest::prop_assert!(words.contains(&run.trim_matches('"')), "{run} of {part:?}");
            }
        }
    }
}
