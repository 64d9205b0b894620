//! The certificate we show: from given files, or fetched from an authority, reread when its files change; and until there
//! is one, made by ourselves at the first start.

mod facts;

pub use facts::{CertificateState, Facts, Source, states};

use crate::configuration::Configuration;
use anyhow::{Context, Result, anyhow, bail};
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
/// The same where an authority renews them: one that has just come is shown soon.
const LOOK_EVERY_FETCHED: Duration = Duration::from_secs(2);

/// Where certificate chain and key stand, both PEM. They may be one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The files that an authority's certificate is written to: one, so that chain and key change in one step.
    pub fn fetched(data: &Path) -> CertificateFiles {
        let file = data.join("acme").join("certificate.pem");
        CertificateFiles { certificate: file.clone(), key: file }
    }

    /// The files of the certificate that we sign ourselves.
    pub fn self_signed(data: &Path) -> CertificateFiles {
        CertificateFiles { certificate: data.join("self-signed.crt"), key: data.join("self-signed.key") }
    }

    fn exist(&self) -> bool {
        self.certificate.exists() && self.key.exists()
    }
}

/// A file's time says too little: one that is copied or restored may be older than the one it takes the place of.
type Seen = Vec<Option<blake3::Hash>>;

/// The certificate in use and the loop that keeps it fresh.
pub struct Certificates {
    /// The first that is there counts.
    sources: Vec<CertificateFiles>,
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
        Certificates::first_of(vec![files])
    }

    /// Reads the first of `sources` that is there; one that is there and cannot be used gives way to the next.
    fn first_of(sources: Vec<CertificateFiles>) -> Result<Certificates> {
        let seen = look(&sources);
        let (last, earlier) = sources.split_last().context("no certificate is named")?;
        let usable = earlier.iter().filter(|files| files.exist()).find_map(|files| {
            load(files).inspect_err(|why| tracing::error!("a certificate is not used: {why:#}")).ok()
        });
        let config = match usable {
            Some(config) => config,
            None => load(last)?,
        };
        Ok(Certificates { sources, seen, publish: watch::channel(config).0 })
    }

    /// Reads the self-signed certificate in `dir`, making one for `names` when there is none. The second value
    /// tells whether it was made just now.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn self_signed(dir: &Path, names: &[String]) -> Result<(Certificates, bool)> {
        let own = CertificateFiles::self_signed(dir);
        let made = make(&own, names)?;
        Ok((Certificates::open(own)?, made))
    }

    /// The certificate that is configured: given files, one that an authority gave, or one of our own. The second value
    /// tells whether one of our own was made just now.
    ///
    /// # Errors
    /// When the files cannot be read or made.
    pub fn of(configuration: &Configuration) -> Result<(Certificates, bool)> {
        if let Some(files) = &configuration.tls {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            return Ok((Certificates::open(CertificateFiles { certificate, key })?, false));
        }
        let data = &configuration.node.data;
        let names = [configuration.node.name.clone(), "localhost".to_owned()];
        let own = CertificateFiles::self_signed(data);
        let made = make(&own, &names)?;
        let fetched = configuration.acme.is_some().then(|| CertificateFiles::fetched(data));
        Ok((Certificates::first_of(fetched.into_iter().chain([own]).collect())?, made))
    }

    /// The configuration in use; changes when the files do.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.publish.subscribe()
    }

    /// Rereads the files whenever they change. A pair that cannot be read leaves the old one in use.
    pub async fn run(mut self) {
        let every = if self.sources.len() > 1 { LOOK_EVERY_FETCHED } else { LOOK_EVERY };
        loop {
            tokio::time::sleep(every).await;
            let now = look(&self.sources);
            if now == self.seen {
                continue;
            }
            self.seen = now;
            let there = self.sources.iter().find(|files| files.exist()).or(self.sources.last());
            let Some(files) = there else { continue };
            match load(files) {
                Ok(config) => {
                    tracing::info!(file = %files.certificate.display(), "certificate reread");
                    self.publish.send_replace(config);
                }
                Err(why) => {
                    tracing::error!("the changed certificate is not used, the old one stays: {why:#}")
                }
            }
        }
    }
}

/// Makes a certificate signed by itself for `names`, unless there is one; tells whether it did.
fn make(files: &CertificateFiles, names: &[String]) -> Result<bool> {
    if files.exist() {
        return Ok(false);
    }
    let made = rcgen::generate_simple_self_signed(names.to_vec()).context("making a certificate")?;
    write_private(&files.key, made.signing_key.serialize_pem().as_bytes())?;
    write_private(&files.certificate, made.cert.pem().as_bytes())?;
    Ok(true)
}

/// Writes a file that nobody else may read, so that whoever reads it sees all of the old or all of the new.
///
/// # Errors
/// When it cannot be written; the text names it.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn look(sources: &[CertificateFiles]) -> Seen {
    let files = sources.iter().flat_map(|files| [&files.certificate, &files.key]);
    files.map(|path| fs::read(path).ok().map(|content| blake3::hash(&content))).collect()
}

fn load(files: &CertificateFiles) -> Result<Arc<ServerConfig>> {
    let name = files.certificate.display();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("reading the certificate {name}"))?;
    if chain.is_empty() {
        bail!("{name} holds no certificate; it must be PEM text with BEGIN CERTIFICATE");
    }
    crate::configuration::read_private(&files.key)
        .map_err(|why| anyhow!("the certificate's private key: {why}"))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("reading the private key {}", files.key.display()))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{name} and {} do not belong together", files.key.display()))?;
    Ok(Arc::new(config))
}
