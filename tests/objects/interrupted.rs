//! Interrupted uploads: the error must state what became of the object.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use model_registry::artifact::objects::{ObjectError, Replace};

use crate::{
    object_server::{Fault, Gate, ObjectServer, until},
    support::{LocalFile, MIB, assert_nothing_there, assert_uploaded, connect, upload, uri},
};

#[test]
fn an_interrupted_upload_leaves_nothing() {
    let server = ObjectServer::with_bucket();
    let old = LocalFile::new(3);
    let objects = connect(&server);
    upload(&objects, "s3://models/old.pt", &old).unwrap();
    let gate = Gate::new();
    server.fault("?partNumber=3&", 2, Fault::Hold(gate.clone()));
    let file = LocalFile::new(31 * MIB);
    for key in ["new.pt", "old.pt"] {
        let interrupted = AtomicBool::new(false);
        let refused = thread::scope(|scope| {
            let to = uri(&format!("s3://models/{key}"));
            let (opened, digest) = (file.open(), file.digest());
            let (objects, interrupted) = (&objects, &interrupted);
            let uploading = scope.spawn(move || {
                objects.upload(&to, &opened, digest, Replace::Anything, |_| {}, &|| {
                    interrupted.load(Ordering::SeqCst)
                })
            });
            gate.wait_for_a_request();
            interrupted.store(true, Ordering::SeqCst);
            uploading.join().unwrap()
        });
        assert!(matches!(refused, Err(ObjectError::Interrupted { .. })), "{refused:?}");
    }
    assert_nothing_there(&server, "new.pt");
    assert_uploaded(&server, "old.pt", &old);
}

/// Interrupts an upload while the store holds back its answer to `request`, which it then sends if `answers`.
fn interrupted_at(
    server: &ObjectServer,
    request: &str,
    file: &LocalFile,
    answers: bool,
) -> Result<(), ObjectError> {
    let gate = Gate::new();
    server.fault(request, 1, Fault::Hold(gate.clone()));
    let (objects, to) = (connect(server), uri("s3://models/m.pt"));
    let (interrupted, checked) = (AtomicBool::new(false), AtomicBool::new(false));
    let asks = || {
        let interrupted = interrupted.load(Ordering::SeqCst);
        checked.fetch_or(interrupted, Ordering::SeqCst);
        interrupted
    };
    thread::scope(|scope| {
        let uploading =
            scope.spawn(|| objects.upload(&to, &file.open(), file.digest(), Replace::Nothing, |_| {}, &asks));
        gate.wait_for_a_request();
        interrupted.store(true, Ordering::SeqCst);
        until("no check for an interruption", || checked.load(Ordering::SeqCst));
        if answers {
            gate.open();
        }
        uploading.join().unwrap()
    })
}

#[test]
fn an_upload_that_is_interrupted_as_it_begins_is_aborted() {
    let server = ObjectServer::with_bucket();
    let refused = interrupted_at(&server, "POST /models/m.pt?uploads", &LocalFile::new(11 * MIB), true);
    assert!(matches!(refused, Err(ObjectError::Interrupted { .. })), "{refused:?}");
    assert_eq!(server.requests("DELETE /models/m.pt?uploadId").len(), 1);
    assert_nothing_there(&server, "m.pt");
}

#[test]
fn a_part_in_flight_is_awaited_before_the_upload_is_aborted() {
    let server = ObjectServer::with_bucket();
    let refused = interrupted_at(&server, "?partNumber=1&", &LocalFile::new(11 * MIB), true);
    assert!(matches!(refused, Err(ObjectError::Interrupted { .. })), "{refused:?}");
    assert_nothing_there(&server, "m.pt");
}

#[test]
fn a_small_file_in_flight_arrives_and_the_error_says_so() {
    let server = ObjectServer::with_bucket();
    let file = LocalFile::new(3);
    let ended = interrupted_at(&server, "PUT /models/m.pt ", &file, true);
    assert!(matches!(ended, Err(ObjectError::InterruptedDone { .. })), "{ended:?}");
    assert_uploaded(&server, "m.pt", &file);
}

#[test]
fn a_silent_store_is_not_awaited_after_an_interruption() {
    let server = ObjectServer::with_bucket();
    let ended = interrupted_at(&server, "PUT /models/m.pt ", &LocalFile::new(3), false);
    assert!(matches!(ended, Err(ObjectError::InterruptedUnsure { .. })), "{ended:?}");
}

#[test]
fn nothing_is_sent_after_an_interruption() {
    let server = ObjectServer::with_bucket();
    let asked = Cell::new(0);
    for length in [3, 11 * MIB] {
        let file = LocalFile::new(length);
        let refused = connect(&server).upload(
            &uri("s3://models/m.pt"),
            &file.open(),
            file.digest(),
            Replace::Anything,
            |_| {},
            &|| {
                asked.set(asked.get() + 1);
                true
            },
        );
        assert!(matches!(refused, Err(ObjectError::Interrupted { .. })), "{refused:?}");
    }
    assert!(asked.get() > 0);
    assert_nothing_there(&server, "m.pt");
}
