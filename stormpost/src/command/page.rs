//! `docs/commands.md`, written from the command tree.

use super::{Cli, code};
use clap::{Command, CommandFactory};
use std::fmt::Write;

/// The page.
pub fn page() -> String {
    let mut out = String::from(
        "<!-- Written by the test `the_page_of_commands_is_up_to_date` from stormpost/src/command; change it there. -->\n\n\
         # The commands\n\n\
         Every verb knows `--help`, `--config FILE` (by default `/etc/stormpost/stormpost.toml`) and `--json`. Those that look at or\n\
         change a running node talk to it over `control.sock` in the data folder, which only the node's user (and root) may\n\
         open. `account`, `journal`, `dkim`, `init`, `check`, `doctor`, `bypass` and `retire` also work without one.\n\n\
         Who asked is recorded with everything that changes something: the person behind `sudo`, else the user.\n\n\
         ## Exit codes\n\n| code | meaning |\n|---|---|\n",
    );
    for (code, words) in code::ALL {
        let _ = writeln!(out, "| {code} | {words} |");
    }
    let mut command = Cli::command();
    command.build();
    let verbs: Vec<&Command> = verbs(&command);
    for verb in verbs {
        section(&mut out, "stormpost", verb, 2);
    }
    out
}

fn verbs(command: &Command) -> Vec<&Command> {
    command.get_subcommands().filter(|verb| verb.get_name() != "help").collect()
}

fn section(out: &mut String, path: &str, command: &Command, depth: usize) {
    let path = format!("{path} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(out, "\n{} `{path}`\n\n{about}\n", "#".repeat(depth));
    let arguments: Vec<_> = command
        .get_arguments()
        .filter(|a| {
            !a.is_global_set() && !["help", "version", "config", "json"].contains(&a.get_id().as_str())
        })
        .collect();
    if !arguments.is_empty() {
        out.push('\n');
    }
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let value = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let takes = argument.get_action().takes_values();
        let name = match (argument.get_long(), value) {
            (Some(long), Some(value)) if takes => format!("--{long} {value}"),
            (Some(long), _) => format!("--{long}"),
            (None, value) => value.unwrap_or_else(|| argument.get_id().to_string().to_uppercase()),
        };
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .map(|v| v.to_string_lossy().into_owned())
            .filter(|v| takes && !v.is_empty())
            .collect();
        let default = match defaults.is_empty() {
            true => String::new(),
            false => format!(" (default `{}`)", defaults.join(",")),
        };
        let _ = writeln!(out, "- `{name}`: {help}{default}");
    }
    if let Some(after) = command.get_after_long_help() {
        let text = after.to_string();
        let examples = text.strip_prefix("Examples:\n").or_else(|| text.strip_prefix("Example:\n"));
        if let Some(examples) = examples {
            let lines: Vec<&str> =
                examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
            let _ = write!(out, "\n```sh\n{}\n```\n", lines.join("\n"));
        }
    }
    for verb in verbs(command) {
        section(out, &path, verb, depth + 1);
    }
}
