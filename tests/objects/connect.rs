//! Flags and variables: errors for invalid ones.

use std::fs;

use model_registry::artifact::objects::{ObjectError, ObjectOptions, Objects};

use crate::{
    object_server::{Fault, ObjectServer},
    support::{LocalFile, connect_with, upload, uri},
};

#[test]
fn a_variable_that_cannot_be_sent_is_refused_and_never_shown() {
    let server = ObjectServer::with_bucket();
    for (name, value) in [
        ("AWS_SESSION_TOKEN", "hush\nhush"),
        ("AWS_SESSION_TOKEN", "h\u{fc}sh"),
        ("AWS_ACCESS_KEY_ID", "hush\u{1b}hush"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://hush hush/"),
        ("AWS_ENDPOINT_URL_STS", "http://hush|hush^/"),
    ] {
        let refused = connect_with(&server, &[(name, value)]).unwrap_err();
        let message = refused.to_string();
        assert!(matches!(refused, ObjectError::BadSettings(_)), "{refused:?}");
        assert!(
            message.contains(name) && !message.contains("sh\n") && !message.contains("hush"),
            "{message}"
        );
    }
    for (flag, variable) in [(Some("eu\nwest"), ""), (None, "eu west"), (None, "eu/west")] {
        let options = ObjectOptions { s3_region: flag.map(str::to_owned), ..ObjectOptions::default() };
        let refused = Objects::connect(&uri("s3://models/x"), &options, |name| {
            (name == "AWS_REGION").then(|| variable.to_owned())
        });
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("is not the name of a region") && !message.contains('\n'), "{message}");
    }
    let refused = Objects::connect(&uri("az://models/x"), &ObjectOptions::default(), |name| {
        (name == "AZURE_STORAGE_ACCOUNT_NAME").then(|| "my account".to_owned())
    });
    assert!(refused.unwrap_err().to_string().contains("not the name of a storage account"));
}

#[test]
fn a_token_file_that_cannot_be_sent_is_refused() {
    let server = ObjectServer::with_bucket();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let changed = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path.to_str().unwrap()),
    ];
    for (token, expected) in [(None, "can't be read"), (Some("hush\n"), "line break")] {
        if let Some(token) = token {
            fs::write(&path, token).unwrap();
        }
        let refused = connect_with(&server, &changed).unwrap_err();
        assert!(matches!(refused, ObjectError::BadSettings(_)), "{refused:?}");
        let message = refused.to_string();
        assert!(
            message.contains(expected) && !message.contains("hush") && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn variables_of_other_stores_are_ignored() {
    let server = ObjectServer::with_bucket();
    let changed = [
        ("AZURE_STORAGE_TOKEN", "a\nb"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/token"),
    ];
    assert!(connect_with(&server, &changed).is_ok());
}

#[test]
fn a_failing_credentials_provider_is_an_outage_with_its_reason() {
    let server = ObjectServer::with_bucket();
    let token = tempfile::NamedTempFile::new().unwrap();
    let connect = |source: (&str, &str)| {
        let file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path().to_str().unwrap());
        let changed = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), file, source];
        connect_with(&server, &changed).unwrap_err()
    };
    let gone = connect(("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/"));
    assert!(matches!(gone, ObjectError::CredentialsUnavailable { .. }), "{gone:?}");
    assert!(gone.to_string().contains("could not be fetched: "), "{gone}");

    server.fault("GET /none", 1, Fault::Answer(403));
    let refused = connect(("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/none", server.url)));
    assert!(matches!(refused, ObjectError::CredentialsRefused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("their provider refused: it answered 403"), "{refused}");

    let changed = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"),
    ];
    let missing = connect_with(&server, &changed).unwrap_err();
    assert!(matches!(missing, ObjectError::BadSettings(_)), "{missing:?}");
    assert!(missing.to_string().contains("/nowhere/token"), "{missing}");
}

#[test]
fn an_anonymous_upload_to_google_asks_no_provider_for_credentials() {
    let server = ObjectServer::with_bucket();
    server.fault("PUT /models/m", 1, Fault::Answer(400));
    let variable = |name: &str| match name {
        "GOOGLE_BASE_URL" => Some(server.url.clone()),
        "GOOGLE_SKIP_SIGNATURE" => Some("true".to_owned()),
        _ => None,
    };
    let objects = Objects::connect(&uri("gs://models/m"), &ObjectOptions::default(), variable).unwrap();
    let refused = upload(&objects, "gs://models/m", &LocalFile::new(3)).unwrap_err();
    assert!(refused.to_string().contains("it answered 400"), "{refused}");
    assert_eq!(server.requests("PUT /models/m").len(), 1);
}

#[test]
fn a_bucket_in_another_region_is_an_invalid_setting() {
    let server = ObjectServer::with_bucket();
    server.fault("/models", 2, Fault::Answer(301));
    let refused = connect_with(&server, &[]).unwrap().find(&uri("s3://models/m.pt"), &|| false).unwrap_err();
    assert!(matches!(refused, ObjectError::BadSettings(_)), "{refused:?}");
    assert!(refused.to_string().contains("another region than \"us-east-1\""), "{refused}");
}
