//! The stage: four mail hosts in folders of their own, and how they are reached.

use super::company::{Ports, Program, Server};
use super::debian::{self, Mailbox, Wanted};
use super::names;
use super::people::{Desk, Person};
use crate::command::{DemoArguments, DemoPrimary};
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
pub(super) const COMPANY: &str = "company.example";
/// Everybody else's domain.
pub(super) const OUTSIDE: &str = "outside.example";

/// The doors of one mail host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doors {
    /// Mail from other servers.
    pub(super) smtp: SocketAddr,
    /// Mail from people.
    pub(super) submission: SocketAddr,
    /// Reading.
    pub(super) imap: SocketAddr,
}

impl Doors {
    fn free(ports: &mut Ports) -> Result<Doors> {
        Ok(Doors { smtp: ports.free()?, submission: ports.free()?, imap: ports.free()? })
    }

    fn all(&self) -> [SocketAddr; 3] {
        [self.smtp, self.submission, self.imap]
    }
}

/// One mail host and how it is reached.
pub(super) struct Host {
    /// Its processes.
    pub(super) server: Server,
    /// Its doors.
    pub(super) doors: Doors,
    /// Its folder.
    pub(super) home: PathBuf,
}

/// Everything that stands on the stage.
pub(super) struct Stage {
    /// The company's mail system.
    pub(super) primary: Host,
    /// The same, without protection.
    pub(super) twin: Host,
    /// Stormpost in front of the first.
    pub(super) front: Host,
    /// The rest of the world.
    pub(super) outside: Host,
    /// The company's people.
    pub(super) people: Vec<Person>,
    /// The one who gets the world's mail.
    pub(super) stranger: Person,
    /// The real world.
    pub(super) world: World,
    _names: JoinSet<()>,
}

/// How long the primary must be well before giving back begins, in this demonstration.
pub(super) const RETURN_DWELL_SECONDS: u64 = 2;
/// After its return the primary needs so long at most to put into mailboxes what it had said yes to, seconds.
const QUEUE_TIME: u64 = 10;
/// The program's own configuration file in a host's folder.
pub(super) const CONFIGURATION: &str = "stormpost.toml";

impl Stage {
    /// Writes configurations and passwords. Nothing runs yet but the name server.
    ///
    /// # Errors
    /// When the folder cannot be written or no port is free.
    pub(super) fn set(folder: &Path, arguments: &DemoArguments) -> Result<Stage> {
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
        let mut set = Set { folder, ports, name_server, world: &world };

        let everybody_else = format!("catch_all = \"{}\"\n", stranger.address);
        let outside = set.own("outside", OUTSIDE, std::slice::from_ref(&stranger), &everybody_else)?;
        let keys = Keys { reader: secret(&world), writer: secret(&world) };
        let programs = match arguments.primary {
            DemoPrimary::Own => None,
            DemoPrimary::Debian => Some(debian::Programs::find()?),
        };
        let mut company = |name| match &programs {
            None => set.own(name, COMPANY, &people, ""),
            Some(programs) => set.debian(name, programs, &people, &keys, outside.doors.smtp),
        };
        let (primary, twin) = (company("primary")?, company("twin")?);
        let front = set.front(&primary, &outside, &people, &keys, arguments)?;
        Ok(Stage { primary, twin, front, outside, people, stranger, world, _names: running })
    }

    /// All hosts, in the order in which they are started.
    pub(super) fn hosts(&mut self) -> [&mut Host; 4] {
        [&mut self.outside, &mut self.primary, &mut self.twin, &mut self.front]
    }
}

/// Passwords of the master users at a primary of Postfix and Dovecot.
struct Keys {
    reader: String,
    writer: String,
}

/// What is needed to set up hosts.
struct Set<'a> {
    folder: &'a Path,
    ports: Ports,
    name_server: SocketAddr,
    world: &'a World,
}

impl Set<'_> {
    fn home(&self, name: &str) -> Result<PathBuf> {
        let home = self.folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
        Ok(home)
    }

    /// A Stormpost without a primary of its own is a plain mail host.
    fn own(&mut self, name: &str, domain: &str, people: &[Person], extra: &str) -> Result<Host> {
        let (home, doors) = (self.home(name)?, Doors::free(&mut self.ports)?);
        let text = format!("{}{}", head(name, doors, self.name_server), domain_part(domain, people, extra));
        let path = home.join(CONFIGURATION);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        self.passwords(&path, people)?;
        let program = Program::stormpost(name, &path, home.join("log.txt"), &doors.all())?;
        Ok(Host { server: Server::new(vec![program]), doors, home })
    }

    fn passwords(&self, configuration: &Path, people: &[Person]) -> Result<()> {
        let (configuration, _) = Configuration::load(configuration).map_err(|faults| anyhow!("{faults}"))?;
        let data = &configuration.node.data;
        fs::create_dir_all(data).with_context(|| format!("making {}", data.display()))?;
        let directory = stores::directory(self.world, &configuration)?;
        for person in people {
            directory.set_password(&AccountId::new(&person.address.key()), &person.password)?;
        }
        directory.flush()?;
        Ok(())
    }

    fn debian(
        &mut self,
        name: &str,
        programs: &debian::Programs,
        people: &[Person],
        keys: &Keys,
        relay: SocketAddr,
    ) -> Result<Host> {
        let (home, doors) = (self.home(name)?, Doors::free(&mut self.ports)?);
        let mailbox = |person: &Person| Mailbox {
            address: person.address.to_string(),
            password: person.password.clone(),
        };
        let wanted = Wanted {
            home: home.clone(),
            domain: COMPANY.to_owned(),
            smtp: doors.smtp,
            submission: doors.submission,
            lmtp: self.ports.free()?,
            imap: doors.imap,
            relay,
            people: people.iter().map(mailbox).collect(),
            masters: vec![("reader".into(), keys.reader.clone()), ("writer".into(), keys.writer.clone())],
            certificates: home.join("data"),
        };
        Ok(Host { server: wanted.set(programs)?, doors, home })
    }

    fn front(
        &mut self,
        primary: &Host,
        outside: &Host,
        people: &[Person],
        keys: &Keys,
        arguments: &DemoArguments,
    ) -> Result<Host> {
        let name = "stormpost";
        let (home, doors) = (self.home(name)?, Doors::free(&mut self.ports)?);
        let sign_ins = match arguments.primary {
            DemoPrimary::Own => {
                write_private(&home.join("primary.accounts"), &account_table(people))?;
                ["reader", "writer"]
                    .map(|door| format!("{door} = {{ accounts_file = \"primary.accounts\" }}"))
            }
            DemoPrimary::Debian => {
                write_private(&home.join("reader.password"), &keys.reader)?;
                write_private(&home.join("writer.password"), &keys.writer)?;
                ["reader", "writer"].map(|door| {
                    format!(
                        "{door} = {{ user = \"{{account}}*{door}\", password_file = \"{door}.password\" }}"
                    )
                })
            }
        };
        let text = format!(
            "{}{}{}",
            head(name, doors, self.name_server),
            domain_part(COMPANY, people, "primary = \"office\"\n"),
            front_part(primary, outside, &sign_ins.join("\n"), arguments),
        );
        let path = home.join(CONFIGURATION);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        let program = Program::stormpost("Stormpost", &path, home.join("log.txt"), &doors.all())?;
        Ok(Host { server: Server::new(vec![program]), doors, home })
    }
}

impl Host {
    /// How people's programs reach it.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn desk(&self, world: &World) -> Result<Desk> {
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
    pub(super) fn door(&self) -> Result<Hop> {
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
            safety: None,
            pass_client: false,
        })
    }

    /// Where it keeps what it must not lose, and its certificate.
    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data")
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
        .map(|n| Ok(Person { address: address(&local_part(n), COMPANY)?, password: secret(world) }))
        .collect()
}

/// The name of the n-th person: a first name, with a number where it comes round again.
fn local_part(n: usize) -> String {
    let name = NAMES[n % NAMES.len()];
    if n < NAMES.len() { name.to_owned() } else { format!("{name}{}", n / NAMES.len() + 1) }
}

fn secret(world: &World) -> String {
    let mut bytes = [0; 12];
    world.random.fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn head(name: &str, doors: Doors, name_server: SocketAddr) -> String {
    let Doors { smtp, submission, imap } = doors;
    format!(
        "[node]\nname = \"{name}.{COMPANY}\"\ndata = \"data\"\nname_server = \"{name_server}\"\n\n[listen]\nsmtp = \
         \"{smtp}\"\nsubmission = \"{submission}\"\nimap = \"{imap}\"\n\n"
    )
}

fn domain_part(domain: &str, people: &[Person], extra: &str) -> String {
    let accounts: Vec<String> = people.iter().map(|person| format!("\"{}\"", person.address)).collect();
    format!("[[domain]]\nname = \"{domain}\"\n{extra}accounts = [{}]\n\n", accounts.join(", "))
}

fn front_part(primary: &Host, outside: &Host, sign_ins: &str, arguments: &DemoArguments) -> String {
    let certificate = primary.data().join("self-signed.crt");
    let trust = certificate.display();
    format!(
        "[[primary]]\nid = \"office\"\ndwell = \"{}s\"\nreturn_dwell = \"{RETURN_DWELL_SECONDS}s\"\nqueue_time = \"{QUEUE_TIME}s\"\n\n\
         [primary.deliver]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"opportunistic\"\ntrust = \"{trust}\"\n\n\
         [primary.mailbox]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"required\"\ntrust = \"{trust}\"\n{sign_ins}\n\n\
         [outbound.smart_host]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"opportunistic\"\ntrust = \"anybody\"\n\n\
         [notify]\nmail = [\"it-lead@{OUTSIDE}\"]\n",
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn everybody_has_a_name_of_their_own() {
        let names: HashSet<String> = (0..10_000).map(local_part).collect();
        assert_eq!(names.len(), 10_000);
        assert_eq!((local_part(0).as_str(), local_part(12).as_str()), ("anna", "anna2"));
    }

    #[test]
    fn what_is_written_for_a_mail_host_is_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::default();
        let doors = Doors::free(&mut ports).unwrap();
        let someone = Person { address: address("anna", COMPANY).unwrap(), password: "x".into() };
        let host = Host { server: Server::new(Vec::new()), doors, home: folder.path().to_owned() };
        let arguments = DemoArguments {
            mail: None,
            people: 2,
            messages: 1,
            outage: 20,
            dwell: 3,
            keep: false,
            primary: DemoPrimary::Own,
            report: None,
            page: "demo.html".into(),
            folder: None,
        };
        let sign_ins = "reader = { accounts_file = \"primary.accounts\" }";
        let text = format!(
            "{}{}{}",
            head("stormpost", doors, ports.free().unwrap()),
            domain_part(COMPANY, &[someone], "primary = \"office\"\n"),
            front_part(&host, &host, sign_ins, &arguments),
        );
        let path = folder.path().join(CONFIGURATION);
        fs::write(&path, text).unwrap();
        let (configuration, _) = Configuration::load(&path).map_err(|faults| faults.to_string()).unwrap();
        assert_eq!(configuration.primaries[0].queue_time.as_secs(), QUEUE_TIME);
        assert_eq!(configuration.primaries[0].dwell.as_secs(), 3);
    }
}
