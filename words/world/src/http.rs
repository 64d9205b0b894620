//! As much of an HTTP/1.1 client as is needed to hand something over and hear the answer (RFC 9112): addresses and
//! answers, without a connection.

/// Where something is on the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Reads `https://host[:port]/path?query` (or `http://`).
    ///
    /// # Errors
    /// Why it is none, in words that go on "an address …".
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("a web address begins with https:// or http://"),
        };
        if !text.bytes().all(|b| (33..127).contains(&b)) {
            return Err("a web address has no spaces and no letters outside ASCII");
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(cut);
        if authority.contains('@') {
            return Err("a web address carries no user name here; put the secret into its path");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| "the port of the web address is not a number")?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        if host.is_empty() {
            return Err("the web address has no host");
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { tls, host, port, target })
    }

    /// What stands in the `Host:` field (RFC 9110 §7.2).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Octets of a header that are read at most.
const HEADER_MAX: usize = 16 << 10;

/// An answer that is coming in. Those before the final one (1xx, RFC 9110 §15.2) are passed over.
#[derive(Debug)]
pub struct HttpAnswer {
    seen: Vec<u8>,
    body_max: usize,
    head: Option<Head>,
    /// A request of the method HEAD is answered by a header alone, whatever lengths it names (RFC 9110 §9.3.2).
    bodiless: bool,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    length: Length,
}

/// How the length of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilTheEnd,
}

impl HttpAnswer {
    /// An answer whose body may have so many octets.
    pub fn new(body_max: usize) -> HttpAnswer {
        HttpAnswer { seen: Vec::new(), body_max, head: None, bodiless: false }
    }

    /// An answer to the method HEAD, which has no body.
    pub fn to_head() -> HttpAnswer {
        HttpAnswer { bodiless: true, ..HttpAnswer::new(0) }
    }

    /// Name and value of each field of the final answer's header, once it is whole; values that are not text are left
    /// out.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let header = self.head.and_then(|head| self.seen.get(..head.body)).unwrap_or_default();
        let lines = header.split(|b| *b == b'\n').skip(1).filter_map(|line| std::str::from_utf8(line).ok());
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()))
    }

    /// The final status, once its line has come; the rest of the header need not have.
    ///
    /// # Errors
    /// When it is not HTTP/1.1, in words.
    pub fn status(&mut self) -> Result<Option<u16>, String> {
        loop {
            let Some(line) = self.seen.iter().position(|b| *b == b'\n') else { return self.bounded() };
            let code = status_of(&self.seen[..line])?;
            if code / 100 != 1 {
                return Ok(Some(code));
            }
            let Some(end) = end_of_header(&self.seen) else { return self.bounded() };
            self.seen.drain(..end);
        }
    }

    fn bounded<T>(&self) -> Result<Option<T>, String> {
        if self.seen.len() > HEADER_MAX {
            return Err("its answer has no end of the header".to_owned());
        }
        Ok(None)
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
    }

    /// Status and body, once both are whole. `ended` says that nothing more comes.
    ///
    /// # Errors
    /// When it is not HTTP/1.1, too long, or cut off, in words.
    pub fn whole(&mut self, ended: bool) -> Result<Option<(u16, Vec<u8>)>, String> {
        let whole = self.read(ended)?;
        if whole.is_none() && ended {
            return Err(match self.seen.is_empty() {
                true => "it closed the connection without an answer".to_owned(),
                false => "it closed the connection in the middle of its answer".to_owned(),
            });
        }
        Ok(whole)
    }

    fn read(&mut self, ended: bool) -> Result<Option<(u16, Vec<u8>)>, String> {
        if self.head.is_none() {
            let Some(status) = self.status()? else { return Ok(None) };
            let Some(body) = end_of_header(&self.seen) else { return self.bounded() };
            // Nor has one that says so by its status (RFC 9112 §6.3).
            let length = match self.bodiless || matches!(status, 204 | 304) {
                true => Length::Known(0),
                false => length(&self.seen[..body])?,
            };
            self.head = Some(Head { status, body, length });
        }
        let Some(Head { status, body, length }) = self.head else { return Ok(None) };
        let come = &self.seen[body..];
        // A chunk's frame is never longer than what it carries, but for a few octets.
        if come.len() > self.body_max.saturating_mul(2).saturating_add(HEADER_MAX)
            || matches!(length, Length::Known(n) if n > self.body_max)
        {
            return Err(format!("its answer is longer than {} octets", self.body_max));
        }
        let whole = match length {
            Length::Known(length) => come.get(..length).map(<[u8]>::to_vec),
            Length::UntilTheEnd => ended.then(|| come.to_vec()),
            Length::Chunked => chunks(come)?,
        };
        match whole {
            Some(whole) if whole.len() > self.body_max => {
                Err(format!("its answer is longer than {} octets", self.body_max))
            }
            whole => Ok(whole.map(|whole| (status, whole))),
        }
    }
}

fn status_of(line: &[u8]) -> Result<u16, String> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let version = words.next().unwrap_or_default();
    match words.next().and_then(|code| code.parse::<u16>().ok()) {
        Some(code) if version.starts_with("HTTP/1.") && (100..600).contains(&code) => Ok(code),
        _ => Err("its answer is not HTTP/1.1".to_owned()),
    }
}

fn end_of_header(seen: &[u8]) -> Option<usize> {
    seen.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn length(header: &[u8]) -> Result<Length, String> {
    let text = String::from_utf8_lossy(header);
    let mut length = Length::UntilTheEnd;
    for line in text.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            // It goes before a Content-Length (RFC 9112 §6.3).
            return match value.eq_ignore_ascii_case("chunked") {
                true => Ok(Length::Chunked),
                false => Err("its answer is encoded in a way that is not known here".to_owned()),
            };
        }
        if name.eq_ignore_ascii_case("content-length") {
            let known = value.parse().map_err(|_| "its answer has a length that is no number".to_owned())?;
            length = Length::Known(known);
        }
    }
    Ok(length)
}

/// A chunked body, once it is whole (RFC 9112 §7.1). What follows the last chunk is not looked at.
fn chunks(mut come: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let wrong = || "its answer is not chunked as it says".to_owned();
    let mut body = Vec::new();
    loop {
        let Some(line) = come.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&come[..line]).map_err(|_| wrong())?;
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| wrong())?;
        if size == 0 {
            return Ok(Some(body));
        }
        let end = (line + 2).checked_add(size).ok_or_else(wrong)?;
        let Some(piece) = come.get(line + 2..end) else { return Ok(None) };
        body.extend_from_slice(piece);
        match come.get(end..end.saturating_add(2)) {
            None => return Ok(None),
            Some(b"\r\n") => come = &come[end + 2..],
            Some(_) => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_or_refused_with_words() {
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

    fn answer(text: &str, ended: bool) -> Result<Option<(u16, Vec<u8>)>, String> {
        let mut answer = HttpAnswer::new(64);
        answer.push(text.as_bytes());
        answer.whole(ended)
    }

    #[test]
    fn the_status_line_is_read_as_it_comes() {
        let status = |text: &str| {
            let mut answer = HttpAnswer::new(0);
            answer.push(text.as_bytes());
            answer.status()
        };
        assert_eq!(status("HTTP/1.1 20"), Ok(None));
        assert_eq!(status("HTTP/1.1 204 No Content\r\n"), Ok(Some(204)));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n"), Ok(None));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP"), Ok(None));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 x\r\n"), Ok(Some(500)));
        for text in ["SSH-2.0-x\r\n", "HTTP/1.1 abc\r\n", "\n", "HTTP/2 200\n"] {
            assert!(status(text).is_err(), "{text}");
        }
        assert!(status(&"x".repeat(HEADER_MAX + 1)).is_err());
    }

    #[test]
    fn a_body_ends_where_its_header_says() {
        let body = |text: &str| Ok(Some((200, text.as_bytes().to_vec())));
        let head = "HTTP/1.1 200 OK\r\n";
        for (rest, ended, read) in [
            ("Content-Length: 2\r\n\r\nab", false, body("ab")),
            ("content-length: 3\r\n\r\nab", false, Ok(None)),
            ("\r\nab", false, Ok(None)),
            ("\r\nab", true, body("ab")),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", false, body("abc")),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1", false, Ok(None)),
        ] {
            assert_eq!(answer(&format!("{head}{rest}"), ended), read, "{rest}");
        }
        for (rest, ended) in [
            ("Content-Length: 65\r\n\r\n", false),
            ("Content-Length: x\r\n\r\n", false),
            ("Content-Length: 3\r\n\r\nab", true),
            ("Transfer-Encoding: gzip\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\nabcd", false),
            ("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", false),
        ] {
            let read = answer(&format!("{head}{rest}"), ended);
            assert!(read.is_err(), "{rest}: {read:?}");
        }
        assert!(answer("", true).is_err());
    }

    #[test]
    fn the_fields_of_the_header_are_read_and_an_answer_to_head_has_no_body() {
        let text = "HTTP/1.1 100 Continue\r\nX: no\r\n\r\nHTTP/1.1 200 OK\r\nReplay-Nonce: a:b \r\nodd\r\nContent-Length: 9\r\n\r\n";
        let mut head = HttpAnswer::to_head();
        assert_eq!(head.fields().count(), 0);
        head.push(text.as_bytes());
        assert_eq!(head.whole(false), Ok(Some((200, Vec::new()))));
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [("Replay-Nonce", "a:b"), ("Content-Length", "9")]);
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n", false), Ok(Some((204, Vec::new()))));
    }

    #[test]
    fn an_answer_is_the_same_in_whatever_pieces_it_comes() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        for size in 1..text.len() {
            let mut answer = HttpAnswer::new(64);
            let mut read = None;
            for piece in text.chunks(size) {
                answer.push(piece);
                read = read.or(answer.whole(false).unwrap());
            }
            assert_eq!(read, Some((200, b"abcde".to_vec())), "pieces of {size}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange_and_pieces_do_not_matter(
            text in "(HTTP/1.1 (100|200|5)[ -~]{0,5}\r\n)?(Content-Length: [0-9a]{0,3}\r\n|Transfer-Encoding: chunked\r\n|[ -~]{0,9}\r?\n){0,4}(\r\n)?([0-9a-f]{0,2}\r\n|.{0,6}){0,6}",
            size in 1usize..9,
            ended: bool,
        ) {
            let mut once = HttpAnswer::new(32);
            once.push(text.as_bytes());
            let whole = once.whole(ended);
            let mut pieces = HttpAnswer::new(32);
            let mut read = Ok(None);
            for piece in text.as_bytes().chunks(size) {
                if read != Ok(None) {
                    break;
                }
                pieces.push(piece);
                read = pieces.whole(false);
            }
            if read == Ok(None) {
                read = pieces.whole(ended);
            }
            // What is wrong may be seen before all of it has come, and what is whole before what follows.
            prop_assert!(read == whole || whole.is_err() || read.is_err(), "{:?} {:?}", read, whole);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..400), url in ".{0,60}") {
            let mut answer = HttpAnswer::new(32);
            answer.push(&bytes);
            let _ = (answer.whole(true), Url::parse(&url), chunks(&bytes));
        }
    }
}
