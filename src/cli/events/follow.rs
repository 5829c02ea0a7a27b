//! `registry events --follow`: what happens from now on, over as many connections as that takes.

use std::{thread, time::Duration};

use crate::{
    cli::{
        exit::Failure,
        output::Printer,
        print::{self, Pipe},
    },
    client::{ClientError, EventStream, V1},
};

/// The pause before a lost stream is opened again; doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Prints the events that pass the filters, those after `last` or those from now on.
///
/// # Errors
/// If the registry refuses the request, or can't be reached at the beginning. Later it is awaited.
pub(super) fn run(
    v1: &V1<'_>,
    mut printer: Printer,
    filters: &[(&str, &str)],
    mut last: Option<String>,
) -> Result<(), Failure> {
    let mut stream = v1.follow(filters, last.as_deref())?;
    loop {
        let why = match print_all(&mut stream, &mut printer, &mut last)? {
            Ended::PipeClosed => return Ok(()),
            Ended::Stream(why) => why,
        };
        let mut pause = FIRST_PAUSE;
        let mut is_said = false;
        stream = loop {
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            match v1.follow(filters, last.as_deref()) {
                Ok(stream) => break stream,
                Err(error) if is_transient(&error) => {
                    if !is_said {
                        is_said = true;
                        let why = why.as_deref().unwrap_or("the registry ended the stream");
                        print::line(&format!("{why}; trying to go on: {error}"));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        if is_said {
            print::line("going on");
        }
    }
}

/// Why the events of a stream are all printed.
enum Ended {
    /// The reader of stdout has gone.
    PipeClosed,
    /// The registry ended it, or the connection was lost.
    Stream(Option<String>),
}

fn print_all(
    stream: &mut EventStream,
    printer: &mut Printer,
    last: &mut Option<String>,
) -> Result<Ended, Failure> {
    loop {
        match stream.read() {
            Ok(Some(streamed)) => {
                if let Some(event) = streamed.event
                    && printer.page(&[event])? == Pipe::Closed
                {
                    return Ok(Ended::PipeClosed);
                }
                // Only what was printed is passed.
                *last = streamed.id.or_else(|| last.take());
            }
            Ok(None) => return Ok(Ended::Stream(None)),
            Err(error) if is_transient(&error) => return Ok(Ended::Stream(Some(error.to_string()))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns true if the stream may be opened later.
fn is_transient(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unreachable { .. }
            | ClientError::AnswerLost { .. }
            | ClientError::Unavailable { .. }
            | ClientError::ServerFailed { .. }
    )
}
