use serde_json::json;

use super::*;
use crate::json::Value;

/// What conditions see in these tests.
fn inputs() -> Object {
    let Value::Object(inputs) = json!({
        "candidate": {
            "id": 7, "name": "m", "number": 3, "label": "v3", "status": "staging", "created_by": "ann",
            "created_at": "2026-11-24T12:00:00.000Z", "frozen": false, "training_step": 100, "description": null,
            "digest": "ab", "total_bytes": 30,
            "tags": {"team": "nlp", "nightly": ""},
            "scores": {
                "core": {"score": 0.9, "errors": 0, "grade": "high", "passed": true, "big": 9_007_199_254_740_993_i64},
                "smoke-v1": {"score": 1},
            },
            "files": [
                {"path": "a.safetensors", "size": 10, "sha256": "aa", "role": "weights"},
                {"path": "config.json", "size": 20, "sha256": "bb", "role": "config"},
            ],
            "signatures": [],
            "scan": {"status": "unscanned"},
        },
        "current": {"id": 5, "scores": {"core": {"score": 0.8}}},
        "approvals": [{"actor": "bob", "at": "2026-11-25T08:00:00.000Z", "comment": "fine"}],
        "actor": {"name": "carl", "kind": "key", "scopes": ["read", "promote:production"]},
        "now": "2026-11-27T18:30:00.000Z",
        "target": "production",
        "reason": null,
    }) else {
        panic!()
    };
    inputs
}

fn evaluate(text: &str) -> Result<bool, String> {
    let expression = Expression::parse(text).map_err(|error| format!("refused {error}"))?;
    expression.holds(&inputs(), &mut Budget::default())
}

#[test]
fn conditions_are_evaluated_as_cel_does() {
    for (text, expected) in [
        ("true", true),
        ("!false && (false || true)", true),
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 / 2 == 3 && -7 % 4 == -3", true),
        ("7.0 / 2.0 == 3.5 && 1e3 == 1000.0 && .5 < 1.0", true),
        ("0x1F == 31", true),
        ("10 - 2 - 3 == 5", true),
        ("1 < 1.5 && 2 > 1.5 && 1 == 1.0 && 1 != 1.5", true),
        ("9007199254740993 > 9007199254740992.0", true),
        ("'b' > 'a' && 'a' + 'b' == \"ab\" && 'é'.size() == 1 && size('abc') == 3", true),
        (r#"'a\n\x41\u00e9' == "a\n\U00000041é" && r'\d' == '\\d'"#, true),
        ("'''two\nlines''' == 'two\\nlines'", true),
        ("true ? 1 == 1 : 1 == 2", true),
        ("false ? true : true ? true : false", true),
        ("1 in [1, 2] && !('x' in ['a']) && 'team' in candidate.tags", true),
        ("[1, 2] + [3] == [1, 2, 3] && [1, [2]] != [1, [3]]", true),
        ("{'a': 1}.a == 1 && {'a': 1}['a'] == 1 && 'a' in {'a': 1} && {'a': 1} == {'a': 1.0}", true),
        ("[1, 2, 3].all(x, x > 0) && [].all(x, x > 0)", true),
        ("[1, 2, 3].exists(x, x == 2) && [1, 2, 2].exists_one(x, x == 1)", true),
        ("[1, 2, 3].filter(x, x > 1).map(x, x * 2) == [4, 6] && [1, 2].map(x, x > 1, x) == [2]", true),
        ("[1, 2].all(x, [3].all(y, x < y))", true),
        ("candidate.tags.all(key, key.size() > 0)", true),
        // An operand that fails matters only if the other one doesn't decide.
        ("1 / 0 == 1 || true", true),
        ("false && 1 / 0 == 1", false),
        ("1 / 0 == 1 && false", false),
        ("[0, 2].exists(x, 4 / x == 2)", true),
        ("[0, 2].all(x, 4 / x == 3)", false),
        // Variables.
        ("candidate.name == 'm' && candidate.number == 3 && candidate.label.startsWith('v')", true),
        ("candidate.label.matches('^v[0-9]+$') && !matches(candidate.label, '^x')", true),
        ("candidate.name.endsWith('m') && 'abc'.contains('bc') && 'ABC'.lowerAscii() == 'abc'", true),
        ("has(candidate.tags.team) && !has(candidate.tags.owner) && candidate.tags.team == 'nlp'", true),
        ("has(candidate.created_by) && !has(candidate.dataset) && candidate.dataset == null", true),
        ("candidate.scores.core.score >= 0.9 && candidate.scores['smoke-v1'].score >= 1", true),
        ("candidate.scores.core.score >= current.scores.core.score - 0.01", true),
        ("candidate.scores.core.score * 100 > 89 && candidate.scores.core.passed", true),
        ("candidate.scores.core.grade == 'high' && candidate.scores.core.grade != 0.9", true),
        ("candidate.scores.all(suite, candidate.scores[suite].score > 0.5)", true),
        ("candidate.files.exists(f, f.role == 'weights' && f.path.endsWith('.safetensors'))", true),
        ("candidate.files.all(f, f.size < 100) && candidate.files[1].path == 'config.json'", true),
        ("size(candidate.files) == 2 && candidate.total_bytes == 30", true),
        ("current == null || current.id < candidate.id", true),
        ("approvals.filter(a, a.actor != candidate.created_by).size() >= 1", true),
        ("'promote:production' in actor.scopes && target == 'production' && reason == null", true),
        ("size(candidate.signatures) > 0", false),
        ("candidate.scan.status == 'clean'", false),
        // Times.
        ("now - candidate.created_at > duration('72h') && now > timestamp('2026-11-27')", true),
        ("candidate.created_at + duration('3d') < now && now - duration('1h30m') < now", true),
        ("now.getDayOfWeek() == 5 && now.getHours() == 18 && now.getHours('+02:00') == 20", true),
        ("now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 27", true),
        ("now.getDayOfMonth() == 26 && now.getDayOfYear() == 330 && now.getMinutes('UTC') == 30", true),
        ("duration('90m').getHours() == 1 && duration('90s') == duration('1m30s')", true),
        ("int('7') == 7 && double('0.5') == 0.5 && string(7) == '7' && int(2.9) == 2", true),
        ("string(now) == '2026-11-27T18:30:00.000Z' && int(timestamp('1970-01-02')) == 86400", true),
        ("true // a comment\n && true", true),
    ] {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_signature_and_a_clean_scan_are_seen() {
    for (signatures, scan, expected) in [
        (json!([]), "unscanned", [false, false]),
        (json!([{"identity": "ci@example.org", "issuer": "https://issuer"}]), "clean", [true, true]),
        (json!([{"identity": "eve@example.org"}]), "unsafe", [true, false]),
    ] {
        let mut inputs = inputs();
        inputs["candidate"]["signatures"] = signatures;
        inputs["candidate"]["scan"]["status"] = scan.into();
        let holds = ["candidate.signatures.size() >= 1", "candidate.scan.status == \"clean\""]
            .map(|text| Expression::parse(text).unwrap().holds(&inputs, &mut Budget::default()).unwrap());
        assert_eq!(holds, expected);
    }
    let by =
        "candidate.signatures.exists(s, s.identity.endsWith('@example.org') && s.issuer == 'https://issuer')";
    let mut inputs = inputs();
    inputs["candidate"]["signatures"] = json!([{"identity": "ci@example.org"}]);
    let error = Expression::parse(by).unwrap().holds(&inputs, &mut Budget::default()).unwrap_err();
    assert_eq!(error, "s has no \"issuer\"; there is \"identity\"");
}

#[test]
fn a_condition_that_can_not_be_judged_says_why() {
    for (text, message) in [
        ("candidate.scores.core.grade >= 0.9", "candidate.scores.core.grade is the text \"high\""),
        (
            "candidate.scores.smoke.score >= 0.9",
            "candidate.scores has no \"smoke\"; there is \"core\", \"smoke-v1\"",
        ),
        ("candidate.scores['smoke-v2'].score >= 0.9", "did you mean \"smoke-v1\"?"),
        ("candidate.scores.core.f1 >= 0.9", "candidate.scores.core has no \"f1\""),
        ("candidate.dataset.startsWith('s')", "startsWith() can't take null"),
        ("candidate.scores.core.score", "candidate.scores.core.score is the number 0.9, not true or false"),
        ("candidate.tags.owner == 'x'", "candidate.tags has no \"owner\""),
        ("1 / 0 == 1", "divided by zero"),
        ("candidate.scores.core.score / candidate.scores.core.errors > 0.5", "divided by zero"),
        ("9223372036854775807 + 1 > 0", "too large"),
        ("1e308 * 10.0 > 1.0", "too large"),
        ("candidate.files[2].size > 0", "candidate.files has 2 elements, and no number 2"),
        ("candidate.files[-1].size > 0", "no number -1"),
        ("int(candidate.label) > 0", "int() can't take the text \"v3\""),
        ("timestamp(candidate.label) < now", "timestamp() takes a time"),
        ("duration(candidate.label) > duration('1h')", "duration() takes one like"),
        ("candidate.label.matches(candidate.label + '(')", "can't be read"),
    ] {
        let error = evaluate(text).unwrap_err();
        assert!(error.contains(message) && !error.contains("refused"), "{text}: {error}");
    }
    // A variable that is null.
    let mut inputs = inputs();
    inputs.insert("current".to_owned(), Value::Null);
    let expression = Expression::parse("candidate.scores.core.score > current.scores.core.score").unwrap();
    let error = expression.holds(&inputs, &mut Budget::default()).unwrap_err();
    assert_eq!(error, "current is null, so it has no \"scores\"");
}

#[test]
fn a_wrong_expression_is_refused_with_its_place_and_a_hint() {
    for (text, message) in [
        ("", "column 1: expected a value, found the end"),
        ("candidate.nmae == 'm'", "column 10: a version has no field \"nmae\"; did you mean \"name\"?"),
        ("candidat.name == 'm'", "column 1: there is no variable \"candidat\"; did you mean \"candidate\"?"),
        ("candidate.name.startswith('m')", "did you mean \"startsWith\"?"),
        ("candidate.number < '3'", "column 18: < can't take an integer and a text; write 3 without quotes"),
        ("candidate.name > 3", "write the text in quotes"),
        ("candidate.created_at < '2026-01-01'", "write timestamp(\"2026-01-01\")"),
        ("now - candidate.created_at > '24h'", "write duration(\"24h\")"),
        ("candidate.number", "the condition is an integer, and must be true or false"),
        ("'x'", "the condition is a text"),
        ("candidate.name && true", "an operand of && must be true or false, and this is a text"),
        ("!candidate.number", "the operand of ! must be true or false"),
        ("candidate.name = 'm'", "write == to compare"),
        ("true and false", "write && for and"),
        ("true & false", "write && for and"),
        ("candidate.files.path == 'a'", "a list has no fields"),
        ("candidate['name'] == 'm'", "write .field"),
        ("candidate.name.first == 'a'", "a text has no fields"),
        ("candidate.tags[1] == 'a'", "the key of a map must be a text"),
        ("candidate.files['a'].size > 1", "the index of a list must be an integer"),
        ("candidate.files.all(f)", "all() takes a name and an expression"),
        ("candidate.files.all(f, f.sise > 0)", "a file has no field \"sise\"; did you mean \"size\"?"),
        ("candidate.name.all(x, true)", "all() needs a list or a map"),
        ("candidate.files.map(f, f.size)", "the condition is a list"),
        ("has(candidate)", "has() takes one field"),
        ("size(1) == 1", "size() takes a text or a list or a map, and this is an integer"),
        ("startsWith('a', 'b')", "write x.startsWith(), not startsWith(x)"),
        ("'a'.startsWith() ", "startsWith() takes 1 argument, and has 0"),
        ("'a'.matches('(')", "the regular expression \"(\" can't be read"),
        ("'a'.matches('((((a{99}){99}){99}){99})')", "can't be read"),
        ("now > timestamp('tomorrow')", "timestamp() takes a time"),
        ("now - now > duration('1 day')", "duration() takes one like"),
        ("now.getHours('Europe/Berlin') > 1", "time zones are given as UTC or as an offset"),
        ("'a' == 1", "== can't take a text and an integer"),
        ("candidate.number == '3'", "write 3 without quotes"),
        ("'a' in 'abc'", "in can't take"),
        ("1u == 1", "unsigned integers aren't supported"),
        ("b'a' == b'a'", "bytes aren't supported"),
        ("99999999999999999999 > 1", "no number that fits into 64 bits"),
        ("'abc", "lacks its closing '"),
        ("'\\q' == 'q'", "is no escape"),
        ("true ||\n  candidate.nam == 'm'", "line 2, column 12"),
        ("(true", "expected \")\", found the end"),
        ("[1, 2", "expected \",\" or \"]\""),
        ("true true", "expected an operator, or the end"),
        ("now + now > now", "+ can't take a time and a time"),
    ] {
        let error = Expression::parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn hostile_expressions_end_early_and_never_panic() {
    let numbers = format!("[{}]", (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let nested = format!("{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, a + b + c >= 0)))");
    let exhausted = "steps";
    let nine = "[1,2,3,4,5,6,7,8,9]";
    let maps = format!(
        "{}{nine}{}.size() == 9",
        format!("{nine}.map(a,").repeat(5),
        ".map(a, a)".to_owned() + &")".repeat(5)
    );
    for (text, expected) in [
        (nested.as_str(), exhausted),
        (&maps, exhausted),
        (&format!("['aaaaaaaa']{}.size() == 1", ".map(a, a + a)".repeat(40)), "is longer than 65536"),
        (&format!("[[1, 2]]{}.all(a, a == a)", ".map(a, a + a)".repeat(40)), exhausted),
        (&format!("[1]{} == [2]", ".map(a, [a, a])".repeat(40)), "false"),
        (&format!("[1]{0} == [1]{0}", ".map(a, [a, a])".repeat(40)), exhausted),
        (&format!("'{}'.matches('(a*)*b')", "a".repeat(3000)), "false"),
    ] {
        let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let mut budget = Budget::default();
        let result =
            expression.holds(&inputs(), &mut budget).map_or_else(|error| error, |holds| holds.to_string());
        assert!(result.contains(expected), "{} steps: {result:.80}: {text:.60}", budget.taken());
        assert_eq!(budget.is_spent(), expected == exhausted, "{} steps: {text:.60}", budget.taken());
    }
    assert!(evaluate(&nested).unwrap_err().contains("steps"));
    // Neither reading nor dropping these may take the stack.
    for text in [
        "(".repeat(4_000),
        format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        "!".repeat(4_000),
        "-".repeat(4_000),
        format!("1{}", "+1".repeat(2_000)),
        format!("a{}", ".a".repeat(2_000)),
        format!("a{}", "[0]".repeat(1_300)),
        format!("{}1", "true?1:".repeat(580)),
        "[".repeat(4_000),
        "{".repeat(4_000),
        format!("{}true", "f(".repeat(1_900)),
        "\"\"\"".to_owned(),
        "'".repeat(4_001),
        "a".repeat(5_000),
        "\u{0}".to_owned(),
        "é".to_owned(),
        "'é\\".to_owned(),
        "'\\x".to_owned(),
        "'\\ué".to_owned(),
    ] {
        assert!(Expression::parse(&text).is_err(), "{text:.40}");
    }
    // Long but flat.
    let flat = format!("true{}", " && true".repeat(500));
    assert_eq!(evaluate(&flat), Ok(true));
}

#[test]
fn going_through_the_keys_of_a_map_again_and_again_takes_steps_for_each_key() {
    let mut inputs = inputs();
    let suites: Object = (0..20_000).map(|at| (format!("suite-{at}"), json!({"score": 1}))).collect();
    inputs["candidate"]["scores"] = Value::Object(suites);
    for (text, expected) in [
        ("candidate.scores.all(a, candidate.scores.exists(b, true))", None),
        ("candidate.scores.exists(a, candidate.scores == {'a': {'b': 1}})", None),
        ("candidate.scores.exists(a, candidate.scores[a + 'x'].score > 0)", None),
        ("candidate.scores.all(a, candidate.scores[a].score == 1)", Some(true)),
    ] {
        let mut budget = Budget::default();
        let result = Expression::parse(text).unwrap().holds(&inputs, &mut budget);
        match expected {
            Some(expected) => assert_eq!(result, Ok(expected), "{text}"),
            None => assert!(result.unwrap_err().contains("steps"), "{text}"),
        }
        assert_eq!(budget.is_spent(), expected.is_none(), "{} steps: {text}", budget.taken());
        assert!(budget.taken() > 100_000, "{} steps: {text}", budget.taken());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_parser_or_evaluator_panic(
        text in "[ a-z0-9.,()\\[\\]{}'\"!&|=<>?:+*/%-]{0,60}|(candidate|current|scores|core|score|true|null|in|all|has|[.,()\\[\\]<>=!&|+-]| ){0,40}"
    ) {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.holds(&inputs(), &mut Budget::default());
        }
    }
}
