//! Real rspamd and clamd, each an instance of its own: own configuration, own directories, loopback ports, no network.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::lab::{program, wait_for};
use crate::tools::{Said, curl};
use crate::{Lab, Tree, ports};

/// The spam filter.
pub struct Rspamd {
    /// Its normal worker's port.
    pub port: u16,
    /// The port of its milter.
    pub milter: u16,
    dir: PathBuf,
    tree: Option<Tree>,
}

/// Modules that ask the network, or need a Redis.
const OFF: [&str; 20] = [
    "rbl",
    "fuzzy_check",
    "surbl",
    "asn",
    "phishing",
    "greylist",
    "ratelimit",
    "neural",
    "bayes_expiry",
    "history_redis",
    "mx_check",
    "dmarc",
    "spf",
    "dkim",
    "arc",
    "dkim_signing",
    "url_redirector",
    "clickhouse",
    "elastic",
    "replies",
];

impl Rspamd {
    /// Starts it with Debian's rules, asking this name server. No address counts as its own.
    pub fn start(lab: &Lab, names: SocketAddr) -> Rspamd {
        Rspamd::with(lab, names, &[])
    }

    /// As [`Rspamd::start`], with these modules too.
    pub fn with(lab: &Lab, names: SocketAddr, modules: &[&str]) -> Rspamd {
        let dir = lab.room("rspamd");
        let port = ports::free_port();
        for sub in ["db", "run", "log", "own/local.d"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let own = dir.join("own/local.d");
        let put = |name: &str, text: &str| fs::write(own.join(name), text).unwrap();
        put("worker-normal.inc", &format!("bind_socket = \"127.0.0.1:{port}\";\ncount = 1;\n"));
        let milter = ports::free_port();
        put(
            "worker-proxy.inc",
            &format!(
                "bind_socket = \"127.0.0.1:{milter}\";\ncount = 1;\nmilter = yes;\ntimeout = 60s;\n\
                 upstream \"local\" {{ default = yes; self_scan = yes; }}\n"
            ),
        );
        for worker in ["controller", "fuzzy"] {
            put(&format!("worker-{worker}.inc"), "enabled = false;\n");
        }
        for module in OFF.iter().filter(|module| !modules.contains(module)) {
            put(&format!("{module}.conf"), "enabled = false;\n");
        }
        // The whole list of public suffixes takes a minute to compile.
        let suffixes = dir.join("suffixes");
        fs::write(&suffixes, "com\nnet\norg\ntest\nexample\n").unwrap();
        put(
            "options.inc",
            &format!(
                "dns {{ nameserver = [\"{}:{}\"]; timeout = 1s; retransmits = 2; }}\nurl_tld = \"{}\";\n\
                 local_addrs = [\"192.0.2.254\"];\ncontrol_socket = \"{}\";\n",
                names.ip(),
                names.port(),
                suffixes.display(),
                dir.join("run/control").display()
            ),
        );
        let mut rspamd = Rspamd { port, milter, dir, tree: None };
        rspamd.restart();
        rspamd
    }

    /// Starts it again on the same port, and waits until it answers.
    ///
    /// # Panics
    /// When it does not within a minute and a half.
    pub fn restart(&mut self) {
        let mut command = Command::new(program("rspamd", "rspamd"));
        command.args(["-f", "-i", "-c", "/etc/rspamd/rspamd.conf"]);
        for (name, sub) in [("DBDIR", "db"), ("RUNDIR", "run"), ("LOGDIR", "log"), ("LOCAL_CONFDIR", "own")] {
            command.arg(format!("--var={name}={}", self.dir.join(sub).display()));
        }
        self.tree = Some(Tree::start("rspamd", command, &self.dir.join("out"), None));
        let ping = format!("http://127.0.0.1:{}/ping", self.port);
        wait_for("rspamd to answer", Duration::from_secs(90), || curl(&["--max-time", "2", &ping]).ok);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.tree = None;
    }

    /// Its verdict on a message without anybody in between: action and score.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn asked_directly(&self, fields: &[(&str, &str)], message: &[u8]) -> (String, f64) {
        let file = self.dir.join("message");
        fs::write(&file, message).unwrap();
        let mut arguments = Vec::new();
        for (name, value) in fields {
            arguments.extend(["--header".to_owned(), format!("{name}: {value}")]);
        }
        // No fields that a curl adds by itself.
        arguments.extend(["--header".to_owned(), "Content-Type:".to_owned()]);
        arguments.extend(["--data-binary".to_owned(), format!("@{}", file.display())]);
        arguments.push(format!("http://127.0.0.1:{}/checkv2", self.port));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let Said { out, .. } = curl(&arguments).must("rspamd");
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        (answer["action"].as_str().unwrap().to_owned(), answer["score"].as_f64().unwrap())
    }
}

/// Asks rspamd about a message by a connection of its own, as a client without a library does.
///
/// # Panics
/// When it does not answer with a verdict.
pub fn ask_plainly(port: u16, fields: &[(&str, &str)], message: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = message.len();
    let head =
        format!("POST /checkv2 HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n");
    stream.write_all(&[head.as_bytes(), message].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"action\""), "{answer}");
}

/// The virus scanner, with a database of one signature.
pub struct Clamd {
    /// Its port.
    pub port: u16,
    /// Its socket.
    pub socket: PathBuf,
    dir: PathBuf,
    tree: Option<Tree>,
}

/// What the one signature finds: EICAR's harmless test file, in two parts here, so that no scanner of source code takes
/// fright.
pub fn eicar() -> String {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"].concat()
}

impl Clamd {
    /// Starts it; it takes at most a mebibyte.
    pub fn start(lab: &Lab) -> Clamd {
        let dir = lab.room("clamd");
        let port = ports::free_port();
        let (database, socket) = (dir.join("database"), dir.join("socket"));
        fs::create_dir_all(&database).unwrap();
        let hex: String = eicar().bytes().map(|byte| format!("{byte:02x}")).collect();
        fs::write(database.join("story.ndb"), format!("Story.Eicar:0:*:{hex}\n")).unwrap();
        let text = format!(
            "TCPSocket {port}\nTCPAddr 127.0.0.1\nLocalSocket {}\nFixStaleSocket yes\nDatabaseDirectory {}\nForeground yes\nStreamMaxLength 1M\n\
             TemporaryDirectory {}\nMaxThreads 4\n",
            socket.display(),
            database.display(),
            dir.display()
        );
        fs::write(dir.join("conf"), text).unwrap();
        let mut clamd = Clamd { port, socket, dir, tree: None };
        clamd.restart();
        clamd
    }

    /// Starts it again on the same port, and waits until it answers.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn restart(&mut self) {
        let mut command = Command::new(program("clamd", "clamav-daemon"));
        command.arg("--config-file").arg(self.dir.join("conf"));
        self.tree = Some(Tree::start("clamd", command, &self.dir.join("out"), None));
        let at = SocketAddr::from(([127, 0, 0, 1], self.port));
        wait_for("clamd to answer", Duration::from_secs(60), || TcpStream::connect(at).is_ok());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.tree = None;
    }
}
