//! The accounts. With a running node it is asked; without one the data folder is locked and its files are changed.

use super::decide::parse_account;
use super::output::complain;
use super::{Desk, Ended, Failure, call_failure, code};
use crate::compose::stores;
use crate::configuration::{Configuration, reason};
use crate::control::client::{CallError, Told, call};
use crate::control::protocol::{AccountRow, AccountShown, Item, Password, Request};
use clap::{Args, Subcommand};
use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;
use stores_directory::{
    Class, Directory, DirectoryError, Imported, NewAccount, Row, TABLE_BYTES_MAX, parse_table,
};
use words_mail::{AccountId, Address};

/// The accounts.
#[derive(Debug, Subcommand)]
pub enum AccountVerb {
    /// Add an account, or change its name, aliases and class.
    #[command(
        after_long_help = "Examples:\n  stormpost account add anna@example.org --name \"Anna Berg\" --alias a.berg@example.org\n  \
                           stormpost account add info@example.org --class shared"
    )]
    Add(AddArguments),
    /// Add or change many accounts from a CSV table; all of them or none.
    #[command(
        long_about = "Adds the accounts of a CSV table, or changes those that are here. The first line names the columns: address \
                      (needed), name, aliases (separated by blanks), class (person, admin, shared, device). Every wrong \
                      line is told with its number, and then nothing is changed.",
        after_long_help = "Examples:\n  stormpost account import people.csv --dry-run\n  stormpost account import people.csv\n  export-people \
                           | stormpost account import -"
    )]
    Import {
        /// The table; - for the standard input.
        table: PathBuf,
        /// Only look whether it could be taken.
        #[arg(long)]
        dry_run: bool,
    },
    /// Every account.
    List,
    /// Let nobody sign in to an account, at once. Its mail is still taken in.
    Suspend {
        /// Its address.
        #[arg(value_parser = parse_account)]
        account: AccountId,
    },
    /// End a suspension.
    Resume {
        /// Its address.
        #[arg(value_parser = parse_account)]
        account: AccountId,
    },
    /// Remove an account that was added with add or import. Its mail stays.
    Remove {
        /// Its address.
        #[arg(value_parser = parse_account)]
        account: AccountId,
    },
    /// Set an account's own password here.
    #[command(
        long_about = "Sets a password that counts here whether the primary answers or not. It is asked for on the terminal, or read \
                      as one line from the standard input; never given as an argument, where everybody could see it.",
        after_long_help = "Examples:\n  stormpost account password anna@example.org\n  stormpost account password anna@example.org < \
                           anna.password\n  stormpost account password anna@example.org --clear"
    )]
    Password {
        /// Its address.
        #[arg(value_parser = parse_account)]
        account: AccountId,
        /// Take the password away; then only the primary's counts.
        #[arg(long)]
        clear: bool,
    },
}

/// `stormpost account add`.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// Its main address.
    address: String,
    /// The name to show.
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// A further address; repeat for more.
    #[arg(long = "alias", value_name = "ADDRESS")]
    aliases: Vec<String>,
    /// What it is: person, admin, shared or device.
    #[arg(long, value_name = "CLASS", default_value = "person", value_parser = parse_class)]
    class: Class,
}

fn parse_class(text: &str) -> Result<Class, String> {
    Class::parse(text).ok_or_else(|| "it is person, admin, shared or device".to_owned())
}

pub(super) fn run(desk: &Desk, verb: AccountVerb) -> Ended {
    match verb {
        AccountVerb::Add(arguments) => add(desk, arguments),
        AccountVerb::Import { table, dry_run } => import(desk, &table, dry_run),
        AccountVerb::List => list(desk),
        AccountVerb::Suspend { account } => suspend(desk, account, true),
        AccountVerb::Resume { account } => suspend(desk, account, false),
        AccountVerb::Remove { account } => {
            let words = format!("{account} is removed; its mail stays where it is");
            let request = Request::AccountRemove { account: account.clone() };
            either(desk, request, |directory| directory.remove(&account))?;
            Ok(desk.done(&words))
        }
        AccountVerb::Password { account, clear } => password(desk, account, clear),
    }
}

/// Asks the running node, else does it to the files under the data folder's lock.
fn either<T>(
    desk: &Desk,
    request: Request,
    own: impl FnOnce(&Directory) -> Result<T, DirectoryError>,
) -> Result<(Vec<Item>, Option<T>), Failure> {
    let configuration = desk.configuration()?;
    let mut items = Vec::new();
    let called = call(&configuration.control_socket(), request, |told| match told {
        Told::Progress(words) => complain(&words),
        Told::Item(item) => items.push(*item),
    });
    match called {
        Ok(_) => Ok((items, None)),
        Err(CallError::NotRunning(_) | CallError::TooLong(_)) => {
            let (directory, _lock) = open(&configuration)?;
            Ok((items, Some(own(&directory)?)))
        }
        Err(error) => Err(call_failure(&error)),
    }
}

fn open(configuration: &Configuration) -> Result<(Directory, stores_log::DirLock), Failure> {
    let lock = stores::lock(&configuration.node.data)
        .map_err(|e| Failure { code: code::NOT_RUNNING, words: format!("{e:#}") })?;
    let world = crate::world::real(configuration.node.name_server);
    Ok((stores::directory(&world, configuration)?, lock))
}

fn parse(text: &str) -> Result<Address, Failure> {
    let usage =
        |why: String| Failure { code: code::USAGE, words: format!("{text:?} is not a mail address: {why}") };
    match Address::parse(text) {
        Ok(address) if !address.domain().is_empty() => Ok(address),
        Ok(_) => Err(usage("it has no domain".to_owned())),
        Err(why) => Err(usage(why.to_string())),
    }
}

fn add(desk: &Desk, arguments: AddArguments) -> Ended {
    let aliases: Result<Vec<Address>, Failure> = arguments.aliases.iter().map(|text| parse(text)).collect();
    let account = NewAccount {
        address: parse(&arguments.address)?,
        name: arguments.name,
        aliases: aliases?,
        class: arguments.class,
    };
    let shown = account.address.to_string();
    let imported = take(desk, vec![Row { line: 0, account }])?;
    let words = match imported {
        Imported { added: 1, .. } => format!("{shown} is added"),
        Imported { changed: 1, .. } => format!("{shown} is changed"),
        _ => format!("{shown} was so already"),
    };
    Ok(desk.done(&words))
}

fn take(desk: &Desk, rows: Vec<Row>) -> Result<Imported, Failure> {
    let accounts: Vec<AccountRow> = rows.iter().cloned().map(AccountRow::from).collect();
    let (items, own) = either(desk, Request::AccountImport { accounts }, |directory| directory.import(rows))?;
    let told = items.into_iter().find_map(|item| match item {
        Item::Imported(imported) => Some(imported),
        _ => None,
    });
    own.or(told).ok_or_else(|| "the node did not say what it did".into())
}

fn import(desk: &Desk, table: &std::path::Path, dry_run: bool) -> Ended {
    let failed =
        |e: std::io::Error| Failure::from(format!("{} cannot be read: {}", table.display(), reason(&e)));
    let mut content = Vec::new();
    if table.as_os_str() == "-" {
        std::io::stdin().lock().take(TABLE_BYTES_MAX as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    } else {
        content = std::fs::read(table).map_err(failed)?;
    }
    let rows = parse_table(&content).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("{}, {fault}", table.display())).collect();
        Failure::from(format!("{}\nnothing was changed", lines.join("\n")))
    })?;
    if dry_run {
        return Ok(desk.done(&format!("{} accounts, each line is good; nothing was changed", rows.len())));
    }
    let imported = take(desk, rows)?;
    let Imported { added, changed, same } = imported;
    desk.output.value(&imported);
    desk.output.say(&format!("{added} added, {changed} changed, {same} were so already"));
    Ok(code::WELL)
}

fn list(desk: &Desk) -> Ended {
    let (items, own) = either(desk, Request::AccountList, |directory| Ok(AccountShown::all(directory)))?;
    let told = items.into_iter().filter_map(|item| match item {
        Item::Account(account) => Some(account),
        _ => None,
    });
    let accounts = own.unwrap_or_else(|| told.collect());
    desk.output.value(&accounts);
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|account| {
            let sign_in = match (account.suspended, account.password, account.verifier) {
                (true, ..) => "suspended",
                (_, true, _) => "password",
                (_, _, true) => "captured",
                _ => "only while its primary answers",
            };
            let sign_in =
                if sign_in.starts_with("only") && account.primary.is_none() { "none yet" } else { sign_in };
            let aliases: Vec<String> = account.aliases.iter().map(ToString::to_string).collect();
            vec![
                account.account.to_string(),
                account.class.to_string(),
                account.primary.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                sign_in.to_owned(),
                account.name.clone(),
                aliases.join(" "),
            ]
        })
        .collect();
    if rows.is_empty() {
        desk.output.say("no accounts");
    } else {
        desk.output.table(&["account", "class", "primary", "sign-in", "name", "aliases"], &rows);
    }
    Ok(code::WELL)
}

fn suspend(desk: &Desk, account: AccountId, suspended: bool) -> Ended {
    let request = Request::AccountSuspend { account: account.clone(), suspended };
    either(desk, request, |directory| directory.suspend(&account, suspended))?;
    Ok(desk.done(&match suspended {
        true => format!("{account} is suspended: nobody can sign in, its mail is still taken in"),
        false => format!("{account} may sign in again"),
    }))
}

fn password(desk: &Desk, account: AccountId, clear: bool) -> Ended {
    let password = if clear { None } else { Some(Password(read_password(&account)?)) };
    let request = Request::AccountPassword { account: account.clone(), password: password.clone() };
    either(desk, request, |directory| match &password {
        Some(Password(text)) => directory.set_password(&account, text),
        None => directory.clear_password(&account),
    })?;
    Ok(desk.done(&match clear {
        true => format!("{account} has no password of its own here any more"),
        false => format!("the password of {account} is set"),
    }))
}

/// From the terminal, twice and unseen, or one line from whatever the standard input is.
fn read_password(account: &AccountId) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let line = || -> Result<String, Failure> {
        let mut line = String::new();
        // One byte more than the longest password shows that it is too long.
        stdin.lock().take(4_096).read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    if !stdin.is_terminal() {
        return line();
    }
    let _unseen = Unseen::begin()?;
    complain(&format!("New password for {account}: "));
    let first = line()?;
    complain("Once more: ");
    if line()? == first { Ok(first) } else { Err("the two are not the same; nothing was changed".into()) }
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Unseen(rustix::termios::Termios);

impl Unseen {
    fn begin() -> Result<Unseen, Failure> {
        let before = rustix::termios::tcgetattr(std::io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Flush, &unseen)?;
        Ok(Unseen(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ =
            rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Flush, &self.0);
    }
}
