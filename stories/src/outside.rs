//! Other organisations: certificates for their servers, their web sites, and a DNS that is signed.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::lab::{program, wait_for};
use crate::tools::run;
use crate::{Lab, Tree, ports};

/// An authority that signs certificates, made by openssl.
pub struct Authority {
    dir: PathBuf,
}

/// What a server shows.
#[derive(Clone)]
pub struct Shown {
    /// For its side of TLS.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of its public key, as a TLSA record `3 1 1` has it.
    pub key_digest: String,
}

impl Authority {
    /// A new one.
    pub fn new(lab: &Lab) -> Authority {
        let dir = lab.room("authority");
        let mut command = openssl();
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command.args(["-days", "2", "-subj", "/CN=an authority of the story", "-keyout"]);
        run(command.arg(dir.join("ca.key")).arg("-out").arg(dir.join("ca.pem"))).must("openssl req");
        Authority { dir }
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for these names, signed by it.
    pub fn signs(&self, names: &[&str]) -> Shown {
        self.make(names, true)
    }

    /// A certificate for these names that nobody else signed.
    pub fn leaves_alone(&self, names: &[&str]) -> Shown {
        self.make(names, false)
    }

    fn make(&self, names: &[&str], signed: bool) -> Shown {
        let base = self.dir.join(format!("{}-{signed}", names[0]));
        let (key, certificate) = (base.with_extension("key"), base.with_extension("pem"));
        let list: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let mut command = openssl();
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command.args(["-days", "2", "-subj", &format!("/CN={}", names[0]), "-addext"]);
        command.arg(format!("subjectAltName={}", list.join(",")));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        if signed {
            command.arg("-CA").arg(self.pem()).arg("-CAkey").arg(self.dir.join("ca.key"));
        }
        run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate)).must("openssl req");
        let public = base.with_extension("der");
        let mut command = openssl();
        command.args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&key).arg("-out").arg(&public);
        run(&mut command).must("openssl pkey");
        let said = run(openssl().args(["dgst", "-sha256", "-r"]).arg(&public)).must("openssl dgst").out;
        let chain =
            CertificateDer::pem_file_iter(&certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let private = PrivateKeyDer::from_pem_file(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, private).unwrap();
        Shown { config: Arc::new(config), key_digest: said.split(' ').next().unwrap().to_owned() }
    }
}

fn openssl() -> Command {
    Command::new(program("openssl", "openssl"))
}

/// What was posted: to where, and the body.
pub type Posted = (String, Vec<u8>);

/// A web server over TLS, which says what it was told for each host and path, and keeps what is posted.
pub struct Site {
    pages: Arc<Mutex<HashMap<String, String>>>,
    posted: Arc<Mutex<Vec<Posted>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// Listens at this address.
    pub fn start(at: SocketAddr, shown: &Shown) -> Site {
        let listener = TcpListener::bind(at).expect("the site's address is free");
        let site = Site { pages: Arc::default(), posted: Arc::default(), asked: Arc::default() };
        let (pages, posted, asked) = (site.pages.clone(), site.posted.clone(), site.asked.clone());
        let config = shown.config.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, posted, asked, config) =
                    (pages.clone(), posted.clone(), asked.clone(), config.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream, config, &pages, &posted, &asked);
                });
            }
        });
        site
    }

    /// What stands at `host/path`: text.
    pub fn put(&self, place: &str, text: &str) {
        self.pages.lock().unwrap().insert(place.to_owned(), text.to_owned());
    }

    /// Takes a page away.
    pub fn take(&self, place: &str) {
        self.pages.lock().unwrap().remove(place);
    }

    /// What was posted so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// How often a place was asked for.
    pub fn asked(&self, place: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == place).count()
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    pages: &Mutex<HashMap<String, String>>,
    posted: &Mutex<Vec<Posted>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let (mut request, mut host, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "host" => value.trim().split(':').next().unwrap_or_default().clone_into(&mut host),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let place = format!("{host}{path}");
    asked.lock().unwrap().push(place.clone());
    let page = pages.lock().unwrap().get(&place).cloned();
    let (status, text) = match (method, page) {
        ("POST", _) => {
            posted.lock().unwrap().push((place, body));
            ("201 Created", String::new())
        }
        (_, Some(text)) => ("200 OK", text),
        _ => ("404 Not Found", "nothing here".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let stream = reader.get_mut();
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// BIND with one signed zone, the root: everything there is stands in it.
pub struct SignedNames {
    /// Where it answers.
    pub address: SocketAddr,
    /// The root's key, as a DNSKEY record.
    pub anchor: PathBuf,
    _tree: Tree,
}

impl SignedNames {
    /// Signs `records` (lines of a zone file) and serves them. Each pair of `forged` is text that is replaced after the
    /// signing: what stood there is then signed wrongly.
    pub fn start(lab: &Lab, records: &str, forged: &[(&str, &str)]) -> SignedNames {
        let dir = lab.room("bind");
        let zone = format!(
            "$TTL 60\n. IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n. IN NS ns.test.\nns.test. IN A 127.0.0.1\n{records}"
        );
        fs::write(dir.join("root.zone"), zone).unwrap();
        let mut command = Command::new(program("dnssec-keygen", "bind9-utils"));
        command.args(["-a", "ECDSAP256SHA256", "-f", "KSK", "-K"]).arg(&dir).arg(".");
        let key = run(&mut command).must("dnssec-keygen").out;
        let mut command = Command::new(program("dnssec-signzone", "bind9-utils"));
        command.args(["-S", "-z", "-o", ".", "-K"]).arg(&dir).arg("-f").arg(dir.join("root.signed"));
        run(command.current_dir(&dir).arg(dir.join("root.zone"))).must("dnssec-signzone");
        let mut signed = fs::read_to_string(dir.join("root.signed")).unwrap();
        for (from, to) in forged {
            assert!(signed.contains(from), "nothing to forge: {from}");
            signed = signed.replace(from, to);
        }
        fs::write(dir.join("root.signed"), signed).unwrap();
        let record = fs::read_to_string(dir.join(format!("{}.key", key.trim()))).unwrap();
        let record: String =
            record.lines().filter(|line| !line.starts_with(';')).map(|l| format!("{l}\n")).collect();
        let anchor = dir.join("anchor");
        fs::write(&anchor, record).unwrap();
        let port = ports::free_port();
        let tree = named(&dir, port);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for("BIND to listen", Duration::from_secs(20), || TcpStream::connect(address).is_ok());
        SignedNames { address, anchor, _tree: tree }
    }
}

fn named(dir: &Path, port: u16) -> Tree {
    let shown = dir.display();
    let configuration = format!(
        "options {{ directory \"{shown}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; dnssec-validation no; pid-file \"{shown}/pid\"; session-keyfile \"{shown}/session\"; \
         minimal-responses yes; }};\n\
         controls {{ }};\nzone \".\" {{ type primary; file \"{shown}/root.signed\"; notify no; }};\n"
    );
    fs::write(dir.join("named.conf"), configuration).unwrap();
    let mut command = Command::new(program("named", "bind9"));
    command.args(["-g", "-n", "1", "-c"]).arg(dir.join("named.conf"));
    Tree::start("named", command, &dir.join("log"), None)
}
