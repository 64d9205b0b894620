//! From tables to settings, and what must hold between them.

use super::acme::{AcmeSettings, acme};
use super::filter::filter;
use super::mirror::mirror;
use super::notices::{check_notices, notices};
use super::offsite::{offsite, s3};
use super::outbound::outbound;
use super::reader::{At, Reader, Section, parse_address};
use super::source::{Fault, Faults, Source};
use super::trusted::{devices, relay};
use super::{
    Configuration, DeliverKind, DkimSettings, DomainSettings, EdgePlace, Limits, Listen, Login, MailServer,
    MailboxLogin, MailboxServer, Node, PrimarySettings, Retention, Secret, SecretSource, ServerPlace,
    TenantSettings, TlsFiles, TlsWanted, TrustWanted, nearest,
};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use stores_directory::{Class, Domain, NewAccount};
use toml::de::{DeTable, DeValue};
use words_mail::{Address, Mode, PrimaryId, Tenant};

/// The name of the tenant when none is configured.
const DEFAULT_TENANT: &str = "default";

/// Names with the place of their first mention.
type Names = HashMap<String, Option<Range<usize>>>;

pub(super) fn parse(path: &Path, text: String) -> Result<(Configuration, Faults), Faults> {
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let reader = Reader::new(base);
    let (document, wrong) = DeTable::parse_recoverable(&text);
    for error in &wrong {
        // "invalid …, expected …" comes over several lines; one line reads better under a mark.
        let words = error.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
        reader.fault(Fault::error(error.span(), format!("not TOML: {words}")));
    }
    // What a half-read document says about keys would mislead.
    let configuration = wrong.is_empty().then(|| whole(path, &reader, document.get_ref())).flatten();
    drop(document);
    let source = Source { name: path.display().to_string(), text };
    let mut faults = Faults { source, list: reader.finish() };
    faults.sort();
    // A key that is read for two purposes tells its fault twice.
    faults.list.dedup();
    match configuration {
        Some(configuration) if !faults.has_errors() => Ok((configuration, faults)),
        _ => Err(faults),
    }
}

/// The whole file; `None` only with an error reported.
fn whole(path: &Path, reader: &Reader, table: &DeTable<'_>) -> Option<Configuration> {
    let top = Section::new(reader, "", Some(table), None);
    let node = node(&top.part("node"));
    let limits = limits(&top.part("limits"));
    let (tenants, tenant_names) = tenants(&top, &limits);
    let (primaries, primary_names) = primaries(&top);
    let domains = domains(&top, &tenant_names, &primary_names);
    check_unused(&top, &domains, &primary_names);
    let notify_section = top.part("notify");
    let name = node.as_ref().map_or("localhost", |node| node.name.as_str());
    let notify = notices(&notify_section, name);
    let outbound = outbound(&top.part("outbound"), name, &domains);
    let data = node.as_ref().map(|node| node.data.clone()).unwrap_or_default();
    let listen = listen(&top.part("listen"), &data);
    let (tls, acme) = certificate(&top, name);
    if let Some(notify) = &notify {
        check_notices(&notify_section, notify, &domains);
    }
    let devices = devices(&top, &listen, &domains);
    let filter = filter(&top.part("filter"));
    let retention = top.part("retention");
    let retention = Retention {
        settled: retention.duration("settled"),
        removed: retention.duration("removed"),
        observations: retention.duration("observations"),
    };
    let (offsite, s3) = (offsite(&top), s3(&top));
    Some(Configuration {
        path: path.to_owned(),
        node: node?,
        listen,
        tls: tls?,
        acme: acme?,
        tenants,
        domains,
        primaries,
        outbound,
        notify: notify?,
        filter,
        devices,
        retention,
        offsite,
        s3,
        limits,
    })
}

fn host_name(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not a host name; write for example \"mx.example.org\"");
    // A domain that mail can be addressed to is what a host name must be here.
    let address = Address::new("x", text).map_err(|_| wrong())?;
    if text.starts_with('[') || text.ends_with('.') || text.parse::<std::net::IpAddr>().is_ok() {
        return Err(wrong());
    }
    Ok(address.domain().to_owned())
}

/// A name that is said in greetings, which are ASCII (RFC 5321 §4.1.1.1).
pub(super) fn server_name(text: &str) -> Result<String, String> {
    let name = host_name(text)?;
    match name.is_ascii() {
        true => Ok(name),
        false => Err(format!(
            "{text:?} cannot be said in a greeting; write its ASCII form, which begins with xn--"
        )),
    }
}

fn node(section: &Section<'_>) -> Option<Node> {
    let name = section.needed("name").and_then(|_| section.parsed("name", server_name));
    let data = section.path("data");
    let log = section.choice("log");
    let name_server = section.parsed("name_server", |text| {
        text.parse().map_err(|_| format!("{text:?} is not an address and port, as in \"192.0.2.53:53\""))
    });
    let edge = section.choice("edge");
    let key_file = section.path("key_file").map(|at| at.value);
    let data = data?.value;
    Some(Node {
        name: name?.value,
        key_file: key_file.unwrap_or_else(|| data.join("key")),
        data,
        log_json: log?.value == "json",
        edge: if edge?.value == "inside" { EdgePlace::Inside } else { EdgePlace::Process },
        name_server: name_server.map(|at| at.value),
    })
}

fn listen(section: &Section<'_>, data: &Path) -> Listen {
    let mut taken: HashMap<std::net::SocketAddr, &'static str> = HashMap::new();
    let mut door = |name: &'static str| {
        let mut sockets = Vec::new();
        for At { value, span } in section.sockets(name) {
            match taken.insert(value, name) {
                Some(other) if value.port() != 0 => {
                    section.fault(Fault::error(span, format!("{value} is the door for {other} too")));
                }
                _ => sockets.push(value),
            }
        }
        sockets
    };
    let listen = Listen {
        smtp: door("smtp"),
        submission: door("submission"),
        submissions: door("submissions"),
        imap: door("imap"),
        imaps: door("imaps"),
        internal: door("internal"),
        http: door("http"),
        lmtp_local: section.path("lmtp_local").map_or_else(|| data.join("lmtp.sock"), |at| at.value),
    };
    if listen.smtp.is_empty() && !section.has("smtp") {
        let words = "no door for mail: [listen] has no smtp";
        section.fault(Fault::warning(section.span.clone(), words).hint("write smtp = \"0.0.0.0:25\""));
    }
    listen
}

/// Where the certificate comes from: its files, or an authority that is asked. `None` only with an error reported.
fn certificate(top: &Section<'_>, name: &str) -> (Option<Option<TlsFiles>>, Option<Option<AcmeSettings>>) {
    let Some(section) = top.table("tls", "tls") else { return (Some(None), Some(None)) };
    match section.table("acme", "tls.acme") {
        Some(asked) if section.has("certificate") || section.has("key") => {
            let words = "the certificate comes either from files or from [tls.acme]";
            section.fault(Fault::error(asked.span.clone(), words).hint("keep one of the two"));
            (None, None)
        }
        Some(asked) => (Some(None), acme(&asked, name).map(Some)),
        None => (tls_files(&section).map(Some), Some(None)),
    }
}

fn tls_files(section: &Section<'_>) -> Option<TlsFiles> {
    let certificate = section.needed("certificate").and_then(|_| section.path("certificate"));
    let key = section.needed("key").and_then(|_| section.path("key"));
    Some(TlsFiles { certificate: certificate?.value, key: key?.value })
}

/// Registers a name; a second mention is an error that shows the first.
fn register(section: &Section<'_>, what: &str, names: &mut Names, name: &At<String>) -> bool {
    if names.contains_key(&name.value) {
        let words = format!("{what} {:?} is there twice", name.value);
        section.fault(Fault::error(name.span.clone(), words).hint("keep one of the two"));
        return false;
    }
    names.insert(name.value.clone(), name.span.clone());
    true
}

fn tenants(top: &Section<'_>, limits: &Limits) -> (Vec<TenantSettings>, Names) {
    let mut names = Names::new();
    let mut tenants = Vec::new();
    for section in top.parts("tenant") {
        let name = section.needed("name");
        let (mail, webhook) =
            (values(section.list("mail", parse_address)), values(section.list("webhook", url)));
        let mut message_size = limits.message_size;
        if section.has("message_size") {
            message_size = section.size("message_size");
            if message_size > limits.message_size {
                let words = "message_size is larger than that of [limits], which holds for all";
                section.fault(Fault::error(section.span_of("message_size"), words));
            }
        }
        let Some(name) = name else { continue };
        if register(&section, "the tenant", &mut names, &name) {
            tenants.push(TenantSettings { tenant: Tenant(name.value), mail, webhook, message_size });
        }
    }
    if tenants.is_empty() && !top.has("tenant") {
        names.insert(DEFAULT_TENANT.to_owned(), None);
        tenants.push(TenantSettings {
            tenant: Tenant(DEFAULT_TENANT.to_owned()),
            mail: Vec::new(),
            webhook: Vec::new(),
            message_size: limits.message_size,
        });
    }
    (tenants, names)
}

pub(super) fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

pub(super) fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a URL; it begins with https:// or http://")),
    }
}

/// A name that must be one of `names`.
fn known(section: &Section<'_>, key: &'static str, what: &str, names: &Names) -> Option<At<String>> {
    let name = section.text(key)?;
    if names.contains_key(&name.value) {
        return Some(name);
    }
    let fault = Fault::error(name.span.clone(), format!("there is no {what} {:?}", name.value));
    section.fault(match nearest(&name.value, names.keys().map(String::as_str)) {
        Some(near) => fault.hint(format!("did you mean {near:?}?")),
        None if names.is_empty() => fault.hint(format!("add a [[{what}]]")),
        None => {
            let mut list: Vec<&str> = names.keys().map(String::as_str).collect();
            list.sort_unstable();
            fault.hint(format!("there are: {}", list.join(", ")))
        }
    });
    None
}

fn domains(top: &Section<'_>, tenants: &Names, primaries: &Names) -> Vec<DomainSettings> {
    let mut names = Names::new();
    let mut domains = Vec::new();
    for section in top.parts("domain") {
        let name = section.needed("name").and_then(|_| section.parsed("name", host_name));
        let tenant = match section.has("tenant") {
            true => known(&section, "tenant", "tenant", tenants).map(|at| at.value),
            false if tenants.len() > 1 => {
                let words = "there are several tenants, so the domain must say whose it is";
                section.fault(Fault::error(section.span.clone(), words).hint("add tenant = \"…\""));
                None
            }
            false => tenants.keys().next().cloned(),
        };
        let primary = known(&section, "primary", "primary", primaries).map(|at| PrimaryId(at.value));
        let (table, listed) = accounts(&section);
        let has_accounts = section.has("accounts");
        let authoritative = section.switch("authoritative");
        if let Some(At { value: false, span }) = &authoritative
            && !section.has("primary")
        {
            let words = "without a primary nobody else can be asked, so the accounts here are all there are";
            section
                .fault(Fault::error(span.clone(), words).hint("leave out authoritative, or name a primary"));
        }
        if let Some(At { value: true, span }) = &authoritative
            && !has_accounts
        {
            let words = "no accounts are named, so all mail is refused until some are added";
            section.fault(
                Fault::warning(span.clone(), words).hint("name accounts, or use stormpost account import"),
            );
        }
        let authoritative = authoritative.map_or(has_accounts || !section.has("primary"), |at| at.value);
        let catch_all = section.address("catch_all").map(|at| at.value);
        let postmaster = section.address("postmaster").map(|at| at.value);
        let dkim = section.table("dkim", "domain.dkim").and_then(|section| dkim(&section));
        let (Some(name), Some(tenant)) = (name, tenant) else { continue };
        if register(&section, "the domain", &mut names, &name) {
            let tenant = Tenant(tenant);
            let domain = Domain { name: name.value, tenant, primary, authoritative, catch_all, postmaster };
            domains.push(DomainSettings { domain, table, listed, dkim });
        }
    }
    if !top.has("domain") {
        let fault = Fault::error(None, "there is no [[domain]], so all mail would be refused");
        top.fault(fault.hint("add [[domain]] with name = \"example.org\""));
    }
    domains
}

fn dkim(section: &Section<'_>) -> Option<DkimSettings> {
    let selector = section.parsed("selector", |text| {
        host_name(text).map_err(|_| format!("{text:?} is not a name that can stand in the DNS"))
    });
    let key_file = section.needed("key_file").and_then(|_| section.path("key_file"));
    Some(DkimSettings { selector: selector?.value, key_file: key_file?.value })
}

/// Either the path of a table or the accounts themselves.
fn accounts(section: &Section<'_>) -> (Option<PathBuf>, Vec<NewAccount>) {
    let mut listed = Vec::new();
    let items = section.items("accounts");
    if let [only] = items.as_slice()
        && let DeValue::String(text) = only.get_ref()
        && !text.contains('@')
    {
        return (section.path_of(text), listed);
    }
    for item in items {
        match item.get_ref() {
            DeValue::String(text) => match parse_address(text) {
                Ok(address) => listed.push(NewAccount::new(address)),
                Err(words) => section.fault(Fault::error(item.span(), words)),
            },
            DeValue::Table(table) => {
                let section = Section::new(&section.reader, "account", Some(table), Some(item.span()));
                listed.extend(account(&section));
            }
            _ => section.wrong_kind("accounts", item),
        }
    }
    (None, listed)
}

fn account(section: &Section<'_>) -> Option<NewAccount> {
    let address = section.needed("address").and_then(|_| section.address("address"));
    let name = section.text("name").map(|at| at.value).unwrap_or_default();
    let aliases = values(section.list("aliases", parse_address));
    let class = section.choice("class").and_then(|at| Class::parse(&at.value)).unwrap_or_default();
    Some(NewAccount { address: address?.value, name, aliases, class })
}

fn primaries(top: &Section<'_>) -> (Vec<PrimarySettings>, Names) {
    let mut names = Names::new();
    let mut primaries = Vec::new();
    for section in top.parts("primary") {
        let id = section.needed("id");
        if let Some(id) = &id
            && !id.value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            let words = "an id has letters, digits, '-', '_' and '.' only, as it is typed on command lines";
            section.fault(Fault::error(id.span.clone(), words));
        }
        let new = id.as_ref().is_some_and(|id| register(&section, "the primary", &mut names, id));
        let deliver = section.table("deliver", "primary.deliver");
        if !section.has("deliver") {
            let words = "the primary has no [primary.deliver]: nobody knows where its mail goes";
            section.fault(
                Fault::error(section.span.clone(), words).hint("add [primary.deliver] with host = \"…\""),
            );
        }
        let deliver = deliver.and_then(|section| mail_server(&section, true));
        let mailbox = section.table("mailbox", "primary.mailbox").map(|section| mailbox(&section));
        let settings = primary(&section, id, deliver, mailbox);
        if new {
            primaries.extend(settings);
        }
    }
    (primaries, names)
}

fn primary(
    section: &Section<'_>,
    id: Option<At<String>>,
    deliver: Option<MailServer>,
    mailbox: Option<Option<MailboxServer>>,
) -> Option<PrimarySettings> {
    let mode = section.choice("mode").map(|mode| match mode.value.as_str() {
        "manual" => Mode::Manual,
        "confirm" => Mode::Confirm,
        _ => Mode::Automatic,
    });
    let filed_by = section.choice("filed_by");
    let relay = section.table("relay", "primary.relay").map(|section| relay(&section));
    let [dwell, return_dwell, return_dwell_max, clear, clear_max, unsteady] =
        ["dwell", "return_dwell", "return_dwell_max", "clear", "clear_max", "unsteady"]
            .map(|k| section.duration(k));
    let [probe_every, probe_timeout, live_window, canary_every, queue_time] =
        ["probe_every", "probe_timeout", "live_window", "canary_every", "queue_time"]
            .map(|k| section.duration(k));
    let canary = section.address("canary").map(|at| at.value);
    let connections = section.count("connections", 1..=1_000) as usize;
    for (key, value) in
        [("probe_every", probe_every), ("probe_timeout", probe_timeout), ("canary_every", canary_every)]
    {
        if value.is_zero() {
            section.fault(Fault::error(section.span_of(key), format!("{key} cannot be zero")));
        }
    }
    if let (Some(_), Some(mailbox)) = (&canary, &mailbox)
        && mailbox.as_ref().is_none_or(|mailbox| mailbox.writer.is_none())
    {
        let words = "no canary is sent: the mailboxes have no writer, so it could not be deleted again";
        section
            .fault(Fault::warning(section.span_of("canary"), words).hint("add writer to [primary.mailbox]"));
    }
    if canary.is_some() && mailbox.is_none() {
        let words = "no canary is sent: without [primary.mailbox] nobody can see whether it arrives";
        section.fault(Fault::warning(section.span_of("canary"), words));
    }
    Some(PrimarySettings {
        id: PrimaryId(id?.value),
        deliver: deliver?,
        mailbox: mailbox.map_or(Some(None), |server| server.map(Some))?,
        mode: mode?,
        dwell,
        return_dwell,
        return_dwell_max,
        clear,
        clear_max,
        unsteady,
        probe_every,
        probe_timeout,
        live_window,
        canary,
        canary_every,
        queue_time,
        connections,
        relay,
        filed_by_us: filed_by?.value == "us",
    })
}

fn tls_mode(section: &Section<'_>) -> Option<TlsWanted> {
    section.choice("tls").map(|mode| match mode.value.as_str() {
        "none" => TlsWanted::None,
        "opportunistic" => TlsWanted::Opportunistic,
        "required" => TlsWanted::Required,
        _ => TlsWanted::Implicit,
    })
}

pub(super) fn trust(section: &Section<'_>) -> Option<TrustWanted> {
    section.text("trust").map(|trust| match trust.value.as_str() {
        "public" => TrustWanted::Public,
        "anybody" => TrustWanted::Anybody,
        path => TrustWanted::File(section.reader.path(path)),
    })
}

/// A server that takes mail: a primary's door, or the smart host.
pub(super) fn mail_server(section: &Section<'_>, is_primary: bool) -> Option<MailServer> {
    let kind = if is_primary { section.choice("kind") } else { None };
    let kind = match kind.map(|at| at.value).as_deref() {
        Some("lmtp") => DeliverKind::Lmtp,
        _ => DeliverKind::Smtp,
    };
    let tls = tls_mode(section);
    let port = section.port("port").unwrap_or(match (is_primary, kind, tls) {
        (_, DeliverKind::Lmtp, _) => 24,
        (_, _, Some(TlsWanted::Implicit)) => 465,
        (true, ..) => 25,
        (false, ..) => 587,
    });
    let socket = if is_primary { section.path("socket") } else { None };
    let place = match socket {
        Some(At { span, .. }) if section.has("host") => {
            section.fault(Fault::error(span, "both host and socket are given; keep one"));
            None
        }
        Some(socket) => Some(ServerPlace::Local(socket.value)),
        None => section.needed("host").map(|host| ServerPlace::Host(host.value, port)),
    };
    let login = login(section);
    if login.is_some() && tls == Some(TlsWanted::None) && !matches!(place, Some(ServerPlace::Local(_))) {
        let words = "the password goes over the wire unencrypted, as tls is \"none\"";
        section.fault(Fault::warning(section.span_of("tls"), words).hint("use tls = \"required\""));
    }
    let trust = trust(section);
    let pass_client = is_primary && section.switch("pass_client").is_some_and(|at| at.value);
    Some(MailServer { kind, place: place?, tls: tls?, trust: trust?, login, pass_client })
}

/// A name with its password, if there is one.
pub(super) fn login(section: &Section<'_>) -> Option<Login> {
    let user = section.text("user");
    let password = password(section);
    match (user, password) {
        (Some(user), Some(password)) => Some(Login { user: user.value, password }),
        (Some(user), None) => {
            if !section.has("password") && !section.has("password_file") {
                let fault = Fault::error(user.span, "the user has no password");
                section.fault(fault.hint("add password_file = \"…\""));
            }
            None
        }
        (None, Some(_)) => {
            section.fault(Fault::error(section.span.clone(), "there is a password and no user"));
            None
        }
        (None, None) => None,
    }
}

fn password(section: &Section<'_>) -> Option<SecretSource> {
    let file = section.path("password_file");
    let inline = section.text("password");
    match (file, inline) {
        (Some(_), Some(At { span, .. })) => {
            section
                .fault(Fault::error(span, "both password and password_file are given; keep password_file"));
            None
        }
        (Some(file), None) => Some(SecretSource::File(file.value)),
        (None, Some(At { value, span })) => {
            let fault = Fault::warning(span, "a password stands in the configuration");
            section.fault(fault.hint("put it into a file of mode 0600 and write password_file = \"…\""));
            Some(SecretSource::Inline(Secret::new(value)))
        }
        (None, None) => None,
    }
}

fn mailbox(section: &Section<'_>) -> Option<MailboxServer> {
    let _ = section.choice("kind");
    let host = section.needed("host");
    let tls = tls_mode(section);
    let port = section.port("port").unwrap_or(if tls == Some(TlsWanted::Implicit) { 993 } else { 143 });
    let trust = trust(section);
    let reader = section.table("reader", "primary.mailbox.reader").map(|s| mailbox_login(&s));
    let writer = section.table("writer", "primary.mailbox.writer").map(|s| mailbox_login(&s));
    if !section.has("reader") && !section.has("writer") {
        let words = "the mailboxes have no sign-in, so nothing can be looked up or given back";
        section.fault(Fault::error(section.span.clone(), words).hint("add [primary.mailbox.reader]"));
    }
    if let (Some(Some(reader)), Some(Some(writer))) = (&reader, &writer)
        && reader == writer
    {
        let words = "reader and writer are the same sign-in; two could be taken away one by one";
        section.fault(Fault::warning(section.span_of("writer"), words));
    }
    let mirror = mirror(section);
    if mirror.is_some() && !section.has("reader") {
        let words = "the mailboxes are not copied: there is no reader";
        section.fault(Fault::error(section.span_of("mirror"), words).hint("add [primary.mailbox.reader]"));
    }
    let (host, tls, trust) = (host?.value, tls?, trust?);
    let (reader, writer) = (reader.flatten(), writer.flatten());
    Some(MailboxServer { host, port, tls, trust, reader, writer, mirror })
}

fn mailbox_login(section: &Section<'_>) -> Option<MailboxLogin> {
    if let Some(table) = section.path("accounts_file") {
        for key in ["user", "password_file", "password"] {
            if section.has(key) {
                let words = format!("with accounts_file there is no {key}: the table has them");
                section.fault(Fault::error(section.span_of(key), words));
            }
        }
        return Some(MailboxLogin::Table(table.value));
    }
    let login = login(section);
    match &login {
        None if !section.has("user") && !section.has("password") && !section.has("password_file") => {
            let fault = Fault::error(section.span.clone(), "the sign-in has no user");
            section.fault(fault.hint("add user and password_file, or accounts_file"));
        }
        Some(login) if !login.user.contains("{account}") && !login.user.contains("{local}") => {
            let words = "one user for all mailboxes, but its name does not say whose mailbox is meant";
            let fault = Fault::warning(section.span_of("user"), words);
            section.fault(fault.hint("for a Dovecot master user write user = \"{account}*reader\""));
        }
        _ => {}
    }
    login.map(MailboxLogin::Master)
}

fn check_unused(top: &Section<'_>, domains: &[DomainSettings], primaries: &Names) {
    for (name, span) in primaries {
        let used = domains.iter().any(|d| d.domain.primary.as_ref().is_some_and(|p| p.0 == *name));
        if !used {
            let words = format!("no domain has the primary {name:?}");
            top.fault(Fault::warning(span.clone(), words).hint("add primary = \"…\" to its [[domain]]"));
        }
    }
}

#[allow(clippy::too_many_lines, reason = "a list, one line a bound")]
fn limits(section: &Section<'_>) -> Limits {
    let count = |name, most: u64| section.count(name, 1..=most);
    let many = 1_000_000;
    let size = |name, least: u64, most: u64| {
        let value = section.size(name);
        if !(least..=most).contains(&value) {
            let words =
                format!("{name} must be from {} to {}", super::write_size(least), super::write_size(most));
            section.fault(Fault::error(section.span_of(name), words));
        }
        value
    };
    let duration = |name, least: &str| {
        let value = section.duration(name);
        if super::parse_duration(least).is_ok_and(|least| value < least) {
            section.fault(Fault::error(section.span_of(name), format!("{name} must be at least {least}")));
        }
        value
    };
    let (kib, gib) = (1 << 10, 1 << 30);
    let password_memory = duration("password_memory", "0s");
    if password_memory > stores_directory::DIGEST_AGE_MAX {
        let words =
            "password_memory must be at most 15m: a password changed elsewhere must count here by then";
        section.fault(Fault::error(section.span_of("password_memory"), words));
    }
    let sign_in_age = duration("sign_in_age", "1s");
    if sign_in_age > rules_signin::EVIDENCE_SERVES {
        let words = "sign_in_age must be at most 15m: somebody who was shut out at the primary must be out here by then";
        section.fault(Fault::error(section.span_of("sign_in_age"), words));
    }
    Limits {
        connections: count("connections", many) as usize,
        people_connections: count("people_connections", many) as usize,
        local_connections: count("local_connections", 100_000) as usize,
        connections_per_address: count("connections_per_address", many) as u32,
        messages_per_minute: count("messages_per_minute", many) as u32,
        recipients_per_account_hour: count("recipients_per_account_hour", many) as u32,
        receiving: count("receiving", many) as usize,
        body_memory: size("body_memory", 1 << 20, 64 * gib) as usize,
        message_size: size("message_size", 64 * kib, 2 * gib),
        header_size: size("header_size", 4 * kib, 64 << 20) as usize,
        // RFC 5321 §4.5.3.1.8: at least 100.
        recipients: section.count("recipients", 100..=100_000) as usize,
        // RFC 5321 §4.5.3.1.4, and the longer lines of its extensions.
        command_octets: size("command_octets", 1_024, 64 * kib) as usize,
        commands: count("commands", many) as u32,
        bad_commands: count("bad_commands", 10_000) as u32,
        refused_recipients: count("refused_recipients", 100_000) as u32,
        command_timeout: duration("command_timeout", "1s"),
        data_timeout: duration("data_timeout", "1s"),
        message_timeout: duration("message_timeout", "1s"),
        handshake_timeout: duration("handshake_timeout", "1s"),
        write_timeout: duration("write_timeout", "1s"),
        authentication_timeout: duration("authentication_timeout", "100ms"),
        shutdown_timeout: duration("shutdown_timeout", "0s"),
        // RFC 5321 §6.3: at least 100; a small installation may want to know sooner.
        hops: section.count("hops", 10..=1_000) as u32,
        callouts: count("callouts", 1_000) as u32,
        callouts_per_minute: count("callouts_per_minute", many) as u32,
        callout_timeout: duration("callout_timeout", "100ms"),
        learned: count("learned", 10_000_000) as usize,
        learned_age: duration("learned_age", "1m"),
        sign_in_failures: count("sign_in_failures", 1_000) as u32,
        sign_in_failures_per_address: count("sign_in_failures_per_address", many) as u32,
        sign_in_failures_per_session: count("sign_in_failures_per_session", 1_000) as u32,
        sign_in_window: duration("sign_in_window", "1s"),
        sign_in_timeout: duration("sign_in_timeout", "1s"),
        password_checks: count("password_checks", 256) as usize,
        password_memory,
        sign_in_age,
        wrong_passwords: count("wrong_passwords", 1_000) as u32,
        wrong_passwords_quiet: duration("wrong_passwords_quiet", "1s"),
        wrong_passwords_per_primary: count("wrong_passwords_per_primary", many) as u32,
        imap_connections: count("imap_connections", many) as usize,
        imap_connections_per_address: count("imap_connections_per_address", many) as u32,
        imap_connections_per_account: count("imap_connections_per_account", many) as u32,
        imap_idle: duration("imap_idle", "1s"),
        imap_data_timeout: duration("imap_data_timeout", "1s"),
        imap_command_size: size("imap_command_size", 8 * kib, 64 << 20) as usize,
        imap_append_messages: count("imap_append_messages", 10_000) as usize,
        deliveries: count("deliveries", 100_000) as u32,
        deliveries_per_domain: count("deliveries_per_domain", 10_000) as usize,
        queue_recipients: count("queue_recipients", 100_000_000) as usize,
        listed_recipients: count("listed_recipients", 10_000_000) as usize,
        retry_first: duration("retry_first", "100ms"),
        retry_max: duration("retry_max", "100ms"),
        delay_notice: duration("delay_notice", "0s"),
        outbound_age: duration("outbound_age", "1s"),
        spool_age: duration("spool_age", "1s"),
        spool_size: size("spool_size", 1 << 20, u64::MAX),
        reserve: size("reserve", 0, u64::MAX),
        seal_size: size("seal_size", 64 * kib, gib),
        seal_after: duration("seal_after", "1s"),
        batch_size: size("batch_size", 4 * kib, 64 << 20) as usize,
        queue_records: count("queue_records", many) as usize,
        queue_size: size("queue_size", 64 * kib, 4 * gib) as usize,
        inline_size: size("inline_size", kib, 64 << 20) as usize,
        control_connections: count("control_connections", 1_000) as usize,
    }
}
