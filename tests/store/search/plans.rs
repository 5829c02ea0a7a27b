//! How SQLite finds the versions of a search.
