//! Whether mail can leave this machine by itself: many providers block port 25, and then everything people send in an outage
//! would wait here.

use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Servers that everybody can reach, of different organisations: one that answers is enough.
pub(crate) const WELL_KNOWN: [&str; 3] = [
    "gmail-smtp-in.l.google.com:25",
    "outlook-com.olc.protection.outlook.com:25",
    "mx-aol.mail.gm0.yahoodns.net:25",
];

/// How long one server may take to be found, to be connected to, and to greet.
const PATIENCE: Duration = Duration::from_secs(4);
/// Servers that are tried at most.
const SERVERS_MAX: usize = 8;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outward {
    /// This server greeted.
    Open(String),
    /// None did; each with the reason.
    Blocked(Vec<String>),
    /// Nobody was tried.
    Untried,
}

/// Tries to reach mail servers (`HOST:PORT`), all at once. Returns when the first has greeted, or all have failed.
pub(crate) fn look(servers: &[String]) -> Outward {
    let servers: Vec<String> =
        servers.iter().filter(|server| *server != "none").take(SERVERS_MAX).cloned().collect();
    if servers.is_empty() {
        return Outward::Untried;
    }
    let (tell, hear) = mpsc::channel();
    for server in servers.clone() {
        let tell = tell.clone();
        thread::spawn(move || {
            let greeted = greets(&server);
            let _ = tell.send((server, greeted));
        });
    }
    drop(tell);
    let mut failed = Vec::new();
    // A resolver may take longer than anybody should wait for.
    while let Ok((server, greeted)) = hear.recv_timeout(PATIENCE * 3) {
        match greeted {
            Ok(()) => return Outward::Open(server),
            Err(why) => failed.push(format!("{server}: {why}")),
        }
    }
    if failed.is_empty() {
        failed.extend(servers.iter().map(|server| format!("{server}: no answer")));
    }
    failed.sort();
    Outward::Blocked(failed)
}

fn greets(server: &str) -> Result<(), String> {
    let addresses = server.to_socket_addrs().map_err(|e| format!("no address ({e})"))?;
    let mut last = "no address".to_owned();
    for address in addresses.take(2) {
        let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(e) => {
                last = format!("{} ({e})", address.ip());
                continue;
            }
        };
        let mut banner = [0; 3];
        let read = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.read_exact(&mut banner));
        match read {
            // Some providers answer in the place of others; what is no mail server's greeting is none.
            Ok(()) if &banner == b"220" || &banner == b"554" => return Ok(()),
            Ok(()) => last = format!("{}: no mail server answers", address.ip()),
            Err(e) => last = format!("{}: no greeting ({e})", address.ip()),
        }
    }
    Err(last)
}

/// The lines of a smart host, for the configuration.
pub(crate) const SMART_HOST: &str = "[outbound.smart_host]\nhost = \"smtp.provider.example\"\nport = 587\n\
                                     user = \"…\"\npassword_file = \"smart-host.password\"\n";

/// What is said about it at the beginning.
pub(super) fn words(seen: &Outward) -> String {
    match seen {
        Outward::Untried => String::new(),
        Outward::Open(server) => format!("port 25 to the internet is open: {server} answered\n"),
        Outward::Blocked(failed) => format!(
            "port 25 to the internet is blocked from this machine; none of these answered:\n   {}\n\
             What people send in an outage could not leave. Ask the provider to open it, or use a smart host; the lines for\n\
             the configuration:\n\n{SMART_HOST}\n",
            failed.join("\n   ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    fn server(banner: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(banner.as_bytes());
            }
        });
        at
    }

    #[test]
    fn one_server_that_greets_is_enough_and_silence_comes_with_the_lines_of_a_smart_host() {
        let good = server("220 mx.example ESMTP\r\n");
        let portal = server("HTTP/1.1 302 Found\r\n");
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let seen = look(&[closed.clone(), portal.clone(), good.clone()]);
        assert_eq!(seen, Outward::Open(good));
        assert!(words(&seen).contains("is open"));
        let seen = look(&[closed.clone(), portal]);
        let Outward::Blocked(failed) = &seen else { panic!("{seen:?}") };
        assert_eq!(failed.len(), 2);
        let said = words(&seen);
        assert!(
            said.contains("is blocked") && said.contains("[outbound.smart_host]") && said.contains(&closed),
            "{said}"
        );
        assert!(said.contains("no mail server answers"), "{said}");
        assert_eq!(look(&["none".to_owned()]), Outward::Untried);
        assert!(matches!(look(&["nowhere.invalid:25".to_owned()]), Outward::Blocked(_)));
    }
}
