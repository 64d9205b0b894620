//! The `stormpost` program.

fn main() {}
