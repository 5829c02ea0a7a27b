//! Flags and variables: what is told of those that can't be used.

use std::fs;

use model_registry::artifact::objects::{ObjectError, ObjectOptions, Objects};

use crate::{
    object_server::ObjectServer,
    support::{connect_with, uri},
};

#[test]
fn what_can_not_be_sent_is_a_setting_to_correct_and_never_shown() {
    let server = ObjectServer::with_bucket();
    for (name, value) in [
        ("AWS_SESSION_TOKEN", "hush\nhush"),
        ("AWS_SESSION_TOKEN", "h\u{fc}sh"),
        ("AWS_ACCESS_KEY_ID", "hush\u{1b}hush"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://hush hush/"),
        ("AWS_ENDPOINT_URL_STS", "http://hush|hush^/"),
    ] {
        let refused = connect_with(&server, &[(name, value)]).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, ObjectError::BadSettings(_)), "{refused:?}");
        assert!(told.contains(name) && !told.contains("sh\n") && !told.contains("hush"), "{told}");
    }
    for (flag, variable) in [(Some("eu\nwest"), ""), (None, "eu west"), (None, "eu/west")] {
        let options = ObjectOptions { s3_region: flag.map(str::to_owned), ..ObjectOptions::default() };
        let refused = Objects::connect(&uri("s3://models/x"), &options, |name| {
            (name == "AWS_REGION").then(|| variable.to_owned())
        });
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("is not the name of a region") && !told.contains('\n'), "{told}");
    }
    let refused = Objects::connect(&uri("az://models/x"), &ObjectOptions::default(), |name| {
        (name == "AZURE_STORAGE_ACCOUNT_NAME").then(|| "my account".to_owned())
    });
    assert!(refused.unwrap_err().to_string().contains("not the name of a storage account"));
}

#[test]
fn a_token_file_that_can_not_be_sent_is_refused() {
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
        let told = refused.to_string();
        assert!(told.contains(expected) && !told.contains("hush") && !told.contains('\n'), "{told}");
    }
}
