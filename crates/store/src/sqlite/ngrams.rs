//! Text search: case folding, and the trigrams that find candidates for a text.
//!
//! FTS5 folds case by its own tables, so texts are folded here before they are indexed, and its tokenizer is
//! case-sensitive. An n-gram match is only a candidate: [`contains`] on the row decides.

pub(super) use registry_domain::text::fold;

/// Letters in an n-gram, as FTS5's `trigram` tokenizer cuts them. Shorter texts can't be looked up.
const NGRAM_CHARS: usize = 3;
/// N-grams of a long text that are looked up, besides its last one. More would only make the candidates rarer.
const MAX_NGRAMS: usize = 7;

/// Returns true if `text` contains `folded` in any case. SQL's LIKE folds ASCII only and has wildcards.
pub(super) fn contains(text: &str, folded: &str) -> bool {
    if text.is_ascii() && folded.is_ascii() {
        return text.to_ascii_lowercase().contains(folded);
    }
    fold(text).contains(folded)
}

/// Returns a text as FTS5 indexes it. FTS5 would stop reading at a NUL.
pub(super) fn indexed(text: &str) -> String {
    fold(text).replace('\0', "\u{fffd}")
}

/// Returns the FTS5 query for every text that contains `folded`; `None` if it is too short for an n-gram.
///
/// The index has no positions, which halves it, so the query is a conjunction of n-grams instead of a phrase.
pub(super) fn query(folded: &str) -> Option<String> {
    let letters: Vec<char> = indexed(folded).chars().collect();
    let last = letters.len().checked_sub(NGRAM_CHARS)?;
    let starts = (0..last).step_by(NGRAM_CHARS).take(MAX_NGRAMS).chain([last]);
    let ngrams = starts.map(|start| {
        let ngram: String = letters[start..start + NGRAM_CHARS].iter().collect();
        format!("\"{}\"", ngram.replace('"', "\"\""))
    });
    Some(ngrams.collect::<Vec<_>>().join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_any_case_and_wildcards_are_literal() {
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
            assert_eq!(contains(text, &fold(part)), found, "{part:?} in {text:?}");
        }
    }

    #[test]
    fn a_query_covers_the_text_with_a_bounded_number_of_ngrams() {
        for (part, expected) in [
            ("ab", None),
            ("abc", Some("\"abc\"")),
            ("abcd", Some("\"abc\" AND \"bcd\"")),
            ("abcdef", Some("\"abc\" AND \"def\"")),
            ("a\"\0", Some("\"a\"\"\u{fffd}\"")),
        ] {
            assert_eq!(query(part).as_deref(), expected, "{part:?}");
        }
        let long: String = ('a'..='z').cycle().take(300).collect();
        assert_eq!(query(&long).unwrap().matches(" AND ").count(), MAX_NGRAMS);
    }

    proptest::proptest! {
        #[test]
        fn fts5_finds_every_text_by_every_part_of_it(
            before in "\\PC{0,9}", part in "(?s).{3,40}", after in "\\PC{0,9}"
        ) {
            let connection = rusqlite::Connection::open_in_memory().unwrap();
            connection.execute_batch(
                "CREATE VIRTUAL TABLE texts USING fts5(text, content = '', contentless_delete = 1, \
                 detail = 'none', tokenize = 'trigram case_sensitive 1')"
            ).unwrap();
            let text = format!("{before}{part}{after}");
            connection.execute("INSERT INTO texts (rowid, text) VALUES (1, ?1)", [indexed(&text)]).unwrap();
            let folded = fold(&part);
            proptest::prop_assert!(contains(&text, &folded));
            let sql = "SELECT count(*) FROM texts WHERE texts MATCH ?1";
            let found: i64 = connection.query_row(sql, [query(&folded).unwrap()], |row| row.get(0)).unwrap();
            proptest::prop_assert_eq!(found, 1);
        }
    }
}
