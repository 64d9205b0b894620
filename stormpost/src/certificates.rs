//! The certificate we show: from given files, reread when they change, or made by ourselves at the first start.

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where certificate chain and key stand, both PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A file's time says too little: one that is copied or restored may be older than the one it takes the place of.
type Seen = [Option<blake3::Hash>; 2];

/// The certificate in use and the loop that keeps it fresh.
pub struct Certificates {
    files: CertificateFiles,
    /// A hash of what the files held when they were last looked at.
    seen: Seen,
    publish: watch::Sender<Arc<ServerConfig>>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together; the text names the file.
    pub fn open(files: CertificateFiles) -> Result<Certificates> {
        let seen = look(&files);
        let config = load(&files)?;
        Ok(Certificates { files, seen, publish: watch::channel(config).0 })
    }

    /// Reads the self-signed certificate in `dir`, making one for `names` when there is none. The second value
    /// tells whether it was made just now.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn self_signed(dir: &Path, names: &[String]) -> Result<(Certificates, bool)> {
        let files =
            CertificateFiles { certificate: dir.join("self-signed.crt"), key: dir.join("self-signed.key") };
        let missing = !files.certificate.exists() || !files.key.exists();
        if missing {
            let made = rcgen::generate_simple_self_signed(names.to_vec()).context("making a certificate")?;
            write_private(&files.key, made.signing_key.serialize_pem().as_bytes())?;
            write_private(&files.certificate, made.cert.pem().as_bytes())?;
        }
        Ok((Certificates::open(files)?, missing))
    }

    /// The configuration in use; changes when the files do.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.publish.subscribe()
    }

    /// Rereads the files whenever they change. A pair that cannot be read leaves the old one in use.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = look(&self.files);
            if now == self.seen {
                continue;
            }
            self.seen = now;
            match load(&self.files) {
                Ok(config) => {
                    tracing::info!(file = %self.files.certificate.display(), "certificate reread");
                    self.publish.send_replace(config);
                }
                Err(why) => {
                    tracing::error!("the changed certificate is not used, the old one stays: {why:#}")
                }
            }
        }
    }
}

fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("writing {}", path.display()))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

fn look(files: &CertificateFiles) -> Seen {
    [&files.certificate, &files.key].map(|path| fs::read(path).ok().map(|content| blake3::hash(&content)))
}

fn load(files: &CertificateFiles) -> Result<Arc<ServerConfig>> {
    let name = files.certificate.display();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("reading the certificate {name}"))?;
    if chain.is_empty() {
        bail!("{name} holds no certificate; it must be PEM text with BEGIN CERTIFICATE");
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("reading the private key {}", files.key.display()))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{name} and {} do not belong together", files.key.display()))?;
    Ok(Arc::new(config))
}
