//! Asking the web servers of strangers: one request on a connection of its own, no redirects, no private addresses
//! (RFC 9112, RFC 8461 §3.3).

use crate::tls::{Proof, Tls, TlsFault, TlsTrouble};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use words_world::{HttpAnswer, NameError, Stream, Url, World};

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Whether an address may be one of a stranger's server: not of this machine, of a network at home, or of none.
pub fn is_public(address: IpAddr) -> bool {
    let v4 = match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => v4,
            None => {
                let [first, second, ..] = v6.segments();
                // Only what is handed out for the internet (2000::/3), without documentation (RFC 3849) and Teredo.
                return first & 0xe000 == 0x2000
                    && (first, second) != (0x2001, 0x0db8)
                    && (first, second) != (0x2001, 0);
            }
        },
    };
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        // 0.0.0.0/8, carriers' NAT, protocol assignments, benchmarks, multicast and what is above it (RFC 6890).
        || a == 0
        || (a, b & 0xc0) == (100, 64)
        || (a, b, c) == (192, 0, 0)
        || (a, b & 0xfe) == (198, 18)
        || a >= 224)
}

/// The address of the old internet inside one of the new: mapped (RFC 4291 §2.5.5.2), translated (RFC 6052), 6to4
/// (RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let s = v6.segments();
    let of = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        std::net::Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The server's certificate is not valid for its name.
    #[error("{0}")]
    NotProved(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAnswer {
    /// Its status.
    pub status: u16,
    /// What its body is, without parameters and in lower case; empty when it does not say.
    pub content_type: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// The way to web servers of strangers, always over TLS.
#[derive(Clone)]
pub struct Web {
    /// The outside.
    pub world: World,
    /// Whose certificates are believed.
    pub trust: Tls,
    /// Whether private addresses may be gone to. Only for trials and closed networks: a name in a stranger's DNS may point
    /// at services that are nobody's business.
    pub private: bool,
    /// The port in place of 443. Only for trials.
    pub port: Option<u16>,
}

impl Web {
    /// Fetches what stands at `url`, at most so many octets. The caller bounds the time.
    ///
    /// # Errors
    /// Why there is no answer. An answer of any status is one.
    pub async fn get(&self, url: &Url, most: usize) -> Result<WebAnswer, WebError> {
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stormpost\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
            url.target,
            url.authority()
        );
        self.ask(url, head.as_bytes(), &[], most).await
    }

    /// Hands `body` in at `url`, and gives the status. The caller bounds the time.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(&self, url: &Url, content_type: &str, body: &[u8]) -> Result<u16, WebError> {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stormpost\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            url.target,
            url.authority(),
            body.len()
        );
        // What it says beside the status is of no interest, but it is heard out so that it can say it.
        self.ask(url, head.as_bytes(), body, 64 * 1024).await.map(|answer| answer.status)
    }

    async fn ask(&self, url: &Url, head: &[u8], body: &[u8], most: usize) -> Result<WebAnswer, WebError> {
        let mut stream = self.connect(url).await?;
        let failed = |why: String| WebError::Failed(format!("{}: {why}", url.host));
        let write = async {
            stream.write_all(head).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        write.await.map_err(|e| failed(format!("while asking: {e}")))?;
        let mut answer = HttpAnswer::new(most);
        let mut piece = vec![0; 8 * 1024];
        loop {
            let read = stream.read(&mut piece).await;
            // Many servers end TLS by closing the connection.
            let read = match read {
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => 0,
                read => read.map_err(|e| failed(format!("while waiting for the answer: {e}")))?,
            };
            answer.push(&piece[..read]);
            if let Some((status, body)) = answer.whole(read == 0).map_err(failed)? {
                let named = answer.fields().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                let content_type = named.map(|(_, value)| value.split(';').next().unwrap_or_default());
                let content_type = content_type.unwrap_or_default().trim().to_ascii_lowercase();
                return Ok(WebAnswer { status, content_type, body });
            }
        }
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, WebError> {
        let failed = |why: String| WebError::Failed(format!("{}: {why}", url.host));
        if !url.tls {
            return Err(failed("only https is asked".to_owned()));
        }
        let addresses = match url.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                self.world.names.addresses(&url.host).await.map_err(|e: NameError| failed(e.to_string()))?
            }
        };
        let mut last = failed("it has no address".to_owned());
        // The address that was judged is the one that is gone to: nobody is asked for the name a second time.
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            if !self.private && !is_public(address) {
                last = failed(format!("its address {address} is a private one, and is not gone to"));
                continue;
            }
            let to = SocketAddr::new(address, self.port.unwrap_or(url.port));
            let stream = match self.world.net.connect(to).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = failed(format!("{to}: {error}"));
                    continue;
                }
            };
            match self.trust.connect_proved(&url.host, stream, &Proof::Valid, true).await {
                Ok((stream, _)) => return Ok(stream),
                Err(TlsTrouble { fault: TlsFault::Other, why }) => last = failed(why),
                Err(trouble) => last = WebError::NotProved(format!("{}: {trouble}", url.host)),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_is_known_in_every_dress() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("64:ff9b::808:808", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("198.19.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }
}
