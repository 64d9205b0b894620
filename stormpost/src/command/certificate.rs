//! The certificates: what they say, and renewing them.

use super::{Desk, Ended, code, moment};
use crate::certificates::{CertificateState, Source, states};
use crate::configuration::AcmeChallenge;
use crate::control::protocol::Request;
use clap::{Args, Subcommand};
use words_mail::Time;

/// The certificates that are shown at the doors.
#[derive(Debug, Subcommand)]
pub enum CertificateVerb {
    /// For which names they are, who signed them, until when, where they come from and when they are renewed.
    #[command(
        long_about = "For which names each certificate is, who signed it, until when it is good, whether it is the one that \
                      is shown at the doors, where it comes from, and when it is renewed. Works without a running node. \
                      Exit code 4 when a person should see to something.",
        after_long_help = "Example:\n  stormpost certificate show --json"
    )]
    Show,
    /// Fetch a new certificate from the authority.
    #[command(
        long_about = "Says what would be asked of whom; with --now it is done, whatever the plan says: after a change of names \
                      or of the DNS, or to try out a configuration. The old certificate stays in use when it fails.",
        after_long_help = "Examples:\n  stormpost certificate renew\n  stormpost certificate renew --now"
    )]
    Renew(RenewArguments),
}

/// `stormpost certificate renew`.
#[derive(Clone, Copy, Debug, Args)]
pub struct RenewArguments {
    /// Do it; without this nothing is asked of anybody.
    #[arg(long)]
    pub now: bool,
}

pub(super) fn run(desk: &Desk, verb: CertificateVerb) -> Ended {
    match verb {
        CertificateVerb::Show => show(desk),
        CertificateVerb::Renew(RenewArguments { now: true }) => {
            let (_, words) = desk.call(Request::CertificateRenew)?;
            Ok(desk.done(&words))
        }
        CertificateVerb::Renew(_) => plan(desk),
    }
}

fn show(desk: &Desk) -> Ended {
    let configuration = desk.configuration()?;
    let (states, now) = (states(&configuration), desk.now());
    desk.output.value(&states);
    let rows: Vec<Vec<String>> = states.iter().map(|state| row(state, now)).collect();
    let heads = ["names", "signed by", "good until", "shown", "from", "next renewal"];
    desk.output.table(&heads, &rows);
    let mut well = true;
    for (_, words) in states.iter().filter_map(|state| state.trouble(now)) {
        well = false;
        desk.output.say(&words);
    }
    Ok(if well { code::WELL } else { code::FOUND })
}

fn row(state: &CertificateState, now: Time) -> Vec<String> {
    let fault = || state.fault.clone().unwrap_or_default();
    let (names, issuer, until) = match &state.facts {
        Some(facts) => (facts.names.join(" "), facts.issuer.clone(), moment(facts.not_after)),
        None => (fault(), "-".to_owned(), "-".to_owned()),
    };
    let from = match state.source {
        Source::Files => format!("the file {}", state.file.display()),
        Source::Acme => "the authority".to_owned(),
        Source::Own => "this node".to_owned(),
    };
    let renewal = match (state.source, state.next_renewal) {
        (Source::Acme, Some(at)) if at <= now => "now".to_owned(),
        (Source::Acme, Some(at)) => moment(at),
        (Source::Acme, None) => "when the node runs".to_owned(),
        (Source::Files, _) => "not by Stormpost".to_owned(),
        (Source::Own, _) => "never".to_owned(),
    };
    vec![names, issuer, until, if state.shown { "yes" } else { "no" }.to_owned(), from, renewal]
}

/// What would be done.
fn plan(desk: &Desk) -> Ended {
    let configuration = desk.configuration()?;
    let Some(acme) = &configuration.acme else {
        return Err(
            "there is no [tls.acme] in the configuration, so nothing here fetches certificates".into()
        );
    };
    let places = |at: &[std::net::SocketAddr]| {
        let places: Vec<String> = at.iter().map(ToString::to_string).collect();
        places.join(", ")
    };
    let (way, how) = match &acme.challenge {
        AcmeChallenge::Http(at) => {
            ("http-01", format!("answered on {}, reached as port 80 of each name", places(at)))
        }
        AcmeChallenge::TlsAlpn(at) => {
            ("tls-alpn-01", format!("answered on {}, reached as port 443 of each name", places(at)))
        }
        AcmeChallenge::Dns(program, _) => ("dns-01", format!("by the program {}", program.display())),
    };
    desk.output.value(&serde_json::json!({
        "names": acme.names, "directory": acme.directory, "challenge": way, "done": false,
    }));
    desk.output.say(&format!("would ask {} for a certificate for {}", acme.directory, acme.names.join(", ")));
    desk.output.say(&format!("the names are proved by {way}, {how}"));
    desk.output.say("nothing was asked of anybody; with --now it is done");
    Ok(code::WELL)
}
