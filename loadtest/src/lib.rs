//! Loads a model registry, measures latencies, and checks that every acknowledged write was kept.
//!
//! This crate sees a server only over HTTP; it knows neither the registry's code nor terminals nor files.
//!
//! | module | owns |
//! |---|---|
//! | `plan` | the settings of a run |
//! | `target` | the server's URL and addresses, and the form of a request |
//! | `http` | a connection: bytes out, an answer in |
//! | `scenario` | the requests, and the meaning of their answers |
//! | `ledger` | the writes of one caller |
//! | `schedule` | when requests of the open loop are due |
//! | `workers` | threads, each with its callers |
//! | `histogram`, `tally`, `series` | latencies and counts, in all and over time |
//! | `calls`, `prepare`, `readback` | calls before and after the load |
//! | `hgrm`, `chart` | distributions for other tools, and as a page |
//! | `observer` | progress, and whether the server still runs |
//! | `report`, `run` | the result, and the order of everything |
//!
//! *Coordinated omission.* In the closed loop each caller waits for its answer, so a stalled server gets fewer requests:
//! right for a fixed number of callers, wrong for a stream of requests from many. In the open loop, with a rate, requests
//! are due at fixed times, and latencies count from those times.

mod calls;
pub mod chart;
mod error;
pub mod hgrm;
mod histogram;
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
pub use observer::{Progress, Stage};
pub use plan::{Limit, Operation, Plan, Weights};
pub use readback::{Production, Readback};
pub use report::{Bytes, EndedBy, Latency, OperationReport, Outcome, RateReport, Report, Versions, Warmup};
pub use run::run;
pub use target::Target;
