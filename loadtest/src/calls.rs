//! Calls before and after the load: registering, reading back and deleting. A few callers make them at once, and retry
//! while the server is busy.

use std::{cell::Cell, io, pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    runtime::Builder,
    task::{JoinSet, LocalSet},
    time::{Instant, interval, sleep},
};

use crate::{
    Error, Halt,
    http::{Answer, Connection},
    plan::Plan,
    target::Target,
};

/// Callers at once: enough to fill a batch of the server.
const CALLERS: usize = 16;
const BUSY_RETRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(100);
/// The maximum length of an error message that is repeated.
const MAX_DETAIL_CHARS: usize = 500;

/// Returns why the run must end early, if it must.
pub type Stop = Arc<dyn Fn() -> Option<Halt> + Send + Sync>;

/// A successful answer.
pub(crate) struct Reply {
    /// The URL of the next page.
    pub(crate) next: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// One connection for such calls.
pub(crate) struct Calls {
    target: Target,
    connection: Connection,
}

impl Calls {
    pub(crate) async fn get(&mut self, path: &str) -> Result<Reply, Error> {
        match self.send("GET", path, None).await {
            // A read can be repeated; the server may have closed the connection just then.
            Err(Error::AnswerLost { timed_out: false, .. }) => self.send("GET", path, None).await,
            answered => answered,
        }
    }

    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> Result<Reply, Error> {
        self.send("POST", path, Some(body)).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Result<Reply, Error> {
        self.send("DELETE", path, None).await
    }

    /// Returns the path of a link of the server, without the base path.
    pub(crate) fn own_path(&self, link: &str) -> Option<String> {
        self.target.own_path(link)
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Reply, Error> {
        let (mut request, mut retries) = (Vec::new(), 0);
        self.target.write(&mut request, method, path, body);
        loop {
            let answer = self.connection.exchange(&request, Instant::now()).await;
            match answer.map_err(Error::from).and_then(classify) {
                Err(Error::Unavailable { .. }) if retries < BUSY_RETRIES => sleep(BUSY_WAIT).await,
                outcome => return outcome,
            }
            retries += 1;
        }
    }
}

/// Returns the successful reply, or the error that an answer means.
fn classify(answer: Answer<'_>) -> Result<Reply, Error> {
    let detail = || -> Option<String> {
        let parsed: serde_json::Value = serde_json::from_slice(answer.body).ok()?;
        let detail = parsed.get("detail")?;
        let text = detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
        Some(text.chars().take(MAX_DETAIL_CHARS).collect())
    };
    let status = answer.status;
    match status {
        200..=299 => Ok(Reply { next: answer.next, body: answer.body.to_vec() }),
        401 => Err(Error::KeyRefused),
        429 | 503 => {
            Err(Error::Unavailable { detail: detail().unwrap_or_else(|| format!("status {status}")) })
        }
        _ => Err(match detail() {
            Some(detail) if status >= 400 => Error::Refused { status, detail },
            _ => Error::NotARegistry { reason: format!("it answers {status}") },
        }),
    }
}

/// What all calls of a run need.
pub(crate) struct Session<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) target: &'a Target,
    pub(crate) stop: Stop,
}

impl Session<'_> {
    fn calls(&self) -> Calls {
        let connection = Connection::new(self.target, self.plan.timeout);
        Calls { target: self.target.clone(), connection }
    }

    /// Runs the jobs from 0 to `jobs`, a few at once, and reports the number done at intervals.
    ///
    /// # Errors
    /// The first error of a job, which ends the others; [`Error::Halted`] if `stop` says so.
    pub(crate) fn each<W>(&self, jobs: usize, mut report: impl FnMut(usize), work: W) -> Result<(), Error>
    where
        W: AsyncFn(&mut Calls, usize) -> Result<(), Error> + 'static,
    {
        let (next, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counted = Rc::clone(&done);
        let calls = async move {
            let work = Rc::new(work);
            let mut callers: JoinSet<Result<(), Error>> = JoinSet::new();
            for _ in 0..CALLERS.min(jobs) {
                let (next, done, work) = (Rc::clone(&next), Rc::clone(&done), Rc::clone(&work));
                let mut calls = self.calls();
                callers.spawn_local(async move {
                    while next.get() < jobs {
                        let job = next.replace(next.get() + 1);
                        work(&mut calls, job).await?;
                        done.set(done.get() + 1);
                    }
                    Ok(())
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended.map_err(io::Error::other)??;
            }
            Ok(())
        };
        block_on(&self.stop, || report(counted.get()), calls)
    }

    /// Gets one page.
    ///
    /// # Errors
    /// The call's errors; [`Error::Halted`] as soon as `stop` says so.
    pub(crate) fn get(&self, path: &str) -> Result<Reply, Error> {
        block_on(&self.stop, || {}, async { self.calls().get(path).await })
    }
}

fn block_on<T>(
    stop: &Stop,
    mut report: impl FnMut(),
    calls: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut calls = pin!(calls);
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                outcome = &mut calls => return outcome,
                _ = tick.tick() => {
                    if let Some(halt) = stop() {
                        return Err(Error::Halted(halt));
                    }
                    report();
                }
            }
        }
    })
}
