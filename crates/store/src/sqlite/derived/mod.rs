//! What is derived from the versions so that questions cost the same at any size: counters, the order of ids,
//! tags and letters.
//!
//! Two kinds. [`tables`] has what triggers keep, whoever writes: it is exact in every answer. Other processes may
//! have an old SQLite without FTS5 or JSON, so triggers are plain SQL, and what takes more than that, tags and
//! letters, only gets a note in `index_pending` from them. [`settle`] is how the writer works through those notes.
//! Whoever searches takes what is noted for possible and looks at the row. This room must not know lists.

pub(super) mod audit;
pub(super) mod letters;
pub(super) mod settle;
pub(super) mod tables;
