//! The `stormpost` program.

use std::process::ExitCode;
use stormpost::command::{self, Programs};
use stormpost::{demo, serve};

fn main() -> ExitCode {
    command::main(Programs { serve: serve::serve, edge: serve::edge, demo: demo::run })
}
