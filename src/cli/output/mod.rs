//! The output of commands: tables for people, JSON, YAML and CSV for programs.
//!
//! This module writes to stdout and owns the output flags. It must not know which call an answer came from: a command
//! describes its rows by a [`View`].

pub(super) mod chart;
mod event;
mod flags;
mod path;
mod printer;
pub(super) mod table;
pub(super) mod terminal;
pub(super) mod value;
mod view;
mod yaml;

pub(super) use flags::OutputFlags;
pub(super) use path::Path;
pub(super) use printer::Printer;
pub(super) use view::{
    APPROVALS, DELETED_VERSIONS, EVENTS, FILES, HOLDINGS, KEYS, MODELS, POLICIES, TRAIL, V1_VERSIONS,
    VERDICTS, VERSIONS, View, WHOLE_TRAIL,
};
pub(super) use yaml::yaml;
