//! How safe the way to other organisations is, out of the configuration.

use super::primaries::trust;
use crate::configuration::Configuration;
use crate::world::Resolver;
use anyhow::{Result, anyhow};
use roads_deliver::{ReportOptions, Transport, TransportOptions};
use std::sync::Arc;
use stores_primary::web::Web;
use words_world::World;

/// The world with a DNS whose answers are proved, where that is wanted.
///
/// # Errors
/// When the keys that DNSSEC begins with cannot be read.
pub fn proving(world: &World, configuration: &Configuration) -> Result<World> {
    if !configuration.outbound.dane {
        return Ok(world.clone());
    }
    let server = configuration.node.name_server;
    let anchor = configuration.outbound.trust_anchor.as_deref();
    let resolver = Resolver::new(server).proving(server, anchor).map_err(|why| anyhow!(why))?;
    Ok(World { names: Arc::new(resolver), ..world.clone() })
}

/// Who holds the servers of other organisations to what their domains say. Nobody where a smart host takes all mail: then
/// it is the smart host's to do.
///
/// # Errors
/// When the certificates to believe cannot be read.
pub fn transport(world: &World, configuration: &Configuration) -> Result<Option<Arc<Transport>>> {
    let outbound = &configuration.outbound;
    if outbound.smart_host.is_some() {
        return Ok(None);
    }
    let trial = &outbound.trial;
    let trust = trust(&trial.trust)?;
    let options = TransportOptions {
        mta_sts: outbound.mta_sts,
        dane: outbound.dane,
        port: trial.port,
        trust: trust.clone(),
        web: Web { world: world.clone(), trust, private: trial.private_addresses, port: trial.https_port },
        folder: configuration.node.data.join("transport"),
        reports: outbound.tls_reports.as_ref().map(|from| ReportOptions {
            from: from.clone(),
            organization: from.domain().to_owned(),
            period: trial.report_period,
        }),
    };
    Ok(Some(Transport::open(world, options)))
}
