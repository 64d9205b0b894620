//! The lines to paste at the primary, so that it judges the sender as it would without us, takes our mail without brakes,
//! and shows us its mailboxes. Those of Postfix and Dovecot are tried with the real programs.

use crate::command::{Desk, Ended, code};
use crate::configuration::{Configuration, PrimarySettings, RelaySettings, ServerPlace};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt::Write as _;

/// What kind of mail system it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrimaryKind {
    /// Postfix.
    Postfix,
    /// Dovecot: its mailboxes, and its LMTP.
    Dovecot,
    /// Microsoft Exchange on own servers.
    Exchange,
    /// Microsoft 365.
    M365,
    /// Google Workspace.
    Google,
}

/// What stands in the place of what nobody said.
pub(super) const NO_ADDRESS: &str = "THIS-MACHINE'S-ADDRESS";

/// Who we are to the primary.
pub(crate) struct Us<'a> {
    /// Our host name, as in our certificate.
    pub(crate) name: &'a str,
    /// The address that we connect from.
    pub(crate) address: &'a str,
    /// The port for signing in and sending.
    pub(crate) submission: u16,
    /// The port for other servers.
    pub(crate) smtp: u16,
    /// The primary's way to relay through us.
    pub(crate) relay: Option<&'a RelaySettings>,
    /// The name by which we read its mailboxes, and by which we write, without the account.
    pub(crate) masters: (String, String),
}

impl<'a> Us<'a> {
    /// Out of a configuration.
    pub(crate) fn of(
        configuration: &'a Configuration,
        primary: &'a PrimarySettings,
        address: &'a str,
    ) -> Us<'a> {
        let port = |sockets: &[std::net::SocketAddr], usual| sockets.first().map_or(usual, |at| at.port());
        let listen = &configuration.listen;
        let master = |login: Option<&crate::configuration::MailboxLogin>, usual: &str| match login {
            Some(crate::configuration::MailboxLogin::Master(login)) => {
                login.user.rsplit_once('*').map_or(usual, |(_, name)| name).to_owned()
            }
            _ => usual.to_owned(),
        };
        let mailbox = primary.mailbox.as_ref();
        Us {
            name: &configuration.node.name,
            address,
            submission: port(&listen.submission, 587),
            smtp: port(&listen.smtp, 25),
            relay: primary.relay.as_ref(),
            masters: (
                master(mailbox.and_then(|m| m.reader.as_ref()), "stormpost-reader"),
                master(mailbox.and_then(|m| m.writer.as_ref()), "stormpost-writer"),
            ),
        }
    }

    /// The lines for one kind.
    pub(crate) fn lines(&self, kind: PrimaryKind) -> String {
        match kind {
            PrimaryKind::Postfix => self.postfix(),
            PrimaryKind::Dovecot => self.dovecot(),
            PrimaryKind::Exchange => self.exchange(),
            PrimaryKind::M365 => self.m365(),
            PrimaryKind::Google => self.google(),
        }
    }

    fn postfix(&self) -> String {
        let Us { name, address, .. } = self;
        let bracketed = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
        let mut out = format!(
            "# Postfix: add to main.cf, then: postfix reload\n\
             # It hears from {name} who sent each message (XCLIENT), so SPF, lists and every other check see the sender.\n\
             smtpd_authorized_xclient_hosts = {bracketed}\n\
             # Many messages come from this one address: no brakes for it. It does not belong into mynetworks.\n\
             smtpd_client_event_limit_exceptions = $mynetworks, {bracketed}\n\
             # Where postscreen stands in front, let it pass (Postfix 3.7; else put the pair into a file):\n\
             # postscreen_access_list = permit_mynetworks, cidr:{{ {{{address} permit}} }}\n\
             # Greylisting helps nobody here: who reached {name} has tried once, and what is sent back {name} tries again in\n\
             # a minute. Take its check_policy_service out, or in rspamd: greylist {{ enabled = false; }}\n"
        );
        if address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            out.push_str(
                "# It is on this machine, and is not one of its programs whose headers are completed before they are judged:\n\
                 local_header_rewrite_clients = permit_sasl_authenticated\n",
            );
        }
        if let Some(relay) = self.relay {
            self.postfix_relay(&mut out, relay);
        }
        out
    }

    /// What Postfix needs to send its own people's mail through us.
    fn postfix_relay(&self, out: &mut String, relay: &RelaySettings) {
        let Us { name, .. } = self;
        out.push_str("# It sends its own people's mail to others through us:\n");
        if let Some(login) = &relay.login {
            let _ = write!(
                out,
                "relayhost = [{name}]:{port}\n\
                 smtp_sasl_auth_enable = yes\n\
                 smtp_sasl_security_options = noanonymous\n\
                 smtp_sasl_password_maps = texthash:/etc/postfix/stormpost.password\n\
                 smtp_tls_security_level = encrypt\n\
                 # /etc/postfix/stormpost.password, mode 0600, has one line:\n\
                 # [{name}]:{port} {user}:THE-PASSWORD\n",
                port = self.submission,
                user = login.user
            );
            return;
        }
        let _ = writeln!(out, "relayhost = [{name}]:{}", self.smtp);
        if relay.fingerprints.is_empty() && relay.authority.is_none() {
            out.push_str("smtp_tls_security_level = may\n");
        } else {
            out.push_str(
                "smtp_tls_security_level = encrypt\n\
                 # the certificate it is known by here:\n\
                 smtp_tls_cert_file = /etc/postfix/stormpost-client.pem\n\
                 smtp_tls_key_file = /etc/postfix/stormpost-client.key\n",
            );
        }
    }

    fn dovecot(&self) -> String {
        let Us { name, address, masters: (reader, writer), .. } = self;
        format!(
            "# Dovecot 2.3: put into /etc/dovecot/conf.d/90-stormpost.conf, then: doveadm reload\n\
             # {name} may say whom it signs in for (IMAP ID) and who sent a message (LMTP XCLIENT): logs, limits and penalties\n\
             # are about that address, not about ours.\n\
             login_trusted_networks = {address}\n\
             # Two sign-ins into every mailbox: one reads, one gives back. Passwords: doveadm pw -s SHA512-CRYPT, then into\n\
             # /etc/dovecot/stormpost.masters, mode 0600, owner dovecot, one line each:\n\
             #   {reader}:{{SHA512-CRYPT}}$6$...\n\
             #   {writer}:{{SHA512-CRYPT}}$6$...\n\
             auth_master_user_separator = *\n\
             passdb {{\n  driver = passwd-file\n  master = yes\n  args = /etc/dovecot/stormpost.masters\n  \
             result_success = continue\n}}\n\
             # What each may do stands in /etc/dovecot/stormpost.acl, two lines:\n\
             #   * user={reader} lr\n\
             #   * user={writer} lrwstipekx\n\
             mail_plugins = $mail_plugins acl\n\
             plugin {{\n  acl = vfile:/etc/dovecot/stormpost.acl\n}}\n"
        )
    }

    fn exchange(&self) -> String {
        let Us { name, address, .. } = self;
        let mut out = format!(
            "# Exchange: in the Exchange Management Shell, on each server that takes mail from {name}\n\
             New-ReceiveConnector -Name \"Stormpost\" -TransportRole FrontendTransport -Usage Custom -Bindings 0.0.0.0:25 `\n  \
             -RemoteIPRanges {address} -PermissionGroups AnonymousUsers -AuthMechanism Tls\n\
             # Many messages come from this one address: no brakes for it.\n\
             Set-ReceiveConnector -Identity \"$env:COMPUTERNAME\\Stormpost\" -TarpitInterval 00:00:00 `\n  \
             -MaxInboundConnection Unlimited -MaxInboundConnectionPerSource Unlimited `\n  \
             -MaxInboundConnectionPercentagePerSource 100 -MessageRateLimit Unlimited\n\
             # Its own filters look past {name} at the server before it.\n\
             Set-TransportConfig -InternalSMTPServers @{{Add=\"{address}\"}}\n\
             # Without greylisting and tarpitting in other products for this address; see docs/primary.md.\n"
        );
        if self.relay.is_some() {
            let _ = write!(
                out,
                "# It sends its own people's mail to others through us; the password is asked for:\n\
                 New-SendConnector -Name \"Through Stormpost\" -AddressSpaces \"SMTP:*;1\" -DNSRoutingEnabled $false `\n  \
                 -SmartHosts {name} -Port {} -SmartHostAuthMechanism BasicAuthRequireTLS `\n  \
                 -AuthenticationCredential (Get-Credential) -RequireTLS $true\n",
                self.submission
            );
        }
        out
    }

    fn m365(&self) -> String {
        let Us { name, address, .. } = self;
        format!(
            "# Microsoft 365: in PowerShell, after Connect-ExchangeOnline\n\
             # Mail from outside is taken from {name} only, known by its certificate: nobody walks round it. The certificate\n\
             # must be of a public authority; {name} shows it whenever it hands over mail with TLS.\n\
             New-InboundConnector -Name \"Stormpost\" -ConnectorType Partner -SenderDomains * -RequireTls $true `\n  \
             -RestrictDomainsToCertificate $true -TlsSenderCertificateName {name}\n\
             # Enhanced filtering: its own checks look past {name} at the server before it. List every address of ours.\n\
             Set-InboundConnector -Identity \"Stormpost\" -EFSkipLastIP $false -EFSkipIPs {address}\n\
             # What was marked as spam here goes to Junk there; {name} puts its line on top, and any other is from outside.\n\
             New-TransportRule -Name \"Marked by Stormpost\" -FromScope NotInOrganization -SetSCL 6 `\n  \
             -HeaderMatchesMessageHeader \"X-Spam-Status\" -HeaderMatchesPatterns \"^Yes, (rspamd|clamav|dnsbl|attachments)=\"\n\
             # Take away any rule that sets SCL -1 for {address}: it would switch Microsoft's filter off.\n\
             # To go round Stormpost, first: Set-InboundConnector -Identity \"Stormpost\" -Enabled $false\n\
             # Do not send outgoing mail through {name}: Microsoft's addresses and its certificate are those of all its\n\
             # customers, so nobody could tell you from them. Let it send by itself.\n"
        )
    }

    fn google(&self) -> String {
        let Us { name, address, .. } = self;
        format!(
            "# Google Workspace: admin.google.com > Apps > Google Workspace > Gmail > Spam, phishing and malware > Inbound gateway\n\
             1. Gateway IPs: add {address}\n\
             2. Automatically detect external IP: on. SPF, DMARC and the spam filter look past {name} at the server before it.\n\
             3. Require TLS for connections from the email gateways: on\n\
             4. Reject all mail not from gateway IPs: on only when the MX names {name} alone; off before you go round it\n\
             5. Message is considered spam if the following header regexp matches: ^X-Spam-Status: Yes, [a-z]+=\n\
             6. Save; it may take a day to hold everywhere.\n\
             Do not send outgoing mail through {name}: Google's addresses are those of all its customers, so nobody could tell\n\
             you from them. Let it send by itself.\n"
        )
    }
}

/// Which kinds a primary is likely of: what is told when nobody says.
pub(crate) fn likely(primary: &PrimarySettings) -> Vec<PrimaryKind> {
    let host = match &primary.deliver.place {
        ServerPlace::Host(host, _) => host.to_lowercase(),
        ServerPlace::Local(_) => return vec![PrimaryKind::Dovecot],
    };
    let below = |name: &str| host == name || host.ends_with(&format!(".{name}"));
    if below("mail.protection.outlook.com") || below("mx.microsoft") {
        return vec![PrimaryKind::M365];
    }
    if below("google.com") || below("googlemail.com") {
        return vec![PrimaryKind::Google];
    }
    vec![PrimaryKind::Postfix, PrimaryKind::Dovecot]
}

/// `stormpost lines`.
#[derive(Clone, Debug, Args)]
pub struct LinesArguments {
    /// What kind of mail system it is; more than one may be said [default: guessed by its host].
    #[arg(value_enum, value_name = "KIND")]
    kinds: Vec<PrimaryKind>,
    /// Which primary, where there are several.
    #[arg(long, value_name = "ID")]
    primary: Option<String>,
    /// The address that we connect to it from.
    #[arg(long, value_name = "IP", default_value = NO_ADDRESS)]
    address: String,
}

/// The lines of one kind, for programs.
#[derive(Serialize)]
struct Told {
    primary: String,
    kind: String,
    lines: String,
}

pub(crate) fn run(desk: &Desk, arguments: &LinesArguments) -> Ended {
    let configuration = desk.configuration()?;
    let wanted = |primary: &&PrimarySettings| arguments.primary.as_ref().is_none_or(|id| *id == primary.id.0);
    let mut told = Vec::new();
    for primary in configuration.primaries.iter().filter(wanted) {
        let us = Us::of(&configuration, primary, &arguments.address);
        let kinds = if arguments.kinds.is_empty() { likely(primary) } else { arguments.kinds.clone() };
        for kind in kinds {
            let lines = us.lines(kind);
            desk.output.text(&format!("{lines}\n"));
            let kind = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            told.push(Told { primary: primary.id.0.clone(), kind, lines });
        }
    }
    if told.is_empty() {
        let words = match &arguments.primary {
            Some(id) => format!("there is no primary {id:?} in the configuration"),
            None => {
                "there is no primary in the configuration, so nothing has to be pasted anywhere".to_owned()
            }
        };
        return Err(words.into());
    }
    desk.output.value(&told);
    Ok(code::WELL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn configuration(host: &str, more: &str) -> Configuration {
        let text = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[listen]\nsmtp = \"127.0.0.1:25\"\n\
             submission = \"127.0.0.1:587\"\n[[domain]]\nname = \"example.org\"\nprimary = \"hq\"\n[[primary]]\nid = \"hq\"\n\
             [primary.deliver]\nhost = \"{host}\"\n{more}"
        );
        Configuration::parse(Path::new("/etc/s/stormpost.toml"), text).unwrap().0
    }

    fn lines(kind: PrimaryKind, more: &str) -> String {
        let configuration = configuration("mail.example.org", more);
        Us::of(&configuration, &configuration.primaries[0], "192.0.2.25").lines(kind)
    }

    /// The page has every line as it is printed: whoever changes one sees what changes for people.
    #[test]
    fn the_page_of_lines_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/primary.md");
        let kept = std::fs::read_to_string(&path).unwrap();
        let (head, _) = kept.split_once("<!-- lines -->\n").expect("the page has a place for them");
        let mut page = format!("{head}<!-- lines -->\n");
        for kind in PrimaryKind::value_variants() {
            let name = kind.to_possible_value().unwrap();
            let _ = write!(
                page,
                "\n### {}\n\n```\n{}```\n",
                name.get_name(),
                lines(*kind, "[primary.relay]\nuser = \"relay\"\npassword_file = \"relay.password\"\n")
            );
        }
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept == page, "docs/primary.md is not what is printed; run the tests with WRITE_DOCS=1");
    }

    #[test]
    fn relaying_is_told_by_the_proof_that_is_configured() {
        let told = |more: &str| lines(PrimaryKind::Postfix, more);
        assert!(!told("").contains("relayhost"));
        let address = told("[primary.relay]\naddresses = [\"192.0.2.10\"]\n");
        assert!(address.contains("relayhost = [mx.example.org]:25") && !address.contains("cert_file"));
        let print = "00".repeat(32);
        let certificate = told(&format!("[primary.relay]\nfingerprints = [\"{print}\"]\n"));
        assert!(certificate.contains("smtp_tls_cert_file") && certificate.contains("level = encrypt"));
        let login = told("[primary.relay]\nuser = \"relay\"\npassword_file = \"relay.password\"\n");
        assert!(login.contains("relayhost = [mx.example.org]:587") && login.contains("relay:THE-PASSWORD"));
        for kind in PrimaryKind::value_variants() {
            let text = lines(*kind, "");
            assert!(text.contains("192.0.2.25") && text.contains("mx.example.org"), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 130), "{text}");
        }
    }

    #[test]
    fn the_kind_is_guessed_by_its_host() {
        for (host, expected) in [
            ("example-org.mail.protection.outlook.com", vec![PrimaryKind::M365]),
            ("smtp.google.com", vec![PrimaryKind::Google]),
            ("evilgoogle.com", vec![PrimaryKind::Postfix, PrimaryKind::Dovecot]),
        ] {
            assert_eq!(likely(&configuration(host, "").primaries[0]), expected, "{host}");
        }
    }
}
