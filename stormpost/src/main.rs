//! The `stormpost` program.

use std::process::ExitCode;
use stormpost::command::{self, Programs};
use stormpost::{demo, edge, serve};

fn main() -> ExitCode {
    stormpost::crash_at::arm();
    command::main(Programs { serve: serve::serve, edge: edge::run, demo: demo::run })
}
