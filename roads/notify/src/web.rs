//! One HTTP/1.1 request on a connection of its own (RFC 9112), every step bounded in time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stores_primary::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use words_world::{HttpAnswer, Stream, Url, World};

/// How long a connection or a handshake may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// What a web server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Its `Date:` field, as it is.
    pub date: Option<String>,
    /// The body, when it was asked for.
    pub body: Vec<u8>,
}

impl Answered {
    /// Whether it says yes.
    ///
    /// # Errors
    /// Its status, in words.
    pub fn yes(&self) -> Result<(), String> {
        match self.status {
            200..300 => Ok(()),
            status => Err(format!("it answered with status {status}")),
        }
    }
}

/// Asks web servers.
#[derive(Clone)]
pub struct Web {
    world: World,
    tls: Tls,
}

impl Web {
    /// Over TLS that is prepared to believe whom it should.
    pub fn new(world: World, tls: Tls) -> Web {
        Web { world, tls }
    }

    /// Fetches what is there, at most so many octets.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub async fn get(&self, url: &Url, most: usize) -> Result<Answered, String> {
        self.ask("GET", url, "", &[], HttpAnswer::new(most)).await
    }

    /// Asks for the header alone.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub async fn head(&self, url: &Url) -> Result<Answered, String> {
        self.ask("HEAD", url, "", &[], HttpAnswer::to_head()).await
    }

    /// Hands something over; the answer counts as soon as its status is there. `fields` are lines of the header, each with its
    /// end.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub async fn post(&self, url: &Url, fields: &str, body: &[u8]) -> Result<u16, String> {
        let mut stream = self.send("POST", url, fields, body).await?;
        let mut answer = HttpAnswer::new(0);
        let status = async {
            loop {
                if let Some(status) = answer.status()? {
                    return Ok(status);
                }
                if !listen(&mut stream, &mut answer).await? {
                    return Err("it closed the connection without an answer".to_owned());
                }
            }
        };
        timeout(ANSWER, status).await.map_err(|_| "no answer in time".to_owned())?
    }

    async fn ask(
        &self,
        method: &str,
        url: &Url,
        fields: &str,
        body: &[u8],
        mut answer: HttpAnswer,
    ) -> Result<Answered, String> {
        let mut stream = self.send(method, url, fields, body).await?;
        let whole = async {
            loop {
                if let Some(whole) = answer.whole(false)? {
                    return Ok(whole);
                }
                if !listen(&mut stream, &mut answer).await? {
                    return answer.whole(true)?.ok_or_else(|| "it closed the connection".to_owned());
                }
            }
        };
        let whole = timeout(ANSWER, whole).await.map_err(|_| "no answer in time".to_owned())?;
        let (status, body) = whole?;
        let mut fields = answer.fields();
        let date =
            fields.find(|(name, _)| name.eq_ignore_ascii_case("date")).map(|(_, date)| date.to_owned());
        Ok(Answered { status, date, body })
    }

    async fn send(
        &self,
        method: &str,
        url: &Url,
        fields: &str,
        body: &[u8],
    ) -> Result<Box<dyn Stream>, String> {
        let mut stream = self.connect(url).await?;
        let length = match method {
            "POST" => format!("Content-Length: {}\r\n", body.len()),
            _ => String::new(),
        };
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stormpost\r\n{fields}{length}Connection: close\r\n\r\n",
            url.target,
            url.authority(),
        );
        let write = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        let written = timeout(ANSWER, write).await;
        written.map_err(|_| "it does not read".to_owned())?.map_err(|e| format!("while sending: {e}"))?;
        Ok(stream)
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, String> {
        let addresses = match url.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = timeout(CONNECT, self.world.names.addresses(&url.host)).await;
                found.map_err(|_| "the DNS is too slow".to_owned())?.map_err(|e| e.to_string())?
            }
        };
        let mut why = format!("{} has no address", url.host);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let to = SocketAddr::new(address, url.port);
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
            if !url.tls {
                return Ok(stream);
            }
            match timeout(CONNECT, self.tls.connect(&url.host, stream)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error,
                Err(_) => why = format!("{to}: no TLS handshake in time"),
            }
        }
        Err(why)
    }
}

/// Takes in what comes next; `false` at the end.
async fn listen(stream: &mut Box<dyn Stream>, answer: &mut HttpAnswer) -> Result<bool, String> {
    let mut piece = [0; 4096];
    let read = stream.read(&mut piece).await.map_err(|e| format!("while waiting for the answer: {e}"))?;
    answer.push(&piece[..read]);
    Ok(read > 0)
}
