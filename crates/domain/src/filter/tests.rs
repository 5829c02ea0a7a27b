//! The grammar, its meaning and its bounds, as tables and over generated filters.

use proptest::prelude::*;

use super::*;
use crate::{Status, Timestamp};

/// Parses a filter over versions.
fn parsed(text: &str) -> Filter {
    Filter::parse(text, Scope::Versions).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_filter_is_printed_in_its_canonical_form() {
    let digest = "a1".repeat(32);
    for (text, canonical) in [
        ("name='x'", "name = 'x'"),
        ("  name  !=  \"it's\"  ", "name != 'it''s'"),
        ("label = 'a''b'", "label = 'a''b'"),
        ("number<=3 and number>= +2", "number <= 3 AND number >= 2"),
        ("number in (1,-2 , 1e3)", "number IN (1, -2, 1000)"),
        ("number = '2'", "number = 2"),
        ("params > 9223372036854775807", "params > 9223372036854775807"),
        ("training_loss < .5", "training_loss < 0.5"),
        ("scores.smoke-v1.score >= 80e-2", "scores.smoke-v1.score >= 0.8"),
        ("scores . 2026-01 . `f1.macro` > 1", "scores.2026-01.`f1.macro` > 1.0"),
        ("scores.\"eval v2\".`a``b` = 1e300", "scores.`eval v2`.`a``b` = 1e300"),
        ("tags.team = 'nlp'", "tags.team = 'nlp'"),
        ("tag.a.b = ''", "tags.`a.b` = ''"),
        ("tags.équipe-1 LIKE 'É%'", "tags.équipe-1 LIKE 'É%'"),
        ("tags.and is not null", "tags.and IS NOT NULL"),
        ("attribute.name ilike 'A\\_%'", "name ILIKE 'a\\_%'"),
        ("name NOT like 'C:\\x\\\\'", "name NOT LIKE 'C:\\\\x\\\\'"),
        ("source_path = 's3://b' AND version_number = 1", "artifact_uri = 's3://b' AND number = 1"),
        ("frozen = TRUE", "frozen = true"),
        ("status not in ('staging', 'archived')", "status NOT IN ('staging', 'archived')"),
        ("created_at > '2026-01-31'", "created_at > '2026-01-31T00:00:00.000+00:00'"),
        ("updated_at < '2026-01-31T12:00:00.5+02:00'", "updated_at < '2026-01-31T10:00:00.500+00:00'"),
        ("number=1 or number=2 and number=3", "number = 1 OR number = 2 AND number = 3"),
        ("(number=1 or number=2) and ((number=3))", "(number = 1 OR number = 2) AND number = 3"),
        ("not not (number=1 and number=2)", "NOT NOT (number = 1 AND number = 2)"),
        ("NOT number=1 AND number=2", "NOT number = 1 AND number = 2"),
        ("number=1 and (number=2 and number=3)", "number = 1 AND (number = 2 AND number = 3)"),
    ] {
        let filter = parsed(text);
        assert_eq!(filter.to_string(), canonical);
        assert_eq!(parsed(canonical), filter);
    }
    let upper = parsed(&format!("sha256 IN ('sha256:{}')", digest.to_uppercase()));
    assert_eq!(upper.to_string(), format!("sha256 IN ('{digest}')"));
}

#[test]
fn an_error_has_the_position_and_says_what_was_expected() {
    for (text, position, message) in [
        ("", 1, "expected a field, found the end"),
        ("  ", 3, "expected a field, found the end"),
        ("nam = 'x'", 1, "unknown field \"nam\"; expected one of name, label, number,"),
        ("NAME = 'x'", 1, "unknown field \"NAME\""),
        ("name = 'x' AND 5 = 5", 16, "unknown field \"5\""),
        ("name.x = 'x'", 1, "unknown field \"name.x\""),
        ("name. = 'x'", 7, "expected a name (or one between backticks), found \"=\""),
        ("tags = 'x'", 1, "expected tags.KEY, found only tags"),
        (
            "tags.my key = 'x'",
            9,
            "expected an operator (=, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT, IS), found \"key\"",
        ),
        ("scores.a = 1", 1, "expected scores.SUITE.METRIC, found 1 name after scores"),
        ("scores.a.b.c = 1", 1, "put a name that contains a point between backticks"),
        ("name", 5, "expected an operator"),
        ("name == 'x'", 6, "expected =, found \"==\""),
        ("name <> 'x'", 6, "expected !=, found \"<>\""),
        ("name BETWEEN 'a' AND 'b'", 6, "found \"BETWEEN\""),
        ("name IS 'x'", 9, "expected NULL or NOT NULL, found \"'\""),
        ("name IS NOT 5", 13, "expected NULL, found \"5\""),
        ("name NOT = 'x'", 10, "expected LIKE, ILIKE or IN, found \"=\""),
        ("name =", 7, "expected a text between single quotes for name, found the end"),
        ("name = x", 8, "expected a text between single quotes for name, found \"x\""),
        ("name = 5", 8, "found \"5\""),
        ("name = 'x", 8, "expected ' after the text that starts here, found the end"),
        ("tags.`x = 'y'", 6, "expected ` after the text that starts here"),
        ("name LIKE 5", 11, "expected a pattern between single quotes, found \"5\""),
        (
            "number LIKE '1%'",
            8,
            "number can't be tested with LIKE; expected =, !=, <, <=, >, >=, IN, NOT IN, IS NULL,",
        ),
        ("frozen > false", 8, "frozen can't be tested with >; expected =, !=, IS NULL, IS NOT NULL"),
        ("frozen = 1", 10, "expected true or false for frozen, found \"1\""),
        ("status < 'staging'", 8, "expected =, !=, IN, NOT IN, IS NULL, IS NOT NULL"),
        (
            "status = 'prod'",
            10,
            "one of 'experimental', 'staging', 'production', 'archived' for status, found \"prod\"",
        ),
        ("sha256 != 'x'", 8, "sha256 can't be tested with !=; expected =, IN, IS NULL, IS NOT NULL"),
        ("alias NOT LIKE 'x'", 7, "expected =, LIKE, ILIKE, IN, IS NULL, IS NOT NULL"),
        ("sha256 = 'abc'", 10, "expected 64 hex digits between single quotes for sha256, found \"abc\""),
        ("sha256 = ''", 10, "expected 64 hex digits"),
        ("number = 1.5", 10, "expected a whole number of at most 64 bits for number, found \"1.5\""),
        ("number = 9223372036854775808", 10, "expected a whole number"),
        ("number = 1e17", 10, "expected a whole number"),
        ("number = 'x'", 10, "expected a whole number"),
        ("training_loss < 1e400", 17, "expected a decimal number for training_loss, found \"1e400\""),
        ("training_loss < -inf", 17, "expected a decimal number"),
        ("training_loss < 'nan'", 17, "expected a decimal number"),
        ("training_loss < 1.2.3", 17, "found \"1.2.3\""),
        ("created_at > 'soon'", 14, "expected a time like '2026-01-31' or '2026-01-31T13:05:09Z'"),
        ("created_at > 5", 14, "expected a time"),
        ("name IN 'x'", 9, "expected a list of values between parentheses, found \"'\""),
        ("name IN ()", 10, "expected a text between single quotes for name, found \")\""),
        ("name IN ('x' 'y')", 14, "expected a comma or ), found \"'\""),
        ("name IN ('x',", 14, "found the end"),
        ("name IN ('x', 5)", 15, "found \"5\""),
        ("name = 'x' garbage", 12, "expected AND, OR or the end, found \"garbage\""),
        ("name = 'x';", 11, "expected AND, OR or the end, found \";\""),
        ("(name = 'x'", 12, "expected AND, OR or ), found the end"),
        ("name = 'x')", 11, "expected AND, OR or the end, found \")\""),
        ("name = 'x' AND", 15, "expected a field, found the end"),
        ("NOT", 4, "expected a field, found the end"),
        ("tags.é = 'é' x", 14, "found \"x\""),
    ] {
        let error = Filter::parse(text, Scope::Versions).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.to_string(), format!("at character {position}: {}", error.message));
    }
    let long = format!("name = {}", "x".repeat(1_000));
    let error = Filter::parse(&long, Scope::Versions).unwrap_err();
    assert!(error.message.len() < 200 && error.message.ends_with("xxx\"…"), "{error}");
}

#[test]
fn registered_models_have_fewer_fields() {
    for text in [
        "name ILIKE 'a%'",
        "description IS NULL",
        "created_at > '2026-01-31' AND tags.team != 'x'",
        "updated_at IS NULL",
    ] {
        Filter::parse(text, Scope::Models).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for text in ["status = 'staging'", "number = 1", "alias = 'x'", "scores.a.b > 1", "run_id = 'x'"] {
        let error = Filter::parse(text, Scope::Models).expect_err(text);
        let known = "expected one of name, description, created_at, updated_at, tags.KEY";
        assert!(error.message.ends_with(known), "{error}");
    }
}

#[test]
fn each_bound_is_an_error_of_its_own() {
    let condition = "number = 1";
    let nested = |levels: usize| format!("{}{condition}{}", "(".repeat(levels), ")".repeat(levels));
    let negated = |levels: usize| format!("{}{condition}", "NOT ".repeat(levels));
    let mixed = |levels: usize| format!("{}{condition}{}", "NOT (".repeat(levels), ")".repeat(levels));
    let joined = |count: usize| vec![condition; count].join(" AND ");
    let alternating = |count: usize| vec![condition; count].join(" OR ");
    let list = |count: usize| format!("number IN ({})", vec!["1"; count].join(","));
    let sized = |bytes: usize| format!("name = '{}'", "x".repeat(bytes - "name = ''".len()));
    for (text, refused) in [
        (nested(MAX_DEPTH), None),
        (nested(MAX_DEPTH + 1), Some((51, "at most 50 parentheses and NOTs may be nested"))),
        (nested(1_000), Some((51, "at most 50"))),
        ("(".repeat(MAX_FILTER_BYTES), Some((51, "at most 50"))),
        (negated(MAX_DEPTH), None),
        (negated(1_000), Some((201, "at most 50"))),
        (mixed(MAX_DEPTH / 2), None),
        (mixed(1_000), Some((126, "at most 50"))),
        // Parentheses beside each other are not nested.
        (vec![nested(1); MAX_CONDITIONS].join(" OR "), None),
        (joined(MAX_CONDITIONS), None),
        (joined(MAX_CONDITIONS + 1), Some((1_501, "a filter has at most 100 conditions"))),
        (alternating(MAX_CONDITIONS + 1), Some((1_401, "at most 100 conditions"))),
        (list(MAX_LIST_VALUES), None),
        (list(MAX_LIST_VALUES + 1), Some((2_012, "a list has at most 1000 values"))),
        (sized(MAX_FILTER_BYTES), None),
        (sized(10_000), Some((8_193, "the filter has 10000 bytes, and at most 8192 are allowed"))),
        ("é".repeat(5_000), Some((4_097, "10000 bytes"))),
    ] {
        match (Filter::parse(&text, Scope::Versions), refused) {
            (Ok(filter), None) => assert_eq!(parsed(&text), filter),
            (Err(error), Some((position, message))) => {
                assert_eq!(error.position, position, "{error}");
                assert!(error.message.contains(message), "{error}");
            }
            (outcome, _) => panic!("{outcome:?} for {text}"),
        }
    }
}

/// The fields of a version, without `run_id`, `training_step`, `description` and all tags and scores but these.
fn item(field: &Field) -> Vec<Value> {
    let text = |text: &str| vec![Value::Text(text.to_owned())];
    match field {
        Field::Attribute(Attribute::Name) => text("Bert-Größe"),
        Field::Attribute(Attribute::Status) => text("production"),
        Field::Attribute(Attribute::Number) => vec![Value::Integer(7)],
        Field::Attribute(Attribute::Frozen) => vec![Value::Flag(true)],
        Field::Attribute(Attribute::TrainingLoss) => vec![Value::Number(0.25)],
        Field::Attribute(Attribute::CreatedAt) => {
            vec![Value::Time(Timestamp::parse("2026-01-31 13:05:09.250").unwrap())]
        }
        Field::Attribute(Attribute::Sha256) => [text(&"a".repeat(64)), text(&"b".repeat(64))].concat(),
        Field::Attribute(Attribute::Alias) => [text("champion"), text("production")].concat(),
        Field::Tag(key) if key == "team" => text("nlp"),
        Field::Tag(key) if key == "flag" => text(""),
        Field::Score { suite, metric } if suite == "s" && metric == "f1" => vec![Value::Number(0.8)],
        _ => Vec::new(),
    }
}

#[test]
fn a_condition_on_something_absent_is_false_and_not_inverts_it() {
    for (text, holds) in [
        ("name = 'Bert-Größe'", true),
        ("name = 'bert-größe'", false),
        ("name LIKE 'Bert%'", true),
        ("name LIKE 'bert%'", false),
        ("name ILIKE 'BERT-GRÖSSE'", false),
        ("name ILIKE 'BERT-GRÖ_E'", true),
        ("name NOT ILIKE 'BERT%'", false),
        ("name < 'C'", true),
        ("name > 'b'", false),
        ("number = 7", true),
        ("number != 7", false),
        ("number < 7", false),
        ("number <= 7 AND number >= 7", true),
        ("number > 7 OR number > 6", true),
        ("number IN (1, 7)", true),
        ("number NOT IN (1, 7)", false),
        ("number NOT IN (1, 8)", true),
        ("frozen = true", true),
        ("frozen != true", false),
        ("training_loss < 0.3", true),
        ("status = 'production' AND NOT status = 'staging'", true),
        ("created_at >= '2026-01-31' AND created_at < '2026-02-01'", true),
        ("created_at = '2026-01-31T14:05:09.250+01:00'", true),
        (&format!("sha256 = '{}'", "a".repeat(64)), true),
        (&format!("sha256 = '{}'", "B".repeat(64)), true),
        (&format!("NOT sha256 IN ('{}')", "c".repeat(64)), true),
        ("alias = 'champion' AND alias = 'production'", true),
        ("alias LIKE 'x%'", false),
        ("alias IS NULL", false),
        ("tags.team = 'nlp'", true),
        ("tags.Team = 'nlp'", false),
        ("tags.flag = ''", true),
        ("tags.flag IS NOT NULL", true),
        ("tags.none = 'x'", false),
        ("tags.none != 'x'", false),
        ("tags.none NOT IN ('x')", false),
        ("tags.none NOT LIKE 'x'", false),
        ("tags.none LIKE '%'", false),
        ("tags.none IS NULL", true),
        ("tags.none IS NOT NULL", false),
        ("NOT tags.none = 'x'", true),
        ("NOT tags.none IS NULL", false),
        ("NOT (tags.none = 'x' OR tags.none != 'x')", true),
        ("NOT NOT tags.none = 'x'", false),
        ("scores.s.f1 >= 0.8", true),
        ("scores.s.f1 > 0.8", false),
        ("scores.s.none < 1 OR scores.s.none >= 1", false),
        ("run_id != 'x'", false),
        ("number = 1 OR number = 7 AND frozen = false", false),
        ("(number = 1 OR number = 7) AND frozen = true", true),
        ("number = 7 OR number = 1 AND frozen = false", true),
        ("NOT number = 1 AND number = 7", true),
    ] {
        assert_eq!(parsed(text).matches(&item), holds, "{text}");
    }
}

#[test]
fn filters_of_mlflow_are_a_subset() {
    for text in [
        "name = 'alpha'",
        "name='alpha'",
        "name = \"alpha\"",
        "name != 'alpha'",
        "name like '%a'",
        "name ilike '%A%'",
        "name LIKE 'delta_1'",
        "name IN ('alpha', 'beta')",
        "name NOT IN ('alpha', 'beta')",
        "name = ''",
        "attribute.name = 'beta'",
        "name LIKE '%a' and name LIKE 'b%'",
        "tag.team = 'a'",
        "tags.team != 'a'",
        "tags.`p.q` = 'z'",
        "tags.\"p.q\" = 'z'",
        "tags.p.q = 'z'",
        "tags.team ILIKE 'A'",
        "tag.`mlflow.prompt.is_prompt` != 'true'",
    ] {
        for scope in [Scope::Models, Scope::Versions] {
            assert!(Filter::parse(text, scope).is_ok(), "{text}");
        }
    }
    for text in [
        "run_id = '11111111111111111111111111111111'",
        "run_id IN ('11111111111111111111111111111111', 'x')",
        "run_id NOT IN ('x')",
        "source_path = 's3://x/1'",
        "source_path ILIKE 'S3://Y%'",
        "version_number = 1",
        "version_number != 1",
        "version_number = '2'",
        "version_number = -1",
        "name = 'a' AND version_number > 1 AND run_id = 'x' and source_path LIKE '%1'",
    ] {
        assert!(Filter::parse(text, Scope::Versions).is_ok(), "{text}");
    }
}

fn field() -> impl Strategy<Value = Field> {
    let name = || prop_oneof!["[a-z0-9_-]{1,4}", "[é模A-Z ]{1,3}", "[`\"'.\\\\]{0,3}", "\\PC{0,4}"];
    prop_oneof![
        3 => proptest::sample::select(Attribute::ALL.to_vec()).prop_map(Field::Attribute),
        1 => name().prop_map(Field::Tag),
        1 => (name(), name()).prop_map(|(suite, metric)| Field::Score { suite, metric }),
    ]
}

fn value(field_type: FieldType) -> BoxedStrategy<Value> {
    match field_type {
        FieldType::Text => prop_oneof!["['\"\\\\%_a]{0,4}", "(?s).{0,5}"].prop_map(Value::Text).boxed(),
        FieldType::Integer => any::<i64>().prop_map(Value::Integer).boxed(),
        FieldType::Number => {
            (proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL)
                .prop_map(Value::Number)
                .boxed()
        }
        FieldType::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
        FieldType::Time => {
            (0..253_402_300_800_000_i64).prop_map(|ms| Value::Time(Timestamp::from_unix_millis(ms))).boxed()
        }
        FieldType::Status => proptest::sample::select(Status::NAMES.to_vec())
            .prop_map(|status| Value::Text(status.to_owned()))
            .boxed(),
        FieldType::Digest => "[0-9a-f]{64}".prop_map(Value::Text).boxed(),
    }
}

/// Returns conditions with operators that the parser accepts for their field.
fn condition() -> impl Strategy<Value = Filter> {
    field().prop_flat_map(|field| {
        let compare = (proptest::sample::select(Comparator::ALL.to_vec()), value(field.field_type()))
            .prop_map(|(comparator, value)| Test::Compare(comparator, value));
        let list = (proptest::collection::vec(value(field.field_type()), 1..4), any::<bool>())
            .prop_map(|(values, negated)| Test::In { values, negated });
        let like = ("['%_\\\\aÉςſİ]{0,6}", any::<bool>(), any::<bool>()).prop_map(
            |(text, ignores_case, negated)| Test::Like {
                pattern: Pattern::new(&text, ignores_case),
                negated,
            },
        );
        let null = any::<bool>().prop_map(|negated| Test::Null { negated });
        prop_oneof![compare, list, like, null]
            .prop_map(move |test| Condition { field: field.clone(), test })
            .prop_filter("the operator does not fit the field", Condition::is_allowed)
            .prop_map(Filter::Condition)
    })
}

impl Condition {
    fn is_allowed(&self) -> bool {
        let field = &self.field;
        let (ordered, pattern) = match field.field_type() {
            FieldType::Flag | FieldType::Status | FieldType::Digest => (false, false),
            FieldType::Text => (true, true),
            _ => (true, false),
        };
        match &self.test {
            Test::Compare(Comparator::Equal, _) | Test::Null { .. } => true,
            Test::Compare(Comparator::NotEqual, _) => !field.is_multiple(),
            Test::Compare(..) => ordered && !field.is_multiple(),
            Test::In { negated, .. } => {
                field.field_type() != FieldType::Flag && !(*negated && field.is_multiple())
            }
            Test::Like { negated, .. } => pattern && !(*negated && field.is_multiple()),
        }
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    condition().prop_recursive(5, 16, 3, |inner| {
        let parts = || proptest::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            parts().prop_map(Filter::And),
            parts().prop_map(Filter::Or),
            inner.clone().prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn a_printed_filter_parses_to_the_same(filter in filter()) {
        let text = filter.to_string();
        prop_assert_eq!(Filter::parse(&text, Scope::Versions), Ok(filter), "{}", text);
    }

    #[test]
    fn any_text_is_a_filter_or_an_error_at_a_character_of_it(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    "name", "number", "tags.", "scores.", "`", "'", "\"", "(", ")", "NOT", "AND", "OR", "IN", "IS NULL",
                    "LIKE", "=", "!=", "<=", ",", ".", "1e5", "-", "'x'", "true", "é", "\\",
                ]).prop_map(str::to_owned),
                "\\PC{0,3}",
            ],
            0..20,
        ),
        separator in " ?",
    ) {
        let text = pieces.join(&separator);
        for scope in [Scope::Versions, Scope::Models] {
            match Filter::parse(&text, scope) {
                Ok(filter) => {
                    prop_assert_eq!(Filter::parse(&filter.to_string(), scope), Ok(filter.clone()));
                    let inverse = Filter::Not(Box::new(filter.clone()));
                    prop_assert_ne!(filter.matches(&item), inverse.matches(&item));
                }
                Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}", error),
            }
            let _ = SortKey::parse(&text, scope);
        }
    }
}
