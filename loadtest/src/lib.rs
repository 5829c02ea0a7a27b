//! Loading a model registry: what is sent, how fast, how long each answer took, and whether all of it was kept.
//!
//! This crate sees a server over HTTP only; it knows nothing of the registry's code, of terminals or of files.
//!
//! | room | owns |
//! |---|---|
//! | `plan` | what is asked for, checked once |
//! | `target` | where the server is, and the head of every request |
//! | `http` | one connection: bytes out, an answer in |
//! | `scenario` | what each request is, and what its answer means |
//! | `ledger` | what one caller has written, two bits a write |
//! | `schedule` | when requests of the open loop are due |
//! | `workers` | threads, each with its callers |
//! | `tally`, `series` | histograms and counts, of the whole and over time |
//! | `calls`, `prepare`, `readback` | what is done before and after the load |
//! | `hgrm`, `chart` | distributions as other tools read them, and as a page |
//! | `observer` | how the load goes, and whether there is still a server |
//! | `report`, `run` | what it comes to, and the order of it all |
//!
//! *Coordinated omission.* In the closed loop each caller waits for its answer, so a server that stalls is asked less
//! while it does: right for a fixed number of callers, wrong for a stream of requests from many. With a rate,
//! requests are due at fixed times whatever the answers do, and latencies are counted from those times.

mod calls;
pub mod chart;
mod error;
pub mod hgrm;
mod http;
mod ledger;
mod observer;
mod plan;
mod prepare;
mod readback;
mod report;
mod run;
mod scenario;
mod schedule;
mod series;
mod tally;
mod target;
mod workers;

pub use calls::Stop;
pub use error::{Error, Halt};
pub use observer::Live;
pub use plan::{
    BadValue, Extent, MAX_CONNECTIONS, MAX_MODELS, Operation, Order, Pace, Plan, PlanError, Rate, Scenario,
    Span, Weights,
};
pub use readback::{Production, Readback};
pub use report::{EndedBy, Latency, Outcome, Report};
pub use run::{Stage, Watch, run};
pub use target::Target;
