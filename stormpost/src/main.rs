//! Stormpost. fn main
fn main() {}
