//! The ways to the primaries and to other organisations, out of the configuration.

use super::own_certificate::OwnCertificate;
use super::sign_in::AskPrimary;
use crate::configuration::{
    Configuration, DeliverKind, MailServer, MailboxLogin, MailboxServer, PrimarySettings, ServerPlace,
    TlsWanted, TrustWanted, read_private,
};
use anyhow::{Context, Result, anyhow};
use roads_accept::{Answer as Said, CallOut};
use roads_mirror::{Doors, Right};
use roads_watch::{Flight, FrontDoor, ImapProbe, MailCanary, Probe, Seen, Settings, SmtpProbe, Watched};
use rules_signin::Answer;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stores_directory::PrimariesTake;
use stores_primary::imap::{self, ImapStore, SignIn};
use stores_primary::smtp::{self, CallOut as Called, Hop, Place};
use stores_primary::store::{MailStore, StoreError};
use stores_primary::tls::{Tls, TlsMode, Trust};
use words_mail::{AccountId, Address, Finding, Plane, PrimaryId};
use words_smtp::Credentials;
use words_smtp::client::Protocol;
use words_world::{Boxed, World};

/// How one signs in to any mailbox of a primary.
enum Key {
    Master { user: String, password: String },
    Table(HashMap<AccountId, (String, String)>),
}

impl Key {
    fn read(login: &MailboxLogin) -> Result<Key> {
        match login {
            MailboxLogin::Master(login) => {
                let password = login.password.read().map_err(|why| anyhow!(why))?.expose().to_owned();
                Ok(Key::Master { user: login.user.clone(), password })
            }
            MailboxLogin::Table(path) => Key::read_table(path),
        }
    }

    fn read_table(path: &Path) -> Result<Key> {
        let text = read_private(path).map_err(|why| anyhow!(why))?;
        let mut table = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut parts = line.splitn(3, ',').map(str::trim);
            let (Some(account), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(anyhow!("{}, line {}: expected account,user,password", path.display(), at + 1));
            };
            if account != "account" {
                table.insert(AccountId::new(account), (user.to_owned(), password.to_owned()));
            }
        }
        Ok(Key::Table(table))
    }

    fn for_account(&self, account: &AccountId) -> Option<SignIn> {
        match self {
            Key::Master { user, password } => {
                let local = account.as_str().split('@').next().unwrap_or_default();
                let user = user.replace("{account}", account.as_str()).replace("{local}", local);
                Some(SignIn::own(&user, password))
            }
            Key::Table(table) => table.get(account).map(|(user, password)| SignIn::own(user, password)),
        }
    }
}

/// One primary, ready to be reached.
struct Way {
    deliver: Hop,
    mailbox: Option<imap::Hop>,
    reader: Option<Key>,
    writer: Option<Key>,
}

/// Every primary of the configuration.
pub struct Primaries {
    world: World,
    ways: BTreeMap<PrimaryId, Way>,
}

impl Primaries {
    /// Reads passwords and certificates of every primary.
    ///
    /// # Errors
    /// When one cannot be read; the text names the primary and the file.
    pub fn open(world: &World, configuration: &Configuration) -> Result<Arc<Primaries>> {
        let own = OwnCertificate::of(configuration);
        let mut ways = BTreeMap::new();
        for settings in &configuration.primaries {
            let mut way = way(settings, &configuration.outbound.helo)
                .with_context(|| format!("the primary {}", settings.id))?;
            way.deliver.trust = way.deliver.trust.showing(&own).map_err(|why| anyhow!(why))?;
            ways.insert(settings.id.clone(), way);
        }
        Ok(Arc::new(Primaries { world: world.clone(), ways }))
    }

    /// Where mail is handed to a primary.
    pub fn deliver(&self, primary: &PrimaryId) -> Option<&Hop> {
        self.ways.get(primary).map(|way| &way.deliver)
    }

    /// Every primary with its way for mail.
    pub fn hops(&self) -> impl Iterator<Item = (&PrimaryId, &Hop)> {
        self.ways.iter().map(|(id, way)| (id, &way.deliver))
    }

    /// What is watched at each primary. `recipients` gives an address of each that its probe may ask about; `takes` is
    /// told what each says it takes.
    pub fn watched(
        &self,
        configuration: &Configuration,
        recipients: &BTreeMap<PrimaryId, Address>,
        takes: &PrimariesTake,
    ) -> Vec<Watched> {
        takes.keep(|id| self.ways.contains_key(id));
        let one = |settings| self.watched_one(settings, recipients, takes);
        configuration.primaries.iter().filter_map(one).collect()
    }

    fn watched_one(
        &self,
        settings: &PrimarySettings,
        recipients: &BTreeMap<PrimaryId, Address>,
        takes: &PrimariesTake,
    ) -> Option<Watched> {
        let way = self.ways.get(&settings.id)?;
        let recipient = settings.canary.clone().or_else(|| recipients.get(&settings.id).cloned())?;
        let account = AccountId::new(&recipient.key());
        let mut hop = way.deliver.clone();
        hop.limits = hop.limits.at_most(settings.probe_timeout);
        let front = SmtpProbe { world: self.world.clone(), hop, recipient, plane: Plane::Inbound };
        let (takes, id) = (takes.clone(), settings.id.clone());
        let front = FrontDoor::new(front, move |said| takes.learn(&id, said));
        let mut probes: Vec<Arc<dyn Probe>> = vec![Arc::new(front)];
        let mailbox = way.mailbox.clone().map(|mut hop| {
            hop.limits = hop.limits.at_most(settings.probe_timeout);
            hop
        });
        let sign_in = way.reader.as_ref().and_then(|key| key.for_account(&account));
        // Without a credential reading stays unmeasured by probes; silence is never taken for health.
        if let (Some(hop), Some(sign_in)) = (mailbox.clone(), sign_in) {
            probes.push(Arc::new(ImapProbe { world: self.world.clone(), hop, sign_in }));
        }
        if let Place::Host(host, _) = &way.deliver.place
            && host.parse::<IpAddr>().is_err()
            && host != "localhost"
        {
            probes.push(Arc::new(HostProbe { world: self.world.clone(), host: host.clone() }));
        }
        Some(Watched {
            id: settings.id.clone(),
            settings: judgement(settings),
            probes,
            probe_limit: settings.probe_timeout * 3,
            canaries: self.canaries(settings, way, mailbox).into_iter().collect(),
        })
    }
}

impl Primaries {
    /// The canary of a primary, where it has an account of its own that we may change.
    fn canaries(&self, settings: &PrimarySettings, way: &Way, mailbox: Option<imap::Hop>) -> Option<Flight> {
        let to = settings.canary.clone()?;
        let sign_in = way.writer.as_ref().and_then(|key| key.for_account(&AccountId::new(&to.key())))?;
        let canary = MailCanary {
            world: self.world.clone(),
            hop: way.deliver.clone(),
            mailboxes: mailbox?,
            sign_in,
            from: to.clone(),
            to,
        };
        let patience = CANARY_PATIENCE.min(settings.canary_every);
        Some(Flight { canary: Arc::new(canary), every: settings.canary_every, patience })
    }
}

/// A canary that has not arrived after so long has not arrived.
const CANARY_PATIENCE: Duration = Duration::from_secs(120);

fn judgement(settings: &PrimarySettings) -> Settings {
    Settings {
        mode: settings.mode,
        dwell: settings.dwell,
        return_dwell: settings.return_dwell,
        return_dwell_max: settings.return_dwell_max,
        clear: settings.clear,
        clear_max: settings.clear_max,
        unsteady: settings.unsteady,
        probe_every: settings.probe_every,
        canary_stale: settings.canary_every * 3,
        live_window: settings.live_window,
    }
}

fn way(settings: &PrimarySettings, helo: &str) -> Result<Way> {
    let mailbox = settings.mailbox.as_ref().map(mailbox).transpose()?;
    let key = |login: Option<&MailboxLogin>| login.map(Key::read).transpose();
    Ok(Way {
        deliver: server(&settings.deliver, helo, smtp::Limits::primary())?,
        reader: key(settings.mailbox.as_ref().and_then(|m| m.reader.as_ref()))?,
        writer: key(settings.mailbox.as_ref().and_then(|m| m.writer.as_ref()))?,
        mailbox,
    })
}

/// A server that takes mail, as the road to it wants it.
///
/// # Errors
/// When its password or certificate cannot be read.
pub fn server(server: &MailServer, helo: &str, limits: smtp::Limits) -> Result<Hop> {
    let sign_in = match &server.login {
        None => None,
        Some(login) => {
            let password = login.password.read().map_err(|why| anyhow!(why))?.expose().to_owned();
            Some(Credentials { user: login.user.clone(), password })
        }
    };
    Ok(Hop {
        protocol: match server.kind {
            DeliverKind::Smtp => Protocol::Smtp,
            DeliverKind::Lmtp => Protocol::Lmtp,
        },
        place: match &server.place {
            ServerPlace::Host(host, port) => Place::Host(host.clone(), *port),
            ServerPlace::Local(path) => Place::Local(path.clone()),
        },
        addresses: Vec::new(),
        tls: mode(server.tls),
        trust: trust(&server.trust)?,
        sign_in,
        helo: helo.to_owned(),
        limits,
        safety: None,
        pass_client: server.pass_client,
    })
}

fn mailbox(server: &MailboxServer) -> Result<imap::Hop> {
    Ok(imap::Hop {
        place: Place::Host(server.host.clone(), server.port),
        addresses: Vec::new(),
        tls: mode(server.tls),
        trust: trust(&server.trust)?,
        limits: imap::Limits::primary(),
    })
}

fn mode(wanted: TlsWanted) -> TlsMode {
    match wanted {
        TlsWanted::None => TlsMode::None,
        TlsWanted::Opportunistic => TlsMode::Opportunistic,
        TlsWanted::Required => TlsMode::Required,
        TlsWanted::Implicit => TlsMode::Implicit,
    }
}

/// Whose certificate is believed.
///
/// # Errors
/// When a certificate file cannot be read.
pub fn trust(wanted: &TrustWanted) -> Result<Tls> {
    let trust = match wanted {
        TrustWanted::Public => Trust::Public,
        TrustWanted::Anybody => Trust::Anybody,
        TrustWanted::File(path) => {
            let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            Trust::from_pem(&pem).map_err(|why| anyhow!("{}: {why}", path.display()))?
        }
    };
    Tls::new(&trust).map_err(|why| anyhow!(why))
}

impl Doors for Primaries {
    fn enter<'a>(
        &'a self,
        primary: &'a PrimaryId,
        account: &'a AccountId,
        right: Right,
    ) -> Boxed<'a, Result<Option<Box<dyn MailStore>>, StoreError>> {
        Box::pin(async move {
            let Some(way) = self.ways.get(primary) else { return Ok(None) };
            let key = match right {
                Right::Look => way.reader.as_ref(),
                Right::Change => way.writer.as_ref(),
            };
            let sign_in = key.and_then(|key| key.for_account(account));
            match (&way.mailbox, sign_in) {
                (Some(hop), Some(sign_in)) => {
                    let store = ImapStore::open(&self.world, hop, &sign_in).await?;
                    Ok(Some(Box::new(store) as Box<dyn MailStore>))
                }
                _ => Ok(None),
            }
        })
    }
}

impl AskPrimary for Primaries {
    fn ask<'a>(
        &'a self,
        primary: &'a PrimaryId,
        account: &'a AccountId,
        password: &'a str,
        peer: IpAddr,
    ) -> Boxed<'a, Answer> {
        Box::pin(async move {
            let Some(hop) = self.ways.get(primary).and_then(|way| way.mailbox.as_ref()) else {
                return Answer::NoAnswer;
            };
            let sign_in = SignIn::own(account.as_str(), password).for_client(peer);
            match ImapStore::open(&self.world, hop, &sign_in).await {
                Ok(store) => {
                    Box::new(store).leave().await;
                    Answer::Yes
                }
                Err(StoreError::SignIn(_)) => Answer::No,
                Err(_) => Answer::NoAnswer,
            }
        })
    }
}

impl CallOut for Primaries {
    fn ask<'a>(&'a self, primary: &'a PrimaryId, recipient: &'a Address) -> Boxed<'a, Said> {
        Box::pin(async move {
            let Some(way) = self.ways.get(primary) else { return Said::NoAnswer };
            match smtp::call_out(&self.world, &way.deliver, recipient, false).await {
                Called::Yes { .. } => Said::Yes,
                Called::No(reply) => Said::No(reply),
                Called::CannotTell(_) => Said::NoAnswer,
            }
        })
    }
}

/// The addresses of the primary's own name.
struct HostProbe {
    world: World,
    host: String,
}

impl Probe for HostProbe {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async move {
            let began = tokio::time::Instant::now();
            let answer = self.world.names.addresses(&self.host).await;
            let took: Duration = began.elapsed();
            let (finding, detail) = match answer {
                Ok(addresses) => (Finding::Up, format!("{} has {} addresses", self.host, addresses.len())),
                Err(why) => (Finding::Down, format!("{}: {why}", self.host)),
            };
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            vec![Seen { plane: Plane::Names, finding, micros, detail }]
        })
    }

    fn planes(&self) -> Vec<Plane> {
        vec![Plane::Names]
    }
}
