//! The caller's side of the control socket.

use super::protocol::{ANSWER_BYTES_MAX, Answer, CALL_BYTES_MAX, Call, Item, Refused, Request, VERSION};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the node may be silent. A reconciliation tells its progress more often than that.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens.
    #[error("the node is not running (nobody answers at {0}); start it with: stormpost serve")]
    NotRunning(String),
    /// Somebody listens, and this user may not speak to him.
    #[error("this user may not talk to the node at {0}; use the node's own user, or sudo")]
    Forbidden(String),
    /// The path cannot be a socket's.
    #[error("{0}: a socket's path has at most 107 bytes; choose a shorter [node] data")]
    TooLong(String),
    /// The connection broke before the end.
    #[error("the node broke off ({0}); whether it was done is not known, look with: stormpost status")]
    BrokeOff(String),
    /// The node said no.
    #[error("{words}")]
    Refused {
        /// Why, for scripts.
        why: Refused,
        /// Why, and what to do.
        words: String,
    },
    /// The call is larger than a node takes.
    #[error("too much for one call: {0} bytes; split it")]
    TooLarge(usize),
}

/// Who calls: the person behind `sudo`, else the user.
pub fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    match named.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => {
            let uid = rustix::process::getuid().as_raw();
            let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            user_name(&users, uid).unwrap_or_else(|| format!("uid {uid}"))
        }
    }
}

/// The name of a user in the words of `/etc/passwd`.
fn user_name(users: &str, uid: u32) -> Option<String> {
    let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(uid)))?;
    found.first().map(|name| (*name).to_owned()).filter(|name| !name.is_empty())
}

/// Calls the node. `each` gets progress and items as they come; the words of the end are returned.
///
/// # Errors
/// See [`CallError`]; only [`CallError::BrokeOff`] leaves open whether it was done.
pub fn call(socket: &Path, request: Request, mut each: impl FnMut(Told)) -> Result<String, CallError> {
    let shown = socket.display().to_string();
    let stream = UnixStream::connect(socket).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => CallError::Forbidden(shown.clone()),
        io::ErrorKind::InvalidInput => CallError::TooLong(shown.clone()),
        _ => CallError::NotRunning(shown.clone()),
    })?;
    let broke = |e: io::Error| CallError::BrokeOff(e.to_string());
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(broke)?;
    stream.set_write_timeout(Some(SILENCE_MAX)).map_err(broke)?;
    let call = Call { version: VERSION, by: who(), request };
    let mut line = serde_json::to_vec(&call).map_err(|e| CallError::BrokeOff(e.to_string()))?;
    line.push(b'\n');
    if line.len() > CALL_BYTES_MAX {
        return Err(CallError::TooLarge(line.len()));
    }
    (&stream).write_all(&line).map_err(broke)?;
    let mut answers = BufReader::new(&stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read =
            (&mut answers).take(ANSWER_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(broke)?;
        if read == 0 || !line.ends_with(b"\n") {
            return Err(CallError::BrokeOff("the connection ended".to_owned()));
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Progress { words }) => each(Told::Progress(words)),
            Ok(Answer::Item { item }) => each(Told::Item(item)),
            Ok(Answer::Done { words }) => return Ok(words),
            Ok(Answer::Refused { why, words }) => return Err(CallError::Refused { why, words }),
            Err(e) => return Err(CallError::BrokeOff(format!("its answer makes no sense: {e}"))),
        }
    }
}

/// What the node tells on the way.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// It is going on.
    Progress(String),
    /// One thing that was asked for.
    Item(Box<Item>),
}

/// Whether a node answers.
pub fn is_running(socket: &Path) -> bool {
    !matches!(call(socket, Request::Ping, |_| {}), Err(CallError::NotRunning(_) | CallError::TooLong(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// A node that answers one call with these lines.
    fn node(answers: &'static str) -> (tempfile::TempDir, thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
        let node = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answers.as_bytes()).unwrap();
            line
        });
        (folder, node)
    }

    fn ask(folder: &tempfile::TempDir, told: &mut Vec<Told>) -> Result<String, CallError> {
        call(&folder.path().join("control.sock"), Request::Ping, |t| told.push(t))
    }

    #[test]
    fn progress_and_items_come_before_the_end() {
        let (folder, node) = node(
            "{\"answer\":\"progress\",\"words\":\"1 of 2\"}\n\
             {\"answer\":\"item\",\"item\":{\"kind\":\"imported\",\"it\":{\"added\":1,\"changed\":0,\"same\":0}}}\n\
             {\"answer\":\"done\",\"words\":\"ready\"}\n",
        );
        let mut told = Vec::new();
        assert_eq!(ask(&folder, &mut told).unwrap(), "ready");
        assert_eq!(told.len(), 2);
        assert_eq!(told[0], Told::Progress("1 of 2".into()));
        let asked: Call = serde_json::from_str(&node.join().unwrap()).unwrap();
        assert_eq!((asked.version, asked.request), (VERSION, Request::Ping));
        assert!(!asked.by.is_empty());
    }

    #[test]
    fn a_node_that_dies_in_the_middle_is_not_taken_for_a_yes() {
        for answers in
            ["", "{\"answer\":\"progress\",\"words\":\"1\"}\n", "{\"answer\":\"done\",\"wor", "hello\n"]
        {
            let (folder, node) = node(answers);
            let error = ask(&folder, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, CallError::BrokeOff(_)), "{answers:?}: {error}");
            node.join().unwrap();
        }
    }

    #[test]
    fn a_refusal_keeps_its_words_and_its_reason() {
        let (folder, node) =
            node("{\"answer\":\"refused\",\"why\":\"not-found\",\"words\":\"no event 7\"}\n");
        let error = ask(&folder, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, CallError::Refused { why: Refused::NotFound, .. }));
        assert_eq!(error.to_string(), "no event 7");
        node.join().unwrap();
    }

    #[test]
    fn who_calls_is_named_even_where_the_environment_is_silent() {
        let users = "root:x:0:0::/:/bin/sh\nanna:x:1000:1000::/:/bin/sh\nbroken\n";
        assert_eq!(user_name(users, 1000).as_deref(), Some("anna"));
        assert_eq!(user_name(users, 7), None);
    }

    #[test]
    fn a_node_that_is_not_there_is_said_to_be_not_running() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_running(&folder.path().join("control.sock")));
        // A socket that a dead node left behind.
        drop(UnixListener::bind(folder.path().join("control.sock")).unwrap());
        assert!(!is_running(&folder.path().join("control.sock")));
        let long = folder.path().join("x".repeat(120));
        assert!(matches!(call(&long, Request::Ping, |_| {}), Err(CallError::TooLong(_))));
    }
}
