//! What a doctor looks at: the configuration, the outside, the node if it runs, and what it wrote down.

use super::records::{Kind, Records, Rows};
use crate::compose::primaries::Primaries;
use crate::compose::stores;
use crate::configuration::Configuration;
use crate::control::client::{Told, call};
use crate::control::protocol::{Item, Request, Status};
use crate::world::Resolver;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stores_directory::{Account, Learned, Origin, Snapshot};
use stores_ledger::LedgerReader;
use tokio::time::timeout;
use words_mail::{Address, PrimaryId, Time};
use words_world::{NameError, World};

/// How long the node may take to say how it stands.
const NODE_MAX: Duration = Duration::from_secs(15);

/// What a doctor looks at.
pub struct Patient {
    /// What was chosen.
    pub configuration: Configuration,
    /// The outside.
    pub world: World,
    /// The DNS.
    pub records: Arc<dyn Records>,
    /// How the node says it stands, or why it says nothing.
    pub node: Result<Status, String>,
    /// What it wrote down, or why that cannot be read.
    pub ledger: Result<LedgerReader, String>,
    /// The ways to the primaries, or why there are none.
    pub primaries: Result<Arc<Primaries>, String>,
    /// The time this is about.
    pub now: Time,
    /// Nobody is to be asked.
    pub offline: bool,
}

impl Patient {
    /// Reads what is here and asks the node.
    pub async fn meet(configuration: Configuration, offline: bool) -> Patient {
        let world = crate::world::real(configuration.node.name_server);
        let socket = configuration.control_socket();
        let asked = timeout(NODE_MAX, tokio::task::spawn_blocking(move || status(&socket))).await;
        let node = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(_) => Err(format!("the node says nothing within {} s", NODE_MAX.as_secs())),
        };
        Patient {
            ledger: ledger(&world, &configuration),
            primaries: Primaries::open(&world, &configuration).map_err(|why| format!("{why:#}")),
            records: Arc::new(Resolver::of_the_world(configuration.node.name_server)),
            now: world.clock.now(),
            node,
            world,
            configuration,
            offline,
        }
    }

    /// Asks the DNS.
    ///
    /// # Errors
    /// That there is nothing, or that nobody answered.
    pub async fn ask(&self, name: &str, kind: Kind) -> Result<Rows, NameError> {
        self.records.ask(name, kind).await
    }

    /// The addresses of this node's own name.
    pub async fn own_addresses(&self) -> Vec<IpAddr> {
        let found = self.ask(&self.configuration.node.name, Kind::Address).await;
        found.map(|rows| rows.addresses()).unwrap_or_default()
    }

    /// An account at each primary that may be asked about: the canary, else the first that is configured.
    pub fn account_at(&self, primary: &PrimaryId) -> Option<Address> {
        let settings = self.configuration.primary(primary)?;
        if let Some(canary) = &settings.canary {
            return Some(canary.clone());
        }
        let accounts = self.configuration.directory_accounts().ok()?;
        let account = |new: stores_directory::NewAccount| {
            let stores_directory::NewAccount { address, name, aliases, class } = new;
            Account { address, name, aliases, class, suspended: false, origin: Origin::Configured }
        };
        let accounts = accounts.into_iter().map(account).collect();
        let domains = self.configuration.directory_domains();
        let (snapshot, _) = Snapshot::build(0, &domains, accounts, Learned::default());
        let there = snapshot.accounts().iter().find(|a| snapshot.primary_of(&a.id()) == Some(primary));
        there.map(|account| account.address.clone())
    }
}

fn status(socket: &Path) -> Result<Status, String> {
    let mut found = None;
    let asked = call(socket, Request::Status, |told| {
        if let Told::Item(item) = told
            && let Item::Status(status) = *item
        {
            found = Some(status);
        }
    });
    asked.map_err(|why| why.to_string())?;
    found.ok_or_else(|| "the node said nothing about itself".to_owned())
}

fn ledger(world: &World, configuration: &Configuration) -> Result<LedgerReader, String> {
    let folder = configuration.node.data.join("ledger");
    if !folder.is_dir() || !configuration.node.key_file.exists() {
        return Err(
            "nothing was written down yet: the node never ran, or its data and key are elsewhere".to_owned()
        );
    }
    let keys = stores::keys(world, configuration).map_err(|why| format!("{why:#}"))?;
    LedgerReader::open(world, keys, &folder).map_err(|why| why.to_string())
}
