//! A certificate authority of the lab: Debian's pebble, and the name server that comes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::{program, wait_for};
use crate::ports::free_port;
use crate::tools::{curl, run};
use crate::{Lab, Tree};

/// The key identifier and the key of the customer that [`Pebble`] knows, where it wants to know its customers.
pub const CUSTOMER: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// The authority.
pub struct Pebble {
    /// The address of its directory.
    pub directory: String,
    /// Where it looks for `http-01`.
    pub http: u16,
    /// Where it looks for `tls-alpn-01`.
    pub tls: u16,
    /// The certificate that its own address shows.
    pub trust: PathBuf,
    port: u16,
    management: u16,
    names: u16,
    dir: PathBuf,
    refuses: u32,
    tree: Option<Tree>,
    names_tree: Tree,
    names_management: u16,
}

impl Pebble {
    /// Starts one whose certificates are good for `seconds`. `customers` says whether it knows its customers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(lab: &Lab, seconds: u32, customers: bool) -> Pebble {
        let dir = lab.room("pebble");
        let trust = dir.join("cert.pem");
        let mut command = Command::new(program("openssl", "openssl"));
        command.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ]);
        command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]).arg(dir.join("key.pem"));
        run(command.arg("-out").arg(&trust)).must("openssl req");
        let (names, names_management) = (free_port(), free_port());
        let mut command = Command::new(program("pebble-challtestsrv", "pebble"));
        command.args([
            "-dns01",
            &format!("127.0.0.1:{names}"),
            "-management",
            &format!("127.0.0.1:{names_management}"),
        ]);
        command.args([
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
        ]);
        let names_tree = Tree::start("pebble-challtestsrv", command, &dir.join("names.log"), None);
        let port = free_port();
        let mut pebble = Pebble {
            directory: format!("https://127.0.0.1:{port}/dir"),
            http: free_port(),
            tls: free_port(),
            trust,
            port,
            management: free_port(),
            names,
            dir,
            refuses: 15,
            tree: None,
            names_tree,
            names_management,
        };
        let key = format!("{{ \"{}\": \"{}\" }}", CUSTOMER.0, CUSTOMER.1);
        let text = format!(
            "{{ \"pebble\": {{ \"listenAddress\": \"127.0.0.1:{port}\", \"managementListenAddress\": \"127.0.0.1:{}\", \
             \"certificate\": {:?}, \"privateKey\": {:?}, \"httpPort\": {}, \"tlsPort\": {}, \"ocspResponderURL\": \"\", \
             \"externalAccountBindingRequired\": {customers}, \"externalAccountMACKeys\": {key}, \
             \"certificateValidityPeriod\": {seconds} }} }}",
            pebble.management,
            pebble.trust,
            pebble.dir.join("key.pem"),
            pebble.http,
            pebble.tls,
        );
        fs::write(pebble.dir.join("config.json"), text).unwrap();
        pebble.restart();
        pebble
    }

    /// Starts it again; it has forgotten everything.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        let mut command = Command::new(program("pebble", "pebble"));
        command.arg("-config").arg(self.dir.join("config.json"));
        command.args(["-dnsserver", &format!("127.0.0.1:{}", self.names)]);
        // It looks at once, and finds fault with every sixth nonce that was good.
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", self.refuses.to_string());
        self.tree = Some(Tree::start("pebble", command, &self.dir.join("log"), None));
        wait_for("pebble to answer", Duration::from_secs(20), || {
            curl(&["--insecure", "--output", "/dev/null", &self.directory]).ok
        });
        let management = self.names_management;
        wait_for("its name server to answer", Duration::from_secs(20), || {
            curl(&["--output", "/dev/null", &format!("http://127.0.0.1:{management}/")]).ok
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.tree = None;
    }

    /// Everything it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The process of its name server.
    pub fn names_pid(&self) -> u32 {
        self.names_tree.pid()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A program that puts records into its name server and takes them out again; what it was told is in the second file.
    pub fn hook(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (hook, told) = (dir.join("dns-hook"), dir.join("dns-hook.log"));
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>{told}\ncase $1 in\n\
             add) curl -sf -d \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" http://127.0.0.1:{port}/set-txt ;;\n\
             remove) curl -sf -d \"{{\\\"host\\\":\\\"$2.\\\"}}\" http://127.0.0.1:{port}/clear-txt ;;\nesac\n",
            told = told.display(),
            port = self.names_management,
        );
        fs::write(&hook, script).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        (hook, told)
    }
}
