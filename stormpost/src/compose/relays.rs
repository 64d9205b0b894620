//! Which mail systems of record may send to others through us, out of the configuration.

use crate::configuration::{Configuration, PrimarySettings, RelaySettings};
use roads_accept::{RelayParts, authority};
use rustls::pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// A password that a machine keeps may be long, and guessing it is not slowed down by anybody's patience.
const PASSWORD_MIN: usize = 16;

/// Every primary that may relay, with those of its proofs that can be used. What cannot be used proves nothing, is told,
/// and stops no other mail.
pub fn relays(configuration: &Configuration) -> Vec<RelayParts> {
    let mut relays = Vec::new();
    for primary in &configuration.primaries {
        let Some(settings) = &primary.relay else { continue };
        let (parts, wrong) = relay(primary, settings);
        for why in wrong {
            tracing::error!(primary = %primary.id, %why, "a proof for relaying cannot be used");
        }
        relays.push(parts);
    }
    relays
}

/// One primary's proofs, and what is wrong with the others.
pub fn relay(primary: &PrimarySettings, settings: &RelaySettings) -> (RelayParts, Vec<String>) {
    let mut wrong = Vec::new();
    let mut usable = |result: Result<_, String>| match result {
        Ok(usable) => Some(usable),
        Err(why) => {
            wrong.push(why);
            None
        }
    };
    let login = settings.login.as_ref().map(|login| {
        let password = login.password.read()?.expose().to_owned();
        match password.chars().count() {
            PASSWORD_MIN.. => Ok((login.user.clone(), password)),
            short => Err(format!(
                "the password of {:?} has {short} characters; it needs {PASSWORD_MIN}: openssl rand -base64 24",
                login.user
            )),
        }
    });
    let login = login.and_then(&mut usable);
    let authority = settings.authority.as_ref().and_then(|(file, names)| {
        let read = || {
            let pem = std::fs::read(file).map_err(|e| e.to_string())?;
            let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            authority(&roots.map_err(|e| e.to_string())?)
        };
        match read() {
            Ok(authority) => {
                let names = names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok()).collect();
                Some((authority, names))
            }
            Err(why) => {
                wrong.push(format!("{}: {why}", file.display()));
                None
            }
        }
    });
    let parts = RelayParts {
        primary: primary.id.clone(),
        addresses: settings.addresses.clone(),
        fingerprints: settings.fingerprints.clone(),
        authority,
        login,
    };
    (parts, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn what_proves_nothing_is_told_and_the_rest_holds() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        put("short", "secret\n");
        put("long", "a long secret of machines\n");
        put("ca.pem", "no certificate\n");
        let read = |file: &str| {
            let text = format!(
                "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[[domain]]\nname = \"example.org\"\nprimary = \"hq\"\n\
                 [[primary]]\nid = \"hq\"\n[primary.deliver]\nhost = \"mail.example.org\"\n[primary.relay]\n\
                 addresses = [\"192.0.2.1\"]\nuser = \"relay\"\npassword_file = \"{file}\"\n\
                 certificate_authority = \"ca.pem\"\ncertificate_names = [\"a.example\"]\n"
            );
            let path = folder.path().join("stormpost.toml");
            let (configuration, _) = Configuration::parse(Path::new(&path), text).unwrap();
            let primary = &configuration.primaries[0];
            let (parts, wrong) = relay(primary, primary.relay.as_ref().unwrap());
            (parts, wrong.join("\n"))
        };
        for (file, words) in [("short", "it needs 16"), ("missing", "missing")] {
            let (parts, wrong) = read(file);
            assert!(parts.login.is_none() && wrong.contains(words) && wrong.contains("ca.pem"), "{wrong}");
            assert_eq!(parts.addresses.len(), 1);
        }
        let (parts, wrong) = read("long");
        assert_eq!(parts.login.unwrap().1, "a long secret of machines");
        assert!(!wrong.contains("it needs"), "{wrong}");
    }
}
