//! What `stormpost init` prints: everything around the configuration that somebody must do.

use super::InitArguments;
use super::lines::{NO_ADDRESS, Us, likely};
use crate::command::DkimRecord;
use crate::configuration::{Configuration, PrimarySettings, ServerPlace};
use std::fmt::Write as _;

/// Everything around the configuration that somebody must do.
pub(super) fn instructions(arguments: &InitArguments, parsed: &Configuration, dkim: &[DkimRecord]) -> String {
    let mut out = String::new();
    let name = &parsed.node.name;
    let address = arguments.address.as_deref().unwrap_or(NO_ADDRESS);
    let kind = if address.contains(':') { "AAAA" } else { "A" };
    let _ = writeln!(
        out,
        "\n1. DNS\n   {name}. IN {kind} {address}\n   and the reverse name of {address} must be {name}"
    );
    for domain in parsed.domains.iter().map(|d| &d.domain.name) {
        let _ = writeln!(out, "   {domain}. IN MX 10 {name}.          (when you are ready to switch)");
        let _ = writeln!(
            out,
            "   {domain}. IN TXT \"v=spf1 mx a:{name} -all\"  (or add a:{name} to the SPF record you have)"
        );
    }
    for record in dkim {
        let _ = writeln!(out, "   {}", record.zone_line());
    }
    out.push_str(
        "   DMARC, MTA-STS, TLS reports and DANE, as lines to paste, when this runs: stormpost dkim DOMAIN\n",
    );
    out.push_str(
        "   If a domain has an MTA-STS policy (a TXT record at _mta-sts), add this machine's name to its mx lines, and wait for its\n   \
         max_age, before the MX changes.\n",
    );
    out.push_str("\n2. Firewall: let in\n");
    for (door, sockets) in [
        ("mail from other servers", &parsed.listen.smtp),
        ("people's programs sending", &parsed.listen.submission),
        ("people's programs sending, TLS", &parsed.listen.submissions),
        ("people's programs reading", &parsed.listen.imap),
        ("people's programs reading, TLS", &parsed.listen.imaps),
    ] {
        for socket in sockets {
            let _ = writeln!(
                out,
                "   nft add rule inet filter input tcp dport {} accept   # {door}",
                socket.port()
            );
        }
    }
    out.push_str("   and out: tcp 25 to everywhere, udp and tcp 53 to your name servers\n");
    for primary in &parsed.primaries {
        primary_part(&mut out, address, primary);
    }
    for primary in &parsed.primaries {
        let us = Us::of(parsed, primary, address);
        let kinds = if arguments.kinds.is_empty() { likely(primary) } else { arguments.kinds.clone() };
        let _ =
            writeln!(out, "\nThe lines to paste at the primary {:?} (again: stormpost lines)", primary.id.0);
        for kind in kinds {
            let _ = write!(out, "\n{}", us.lines(kind));
        }
    }
    let config = parsed.path.display();
    let _ =
        writeln!(out, "\nNext:\n   stormpost check --config {config}\n   stormpost serve --config {config}");
    let _ = writeln!(
        out,
        "   keep a copy of {} somewhere else: without it nobody can read the stored mail",
        parsed.node.key_file.display()
    );
    out
}

fn primary_part(out: &mut String, address: &str, primary: &PrimarySettings) {
    let _ = writeln!(out, "\n3. The primary {:?} must", primary.id.0);
    match &primary.deliver.place {
        ServerPlace::Host(_, port) => {
            let _ = writeln!(
                out,
                "   - take mail from {address} on port {port}, without greylisting, rate limits or SPF checks for it"
            );
        }
        ServerPlace::Local(path) => {
            let _ = writeln!(out, "   - take mail at {}", path.display());
        }
    }
    out.push_str(
        "   - judge the original sender, not us: Postfix: smtpd_authorized_xclient_hosts = this machine; Microsoft 365: a\n     \
         connector with enhanced filtering; Google Workspace: this machine as an inbound gateway\n",
    );
    if let Some(mailbox) = &primary.mailbox {
        let _ = writeln!(
            out,
            "   - let two sign-ins into every mailbox by IMAP at {} port {}: one that reads, one that writes (Dovecot: \
             auth_master_user_separator = *, two master users)\n     and their passwords must stand in reader.password and \
             writer.password beside the configuration, mode 0600",
            mailbox.host, mailbox.port
        );
    }
}
