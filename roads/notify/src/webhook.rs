//! By webhook: one HTTP/1.1 `POST` of JSON, on a connection of its own (RFC 9112).

use crate::courier::{Courier, NotTaken};
use crate::words::Letter;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stores_primary::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use words_world::{Boxed, Stream, World};

/// The answer's first bytes that are read; only its status line counts.
const ANSWER_MAX: usize = 8 * 1024;
/// How long a connection or a handshake may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
    target: String,
}

impl Url {
    /// Reads `https://host[:port]/path?query` (or `http://`).
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("a webhook's address begins with https:// or http://"),
        };
        if !text.bytes().all(|b| (33..127).contains(&b)) {
            return Err("a webhook's address has no spaces and no letters outside ASCII");
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(cut);
        if authority.contains('@') {
            return Err("a webhook's address carries no user name; put the secret into its path");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| "the port of a webhook's address is not a number")?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        if host.is_empty() {
            return Err("a webhook's address has no host");
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { tls, host, port, target })
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// A way to one webhook.
pub struct WebhookCourier {
    world: World,
    tls: Tls,
    url: Url,
    shown: String,
}

impl WebhookCourier {
    /// A way to `url`, over TLS that is prepared to believe whom it should.
    pub fn new(world: World, tls: Tls, url: Url) -> WebhookCourier {
        // The path is often the secret. Its hash tells two webhooks of one host apart.
        let hash = blake3::hash(url.target.as_bytes()).to_hex();
        let shown = format!("{}#{}", url.authority(), &hash[..6]);
        WebhookCourier { world, tls, url, shown }
    }

    async fn post(&self, letter: &Letter) -> Result<(), String> {
        let mut stream = self.connect().await?;
        let body = letter.json.to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stormpost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nIdempotency-Key: {}\r\nConnection: close\r\n\r\n",
            self.url.target,
            self.url.authority(),
            body.len(),
            letter.id
        );
        let write = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.flush().await
        };
        let written = timeout(ANSWER, write).await;
        written.map_err(|_| "it does not read".to_owned())?.map_err(|e| format!("while sending: {e}"))?;
        let status =
            timeout(ANSWER, status(&mut stream)).await.map_err(|_| "no answer in time".to_owned())??;
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("it answered with status {status}")) }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let addresses = match self.url.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = timeout(CONNECT, self.world.names.addresses(&self.url.host)).await;
                found.map_err(|_| "the DNS is too slow".to_owned())?.map_err(|e| e.to_string())?
            }
        };
        let mut why = format!("{} has no address", self.url.host);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let to = SocketAddr::new(address, self.url.port);
            let stream = match timeout(CONNECT, self.world.net.connect(to)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    why = format!("{to}: {error}");
                    continue;
                }
                Err(_) => {
                    why = format!("{to}: no connection in time");
                    continue;
                }
            };
            if !self.url.tls {
                return Ok(stream);
            }
            match timeout(CONNECT, self.tls.connect(&self.url.host, stream)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error,
                Err(_) => why = format!("{to}: no TLS handshake in time"),
            }
        }
        Err(why)
    }
}

/// The status of the final answer; those before it (1xx, RFC 9110 §15.2) are passed over.
async fn status(stream: &mut Box<dyn Stream>) -> Result<u16, String> {
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    loop {
        while let Some((code, rest)) = interim(&seen)? {
            if code / 100 != 1 {
                return Ok(code);
            }
            seen.drain(..rest);
        }
        let read = stream.read(&mut piece).await.map_err(|e| format!("while waiting for the answer: {e}"))?;
        if read == 0 {
            return Err("it closed the connection without an answer".to_owned());
        }
        seen.extend_from_slice(&piece[..read]);
        if seen.len() > ANSWER_MAX {
            return Err("its answer has no end of the header".to_owned());
        }
    }
}

/// A status line at the beginning of `seen`, once it is whole, and where its header ends. Of a final answer the end
/// of the header need not have come.
fn interim(seen: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let Some(line) = seen.iter().position(|b| *b == b'\n') else { return Ok(None) };
    let text = String::from_utf8_lossy(&seen[..line]);
    let mut words = text.split_ascii_whitespace();
    let version = words.next().unwrap_or_default();
    let code = words.next().and_then(|code| code.parse::<u16>().ok());
    let code = match code {
        Some(code) if version.starts_with("HTTP/1.") && (100..600).contains(&code) => code,
        _ => return Err("its answer is not HTTP/1.1".to_owned()),
    };
    if code / 100 != 1 {
        return Ok(Some((code, seen.len())));
    }
    let end = seen.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    Ok(end.map(|end| (code, end)))
}

impl Courier for WebhookCourier {
    fn send<'a>(&'a self, letter: &'a Letter) -> Boxed<'a, Result<(), NotTaken>> {
        // What is set up wrong today may be right after somebody's hand in a minute, so nothing is for good.
        Box::pin(async move { self.post(letter).await.map_err(|why| NotTaken { why, for_good: false }) })
    }

    fn channel(&self) -> &'static str {
        "webhook"
    }

    fn to(&self) -> &str {
        &self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_webhooks_are_read_or_refused_with_words() {
        let url = |tls, host: &str, port, target: &str| {
            Ok(Url { tls, host: host.into(), port, target: target.into() })
        };
        for (text, read) in [
            ("https://hooks.example.org/a/b?c=d#e", url(true, "hooks.example.org", 443, "/a/b?c=d")),
            ("http://LOCALHOST:8080", url(false, "localhost", 8080, "/")),
            ("https://[2001:db8::1]:444/x", url(true, "2001:db8::1", 444, "/x")),
            ("https://[2001:db8::1]", url(true, "2001:db8::1", 443, "/")),
            ("http://h?x", url(false, "h", 80, "/?x")),
        ] {
            assert_eq!(Url::parse(text), read, "{text}");
        }
        for text in
            ["", "ftp://x", "https://", "https://user:pw@x/", "https://x:port/", "https://x/a b\r\nHost: y"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_status_line_is_read_as_it_comes() {
        assert_eq!(interim(b"HTTP/1.1 20"), Ok(None));
        assert_eq!(interim(b"HTTP/1.1 204 No Content\r\n").map(|s| s.map(|s| s.0)), Ok(Some(204)));
        assert_eq!(interim(b"HTTP/1.1 100 Continue\r\n"), Ok(None));
        assert_eq!(interim(b"HTTP/1.1 100 Continue\r\n\r\nHTTP"), Ok(Some((100, 25))));
        for text in ["SSH-2.0-x\r\n", "HTTP/1.1 abc\r\n", "\n", "HTTP/2 200\n"] {
            assert!(interim(text.as_bytes()).is_err(), "{text}");
        }
    }
}
