//! An object store, spoken to over our own connections.

use super::primaries::trust;
use crate::configuration::S3Settings;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use stores_backup::{Bucket, BucketOptions, Dial, Place};
use stores_primary::tls::Tls;
use tokio::time::timeout;
use words_world::{Boxed, Stream, World};

/// How long a connection or a handshake may take.
const CONNECT: Duration = Duration::from_secs(15);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// The bucket's place.
///
/// # Errors
/// When the secret or the certificate cannot be read, or the address cannot be, in words.
pub(super) fn open(
    world: &World,
    settings: &S3Settings,
    bucket: &str,
    prefix: &str,
) -> Result<Arc<dyn Place>, String> {
    let tls = trust(&settings.trust).map_err(|why| format!("the object store: {why:#}"))?;
    let options = BucketOptions {
        endpoint: settings.endpoint.clone(),
        region: settings.region.clone(),
        path_style: settings.path_style,
        name: bucket.to_owned(),
        prefix: prefix.to_owned(),
        key_id: settings.key_id.clone(),
        secret: settings.secret.read()?.expose().to_owned(),
    };
    let dial = Arc::new(Line { world: world.clone(), tls });
    Ok(Arc::new(Bucket::new(options, dial, world.clock.clone(), world.random.clone())?))
}

/// Connections over our own network and TLS.
struct Line {
    world: World,
    tls: Tls,
}

impl Line {
    async fn connect(&self, host: &str, port: u16, tls: bool) -> Result<Box<dyn Stream>, String> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = timeout(CONNECT, self.world.names.addresses(host)).await;
                found.map_err(|_| "the DNS is too slow".to_owned())?.map_err(|e| e.to_string())?
            }
        };
        let mut why = format!("{host} has no address");
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let to = SocketAddr::new(address, port);
            let stream = match timeout(CONNECT, self.world.net.connect(to)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    why = format!("{to}: {error}");
                    continue;
                }
                Err(_) => {
                    why = format!("{to}: no connection in time");
                    continue;
                }
            };
            if !tls {
                return Ok(stream);
            }
            match timeout(CONNECT, self.tls.connect(host, stream)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error,
                Err(_) => why = format!("{to}: no TLS handshake in time"),
            }
        }
        Err(why)
    }
}

impl Dial for Line {
    fn dial<'a>(&'a self, host: &'a str, port: u16, tls: bool) -> Boxed<'a, Result<Box<dyn Stream>, String>> {
        Box::pin(self.connect(host, port, tls))
    }
}
