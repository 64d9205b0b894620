//! What `stormpost init` writes: the configuration and the account table.

use super::{FilterPlace, InitArguments, PRIMARY, Protocol};
use crate::command::Failure;
use std::fmt::Write as _;
use std::path::Path;
use words_mail::Address;

/// `host:25`, `host`, `[2001:db8::1]:25`.
pub(super) fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (text, None),
    }
}

/// Text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(", "))
}

fn filter(out: &mut String, places: &[FilterPlace]) {
    let is_there = |place| places.contains(&place);
    out.push_str("\n[filter]\n");
    match (is_there(FilterPlace::Primary), places.is_empty()) {
        (_, true) => {
            out.push_str("# Until a filter is named here, stormpost check is red.\n# stands = \"primary\"\n")
        }
        (true, _) => out.push_str("stands = \"primary\"\n"),
        (false, _) => out.push_str("stands = \"here\"\n"),
    }
    if is_there(FilterPlace::Rspamd) {
        out.push_str("\n[filter.rspamd]\naddress = \"127.0.0.1:11333\"\n");
    }
    if is_there(FilterPlace::Clamav) {
        out.push_str("\n[filter.clamav]\naddress = \"/run/clamav/clamd.ctl\"\n");
    }
}

/// The configuration.
pub(super) fn configuration(arguments: &InitArguments) -> String {
    let mut out =
        String::from("# Every key: docs/configuration.md. After a change: stormpost check\n\n[node]\n");
    let _ = writeln!(out, "name = {}", quoted(arguments.name.as_deref().unwrap_or_default()));
    let data = arguments.data.as_deref().unwrap_or(Path::new("/var/lib/stormpost"));
    let _ = writeln!(out, "data = {}", quoted(&data.to_string_lossy()));
    out.push_str("# Without this key nobody can read the stored mail: keep a copy elsewhere.\nkey_file = \"stormpost.key\"\n\n[listen]\n");
    let ip = if arguments.listen.contains(':') && !arguments.listen.starts_with('[') {
        format!("[{}]", arguments.listen)
    } else {
        arguments.listen.clone()
    };
    for (door, port) in
        [("smtp", 25), ("submission", 587), ("submissions", 465), ("imap", 143), ("imaps", 993)]
    {
        let _ = writeln!(out, "{door} = {}", quoted(&format!("{ip}:{port}")));
    }
    out.push_str(
        "http = \"127.0.0.1:8025\"\n\n# [tls]\n# certificate = \"fullchain.pem\"\n# key = \"privkey.pem\"\n",
    );
    for (at, domain) in arguments.domains.iter().enumerate() {
        let _ = write!(out, "\n[[domain]]\nname = {}\n", quoted(domain));
        if at == 0 {
            out.push_str("accounts = \"accounts.csv\"\n");
        }
        if arguments.primary.is_some() {
            let _ = writeln!(out, "primary = \"{PRIMARY}\"");
            // Until somebody says that the table is complete, the primary is asked about others.
            out.push_str("authoritative = false\n");
        }
        let file = format!("dkim-{}.pem", domain.to_lowercase());
        let _ = writeln!(out, "dkim = {{ selector = \"stormpost\", key_file = {} }}", quoted(&file));
    }
    filter(&mut out, &arguments.filter);
    if let Some(primary) = &arguments.primary {
        let (host, port) = host_and_port(primary);
        let _ = write!(out, "\n[[primary]]\nid = \"{PRIMARY}\"\nmode = \"automatic\"\n\n[primary.deliver]\n");
        let kind = if arguments.protocol == Protocol::Lmtp { "lmtp" } else { "smtp" };
        let _ = writeln!(out, "kind = \"{kind}\"\nhost = {}", quoted(host));
        if let Some(port) = port {
            let _ = writeln!(out, "port = {port}");
        }
        out.push_str("tls = \"opportunistic\"\n");
    }
    if let (Some(imap), true) = (&arguments.imap, arguments.primary.is_some()) {
        let (host, port) = host_and_port(imap);
        let _ = write!(out, "\n[primary.mailbox]\nhost = {}\n", quoted(host));
        match port {
            Some(143) => out.push_str("port = 143\ntls = \"required\"\n"),
            Some(port) => {
                let _ = writeln!(out, "port = {port}");
            }
            None => {}
        }
        out.push_str(
            "# Dovecot master users; see docs/configuration.md for one sign-in per account.\n\
             reader = { user = \"{account}*stormpost-reader\", password_file = \"reader.password\" }\n\
             writer = { user = \"{account}*stormpost-writer\", password_file = \"writer.password\" }\n",
        );
    }
    if !arguments.notify.is_empty() {
        let _ = write!(out, "\n[notify]\nmail = {}\n", list(&arguments.notify));
    }
    out
}

/// The account table.
pub(super) fn accounts(arguments: &InitArguments) -> Result<String, Failure> {
    let mut out = String::from("address,name,aliases,class\n");
    for (at, text) in arguments.accounts.iter().enumerate() {
        let address = Address::parse(text).map_err(|why| format!("{text:?} is not a mail address: {why}"))?;
        if text.contains([',', '"']) {
            return Err(format!("{text:?} cannot stand in a table without quotes").into());
        }
        let _ = writeln!(out, "{address},,,{}", if at == 0 { "admin" } else { "person" });
    }
    Ok(out)
}
