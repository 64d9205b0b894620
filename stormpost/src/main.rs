//! The `stormpost` program.

use std::process::ExitCode;
use stormpost::command::{self, Programs};
use stormpost::{demo, serve};

fn main() -> ExitCode {
    stormpost::crash_at::arm();
    command::main(Programs { serve: serve::serve, edge: serve::edge, demo: demo::run })
}
