use super::*;
use crate::{Draft, EventDraft, Status};

fn webhook(events: &[&str], model: Option<&str>, filter: Option<&str>) -> Webhook {
    Webhook {
        id: 1,
        uid: "u".to_owned(),
        name: "ci".to_owned(),
        description: None,
        url: "https://ci.example.org/hook".to_owned(),
        form: Form::V1,
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        model: model.map(str::to_owned),
        filter: filter.map(str::to_owned),
        secret: Some(Secret::of_bytes(&[1; 32])),
        former_secret: None,
        is_active: true,
        disabled_because: None,
        created_by: "ann".to_owned(),
        created_at: "2026-01-31 13:05:09.250".to_owned(),
        updated_at: "2026-01-31 13:05:09.250".to_owned(),
    }
}

fn version(name: &str) -> Version {
    let mut draft = Draft::named(name, "1").unwrap();
    draft.status = Status::Staging;
    draft.properties = [("team".to_owned(), "nlp".to_owned())].into();
    draft.metrics = crate::json::read_object(r#"{"suites":{"s":{"f1":0.9}}}"#).unwrap();
    draft.into_version(Timestamp::from_unix_millis(1_769_864_709_250))
}

#[test]
fn a_url_names_a_host_by_http_without_credentials_or_fragment() {
    for (url, fault) in [
        ("https://ci.example.org/hook?x=1", None),
        ("http://127.0.0.1:8080/", None),
        ("https://[::1]/", None),
        ("https://ann:pw@ci.example.org/", Some("user name")),
        ("https://ann@ci.example.org/", Some("user name")),
        ("https://ci.example.org/#x", Some("fragment")),
        ("ftp://ci.example.org/", Some("scheme \"ftp\"")),
        ("file:///etc/passwd", Some("scheme \"file\"")),
        ("https://", Some("not a URL")),
        ("https:///", Some("not a URL")),
        ("ci.example.org/hook", Some("not a URL")),
        ("https://./", Some("no host")),
        ("https://a:0/", Some("port 0")),
        ("https://a\"b/", Some("no name")),
        ("https://a`b/", Some("no name")),
        ("", Some("not a URL")),
    ] {
        let parsed = parse_url(url);
        assert_eq!(parsed.is_ok(), fault.is_none(), "{url}: {parsed:?}");
        assert!(parsed.err().is_none_or(|text| text.contains(fault.unwrap_or_default())), "{url}");
    }
    for letter in ["x", "ü"] {
        let count = MAX_URL_BYTES / 2 / letter.len();
        assert_eq!(
            parse_url(&format!("https://a/{}", letter.repeat(count))).is_ok(),
            letter == "x",
            "{letter}"
        );
    }
    assert!(parse_url(&format!("https://a/{}", "x".repeat(MAX_URL_BYTES))).is_err());
}

#[test]
fn a_url_is_stored_as_it_can_be_called() {
    for (given, stored) in [
        ("https://bücher.example/hook", "https://xn--bcher-kva.example/hook"),
        (" https://ci.example.org/hook \n", "https://ci.example.org/hook"),
        ("HTTPS://CI.example.org", "https://ci.example.org/"),
        ("https://ci.example.org/a b/ü?q=ä b", "https://ci.example.org/a%20b/%C3%BC?q=%C3%A4%20b"),
        ("https://ci.example.org/hook?x=1", "https://ci.example.org/hook?x=1"),
    ] {
        let mut webhook = webhook(&[], None, None);
        let patch = WebhookPatch { url: Some(given.to_owned()), ..WebhookPatch::default() };
        assert_eq!(patch.faults(Form::V1), [], "{given:?}");
        patch.apply(&mut webhook, Timestamp::from_unix_millis(1_769_864_709_300));
        assert_eq!(webhook.url, stored, "{given:?}");
    }
}

#[test]
fn spellings_of_an_address_are_one_address() {
    for url in
        ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f000001/"]
    {
        assert_eq!(parse_url(url).unwrap().host_str(), Some("127.0.0.1"), "{url}");
    }
}

#[test]
fn a_subscription_is_about_types_names_and_the_version() {
    for (events, model, filter, matches) in [
        (&[][..], None, None, true),
        (&["promote"], None, None, true),
        (&["create", "promote"], None, None, true),
        (&["create"], None, None, false),
        (&[], Some("mini*"), None, true),
        (&[], Some("mini?m"), None, false),
        (&[], Some("*lm"), None, true),
        (&[], Some("MINI*"), None, false),
        (&[], Some("mini"), None, false),
        (&[], None, Some("tags.team = 'nlp' AND scores.s.f1 > 0.8"), true),
        (&[], None, Some("status = 'production'"), false),
    ] {
        let subscription = Subscription::of(&webhook(events, model, filter)).unwrap();
        let got =
            subscription.includes("promote") && subscription.is_about("minilm", Some(&version("minilm")));
        assert_eq!(got, matches, "{events:?} {model:?} {filter:?}");
    }
    let filtered = Subscription::of(&webhook(&[], None, Some("name = 'm'"))).unwrap();
    assert!(!filtered.is_about("m", None), "a filter passes no event of the model itself");
    assert!(Subscription::of(&Webhook { is_active: false, ..webhook(&[], None, None) }).is_none());
}

#[test]
fn each_fault_of_a_change_is_named_by_its_field() {
    let text = |text: &str| Some(text.to_owned());
    let patch = WebhookPatch {
        name: text(" "),
        url: text("x"),
        events: Some(vec!["promoted".to_owned()]),
        model: Some(text("")),
        filter: Some(text("alias = 'a'")),
        secret: Some(Secret::new("s".to_owned())),
        ..WebhookPatch::default()
    };
    let fields: Vec<_> = patch.faults(Form::V1).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["name", "url", "events", "model", "filter", "secret"]);
    assert_eq!(WebhookPatch::default().faults(Form::V1), []);
}

#[test]
fn only_events_that_are_delivered_can_be_subscribed_to() {
    for (event, good) in [
        ("create", true),
        ("withdraw_approval", true),
        ("delete_model", true),
        ("purge", false),
        ("purge_model", false),
        ("set_policy", false),
        ("delete_policy", false),
        ("create_key", false),
        ("rotate_key", false),
        ("revoke_key", false),
        ("create_webhook", false),
        ("unknown", false),
    ] {
        let checked = check_events(Form::V1, &["promote".to_owned(), event.to_owned()]);
        assert_eq!(checked.is_ok(), good, "{event}");
        let listed = checked.err().unwrap_or_default();
        assert!(good || listed.contains("give some of create, update, promote,"), "{listed}");
        assert!(!listed.contains(", purge") && !listed.contains("set_policy,"), "{listed}");
    }
}

#[test]
fn a_new_secret_leaves_the_former_one_valid_for_a_day() {
    let mut changed = webhook(&[], None, None);
    let former = changed.secret.clone().unwrap();
    let now = Timestamp::from_unix_millis(1_769_864_709_300);
    let patch = WebhookPatch { secret: Some(Secret::of_bytes(&[2; 32])), ..WebhookPatch::default() };
    patch.apply(&mut changed, now);
    assert_eq!(changed.former_secret, Some((former, now.unix_millis() + FORMER_SECRET_MS)));
    assert!(changed.updated_at > webhook(&[], None, None).updated_at);
}

#[test]
fn events_of_versions_have_mlflows_names_and_fields() {
    let mut version = version("m");
    version.number = 3;
    let event = EventDraft::tag("team", None, Some("nlp"));
    for (event, of_prompt, name, data) in [
        (&event, false, "model_version_tag.set", r#"{"name":"m","version":"3","key":"team","value":"nlp"}"#),
        (&event, true, "prompt_version_tag.set", r#"{"name":"m","version":"3","key":"team","value":"nlp"}"#),
        (
            &EventDraft::tag("team", Some("x"), None),
            false,
            "model_version_tag.deleted",
            r#"{"name":"m","version":"3","key":"team"}"#,
        ),
        (
            &EventDraft::set_alias("a", "1", None),
            true,
            "prompt_alias.created",
            r#"{"name":"m","alias":"a","version":"3"}"#,
        ),
        (
            &EventDraft::delete_alias("a", "1"),
            false,
            "model_version_alias.deleted",
            r#"{"name":"m","alias":"a"}"#,
        ),
    ] {
        assert_eq!(mlflow::of_version(&version, event, of_prompt), Some((name.to_owned(), data.to_owned())));
    }
    assert_eq!(mlflow::of_version(&version, &EventDraft::update(&["dataset"]), false), None);
}

#[test]
fn names_and_events_are_refused_in_mlflows_words() {
    for (name, good) in
        [("hook", true), ("a.b_c-1", true), ("bad name", false), ("-a", false), ("a-", false), ("", false)]
    {
        assert_eq!(mlflow::check_name(name).is_ok(), good, "{name}");
    }
    assert!(mlflow::check_name(&"a".repeat(64)).is_err());
    assert_eq!(mlflow::parse_event("MODEL_VERSION", "CREATED").unwrap(), "model_version.created");
    assert_eq!(
        mlflow::parse_event("REGISTERED_MODEL", "SET").unwrap_err(),
        "Invalid action 'set' for entity 'registered_model'. Valid actions are: ['created']"
    );
}
