//! A client's side of SMTP, for those outside. It shares no code with the product.

use crate::net::Host;
use crate::sender::Sent;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use words_world::{Net, Stream};

/// A connection.
pub type Wire = BufStream<Box<dyn Stream>>;

/// What the other side said in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// It has it.
    Yes,
    /// It will never take it.
    Never,
}

/// What is said before an answer is heard.
pub enum Line<'a> {
    /// Nothing: the other side speaks first.
    Silent,
    /// A command.
    Says(&'a str),
}

/// A single step of the dialogue may take so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a connection.
///
/// # Errors
/// When nobody answers.
pub async fn begin(host: &Host, to: SocketAddr) -> io::Result<Wire> {
    Ok(BufStream::new(host.connect(to).await?))
}

/// Opens a connection that is encrypted from the first byte.
///
/// # Errors
/// When nobody answers, or the handshake fails.
pub async fn begin_tls(host: &Host, to: SocketAddr) -> io::Result<Wire> {
    let name = rustls::pki_types::ServerName::try_from(NODE_NAME).map_err(io::Error::other)?;
    let connector = tokio_rustls::TlsConnector::from(tls().1.clone());
    let stream = host.connect(to).await?;
    let stream = tokio::time::timeout(PATIENCE, connector.connect(name, stream)).await;
    Ok(BufStream::new(Box::new(stream.map_err(|_| io::ErrorKind::TimedOut)??) as Box<dyn Stream>))
}

/// The name of the node in all lives.
pub const NODE_NAME: &str = "mx.company.example";

type BothSides = (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>);

/// The node's certificate, and a client that believes it; made once, for a key costs more than a life.
pub fn tls() -> &'static BothSides {
    static BOTH: OnceLock<BothSides> = OnceLock::new();
    BOTH.get_or_init(|| make_tls().unwrap_or_else(|why| panic!("no certificate for the simulation: {why}")))
}

fn make_tls() -> Result<BothSides, Box<dyn std::error::Error>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed([NODE_NAME.to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    // Tickets would be one more message whose moment is nobody's choice.
    server.send_tls13_tickets = 0;
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(made.cert.der().clone())?;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    Ok((Arc::new(server), Arc::new(client)))
}

/// Says something, if there is anything to say, and hears the whole answer; its code.
///
/// # Errors
/// When the connection breaks, nothing is heard in time, or the answer is not of the class that is wanted.
pub async fn say(wire: &mut Wire, line: Line<'_>, class: u16) -> io::Result<u16> {
    let code = ask(wire, line).await?;
    if code / 100 == class { Ok(code) } else { Err(io::Error::other(format!("answered {code}"))) }
}

async fn ask(wire: &mut Wire, line: Line<'_>) -> io::Result<u16> {
    let written = async {
        if let Line::Says(command) = line {
            wire.write_all(command.as_bytes()).await?;
            wire.write_all(b"\r\n").await?;
            wire.flush().await?;
        }
        io::Result::Ok(())
    };
    tokio::time::timeout(PATIENCE, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, wire.read_line(&mut line)).await;
        if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.get(..3).and_then(|c| c.parse().ok()).ok_or(io::ErrorKind::InvalidData.into());
        }
    }
}

/// One whole transaction.
///
/// # Errors
/// When it has to be tried again: nobody knows, or it was told to come later.
pub async fn send_message(wire: &mut Wire, sent: &Sent) -> io::Result<Spoken> {
    say(wire, Line::Says(&format!("MAIL FROM:<{}>", sent.from)), 2).await?;
    for to in &sent.to {
        match ask(wire, Line::Says(&format!("RCPT TO:<{to}>"))).await? {
            200..=299 => {}
            500..=599 => return Ok(Spoken::Never),
            code => return Err(io::Error::other(format!("RCPT answered {code}"))),
        }
    }
    say(wire, Line::Says("DATA"), 3).await?;
    let written = async {
        for line in sent.bytes.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                wire.write_all(b".").await?;
            }
            wire.write_all(line).await?;
        }
        io::Result::Ok(())
    };
    tokio::time::timeout(PATIENCE, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
    match ask(wire, Line::Says(".")).await? {
        200..=299 => Ok(Spoken::Yes),
        500..=599 => Ok(Spoken::Never),
        code => Err(io::Error::other(format!("the dot was answered {code}"))),
    }
}
