//! Uploads: the resulting object, and no object after a failure.

use std::{fs::File, io::Write as _, thread};

use model_registry::artifact::{
    ArtifactError,
    objects::{ObjectError, Replace},
};

use crate::{
    object_server::{Fault, Gate, ObjectServer},
    support::{
        LocalFile, MIB, SMALL, assert_nothing_there, assert_uploaded, connect, connect_to, connect_with,
        create, digest, upload, uri,
    },
};

#[test]
fn files_of_any_size_arrive_whole_with_their_digest() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    let part = SMALL.part_bytes;
    for length in [0, 1, part - 1, part, part + 1, 2 * part, 23 * MIB + 7] {
        let file = LocalFile::new(length);
        let key = format!("a/b c/ü%20+{length}.pt");
        let mut reported = Vec::new();
        let to = uri(&format!("s3://models/{key}"));
        objects
            .upload(&to, &file.open(), file.digest(), Replace::Anything, |done| reported.push(done), &|| {
                false
            })
            .unwrap();
        assert!(reported.is_sorted() && reported.last() == Some(&(length as u64)), "{reported:?}");
        assert_uploaded(&server, &key, &file);
    }
}

#[test]
fn an_object_is_replaced() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    for length in [12 * MIB, 3, 12 * MIB + 1] {
        let file = LocalFile::new(length);
        upload(&objects, "s3://models/m.pt", &file).unwrap();
        assert_uploaded(&server, "m.pt", &file);
    }
}

#[test]
fn an_object_that_was_created_during_the_upload_is_not_replaced() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    for (key, length, wait_at) in
        [("small.pt", 3, "PUT /models/small.pt "), ("large.pt", 12 * MIB, "large.pt?partNumber=2&")]
    {
        let (file, other) = (LocalFile::new(length), LocalFile::new(length + 1));
        let to = format!("s3://models/{key}");
        let gate = Gate::new();
        server.fault(wait_at, 1, Fault::Hold(gate.clone()));
        let refused = thread::scope(|scope| {
            let uploading = scope.spawn(|| create(&objects, &to, &file));
            gate.wait_for_a_request();
            upload(&objects, &to, &other).unwrap();
            gate.open();
            uploading.join().unwrap()
        });
        assert!(matches!(refused, Err(ObjectError::Exists { .. })), "{refused:?}");
        assert_uploaded(&server, key, &other);
        // The same bytes are not a conflict.
        create(&objects, &to, &other).unwrap();
        assert_uploaded(&server, key, &other);
    }
}

#[test]
fn a_new_object_whose_answer_is_lost_is_recognised() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    let file = LocalFile::new(3 * MIB);
    for (key, fault) in [
        ("came.pt", Fault::CutAnswer(0)),
        ("not.pt", Fault::CutRequest(MIB)),
        ("busy.pt", Fault::Answer(503)),
    ] {
        server.fault(&format!("PUT /models/{key}"), 1, fault);
        create(&objects, &format!("s3://models/{key}"), &file).unwrap();
        assert_uploaded(&server, key, &file);
    }
}

#[test]
fn a_store_without_conditional_requests_is_checked_before_the_upload() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    let file = LocalFile::new(3);
    let conditional_tries = 8;
    server.fault("PUT /models/m.pt ", conditional_tries, Fault::Answer(501));
    create(&objects, "s3://models/m.pt", &file).unwrap();
    assert_uploaded(&server, "m.pt", &file);
    assert_eq!(server.requests("PUT /models/m.pt ").len(), conditional_tries + 1);
}

#[test]
fn the_digest_is_there_from_the_start_as_metadata_and_as_checksum() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    for (length, puts) in [(10, 1), (11 * MIB, 3)] {
        let before = (server.requests("PUT /models/m.pt").len(), server.checksums("PUT /models/m.pt"));
        let file = LocalFile::new(length);
        upload(&objects, "s3://models/m.pt", &file).unwrap();
        assert_uploaded(&server, "m.pt", &file);
        assert_eq!(server.requests("PUT /models/m.pt").len() - before.0, puts, "nothing is copied");
        assert_eq!(server.checksums("PUT /models/m.pt") - before.1, puts);
    }
}

#[test]
fn a_file_that_changed_since_it_was_digested_is_not_uploaded() {
    let server = ObjectServer::with_bucket();
    let objects = connect(&server);
    for length in [10, 11 * MIB] {
        let file = LocalFile::new(length);
        let refused = objects.upload(
            &uri("s3://models/m.pt"),
            &file.open(),
            digest(b"other"),
            Replace::Anything,
            |_| {},
            &|| false,
        );
        assert!(matches!(refused, Err(ObjectError::File(ArtifactError::Changed { .. }))), "{refused:?}");
        assert_nothing_there(&server, "m.pt");
    }
}

#[test]
fn a_part_is_retried_after_a_broken_connection() {
    let server = ObjectServer::with_bucket();
    server.fault("?partNumber=2&", 2, Fault::CutRequest(MIB));
    server.fault("PUT /models/small.pt", 1, Fault::CutRequest(MIB));
    let objects = connect(&server);
    let file = LocalFile::new(18 * MIB);
    upload(&objects, "s3://models/m.pt", &file).unwrap();
    assert_uploaded(&server, "m.pt", &file);
    assert_eq!(server.requests("?partNumber=2&").len(), 3);
    assert_eq!(server.requests("?partNumber=1&").len(), 1);

    let file = LocalFile::new(3 * MIB);
    upload(&objects, "s3://models/small.pt", &file).unwrap();
    assert_uploaded(&server, "small.pt", &file);
}

#[test]
fn requests_to_a_busy_store_are_retried() {
    let server = ObjectServer::with_bucket();
    let asked =
        ["HEAD /models/m.pt", "POST /models/m.pt?uploads", "?partNumber=1&", "POST /models/m.pt?uploadId"];
    for part in asked {
        server.fault(part, 2, Fault::Answer(503));
    }
    let file = LocalFile::new(11 * MIB);
    upload(&connect(&server), "s3://models/m.pt", &file).unwrap();
    assert_uploaded(&server, "m.pt", &file);
    for part in &asked[1..] {
        assert_eq!(server.requests(part).len(), 3, "{part}");
    }
}

#[test]
fn an_upload_whose_last_answer_is_lost_is_complete() {
    let server = ObjectServer::with_bucket();
    server.fault("POST /models/m.pt?uploadId", 1, Fault::CutAnswer(0));
    let file = LocalFile::new(11 * MIB);
    let other = LocalFile::new(11 * MIB + 1);
    let objects = connect(&server);
    upload(&objects, "s3://models/m.pt", &file).unwrap();
    assert_uploaded(&server, "m.pt", &file);
    // If it failed, an object that existed before is not mistaken for it.
    upload(&objects, "s3://models/n.pt", &other).unwrap();
    server.fault("POST /models/n.pt?uploadId", 1, Fault::Answer(404));
    let lost = upload(&objects, "s3://models/n.pt", &file);
    assert!(matches!(lost, Err(ObjectError::Missing { .. })), "{lost:?}");
    assert_uploaded(&server, "n.pt", &other);
}

#[test]
fn a_refused_completion_leaves_no_parts_even_if_the_same_object_exists() {
    let server = ObjectServer::with_bucket();
    let (objects, file) = (connect(&server), LocalFile::new(11 * MIB));
    upload(&objects, "s3://models/m.pt", &file).unwrap();
    server.fault("POST /models/m.pt?uploadId", 1, Fault::Answer(403));
    upload(&objects, "s3://models/m.pt", &file).unwrap();
    assert_eq!(server.requests("DELETE /models/m.pt?uploadId").len(), 1, "the upload is aborted");
    assert_uploaded(&server, "m.pt", &file);
}

#[test]
fn a_file_that_changes_during_its_upload_is_not_uploaded() {
    let server = ObjectServer::with_bucket();
    let gate = Gate::new();
    server.fault("?partNumber=2&", 1, Fault::Hold(gate.clone()));
    let file = LocalFile::new(21 * MIB);
    let objects = connect(&server);
    let refused = thread::scope(|scope| {
        let uploading = scope.spawn(|| upload(&objects, "s3://models/m.pt", &file));
        gate.wait_for_a_request();
        File::options().write(true).open(&file.path).unwrap().write_all(b"?").unwrap();
        gate.open();
        uploading.join().unwrap()
    });
    assert!(matches!(refused, Err(ObjectError::File(ArtifactError::Changed { .. }))), "{refused:?}");
    assert_nothing_there(&server, "m.pt");
}

#[test]
fn a_part_that_the_store_refuses_ends_the_upload_at_once() {
    let server = ObjectServer::with_bucket();
    server.fault("?partNumber=1&", 1, Fault::Answer(403));
    let file = LocalFile::new(60 * MIB);
    let refused = upload(&connect(&server), "s3://models/m.pt", &file);
    assert!(matches!(refused, Err(ObjectError::CredentialsRefused { .. })), "{refused:?}");
    assert!(server.requests("partNumber=").len() < 12);
    assert_nothing_there(&server, "m.pt");
}

#[test]
fn parts_that_cannot_be_removed_are_reported() {
    let server = ObjectServer::with_bucket();
    server.fault("?partNumber=1&", 1, Fault::Answer(403));
    server.fault("DELETE /models/m.pt?uploadId", 1, Fault::Answer(403));
    let refused = upload(&connect(&server), "s3://models/m.pt", &LocalFile::new(11 * MIB)).unwrap_err();
    assert!(matches!(refused, ObjectError::PartsLeft { .. }), "{refused:?}");
    assert!(refused.to_string().contains("parts of s3://models/m.pt remain in the store"), "{refused}");
}

#[test]
fn invalid_settings_are_one_line_and_not_retried() {
    let server = ObjectServer::with_bucket();
    for (changed, at, expected) in [
        (&[("AWS_SECRET_ACCESS_KEY", "wrong")][..], "s3://models/m.pt", "check AWS_SECRET_ACCESS_KEY"),
        (&[("AWS_ACCESS_KEY_ID", "unknown")], "s3://models/m.pt", "check AWS_ACCESS_KEY_ID"),
        (&[], "s3://none/m.pt", "there is no bucket \"none\" at http://127.0.0.1:"),
    ] {
        let before = server.requests("").len();
        let refused =
            connect_to(at, &server, changed).unwrap().find(&uri(at), &|| false).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(
            !refused.contains('\n') && !refused.contains("wrong") && !refused.contains("hush"),
            "{refused}"
        );
        assert!(server.requests("").len() - before <= 2, "{:?}", server.requests(""));
    }
    for (changed, expected) in [
        (&[("AWS_SECRET_ACCESS_KEY", " ")][..], "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        (&[("AWS_ENDPOINT_URL", "localhost:9000")], "expected one like http://localhost:9000"),
        (
            &[("AWS_ENDPOINT_URL", "http://me:hush@localhost:port")],
            "the endpoint is not a URL: invalid port number",
        ),
        (&[("AWS_ENDPOINT_URL", "me:hush@localhost")], "the endpoint is neither http:// nor"),
        (&[("AWS_ENDPOINT_URL", "http://me:hush@localhost")], "must not contain a user or a password"),
    ] {
        let refused = connect_with(&server, changed).unwrap_err().to_string();
        assert!(refused.contains(expected) && !refused.contains("hush"), "{refused}");
    }
}

#[test]
fn the_first_endpoint_that_is_not_blank_counts() {
    let server = ObjectServer::with_bucket();
    let dead = "http://127.0.0.1:9";
    let changed = [
        ("ARTIFACT_S3_ENDPOINT_URL", ""),
        ("AWS_S3_ENDPOINT_URL", server.url.as_str()),
        ("AWS_ENDPOINT_URL", dead),
    ];
    let objects = connect_with(&server, &changed).unwrap();
    assert_eq!(objects.find(&uri("s3://models/m.pt"), &|| false).unwrap(), None);
}
