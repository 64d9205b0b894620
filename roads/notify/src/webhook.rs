//! By webhook: one HTTP/1.1 `POST` of JSON, on a connection of its own (RFC 9112).

use crate::courier::{Courier, NotTaken};
use crate::words::Letter;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stores_primary::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use words_world::{Boxed, HttpAnswer, Stream, World};

pub use words_world::Url;

/// How long a connection or a handshake may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

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

/// The status of the final answer.
async fn status(stream: &mut Box<dyn Stream>) -> Result<u16, String> {
    let mut answer = HttpAnswer::new(0);
    let mut piece = [0; 1024];
    loop {
        if let Some(status) = answer.status()? {
            return Ok(status);
        }
        let read = stream.read(&mut piece).await.map_err(|e| format!("while waiting for the answer: {e}"))?;
        if read == 0 {
            return Err("it closed the connection without an answer".to_owned());
        }
        answer.push(&piece[..read]);
    }
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
