//! The questions of `stormpost init` at a terminal.

use super::written::host_and_port;
use super::{FilterPlace, InitArguments};
use crate::command::{Failure, code};
use clap::ValueEnum;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

/// One line from the terminal, or the default.
fn ask(question: &str, default: &str) -> Result<String, Failure> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    print!("{question}{shown}: ");
    io::stdout().flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err("the questions were not answered; nothing was written".into());
    }
    let line = line.trim();
    Ok(if line.is_empty() { default.to_owned() } else { line.to_owned() })
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What the flags did not say is asked.
pub(super) fn ask_all(arguments: &mut InitArguments) -> Result<(), Failure> {
    if arguments.domains.is_empty() {
        arguments.domains = words(&ask("Which domains is mail taken in for? (example.org)", "")?);
    }
    let first = arguments.domains.first().cloned().unwrap_or_default();
    if arguments.name.is_none() {
        let guess = if first.is_empty() { String::new() } else { format!("mx.{first}") };
        arguments.name =
            Some(ask("What is this machine called in the DNS?", &guess)?).filter(|n| !n.is_empty());
    }
    if arguments.data.is_none() {
        arguments.data = Some(PathBuf::from(ask("Where is everything kept?", "/var/lib/stormpost")?));
    }
    if arguments.primary.is_none() {
        let question = "Which mail system stands behind it? (HOST or HOST:PORT, empty for none)";
        arguments.primary = Some(ask(question, "")?).filter(|host| !host.is_empty());
    }
    if arguments.primary.is_some() && arguments.imap.is_none() {
        let host = arguments.primary.as_deref().map_or("", |primary| host_and_port(primary).0);
        let question = "Where are its mailboxes read by IMAP? (- for not at all)";
        arguments.imap = Some(ask(question, host)?).filter(|host| host != "-");
    }
    if arguments.accounts.is_empty() {
        arguments.accounts = words(&ask("Which accounts are there? (the first gets postmaster's mail)", "")?);
    }
    if arguments.filter.is_empty() {
        let question = "Where does the filter against spam and viruses stand? (rspamd, clamav: here; primary; empty for none)";
        let default = if arguments.primary.is_some() { "primary" } else { "" };
        for word in words(&ask(question, default)?) {
            let place = FilterPlace::from_str(&word, true).map_err(|_| Failure {
                code: code::USAGE,
                words: format!("{word:?} is none of: rspamd, clamav, primary"),
            })?;
            arguments.filter.push(place);
        }
    }
    if arguments.primary.is_some() && arguments.notify.is_empty() {
        arguments.notify = words(&ask("Who is told when it fails? (an address somewhere else)", "")?);
    }
    Ok(())
}
