//! The binary `registry`.

fn main() {}
