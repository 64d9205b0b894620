//! A bucket of an object store, by the S3 protocol: requests signed in their address (AWS Signature Version 4), one
//! connection each. The secret itself never leaves the machine, and what is written is encrypted already.

use crate::place::{Object, PIECE, Place, PlaceError, ReadAt};
use jiff::Timestamp;
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Credentials, S3Action, UrlStyle};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use url::Url;
use words_mail::Time;
use words_world::{Boxed, Clock, HttpAnswer, Random, Stream};

/// How long a signature is good.
const GOOD_FOR: Duration = Duration::from_secs(900);
/// How long one request with its answer may take: eight megabytes over a slow line.
const REQUEST: Duration = Duration::from_secs(180);
/// How often a request is tried.
const TRIES: u32 = 5;
/// The wait after the first failure; it doubles.
const WAIT: Duration = Duration::from_millis(300);
/// The longest answer besides a piece of an object, bytes.
const ANSWER_MAX: usize = 8 << 20;
/// How old an object is before it is taken for left over: a first copy can take a day.
const YOUNG: Duration = Duration::from_secs(2 * 86_400);

/// Opens connections to the object store.
pub trait Dial: Send + Sync {
    /// A connection to this host and port, encrypted when asked. Bounded in time.
    fn dial<'a>(&'a self, host: &'a str, port: u16, tls: bool) -> Boxed<'a, Result<Box<dyn Stream>, String>>;
}

/// Where a bucket is, and who we are there.
pub struct BucketOptions {
    /// The address of the object store.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// Whether the bucket stands in the path.
    pub path_style: bool,
    /// The bucket's name.
    pub name: String,
    /// What every object's name begins with; no slash at its ends.
    pub prefix: String,
    /// The name of the access key.
    pub key_id: String,
    /// The access key.
    pub secret: String,
}

/// A bucket.
pub struct Bucket {
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    dial: Arc<dyn Dial>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// An answer that is no failure of the connection.
struct Answered {
    status: u16,
    etag: Option<String>,
    body: Vec<u8>,
}

impl Answered {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The store's own name of what is wrong.
    fn code(&self) -> String {
        between(&self.text(), "<Code>", "</Code>").unwrap_or_default()
    }

    /// Whether it may go well the next time.
    fn may_pass(&self) -> bool {
        matches!(self.status, 429 | 500 | 502 | 503 | 504)
            || matches!(self.code().as_str(), "RequestTimeout" | "SlowDown")
    }
}

fn between(text: &str, from: &str, to: &str) -> Option<String> {
    let rest = text.split_once(from)?.1;
    Some(rest.split_once(to)?.0.to_owned())
}

/// One request: the method, its address anew for every try, header fields, and the body.
struct Asked<'a> {
    method: &'static str,
    url: &'a (dyn Fn() -> Url + Sync),
    field: Option<String>,
    body: &'a [u8],
    most: usize,
}

impl Bucket {
    /// The bucket of `options`.
    ///
    /// # Errors
    /// When its address cannot be, in words.
    pub fn new(
        options: BucketOptions,
        dial: Arc<dyn Dial>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Bucket, String> {
        let endpoint = Url::parse(&options.endpoint).map_err(|why| format!("{}: {why}", options.endpoint))?;
        let style = if options.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = rusty_s3::Bucket::new(endpoint, style, options.name, options.region)
            .map_err(|why| format!("the bucket cannot be spoken to: {why}; try path_style = true"))?;
        let credentials = Credentials::new(options.key_id, options.secret);
        Ok(Bucket { bucket, credentials, prefix: options.prefix, dial, clock, random })
    }

    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    fn signed<'a>(&self, action: &impl S3Action<'a>) -> Url {
        let now = Timestamp::from_microsecond(self.clock.now().0).unwrap_or(Timestamp::UNIX_EPOCH);
        action.sign_with_time(GOOD_FOR, &now)
    }

    /// Asks until there is an answer that will not be another one the next time. Gives how often it was asked.
    async fn ask(&self, asked: &Asked<'_>) -> Result<(Answered, u32), PlaceError> {
        let mut tries = 1;
        loop {
            let why = match timeout(REQUEST, self.exchange(asked)).await {
                Ok(Ok(answered)) if !answered.may_pass() => return Ok((answered, tries)),
                Ok(Ok(answered)) => format!("it answered {} {}", answered.status, answered.code()),
                Ok(Err(why)) => why,
                Err(_) => "no answer in time".to_owned(),
            };
            if tries == TRIES {
                return Err(PlaceError::Trouble(format!("{}: {why}", self.shown())));
            }
            tracing::debug!(why, tries, "the object store is asked again");
            let wait = WAIT * 2_u32.pow(tries - 1);
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            sleep(wait + Duration::from_millis(self.random.below(millis))).await;
            tries += 1;
        }
    }

    async fn exchange(&self, asked: &Asked<'_>) -> Result<Answered, String> {
        let url = (asked.url)();
        let host = url.host_str().unwrap_or_default();
        let tls = url.scheme() == "https";
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut stream = self.dial.dial(bare, port, tls).await?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let target = url.query().map_or_else(|| url.path().to_owned(), |q| format!("{}?{q}", url.path()));
        let mut head = format!(
            "{} {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: stormpost\r\nConnection: close\r\n\
             Content-Length: {}\r\n",
            asked.method,
            asked.body.len()
        );
        if let Some(field) = &asked.field {
            let _ = write!(head, "{field}\r\n");
        }
        head.push_str("\r\n");
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(asked.body).await?;
            stream.flush().await
        };
        // Who refuses may answer before it has read everything, and close: what it says counts.
        let sent = sent.await;
        let mut answer =
            if asked.method == "HEAD" { HttpAnswer::to_head() } else { HttpAnswer::new(asked.most) };
        let mut piece = vec![0; 64 << 10];
        loop {
            let (read, ended) = match stream.read(&mut piece).await {
                Ok(read) => (read, read == 0),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => (0, true),
                Err(error) => return Err(format!("the connection broke: {}", sent.err().unwrap_or(error))),
            };
            answer.push(&piece[..read]);
            if let Some((status, body)) = answer.whole(ended)? {
                let etag = answer.fields().find(|(name, _)| name.eq_ignore_ascii_case("etag"));
                return Ok(Answered { status, etag: etag.map(|(_, value)| value.to_owned()), body });
            }
        }
    }

    /// What an answer means that is no yes.
    fn refused(&self, name: &str, answered: &Answered) -> PlaceError {
        let code = answered.code();
        let said = between(&answered.text(), "<Message>", "</Message>").unwrap_or_default();
        let (status, shown) = (answered.status, self.shown());
        match (status, code.as_str()) {
            (404, "NoSuchBucket") => PlaceError::Refused(format!("{shown}: there is no such bucket")),
            (404, _) => PlaceError::NotFound(format!("{shown}/{name}")),
            (409 | 412, "" | "PreconditionFailed" | "ConditionalRequestConflict") => {
                PlaceError::Exists(name.to_owned())
            }
            (401 | 403, _) => PlaceError::Refused(format!(
                "{shown} refuses us: {code} {said}; look at key_id, secret_file, the bucket's rights, and this machine's clock"
            )),
            (507, _) => PlaceError::Full(format!("{shown} is full: {said}")),
            (_, code) if code.contains("StorageFull") || code.contains("QuotaExceeded") => {
                PlaceError::Full(format!("{shown} is full: {said}"))
            }
            _ => PlaceError::Refused(format!("{shown} answered {status} {code} {said}")),
        }
    }

    async fn put_whole(&self, name: &str, bytes: &[u8], new: bool) -> Result<(), PlaceError> {
        let key = self.key(name);
        let url = |conditional: bool| {
            let mut action = self.bucket.put_object(Some(&self.credentials), &key);
            if conditional {
                action.headers_mut().insert("if-none-match", "*");
            }
            self.signed(&action)
        };
        let conditional = || url(true);
        let plain = || url(false);
        let field = new.then(|| "If-None-Match: *".to_owned());
        let first: &(dyn Fn() -> Url + Sync) = if new { &conditional } else { &plain };
        let asked = Asked { method: "PUT", url: first, field, body: bytes, most: ANSWER_MAX };
        let (answered, tries) = self.ask(&asked).await?;
        match answered.status {
            200..=299 => Ok(()),
            // Our own first try may have arrived although we did not hear so.
            409 | 412 if tries > 1 && self.holds(name, bytes).await? => Ok(()),
            501 if new => {
                // Not every store knows the condition; then it is looked for first.
                match self.piece(name, 0, 1).await {
                    Err(PlaceError::NotFound(_)) => {}
                    Ok(_) => return Err(PlaceError::Exists(name.to_owned())),
                    Err(error) => return Err(error),
                }
                let asked = Asked { method: "PUT", url: &plain, field: None, body: bytes, most: ANSWER_MAX };
                let (answered, _) = self.ask(&asked).await?;
                if answered.status < 300 { Ok(()) } else { Err(self.refused(name, &answered)) }
            }
            _ => Err(self.refused(name, &answered)),
        }
    }

    async fn holds(&self, name: &str, bytes: &[u8]) -> Result<bool, PlaceError> {
        Ok(self.piece(name, 0, bytes.len() + 1).await? == bytes)
    }

    async fn put_in_parts(&self, name: &str, source: &dyn ReadAt, len: u64) -> Result<(), PlaceError> {
        let key = self.key(name);
        let begin = || self.signed(&self.bucket.create_multipart_upload(Some(&self.credentials), &key));
        let asked = Asked { method: "POST", url: &begin, field: None, body: b"", most: ANSWER_MAX };
        let (answered, _) = self.ask(&asked).await?;
        if answered.status >= 300 {
            return Err(self.refused(name, &answered));
        }
        let text = answered.text();
        let upload = CreateMultipartUpload::parse_response(&text)
            .map_err(|_| PlaceError::Trouble(format!("{}: an answer that makes no sense", self.shown())))?;
        let upload = upload.upload_id();
        let written = self.parts(name, &key, upload, source, len).await;
        if written.is_err() {
            // What is left of it would be paid for.
            let abort =
                || self.signed(&self.bucket.abort_multipart_upload(Some(&self.credentials), &key, upload));
            let asked = Asked { method: "DELETE", url: &abort, field: None, body: b"", most: ANSWER_MAX };
            let _ = self.ask(&asked).await;
        }
        written
    }

    async fn parts(
        &self,
        name: &str,
        key: &str,
        upload: &str,
        source: &dyn ReadAt,
        len: u64,
    ) -> Result<(), PlaceError> {
        let mut tags = Vec::new();
        let mut at = 0;
        let mut piece = vec![0; PIECE];
        while at < len {
            let count = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
            source.fill(at, &mut piece[..count]).map_err(|e| PlaceError::Trouble(format!("{name}: {e}")))?;
            let number = u16::try_from(tags.len() + 1)
                .map_err(|_| PlaceError::Refused(format!("{name} is too long for an object store")))?;
            let part = || self.signed(&self.bucket.upload_part(Some(&self.credentials), key, number, upload));
            let body = &piece[..count];
            let asked = Asked { method: "PUT", url: &part, field: None, body, most: ANSWER_MAX };
            let (answered, _) = self.ask(&asked).await?;
            match (answered.status, &answered.etag) {
                (200..=299, Some(etag)) => tags.push(etag.clone()),
                _ => return Err(self.refused(name, &answered)),
            }
            at += count as u64;
        }
        let complete = || {
            let tags = tags.iter().map(String::as_str);
            self.bucket.complete_multipart_upload(Some(&self.credentials), key, upload, tags)
        };
        let body = complete().body();
        let url = || self.signed(&complete());
        let asked = Asked { method: "POST", url: &url, field: None, body: body.as_bytes(), most: ANSWER_MAX };
        let (answered, tries) = self.ask(&asked).await?;
        // It may say 200 and mean no.
        if answered.status < 300 && !answered.text().contains("<Error>") {
            return Ok(());
        }
        // Our own first try may have been done although we did not hear so.
        if tries > 1 && answered.code() == "NoSuchUpload" && self.piece(name, len - 1, 2).await?.len() == 1 {
            return Ok(());
        }
        Err(self.refused(name, &answered))
    }

    async fn piece(&self, name: &str, offset: u64, most: usize) -> Result<Vec<u8>, PlaceError> {
        let key = self.key(name);
        let url = || self.signed(&self.bucket.get_object(Some(&self.credentials), &key));
        let last = offset + (most as u64).saturating_sub(1);
        let field = Some(format!("Range: bytes={offset}-{last}"));
        let asked = Asked { method: "GET", url: &url, field, body: b"", most: most.max(ANSWER_MAX) };
        let (answered, _) = self.ask(&asked).await?;
        match answered.status {
            206 => Ok(answered.body),
            416 => Ok(Vec::new()),
            // It gave all of it.
            200 => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(answered.body.len());
                let to = from.saturating_add(most).min(answered.body.len());
                Ok(answered.body[from..to].to_vec())
            }
            _ => Err(self.refused(name, &answered)),
        }
    }

    async fn listed(&self, prefix: &str) -> Result<Vec<Object>, PlaceError> {
        let prefix = self.key(prefix);
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let now = self.clock.now();
        let mut found = Vec::new();
        let mut go_on: Option<String> = None;
        loop {
            let url = || {
                let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
                action.with_prefix(prefix.as_str());
                if let Some(token) = &go_on {
                    action.with_continuation_token(token.as_str());
                }
                self.signed(&action)
            };
            let asked = Asked { method: "GET", url: &url, field: None, body: b"", most: ANSWER_MAX };
            let (answered, _) = self.ask(&asked).await?;
            if answered.status >= 300 {
                return Err(self.refused("", &answered));
            }
            let listed = ListObjectsV2::parse_response(&answered.text()).map_err(|why| {
                PlaceError::Trouble(format!("{}: a listing that makes no sense: {why}", self.shown()))
            })?;
            found.extend(listed.contents.into_iter().filter_map(|one| {
                let written = one.last_modified.as_deref().and_then(moment);
                Some(Object {
                    name: one.key.get(skip..)?.to_owned(),
                    len: one.size.unwrap_or(0),
                    young: written.is_none_or(|written| now.since(written) < YOUNG),
                })
            }));
            go_on = listed.next_continuation_token;
            if go_on.is_none() {
                break;
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

/// A moment as listings tell it.
fn moment(text: &str) -> Option<Time> {
    text.parse::<Timestamp>().ok().map(|at| Time(at.as_microsecond()))
}

impl Place for Bucket {
    fn put<'a>(
        &'a self,
        name: &'a str,
        source: &'a dyn ReadAt,
        len: u64,
        new: bool,
    ) -> Boxed<'a, Result<(), PlaceError>> {
        Box::pin(async move {
            match usize::try_from(len) {
                Ok(len) if len <= PIECE => {
                    let mut bytes = vec![0; len];
                    source.fill(0, &mut bytes).map_err(|e| PlaceError::Trouble(format!("{name}: {e}")))?;
                    self.put_whole(name, &bytes, new).await
                }
                _ => self.put_in_parts(name, source, len).await,
            }
        })
    }

    fn get<'a>(&'a self, name: &'a str, offset: u64, most: usize) -> Boxed<'a, Result<Vec<u8>, PlaceError>> {
        Box::pin(self.piece(name, offset, most))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Result<Vec<Object>, PlaceError>> {
        Box::pin(self.listed(prefix))
    }

    fn remove<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), PlaceError>> {
        Box::pin(async move {
            let key = self.key(name);
            let url = || self.signed(&self.bucket.delete_object(Some(&self.credentials), &key));
            let asked = Asked { method: "DELETE", url: &url, field: None, body: b"", most: ANSWER_MAX };
            let (answered, _) = self.ask(&asked).await?;
            match answered.status {
                200..=299 => Ok(()),
                404 if answered.code() != "NoSuchBucket" => Ok(()),
                _ => Err(self.refused(name, &answered)),
            }
        })
    }

    fn shown(&self) -> String {
        let name = self.bucket.name();
        if self.prefix.is_empty() { format!("s3://{name}") } else { format!("s3://{name}/{}", self.prefix) }
    }
}
