//! The health page and the metrics, on `listen.http`, and nothing else.
//!
//! Who may reach the port may read both: no address of a person, no subject and no secret is on them. A request is one
//! line that is looked at and a header that is passed over, so no library stands behind it; every connection ends after
//! one answer.

mod health;
mod metrics;
#[cfg(test)]
mod tests;

use crate::control::answer::Answers;
use crate::edge::TakenIn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use words_world::{Listener, Stream};

/// Connections at a time; further ones wait at the door.
const CONNECTIONS_MAX: usize = 64;
/// The longest request with its header, bytes.
const REQUEST_MAX: usize = 8 * 1024;
/// How long a request may take to come.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take to leave.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The rest after an error at the door.
const REST: Duration = Duration::from_millis(200);

/// What the pages are made from.
#[derive(Clone)]
pub struct Pages {
    /// What commands are answered from.
    pub answers: Answers,
    /// What was done with mail that came in.
    pub taken: TakenIn,
}

/// One answer.
struct Page {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Page {
    fn words(status: &'static str, words: &str) -> Page {
        Page { status, kind: "text/plain; charset=utf-8", body: format!("{words}\n") }
    }
}

/// Serves the pages at every listener until `stop` says so.
pub async fn serve(pages: Pages, listeners: Vec<Box<dyn Listener>>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut doors = JoinSet::new();
    for listener in listeners {
        doors.spawn(attend(pages.clone(), listener, places.clone()));
    }
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn attend(pages: Pages, listener: Box<dyn Listener>, places: Arc<Semaphore>) {
    let mut open = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok(connected) => {
                let pages = pages.clone();
                open.spawn(async move {
                    converse(&pages, connected.stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, door = %listener.address(), "an HTTP connection was not accepted");
                sleep(REST).await;
            }
        }
        while open.try_join_next().is_some() {}
    }
}

async fn converse(pages: &Pages, mut stream: Box<dyn Stream>) {
    let Ok(request) = timeout(REQUEST_TIME, request(&mut stream)).await else { return };
    let (page, with_body) = match request {
        None => (Page::words("400 Bad Request", "that is no HTTP request that is understood here"), true),
        Some((method, path)) => answer(pages, &method, &path).await,
    };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        page.status,
        page.kind,
        page.body.len()
    );
    let _ = timeout(ANSWER_TIME, async {
        stream.write_all(head.as_bytes()).await?;
        if with_body {
            stream.write_all(page.body.as_bytes()).await?;
        }
        stream.shutdown().await
    })
    .await;
}

async fn answer(pages: &Pages, method: &str, path: &str) -> (Page, bool) {
    if !matches!(method, "GET" | "HEAD") {
        return (Page::words("405 Method Not Allowed", "only GET and HEAD"), true);
    }
    let pages = pages.clone();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let page = match path.as_str() {
        "/health" | "/metrics" => {
            let made = tokio::task::spawn_blocking(move || match path.as_str() {
                "/health" => health::page(&pages.answers),
                _ => metrics::page(&pages),
            });
            made.await.unwrap_or_else(|_| {
                Page::words("500 Internal Server Error", "the page was not made, by a fault of the program")
            })
        }
        _ => Page::words("404 Not Found", "there are /health and /metrics"),
    };
    (page, method == "GET")
}

/// Method and path of a request; `None` when it is none. The header is read to its end and passed over.
pub(crate) async fn request(stream: &mut Box<dyn Stream>) -> Option<(String, String)> {
    let mut read = Vec::new();
    let mut piece = [0; 1_024];
    while !is_whole(&read) {
        match stream.read(&mut piece).await {
            Ok(n @ 1..) if read.len() + n <= REQUEST_MAX => read.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    }
    parse(&read)
}

/// Whether the empty line that ends the header is there; a bare LF counts too (RFC 9112 §2.2).
fn is_whole(read: &[u8]) -> bool {
    read.windows(2).any(|two| two == b"\n\n") || read.windows(3).any(|three| three == b"\n\r\n")
}

/// The request line (RFC 9112 §3).
fn parse(read: &[u8]) -> Option<(String, String)> {
    let line = read.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()?;
    let mut parts = line.split(' ');
    let (method, path, version) = (parts.next()?, parts.next()?, parts.next()?);
    let known = version == "HTTP/1.1" || version == "HTTP/1.0";
    (known && parts.next().is_none() && path.starts_with('/')).then(|| (method.to_owned(), path.to_owned()))
}
