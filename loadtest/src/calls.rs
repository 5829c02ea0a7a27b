//! Calls before and after the load: registering, reading back and deleting. A few callers make them at once, and retry
//! while the server is busy.

use std::{cell::Cell, io, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    runtime::Builder,
    task::{JoinSet, LocalSet},
    time::{interval, sleep},
};

use crate::{
    Error, Halt,
    http::{Answer, Connection},
    target::Target,
};

/// Callers at once: enough to fill a batch of the server.
const CALLERS: usize = 16;
const BUSY_RETRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(100);
/// The longest part of an error message that is repeated.
const MAX_DETAIL_CHARS: usize = 500;

/// Returns why the run has to end early, if it has to.
pub type Stop = Arc<dyn Fn() -> Option<Halt> + Send + Sync>;

/// A successful answer.
pub(crate) struct Reply {
    pub(crate) next: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// One connection for such calls.
pub(crate) struct Calls {
    target: Target,
    connection: Connection,
}

impl Calls {
    pub(crate) fn new(target: &Target, timeout: Duration) -> Self {
        Self { target: target.clone(), connection: Connection::new(target, timeout) }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Reply, Error> {
        let request = self.target.head("GET", path, None);
        match self.send(&request).await {
            // A read can be repeated; the server may have closed the connection just then.
            Err(Error::AnswerLost { timed_out: false, .. }) => self.send(&request).await,
            answered => answered,
        }
    }

    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> Result<Reply, Error> {
        let mut request = self.target.head("POST", path, Some(body.len()));
        request.extend_from_slice(body);
        self.send(&request).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Result<Reply, Error> {
        let request = self.target.head("DELETE", path, None);
        self.send(&request).await
    }

    /// The path of a link of the server, without the base path.
    pub(crate) fn own_path(&self, link: &str) -> Option<String> {
        self.target.own_path(link).map(str::to_owned)
    }

    async fn send(&mut self, request: &[u8]) -> Result<Reply, Error> {
        let mut retries = 0;
        loop {
            let now = tokio::time::Instant::now();
            match self
                .connection
                .exchange(request, now)
                .await
                .map_err(Error::from)
                .and_then(|answer| judge(&answer))
            {
                Err(Error::Unavailable { .. }) if retries < BUSY_RETRIES => sleep(BUSY_WAIT).await,
                outcome => return outcome,
            }
            retries += 1;
        }
    }
}

/// The successful reply, or the error that an answer means.
fn judge(answer: &Answer<'_>) -> Result<Reply, Error> {
    let detail = || -> Option<String> {
        let parsed: serde_json::Value = serde_json::from_slice(answer.body).ok()?;
        let detail = parsed.get("detail")?;
        let text = detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
        Some(text.chars().take(MAX_DETAIL_CHARS).collect())
    };
    let status = answer.status;
    match status {
        200..=299 => Ok(Reply { next: answer.next.map(str::to_owned), body: answer.body.to_vec() }),
        401 => Err(Error::KeyRefused),
        status => match (status, detail()) {
            (429 | 503, detail) => {
                Err(Error::Unavailable { detail: detail.unwrap_or_else(|| format!("status {status}")) })
            }
            (400.., Some(detail)) => Err(Error::Refused { status, detail }),
            (_, _) => Err(Error::NotARegistry { reason: format!("it answers {status}") }),
        },
    }
}

/// Does the jobs from 0 to `jobs`, a few at once, and reports the number done at intervals.
///
/// # Errors
/// The first error of a job, which ends the others; [`Error::Halted`] if `stop` says so.
pub(crate) fn each<W>(
    target: &Target,
    timeout: Duration,
    jobs: usize,
    stop: &Stop,
    mut report: impl FnMut(usize),
    work: W,
) -> Result<(), Error>
where
    W: AsyncFn(&mut Calls, usize) -> Result<(), Error> + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let (next, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let work = Rc::new(work);
    local.block_on(&runtime, async {
        let mut callers: JoinSet<Result<(), Error>> = JoinSet::new();
        for _ in 0..CALLERS.min(jobs) {
            let (next, done, work) = (Rc::clone(&next), Rc::clone(&done), Rc::clone(&work));
            let mut calls = Calls::new(target, timeout);
            callers.spawn_local(async move {
                while next.get() < jobs {
                    let job = next.replace(next.get() + 1);
                    work(&mut calls, job).await?;
                    done.set(done.get() + 1);
                }
                Ok(())
            });
        }
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                ended = callers.join_next() => match ended {
                    None => return Ok(()),
                    Some(Ok(outcome)) => outcome?,
                    Some(Err(panicked)) => return Err(Error::Client(io::Error::other(panicked))),
                },
                _ = tick.tick() => {
                    if let Some(halt) = stop() {
                        return Err(Error::Halted(halt));
                    }
                    report(done.get());
                }
            }
        }
    })
}

/// Makes one call, or a few one after the other.
///
/// # Errors
/// The error of `work`; [`Error::Halted`] as soon as `stop` says so.
pub(crate) fn once<T>(
    target: &Target,
    timeout: Duration,
    stop: &Stop,
    work: impl AsyncFnOnce(&mut Calls) -> Result<T, Error>,
) -> Result<T, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut calls = Calls::new(target, timeout);
        let halted = async {
            let mut tick = interval(TICK);
            loop {
                tick.tick().await;
                if let Some(halt) = stop() {
                    return halt;
                }
            }
        };
        tokio::select! {
            outcome = work(&mut calls) => outcome,
            halt = halted => Err(Error::Halted(halt)),
        }
    })
}
