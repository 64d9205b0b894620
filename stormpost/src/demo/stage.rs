//! The stage: four mail hosts in folders of their own, and how they are reached.

use super::company::{Ports, Server};
use super::names;
use super::people::{Desk, Person};
use crate::command::DemoArguments;
use crate::compose::stores;
use crate::configuration::Configuration;
use crate::world;
use anyhow::{Context, Result, anyhow};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use stores_primary::imap;
use stores_primary::smtp::{Hop, Limits, Place};
use stores_primary::tls::{Tls, TlsMode, Trust};
use tokio::task::JoinSet;
use words_mail::{AccountId, Address};
use words_smtp::client::Protocol;
use words_world::World;

/// The company's domain, and the world's.
pub const COMPANY: &str = "company.example";
/// Everybody else's domain.
pub const OUTSIDE: &str = "outside.example";

/// The doors of one mail host.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    /// Mail from other servers.
    pub smtp: SocketAddr,
    /// Mail from people.
    pub submission: SocketAddr,
    /// Reading.
    pub imap: SocketAddr,
}

/// One mail host and how it is reached.
pub struct Host {
    /// The process.
    pub server: Server,
    /// Its doors.
    pub doors: Doors,
    /// Its data folder.
    pub data: PathBuf,
}

/// Everything that stands on the stage.
pub struct Stage {
    /// The company's mail system.
    pub primary: Host,
    /// The same, without protection.
    pub twin: Host,
    /// Stormpost in front of the first.
    pub front: Host,
    /// The rest of the world.
    pub outside: Host,
    /// The company's people.
    pub people: Vec<Person>,
    /// The one who gets the world's mail.
    pub stranger: Person,
    /// The real world.
    pub world: World,
    _names: JoinSet<()>,
}

/// How long the primary must be well before giving back begins, in this demonstration.
pub const RETURN_DWELL: &str = "2s";

impl Stage {
    /// Writes configurations and passwords. Nothing runs yet but the name server.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub fn set(folder: &Path, arguments: &DemoArguments) -> Result<Stage> {
        let mut ports = Ports::default();
        let name_server = ports.free()?;
        let mut running = JoinSet::new();
        running.spawn(async move {
            if let Err(why) = names::serve(name_server).await {
                tracing::warn!(%why, "the demonstration's name server");
            }
        });
        let world = world::real(Some(name_server));
        let people = people(&world, arguments.people)?;
        let stranger = Person { address: address("everybody", OUTSIDE)?, password: secret(&world) };

        let mut hosts = Vec::new();
        for (name, domain, accounts) in [
            ("primary", COMPANY, &people[..]),
            ("twin", COMPANY, &people[..]),
            ("outside", OUTSIDE, std::slice::from_ref(&stranger)),
        ] {
            let host = Host::new(folder, name, &mut ports)?;
            let extra = if domain == OUTSIDE {
                format!("catch_all = \"{}\"\n", stranger.address)
            } else {
                String::new()
            };
            let text = format!("{}{}", host.head(name, name_server), domain_part(domain, accounts, &extra));
            host.write(&text)?;
            host.passwords(&world, accounts)?;
            hosts.push(host);
        }
        let front = Host::new(folder, "stormpost", &mut ports)?;
        let (outside, twin, primary) = match (hosts.pop(), hosts.pop(), hosts.pop()) {
            (Some(outside), Some(twin), Some(primary)) => (outside, twin, primary),
            _ => return Err(anyhow!("the stage is not whole")),
        };
        front.write(&front_text(&front, &primary, &outside, &people, name_server, arguments))?;
        write_private(&front.folder().join("primary.accounts"), &account_table(&people))?;
        Ok(Stage { primary, twin, front, outside, people, stranger, world, _names: running })
    }
}

impl Host {
    fn new(folder: &Path, name: &str, ports: &mut Ports) -> Result<Host> {
        let home = folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
        let doors = Doors { smtp: ports.free()?, submission: ports.free()?, imap: ports.free()? };
        let server = Server::new(name, &home, home.join("stormpost.toml"), doors.imap);
        Ok(Host { server, doors, data: home.join("data") })
    }

    fn folder(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    fn head(&self, name: &str, name_server: SocketAddr) -> String {
        let Doors { smtp, submission, imap } = self.doors;
        format!(
            "[node]\nname = \"{name}.{COMPANY}\"\ndata = \"data\"\nname_server = \"{name_server}\"\n\n[listen]\nsmtp = \
             \"{smtp}\"\nsubmission = \"{submission}\"\nimap = \"{imap}\"\n\n"
        )
    }

    fn write(&self, text: &str) -> Result<()> {
        let path = &self.server.configuration;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn passwords(&self, world: &World, people: &[Person]) -> Result<()> {
        let path = &self.server.configuration;
        let (configuration, _) = Configuration::load(path).map_err(|faults| anyhow!("{faults}"))?;
        fs::create_dir_all(&self.data).with_context(|| format!("making {}", self.data.display()))?;
        let directory = stores::directory(world, &configuration)?;
        for person in people {
            directory.set_password(&AccountId::new(&person.address.key()), &person.password)?;
        }
        directory.flush()?;
        Ok(())
    }

    /// How people's programs reach it.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn desk(&self, world: &World) -> Result<Desk> {
        let trust = Tls::new(&Trust::Anybody).map_err(|why| anyhow!(why))?;
        let imap = imap::Hop {
            place: place(self.doors.imap),
            addresses: Vec::new(),
            tls: TlsMode::Required,
            trust,
            limits: imap::Limits::primary(),
        };
        Ok(Desk {
            world: world.clone(),
            imap,
            submission: self.hop(self.doors.submission, TlsMode::Required)?,
        })
    }

    /// How other mail servers reach it.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn door(&self) -> Result<Hop> {
        self.hop(self.doors.smtp, TlsMode::Opportunistic)
    }

    fn hop(&self, at: SocketAddr, tls: TlsMode) -> Result<Hop> {
        Ok(Hop {
            protocol: Protocol::Smtp,
            place: place(at),
            addresses: Vec::new(),
            tls,
            trust: Tls::new(&Trust::Anybody).map_err(|why| anyhow!(why))?,
            sign_in: None,
            helo: OUTSIDE.to_owned(),
            limits: Limits::primary(),
            pass_client: false,
        })
    }
}

fn place(at: SocketAddr) -> Place {
    Place::Host(at.ip().to_string(), at.port())
}

fn address(local: &str, domain: &str) -> Result<Address> {
    Address::new(local, domain).map_err(|why| anyhow!("{local}@{domain}: {why}"))
}

const NAMES: [&str; 12] =
    ["anna", "bert", "chidi", "dana", "emre", "fatima", "goran", "hanna", "ivo", "jana", "kofi", "lea"];

fn people(world: &World, count: u32) -> Result<Vec<Person>> {
    (0..count as usize)
        .map(|n| {
            let name = NAMES[n % NAMES.len()];
            let local =
                if n < NAMES.len() { name.to_owned() } else { format!("{name}{}", n / NAMES.len() + 1) };
            Ok(Person { address: address(&local, COMPANY)?, password: secret(world) })
        })
        .collect()
}

fn secret(world: &World) -> String {
    let mut bytes = [0; 12];
    world.random.fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn domain_part(domain: &str, people: &[Person], extra: &str) -> String {
    let accounts: Vec<String> = people.iter().map(|person| format!("\"{}\"", person.address)).collect();
    format!("[[domain]]\nname = \"{domain}\"\n{extra}accounts = [{}]\n\n", accounts.join(", "))
}

fn front_text(
    front: &Host,
    primary: &Host,
    outside: &Host,
    people: &[Person],
    name_server: SocketAddr,
    arguments: &DemoArguments,
) -> String {
    let certificate = primary.data.join("self-signed.crt");
    let trust = certificate.display();
    format!(
        "{}{}[[primary]]\nid = \"office\"\ndwell = \"{}s\"\nreturn_dwell = \"{RETURN_DWELL}\"\n\n[primary.deliver]\nhost = \
         \"127.0.0.1\"\nport = {}\ntls = \"opportunistic\"\ntrust = \"{trust}\"\n\n[primary.mailbox]\nhost = \
         \"127.0.0.1\"\nport = {}\ntls = \"required\"\ntrust = \"{trust}\"\nreader = {{ accounts_file = \
         \"primary.accounts\" }}\nwriter = {{ accounts_file = \"primary.accounts\" }}\n\n[outbound.smart_host]\nhost = \
         \"127.0.0.1\"\nport = {}\ntls = \"opportunistic\"\ntrust = \"anybody\"\n\n[notify]\nmail = \
         [\"it-lead@{OUTSIDE}\"]\n",
        front.head("stormpost", name_server),
        domain_part(COMPANY, people, "primary = \"office\"\n"),
        arguments.dwell,
        primary.doors.smtp.port(),
        primary.doors.imap.port(),
        outside.doors.smtp.port(),
    )
}

fn account_table(people: &[Person]) -> String {
    let mut table = "account,user,password\n".to_owned();
    for person in people {
        let _ = writeln!(table, "{0},{0},{1}", person.address, person.password);
    }
    table
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let name = || format!("writing {}", path.display());
    fs::write(path, text).with_context(name)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(name)
}
