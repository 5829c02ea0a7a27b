//! Downloads of objects for their digest, and lookups.

use std::{fs, thread};

use model_registry::artifact::objects::ObjectError;
use serde_json::json;

use crate::{
    object_server::{Fault, Gate, ObjectServer},
    support::{LocalFile, MIB, connect, connect_to, connect_with, digest, upload, uri},
};

#[test]
fn an_object_is_digested_like_a_file() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    for length in [0, 1, 9 * MIB + 3] {
        let file = LocalFile::new(length);
        fs::write(server.path("by-hand.pt"), &file.bytes).unwrap();
        let mut reported = Vec::new();
        let measured =
            objects.measure(&uri("s3://models/by-hand.pt"), |done| reported.push(done), &|| false).unwrap();
        assert_eq!(measured, file.measurement());
        assert!(reported.is_sorted() && reported.last().copied().unwrap_or(0) == length as u64);
        let found = objects.find(&uri("s3://models/by-hand.pt"), &|| false).unwrap().unwrap();
        assert_eq!((found.size_bytes, found.sha256), (length as u64, None), "it has no digest");
    }
}

#[test]
fn a_stream_that_breaks_off_is_resumed() {
    let server = ObjectServer::with_bucket();
    let file = LocalFile::new(9 * MIB);
    fs::write(server.path("m.pt"), &file.bytes).unwrap();
    server.fault("GET /models/m.pt", 3, Fault::CutAnswer(2 * MIB));
    let measured = connect(&server).measure(&uri("s3://models/m.pt"), |_| {}, &|| false).unwrap();
    assert_eq!(measured, file.measurement());
    assert_eq!(server.requests("GET /models/m.pt").len(), 4);
}

#[test]
fn an_object_that_is_replaced_during_the_download_is_refused() {
    let server = ObjectServer::with_bucket();
    let (file, other) = (LocalFile::new(9 * MIB), LocalFile::new(9 * MIB + 1));
    let objects = connect(&server);
    upload(&objects, "s3://models/m.pt", &file).unwrap();
    let gate = Gate::new();
    server.fault("GET /models/m.pt", 1, Fault::CutAnswer(2 * MIB));
    server.fault("GET /models/m.pt", 9, Fault::Hold(gate.clone()));
    let refused = thread::scope(|scope| {
        let measuring = scope.spawn(|| objects.measure(&uri("s3://models/m.pt"), |_| {}, &|| false));
        gate.wait_for_a_request();
        upload(&objects, "s3://models/m.pt", &other).unwrap();
        gate.open();
        measuring.join().unwrap()
    });
    assert!(matches!(refused, Err(ObjectError::Replaced { .. })), "{refused:?}");
}

#[test]
fn a_download_can_be_interrupted() {
    let server = ObjectServer::with_bucket();
    fs::write(server.path("m.pt"), vec![0; 9 * MIB]).unwrap();
    let gate = Gate::new();
    server.fault("GET /models/m.pt", 1, Fault::Hold(gate));
    let refused = connect(&server).measure(&uri("s3://models/m.pt"), |_| {}, &|| true);
    assert!(matches!(refused, Err(ObjectError::Interrupted { .. })), "{refused:?}");
}

#[test]
fn a_missing_object_is_not_an_error_but_a_missing_bucket_is() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    assert_eq!(objects.find(&uri("s3://models/none.pt"), &|| false).unwrap(), None);
    let missing = objects.measure(&uri("s3://models/none.pt"), |_| {}, &|| false);
    assert!(matches!(missing, Err(ObjectError::Missing { .. })), "{missing:?}");
    let elsewhere = connect_to("s3://none/x", &server, &[]).unwrap();
    for refused in [
        elsewhere.find(&uri("s3://none/m.pt"), &|| false).map(drop),
        elsewhere.measure(&uri("s3://none/m.pt"), |_| {}, &|| false).map(drop),
        upload(&elsewhere, "s3://none/m.pt", &LocalFile::new(3)).map(drop),
        upload(&elsewhere, "s3://none/m.pt", &LocalFile::new(9 * MIB)).map(drop),
    ] {
        assert!(matches!(refused, Err(ObjectError::NoBucket { .. })), "{refused:?}");
    }
}

#[test]
fn a_connection_serves_only_its_own_bucket() {
    let server = ObjectServer::with_bucket();
    server.bucket("others");
    let objects = connect(&server);
    for refused in [
        objects.find(&uri("s3://others/m.pt"), &|| false).map(drop),
        objects.measure(&uri("gs://models/m.pt"), |_| {}, &|| false).map(drop),
        upload(&objects, "s3://others/m.pt", &LocalFile::new(3)).map(drop),
    ] {
        assert!(refused.unwrap_err().to_string().contains("for the bucket of s3://models/x"));
    }
    assert_eq!(server.requests(""), [""; 0]);
}

#[test]
fn a_digest_is_found_in_metadata() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    let stated = digest(b"hello");
    for (text, expected) in [
        (stated.to_string(), Some(stated)),
        (format!("SHA256:{}", stated.to_string().to_uppercase()), Some(stated)),
        ("of another kind".to_owned(), None),
    ] {
        server.put("m.pt", b"hello", &json!({ "sha256": text }));
        let found = objects.find(&uri("s3://models/m.pt"), &|| false).unwrap().unwrap();
        assert_eq!((found.size_bytes, found.sha256), (5, expected), "{text}");
    }
}

#[test]
fn an_unreachable_server_is_named() {
    let server = ObjectServer::with_bucket();
    let dead = "http://127.0.0.1:9";
    let objects = connect_with(&server, &[("AWS_ENDPOINT_URL", dead)]).unwrap();
    let refused = objects.find(&uri("s3://models/m.pt"), &|| false).unwrap_err();
    assert!(matches!(refused, ObjectError::Unreachable { .. }), "{refused:?}");
    assert!(refused.to_string().starts_with("no object store at http://127.0.0.1:9: "), "{refused}");
}
