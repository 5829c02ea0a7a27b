use super::*;

/// Returns the filter in our grammar, without the conditions on names that MLflow can't address.
fn parsed(text: &str, scope: Scope) -> Result<(String, bool), String> {
    let found = parse_filter(text, scope).map_err(|refusal| refusal.to_string())?;
    let Some(Filter::And(mut parts)) = found.filter else { panic!("{text}") };
    let hidden: Vec<_> = parts.split_off(parts.len() - 2).iter().map(ToString::to_string).collect();
    assert_eq!(hidden, ["name NOT LIKE '%/%'", "name NOT LIKE '%:%'"]);
    let shown = match parts.len() {
        0 => String::new(),
        1 => parts.remove(0).to_string(),
        _ => Filter::And(parts).to_string(),
    };
    Ok((shown, found.with_prompts))
}

fn versions(text: &str) -> String {
    parsed(text, Scope::Versions).unwrap_or_else(|error| panic!("{text}: {error}")).0
}

#[test]
fn a_filter_of_mlflows_is_one_of_ours() {
    for (text, ours) in [
        ("", ""),
        ("name = 'alpha'", "name = 'alpha'"),
        ("name='alpha'", "name = 'alpha'"),
        ("name = \"al'pha\"", "name = 'al''pha'"),
        ("name = 'it''s'", "name = 'it''''s'"),
        (r"name = 'a\'b'", r"name = 'a\''b'"),
        ("attribute.name != ''", "name != ''"),
        ("name like '%a' and name ILIKE 'B_'", "name LIKE '%a' AND name ILIKE 'b_'"),
        (r"name LIKE '50\%'", r"name LIKE '50\\%'"),
        ("name IN ('a',\"b\" , 'c)')", "name IN ('a', 'b', 'c)')"),
        ("name not  in ('a')", "name NOT IN ('a')"),
        ("run_id = 'x'", "run_id = 'x'"),
        ("run_id = ''", "run_id IS NULL OR run_id = ''"),
        ("run_id != 'x'", "run_id IS NULL OR run_id != 'x'"),
        ("run_id NOT IN ('x')", "run_id IS NULL OR run_id NOT IN ('x')"),
        ("run_id LIKE '%' AND name = 'a'", "(run_id IS NULL OR run_id LIKE '%') AND name = 'a'"),
        ("source_path ILIKE 'S3://%'", "artifact_uri ILIKE 's3://%'"),
        ("version_number >= 2", "number >= 2"),
        ("version_number = '2'", "number = 2"),
        ("version_number=-1", "number = -1"),
        ("tags.team = 'a' AND tag.team LIKE '%'", "tags.team = 'a' AND tags.team LIKE '%'"),
        ("tags.`p q` != 'z'", "tags.`p q` != 'z'"),
        ("tags.\"p.q\" = 'z'", "tags.`p.q` = 'z'"),
        ("tags.p.q = 'z'", "tags.`p.q` = 'z'"),
        ("tags.version = '1'", "tags.version = '1'"),
        ("scores.smoke-v1.f1 >= 0.9 AND name = 'a'", "scores.smoke-v1.f1 >= 0.9 AND name = 'a'"),
    ] {
        assert_eq!(versions(text), ours, "{text}");
    }
}

#[test]
fn prompts_are_hidden_unless_a_condition_asks_for_them() {
    let tag = "tags.`mlflow.prompt.is_prompt`";
    for (text, rest, with_prompts) in [
        (String::new(), String::new(), false),
        ("name = 'a'".to_owned(), "name = 'a'".to_owned(), false),
        (format!("{tag} != 'true'"), String::new(), false),
        (format!("name = 'a' AND {tag} = 'false'"), "name = 'a'".to_owned(), false),
        (format!("{tag} LIKE 'tru%'"), String::new(), false),
        (format!("{tag} = 'false' AND {tag} = 'true'"), String::new(), false),
        (format!("{tag} = 'true'"), format!("{tag} = 'true'"), true),
        (format!("{tag} = 'TRUE'"), format!("{tag} = 'TRUE'"), true),
        (format!("{tag} != 'false' AND name = 'a'"), format!("{tag} != 'false' AND name = 'a'"), true),
    ] {
        for scope in [Scope::Models, Scope::Versions] {
            assert_eq!(parsed(&text, scope), Ok((rest.clone(), with_prompts)), "{text}");
        }
    }
}

#[test]
fn what_mlflow_refuses_is_refused_in_its_words() {
    use Scope::{Models, Versions};
    let unquoted = "Parameter value is either not quoted or unidentified quote types used for string value";
    for (text, scope, said) in [
        ("name > 'a'", Models, "Invalid comparator for attribute: >"),
        ("name == 'a'", Models, "Invalid comparator for attribute: =="),
        ("name <> 'a'", Models, "Invalid comparator for attribute: <>"),
        ("name RLIKE 'a'", Models, "Invalid comparator for attribute: RLIKE"),
        ("name NOT LIKE 'a'", Models, "Invalid comparator for attribute: NOT LIKE"),
        ("name = ('a')", Models, "Invalid comparator for attribute: ="),
        ("name = alpha", Models, &format!("{unquoted} alpha. Use either single or double quotes.")),
        ("name = `a`", Models, unquoted),
        (
            "name = 5",
            Models,
            "Expected a quoted string value or a list of quoted string values for attributes. Got value 5",
        ),
        ("name = NULL", Models, "Expected a quoted string value or a list of quoted"),
        ("name = 5", Versions, "Only the"),
        ("tags.team = a", Models, &format!("{unquoted} a.")),
        ("tags.team = 5", Models, "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
        (
            "tags.team IN ('a')",
            Models,
            "Expected a quoted string value for tag (e.g. 'my-value'). Got value ('a')",
        ),
        ("tags.team > 'a'", Models, "Invalid comparator for tag: >"),
        (
            "name IN ()",
            Models,
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
        ),
        (
            "name IN ('a', 5)",
            Models,
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list: ('a', 5)",
        ),
        (
            "name IN ('a' 'b')",
            Models,
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.",
        ),
        ("name IN (a)", Models, "While parsing a list in the query"),
        ("name IN 'a'", Models, "Invalid clause(s) in filter string: name, IN, 'a'"),
        ("NAME = 'alpha'", Models, "Invalid attribute key 'NAME' specified."),
        ("`name` = 'alpha'", Models, "Invalid attribute key '`name`' specified."),
        ("run_id = 'x'", Models, "Invalid attribute key 'run_id' specified."),
        ("creation_timestamp > 5", Models, "Invalid attribute key"),
        ("scores.s.m > 5", Models, "Invalid entity type 'scores'"),
        (
            "attributes.name = 'a'",
            Models,
            "Invalid entity type 'attributes'. Valid entity types are ('attribute', 'tag', 'tags')",
        ),
        ("params.x = '1'", Models, "Invalid entity type 'params'."),
        ("name = 'a' OR name = 'b'", Models, "Invalid clause(s) in filter string: OR"),
        ("(name = 'a')", Models, "Invalid clause(s) in filter string: (name = 'a')"),
        ("NOT name = 'a'", Models, "Invalid clause(s) in filter string: NOT"),
        ("name", Models, "Invalid clause(s) in filter string: name"),
        ("name =", Models, "Invalid clause(s) in filter string: name, ="),
        ("= 'a'", Models, "Invalid clause(s) in filter string: =, 'a'"),
        ("'a' = name", Models, "Invalid comparison clause. Expected 'Identifier' found ''a''"),
        ("name = 'a';", Models, "Invalid clause(s) in filter string: ;"),
        (
            "name = 'a'; name = 'b'",
            Models,
            "Search filter contained multiple expression \"name = 'a'; name = 'b'\". Provide AND-ed expression list.",
        ),
        ("name = 'a' garbage", Models, "Invalid clause(s) in filter string: name = 'a' garbage"),
        ("name BETWEEN 'a' AND 'b'", Models, "Invalid clause(s) in filter string: name, BETWEEN, 'a', 'b'"),
        ("tags.x IS NULL", Models, "Invalid clause(s) in filter string: tags.x, IS, NULL"),
        ("   ", Models, "Invalid filter '   '. Could not be parsed."),
        ("name = 'a", Models, "Error on parsing filter"),
        ("source = 'x'", Versions, "Invalid clause(s) in filter string: source, =, 'x'"),
        ("version = 1", Versions, "Invalid clause(s) in filter string: version, =, 1"),
        ("version_number = 1.5", Versions, "Invalid value for numeric attribute 'version_number': 1.5"),
        ("version_number = 'x'", Versions, "Invalid value for numeric attribute 'version_number': 'x'"),
        ("version_number = 99999999999999999999", Versions, "Invalid value for numeric attribute"),
        (
            "version_number IN (1)",
            Versions,
            "Only ['name', 'run_id'] attributes support comparison with a list of quoted string values.",
        ),
        ("version_number LIKE '1'", Versions, "Invalid comparator for attribute version_number: LIKE"),
        ("source_path IN ('x')", Versions, "Only ['name', 'run_id'] attributes support"),
        ("current_stage = 'None'", Versions, "Invalid attribute key"),
        ("scores.s.m = 'high'", Versions, "at character"),
        ("scores.s.m LIKE '1'", Versions, "at character"),
    ] {
        let refused = parsed(text, scope).expect_err(text);
        assert!(refused.starts_with(said), "{text}: {refused}");
    }
}

#[test]
fn a_filter_over_a_bound_is_refused() {
    let many = ["name = 'a'"; MAX_CONDITIONS + 1].join(" AND ");
    let list = format!("name IN ({})", vec!["'a'"; MAX_LIST_VALUES + 1].join(","));
    let long = format!("name LIKE '{}'", "a".repeat(MAX_PATTERN_CHARS + 1));
    let large = format!("name = '{}'", "a".repeat(MAX_FILTER_BYTES));
    for text in [many, list, long, large] {
        assert!(parsed(&text, Scope::Models).is_err(), "{}", &text[..40]);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in r#"(name|tags\.a|[ =<>'"`();,.%]|AND|IN|LIKE|1|-){0,12}"#) {
        for scope in [Scope::Models, Scope::Versions] {
            if let Ok(found) = parse_filter(&text, scope) {
                let filter = found.filter.map(|filter| filter.to_string()).unwrap_or_default();
                proptest::prop_assert!(!filter.contains(" OR ") || text.contains("run_id"), "{}", filter);
            }
        }
    }
}
