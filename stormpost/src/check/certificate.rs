//! Whether a certificate could be fetched as the configuration says.

use super::{error, is_running, others_may_read, secret, trust, warning};
use crate::certificates::{CertificateFiles, Facts};
use crate::configuration::{AcmeChallenge, AcmeSettings, Configuration, Fault, reason};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

pub(super) fn look(configuration: &Configuration, acme: &AcmeSettings, found: &mut Vec<Fault>) {
    trust(&acme.trust, found);
    if let Some((_, key)) = &acme.customer {
        secret(key, found);
    }
    if acme.contact.is_none() {
        let words = "the authority knows nobody to write to when something is wrong with the certificate";
        found.push(warning(
            words,
            "add contact = \"…\" to [tls.acme], an address that is not behind the primary",
        ));
    }
    match &acme.challenge {
        AcmeChallenge::Dns(program, _) => match fs::metadata(program) {
            Err(why) => found.push(error(
                format!("the program for the DNS, {}: {}", program.display(), reason(&why)),
                "put it there, or choose another challenge",
            )),
            Ok(facts) if facts.permissions().mode() & 0o111 == 0 => found.push(error(
                format!("the program for the DNS, {}, cannot be run", program.display()),
                format!("run: chmod 755 {}", program.display()),
            )),
            Ok(facts) if facts.permissions().mode() & 0o002 != 0 => found.push(error(
                format!(
                    "the program for the DNS, {}, can be changed by everybody on this machine",
                    program.display()
                ),
                format!("run: chmod 755 {}", program.display()),
            )),
            Ok(_) => {}
        },
        AcmeChallenge::Http(places) | AcmeChallenge::TlsAlpn(places) => {
            for at in places {
                let why = match TcpListener::bind(at) {
                    // A node that runs may be answering the authority at this moment.
                    Err(why) if !is_running(&configuration.control_socket()) => why,
                    _ => continue,
                };
                let hint = "something else listens there, or this user may not; name another place, or choose dns-01";
                found.push(warning(format!("the authority cannot be answered on {at}: {why}"), hint));
            }
        }
    }
    let file = CertificateFiles::fetched(&configuration.node.data).certificate;
    if file.exists() {
        others_may_read(&file, "the certificate with its private key", found);
        if let Err(why) = Facts::of_file(&file) {
            found.push(error(why, format!("remove {}, and a new one is fetched", file.display())));
        }
    }
}
