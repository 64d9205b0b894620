//! Another organisation's mail system that checks SPF, DKIM and DMARC before it takes anything: real Postfix, with rspamd as
//! its milter, and Dovecot behind.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::lab::{program, wait_for};
use crate::{Lab, Primary, PrimaryOptions, Tree, ports};

/// What needs the network, a Redis, or would judge by other things than who sent it.
const OFF: [&str; 24] = [
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
    "arc",
    "dkim_signing",
    "url_redirector",
    "clickhouse",
    "elastic",
    "replies",
    "hfilter",
    "mid",
    "mime_types",
    "chartable",
    "regexp",
    "multimap",
    "whitelist",
];

/// The mail system, its people and its judge.
pub struct Receiver {
    /// Postfix and Dovecot.
    pub mail: Primary,
    /// Where it takes mail from others.
    pub address: SocketAddr,
    dir: PathBuf,
    _judge: Tree,
}

impl Receiver {
    /// Starts it for `domain`; it takes mail at `address`, and asks this name server.
    pub fn start(lab: &Lab, domain: &str, address: SocketAddr, names: SocketAddr) -> Receiver {
        let milter = ports::free_port();
        let dir = lab.room("receiver");
        let judge = judge(&dir, milter, names);
        let options = PrimaryOptions {
            postfix: format!(
                "smtpd_milters = inet:127.0.0.1:{milter}\nmilter_default_action = tempfail\nmilter_protocol = 6\n\
                 milter_mail_macros = i {{mail_addr}} {{client_addr}} {{client_name}} {{auth_authen}}\n"
            ),
            services: format!("{}:{} inet n - n - - smtpd\n", address.ip(), address.port()),
            ..PrimaryOptions::default()
        };
        let mail = Primary::start(lab, domain, &options);
        Receiver { mail, address, dir, _judge: judge }
    }

    /// What its judge wrote.
    pub fn judged(&self) -> String {
        fs::read_to_string(self.dir.join("log/rspamd.log")).unwrap_or_default()
    }
}

fn judge(dir: &std::path::Path, milter: u16, names: SocketAddr) -> Tree {
    for sub in ["db", "run", "log", "own/local.d"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let put = |name: &str, text: &str| fs::write(dir.join("own/local.d").join(name), text).unwrap();
    put(
        "worker-proxy.inc",
        &format!(
            "bind_socket = \"127.0.0.1:{milter}\";\nmilter = yes;\ntimeout = 30s;\ncount = 1;\n\
             upstream \"local\" {{ default = yes; self_scan = yes; }}\n"
        ),
    );
    for worker in ["controller", "normal", "fuzzy"] {
        put(&format!("worker-{worker}.inc"), "enabled = false;\n");
    }
    for module in OFF {
        put(&format!("{module}.conf"), "enabled = false;\n");
    }
    for module in ["spf", "dkim"] {
        put(&format!("{module}.conf"), "check_local = true;\ncheck_authed = true;\n");
    }
    put("dmarc.conf", "check_local = true;\nactions = { quarantine = \"reject\"; reject = \"reject\"; }\n");
    put("milter_headers.conf", "use = [\"authentication-results\"];\nskip_local = false;\n");
    let suffixes = dir.join("suffixes");
    fs::write(&suffixes, "com\nnet\norg\ntest\nexample\n").unwrap();
    put(
        "options.inc",
        &format!(
            "dns {{ nameserver = [\"{}:{}\"]; timeout = 1s; retransmits = 2; }}\nurl_tld = \"{}\";\n\
             local_addrs = [\"192.0.2.254\"];\ncheck_local = true;\ncontrol_socket = \"{}\";\n",
            names.ip(),
            names.port(),
            suffixes.display(),
            dir.join("run/control").display()
        ),
    );
    let mut command = Command::new(program("rspamd", "rspamd"));
    command.args(["-f", "-i", "-c", "/etc/rspamd/rspamd.conf"]);
    for (name, sub) in [("DBDIR", "db"), ("RUNDIR", "run"), ("LOGDIR", "log"), ("LOCAL_CONFDIR", "own")] {
        command.arg(format!("--var={name}={}", dir.join(sub).display()));
    }
    let tree = Tree::start("rspamd", command, &dir.join("out"), None);
    let at = SocketAddr::from(([127, 0, 0, 1], milter));
    wait_for("rspamd to answer", Duration::from_secs(90), || TcpStream::connect(at).is_ok());
    tree
}
