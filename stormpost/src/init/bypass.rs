//! The bypass card: one page by which mail goes round Stormpost, usable when nothing of Stormpost is left.

use crate::command::{Desk, Ended, code, moment};
use crate::configuration::{Configuration, DomainSettings, ServerPlace, TlsWanted};
use crate::doctor::{Shown, Tongue, talk};
use clap::Args;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;
use words_mail::Time;

/// Columns of the page.
const COLUMNS: usize = 80;
/// How long the primaries may take to show their certificates.
const ASK_MAX: Duration = Duration::from_secs(8);

/// `stormpost bypass`.
#[derive(Debug, Args)]
pub struct BypassArguments {
    /// As a page for a browser, made to be printed.
    #[arg(long, conflicts_with = "text")]
    html: bool,
    /// As plain text; this is the default.
    #[arg(long)]
    text: bool,
    /// Ask nobody: the key of the primary's certificate is left to be filled in.
    #[arg(long)]
    offline: bool,
}

/// `stormpost bypass`.
///
/// # Errors
/// When the configuration cannot be read.
pub(crate) fn run(desk: &Desk, arguments: &BypassArguments) -> Ended {
    let configuration = desk.configuration()?;
    let theirs = if arguments.offline { BTreeMap::new() } else { keys_of_primaries(&configuration) };
    let card = card(&configuration, &theirs, desk.now());
    let text = if arguments.html { page(&configuration.node.name, &card) } else { card.clone() };
    desk.output.value(&serde_json::json!({ "card": card }));
    desk.output.text(&text);
    Ok(code::WELL)
}

/// The TLSA records of what each primary shows, by its host name.
fn keys_of_primaries(configuration: &Configuration) -> BTreeMap<String, String> {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
    else {
        return BTreeMap::new();
    };
    let found = runtime.block_on(async {
        let world = crate::world::real(configuration.node.name_server);
        let asked = async {
            let mut found = BTreeMap::new();
            for host in hosts(configuration) {
                let Ok(addresses) = world.names.addresses(&host).await else { continue };
                let Some(ip) = addresses.first() else { continue };
                // Senders that go round us come to port 25, wherever we hand mail over.
                let at = SocketAddr::new(*ip, 25);
                let talked = talk(&world, at, Tongue::Smtp, false, &host, &configuration.outbound.helo).await;
                if let Ok(Some(Ok(shown))) = talked.map(|talked| talked.certificate) {
                    found.insert(host, shown.tlsa());
                }
            }
            found
        };
        timeout(ASK_MAX, asked).await.unwrap_or_default()
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    found
}

/// Where a domain's mail goes when it goes round us.
fn host(configuration: &Configuration, domain: &DomainSettings) -> Option<String> {
    let primary = configuration.primary(domain.domain.primary.as_ref()?)?;
    match &primary.deliver.place {
        ServerPlace::Host(host, _) => Some(host.clone()),
        // A local socket says that both live on one machine: then there is no round.
        ServerPlace::Local(_) => None,
    }
}

fn hosts(configuration: &Configuration) -> BTreeSet<String> {
    configuration.domains.iter().filter_map(|domain| host(configuration, domain)).collect()
}

/// The record of our own certificate's key.
fn own_key(configuration: &Configuration) -> Option<String> {
    // As the doors look for it: the file that is named, one that an authority gave, one of our own.
    let data = &configuration.node.data;
    let named = configuration.tls.as_ref().map(|files| files.certificate.clone());
    let others = [data.join("acme/certificate.pem"), data.join("self-signed.crt")];
    let file = named.or_else(|| others.into_iter().find(|file| file.exists()))?;
    let chain = CertificateDer::pem_file_iter(file).ok()?;
    let first = chain.filter_map(Result::ok).next()?;
    Some(Shown::read(&first).ok()?.tlsa())
}

/// The card as text.
pub(crate) fn card(configuration: &Configuration, theirs: &BTreeMap<String, String>, now: Time) -> String {
    let mut out = String::new();
    let node = &configuration.node.name;
    let day = moment(now);
    let day = day.get(..10).unwrap_or_default();
    line(&mut out, &format!("BYPASS CARD of {node}   {day}   stormpost {}", env!("CARGO_PKG_VERSION")));
    out.push_str("When this machine is gone: mail goes round it. Nothing of Stormpost is needed.\n");
    out.push_str("Decides: ____________________ tel ______________  DNS is kept at: _____________\n");
    out.push_str("Primary: ____________________ tel ______________  Firewall: ___________________\n");
    let round: Vec<(&str, String)> = configuration
        .domains
        .iter()
        .filter_map(|domain| Some((domain.domain.name.as_str(), host(configuration, domain)?)))
        .collect();
    if round.is_empty() {
        out.push_str("\nNo domain here has a primary elsewhere, so there is no way round: bring this machine\nback, or restore its copy (docs/guide.md).\n");
        return out;
    }
    prepared(&mut out, configuration, &round, theirs);
    when_gone(&mut out, configuration, &round);
    back(&mut out, configuration, &round);
    out
}

fn prepared(
    out: &mut String,
    configuration: &Configuration,
    round: &[(&str, String)],
    theirs: &BTreeMap<String, String>,
) {
    let node = &configuration.node.name;
    out.push_str("\nA. NOW, WHILE ALL IS WELL   [ ] done, seen by: ______________ on ____________\n");
    out.push_str("1 MX, so that senders go round by themselves:\n");
    for (domain, host) in round {
        line(out, &format!("  {domain}. 3600 IN MX 10 {node}."));
        line(out, &format!("  {domain}. 3600 IN MX 20 {host}."));
    }
    out.push_str("2 MTA-STS policy of each domain, if it has one, names both:\n");
    let mut named: Vec<String> = vec![format!("mx: {node}")];
    named.extend(hosts(configuration).iter().map(|host| format!("mx: {host}")));
    line(out, &format!("  {}", named.join("   ")));
    out.push_str("3 TLSA, if the zone is signed, for both:\n");
    let blank = || "3 1 1 ________ (its admin: SHA-256 of its key)".to_owned();
    tlsa(out, node, own_key(configuration).unwrap_or_else(blank));
    for host in hosts(configuration) {
        let key = theirs.get(&host).cloned().unwrap_or_else(blank);
        tlsa(out, &host, key);
    }
    out.push_str("4 SPF of each domain lets both send; each address has a reverse name (PTR):\n");
    let both: Vec<String> = hosts(configuration).iter().map(|host| format!("a:{host}")).collect();
    line(out, &format!("  \"v=spf1 a:{node} {} -all\"", both.join(" ")));
    for host in hosts(configuration) {
        line(out, &format!("  address of {host} -> PTR {host}."));
    }
}

fn tlsa(out: &mut String, host: &str, key: String) {
    let whole = format!("  _25._tcp.{host}. 3600 IN TLSA {key}");
    match whole.chars().count() > COLUMNS {
        true => {
            line(out, &format!("  _25._tcp.{host}. 3600 IN TLSA ("));
            line(out, &format!("    {key} )"));
        }
        false => line(out, &whole),
    }
}

fn when_gone(out: &mut String, configuration: &Configuration, round: &[(&str, String)]) {
    let node = &configuration.node.name;
    out.push_str("\nB. WHEN IT IS GONE   began: ____________ by: ____________\n");
    for primary in &configuration.primaries {
        let ServerPlace::Host(host, _) = &primary.deliver.place else { continue };
        line(out, &format!("1 {host} must take mail from everywhere:"));
        line(out, "  - firewall: tcp 25 in, from everywhere, not only from this machine");
        line(out, "  - no rule that takes mail from this machine only (connector, mynetworks)");
        line(out, "  - its own filter on: spam, viruses, SPF, DMARC; recipients it does not know");
        line(out, "    are refused; STARTTLS with a certificate for its name");
    }
    out.push_str("2 Nothing else is needed for an hour or a day. If it will be longer, DNS:\n");
    for (domain, host) in round {
        line(out, &format!("  {domain}. 300 IN MX 10 {host}.   (remove MX {node}.)"));
    }
    line(out, "3 Outgoing mail: the primary sends to the internet itself (no relay, no smart");
    line(out, &format!("  host {node}); its firewall lets tcp 25 out"));
    out.push_str("4 People's programs: instead of this machine they use\n");
    for primary in &configuration.primaries {
        let Some(mailbox) = &primary.mailbox else { continue };
        let how = if mailbox.tls == TlsWanted::Implicit { "TLS" } else { "STARTTLS" };
        line(
            out,
            &format!(
                "  reading {} port {} ({how}), sending {} port 587",
                mailbox.host, mailbox.port, mailbox.host
            ),
        );
    }
    line(out, "  (or web mail there; a name of your own that can be pointed elsewhere, such as");
    line(out, "  imap.your-domain, is best set up in peace)");
    line(out, "5 What waited on this machine is on its disk: keep the disk, and its key file");
}

fn back(out: &mut String, configuration: &Configuration, round: &[(&str, String)]) {
    let node = &configuration.node.name;
    out.push_str("\nC. COMING BACK   ended: ____________ by: ____________\n");
    line(out, "1 Start it (or restore its copy onto a new machine); stormpost doctor: no FAIL");
    line(out, "2 If the DNS was changed, MX as in A1; wait until the old records' time is over");
    line(out, "3 What waited is delivered by itself; what went round is at the primary already:");
    line(out, "  it was never here, so it is neither lost nor owed. stormpost reconcile");
    let names: Vec<&str> = round.iter().map(|(domain, _)| *domain).collect();
    line(out, &format!("4 Close again what B1 opened; send a test to {}; look in", names.join(", ")));
    line(out, &format!("  its Received: lines for {node}"));
}

/// A line; where it is longer than the page it is broken at a space, and goes on below.
fn line(out: &mut String, text: &str) {
    let indent = " ".repeat(text.chars().take_while(|c| *c == ' ').count() + 4);
    let mut rest = text.to_owned();
    while rest.chars().count() > COLUMNS {
        let within: usize = rest.char_indices().nth(COLUMNS).map_or(rest.len(), |(at, _)| at);
        let begun = rest.len() - rest.trim_start().len();
        let Some(cut) = rest.get(..within).and_then(|head| head.rfind(' ')).filter(|cut| *cut > begun) else {
            break;
        };
        let _ = writeln!(out, "{}", rest.get(..cut).unwrap_or_default().trim_end());
        rest = format!("{indent}{}", rest.get(cut..).unwrap_or_default().trim_start());
    }
    let _ = writeln!(out, "{rest}");
}

/// The card as a page that fits one sheet.
fn page(node: &str, card: &str) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Bypass card of {}</title>\n\
         <style>@page {{ size: A4; margin: 12mm }} pre {{ font: 10.5pt/1.22 monospace; white-space: pre }}</style></head>\n\
         <body><pre>{}</pre></body></html>\n",
        escaped(node),
        escaped(card)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn configuration(domains: &[&str], folder: &Path) -> Configuration {
        let mut text = String::from("[node]\nname = \"mx.example.org\"\ndata = \"data\"\n");
        for (number, domain) in domains.iter().enumerate() {
            let _ = write!(text, "[[domain]]\nname = \"{domain}\"\nprimary = \"p{}\"\n", number.min(1));
        }
        for number in 0..domains.len().min(2) {
            let _ = write!(
                text,
                "[[primary]]\nid = \"p{number}\"\ndeliver = {{ host = \"mail{number}.example.org\" }}\n\
                 mailbox = {{ host = \"imap{number}.example.org\", reader = {{ user = \"{{account}}*r\", password = \"x\" }} }}\n"
            );
        }
        Configuration::parse(&folder.join("x.toml"), text).unwrap().0
    }

    const NOW: Time = Time::from_seconds(1_795_000_000);

    #[test]
    fn three_domains_fit_on_one_page() {
        let folder = tempfile::tempdir().unwrap();
        let domains = ["example.org", "a-rather-long-name-of-a-company.example.com", "example.net"];
        let configuration = configuration(&domains, folder.path());
        // With every key known the card is longest.
        let key = format!("3 1 1 {}", "ab".repeat(32));
        let theirs =
            [("mail0.example.org".to_owned(), key.clone()), ("mail1.example.org".to_owned(), key)].into();
        std::fs::create_dir_all(&configuration.node.data).unwrap();
        let names = ["mx.example.org".to_owned()];
        crate::certificates::Certificates::self_signed(&configuration.node.data, &names).unwrap();
        let card = card(&configuration, &theirs, NOW);
        let widest = card.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(
            card.lines().count() <= 66 && widest <= 80,
            "{} lines, {widest} wide\n{card}",
            card.lines().count()
        );
        for domain in domains {
            assert!(card.contains(&format!("{domain}. 3600 IN MX 10 mx.example.org.")), "{card}");
            assert!(card.contains(&format!("{domain}. 300 IN MX 10 mail")), "{card}");
        }
        for expected in [
            "mx: mx.example.org   mx: mail0.example.org",
            "PTR",
            "tcp 25 in",
            "port 587",
            "COMING BACK",
            "tel ____",
        ] {
            assert!(card.contains(expected), "{expected}\n{card}");
        }
        assert!(card.contains("abababab"), "the primary's key is on it");
        assert!(!card.contains("________ (its admin"), "and ours");
    }

    #[test]
    fn without_a_primary_there_is_no_way_round_and_that_is_said() {
        let text = "[node]\nname = \"mx.example.org\"\n[[domain]]\nname = \"example.org\"\n";
        let (configuration, _) = Configuration::parse(Path::new("x.toml"), text.to_owned()).unwrap();
        assert!(card(&configuration, &BTreeMap::new(), NOW).contains("there is no way round"));
    }

    #[test]
    fn the_page_for_a_browser_shows_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(&["example.org"], folder.path());
        let card = card(&configuration, &BTreeMap::new(), NOW);
        let page = page("mx.example.org", &card);
        assert!(page.contains("IN MX 20 mail0.example.org.") && page.contains("-&gt; PTR"));
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_below_itself() {
        let mut out = String::new();
        line(&mut out, &format!("  {}", "word ".repeat(40)));
        assert!(out.lines().count() == 3 && out.lines().all(|line| line.chars().count() <= 80), "{out}");
        let mut whole = String::new();
        line(&mut whole, &"x".repeat(200));
        assert_eq!(whole.trim_end().len(), 200, "what has no space stays whole: it is a name to be typed");
    }
}
