//! The way to the authority: the library's requests by our own connections.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::fmt::Write as _;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_primary::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use words_world::{HttpAnswer, Stream, Url, World};

/// How long a connection or a handshake may take.
const CONNECT: Duration = Duration::from_secs(15);
/// How long one request with its answer may take.
const REQUEST: Duration = Duration::from_secs(60);
/// The longest answer, bytes; a certificate chain has some thousand.
const ANSWER_MAX: usize = 1 << 20;
/// Addresses of the authority that are tried.
const ADDRESSES_MAX: usize = 4;

/// Connections to the authority, one for each request. Cheap to clone.
#[derive(Clone)]
pub(super) struct Web {
    world: World,
    tls: Tls,
    /// How long the authority wants to hear nothing, as it said when it last refused.
    wait: Arc<Mutex<Option<Duration>>>,
}

impl Web {
    pub(super) fn new(world: World, tls: Tls) -> Web {
        Web { world, tls, wait: Arc::default() }
    }

    /// How long the authority asked us to wait, in an answer that refused something since this was asked last.
    pub(super) fn asked_to_wait(&self) -> Option<Duration> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let (parts, body) = request.into_parts();
        let text = parts.uri.to_string();
        let url =
            Url::parse(&text).map_err(|why| format!("the authority named the address {text}: {why}"))?;
        if !url.tls {
            return Err(format!("the authority named the address {text}, which is not https"));
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            parts.method,
            url.target,
            url.authority(),
            body.len()
        );
        for (name, value) in &parts.headers {
            let value = value.to_str().map_err(|_| format!("{name} is no text"))?;
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let mut answer = match parts.method.as_str() {
            "HEAD" => HttpAnswer::to_head(),
            _ => HttpAnswer::new(ANSWER_MAX),
        };
        let (status, body) = self.say(&url, &head, &body, &mut answer).await.map_err(|why| {
            let place = url.authority();
            format!("{place}: {why}")
        })?;
        let mut response = Response::builder().status(status);
        for (name, value) in answer.fields() {
            response = response.header(name, value);
            if status >= 400 && name.eq_ignore_ascii_case("retry-after") {
                let seconds = value.parse().ok().map(Duration::from_secs);
                *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
            }
        }
        let response = response.body(BodyWrapper::from(body)).map_err(|why| why.to_string())?;
        Ok(BytesResponse::from(response))
    }

    async fn say(
        &self,
        url: &Url,
        head: &str,
        body: &[u8],
        answer: &mut HttpAnswer,
    ) -> Result<(u16, Vec<u8>), String> {
        let mut stream = self.connect(url).await?;
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        sent.await.map_err(|why| format!("while sending: {why}"))?;
        let mut piece = [0; 8_192];
        loop {
            // Some servers end TLS without saying so; what is whole by its length is whole.
            let (read, ended) = match stream.read(&mut piece).await {
                Ok(read) => (read, read == 0),
                Err(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => (0, true),
                Err(why) => return Err(format!("while waiting for the answer: {why}")),
            };
            answer.push(&piece[..read]);
            if let Some(whole) = answer.whole(ended)? {
                return Ok(whole);
            }
        }
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, String> {
        let addresses = match url.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = timeout(CONNECT, self.world.names.addresses(&url.host)).await;
                found.map_err(|_| "the DNS is too slow".to_owned())?.map_err(|why| why.to_string())?
            }
        };
        let mut why = "it has no address".to_owned();
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let to = SocketAddr::new(address, url.port);
            let open = async {
                let stream = self.world.net.connect(to).await.map_err(|why| format!("{to}: {why}"))?;
                self.tls.connect(&url.host, stream).await
            };
            match timeout(CONNECT, open).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error,
                Err(_) => why = format!("{to}: no connection in time"),
            }
        }
        Err(why)
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let web = self.clone();
        Box::pin(async move {
            let done = timeout(REQUEST, web.exchange(request)).await;
            let done = done.unwrap_or_else(|_| Err("the authority gives no answer".to_owned()));
            done.map_err(|why| Error::Other(why.into()))
        })
    }
}
