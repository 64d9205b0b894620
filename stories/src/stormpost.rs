//! The product, run as a stranger runs it: a configuration file, a command line, signals.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::lab::wait_for;
use crate::maildrop::ImapTalk;
use crate::primary::{PASSWORD, READER, WRITER, greets};
use crate::tools::{Said, run, run_with};
use crate::tree::signal;
use crate::{Lab, Maildrop, Primary, Tree, ports};

/// How deliveries reach a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// SMTP to this loopback port.
    Smtp(u16),
    /// LMTP to this loopback port.
    Lmtp(u16),
}

/// One company as Stormpost is told of it.
#[derive(Debug, Clone)]
pub struct Company {
    /// Its domain, and the name of its primary up to the first dot.
    pub domain: String,
    /// How deliveries go back; none makes Stormpost the company's own mail host.
    pub hop: Option<Hop>,
    /// Where its mailboxes are read and written.
    pub imap: Option<u16>,
    /// The people's local parts; each signs in with `pw-NAME`.
    pub people: Vec<String>,
    /// Whether the primary is asked about recipients that are not in `people`.
    pub learned: bool,
    /// When deliveries to its primary are encrypted.
    pub tls: &'static str,
    /// Further lines for its primary's table in the configuration.
    pub extra: String,
}

impl Company {
    /// A company whose primary is the lab's Postfix and Dovecot.
    pub fn of(primary: &Primary) -> Company {
        Company {
            domain: primary.domain.clone(),
            hop: Some(Hop::Smtp(primary.smtp)),
            imap: Some(primary.imap),
            people: primary.people.clone(),
            learned: false,
            tls: "opportunistic",
            extra: String::new(),
        }
    }

    /// A company without a primary: its mail lives in Stormpost alone.
    pub fn alone(domain: &str, people: &[&str]) -> Company {
        Company {
            domain: domain.to_owned(),
            hop: None,
            imap: None,
            people: people.iter().map(|person| (*person).to_owned()).collect(),
            learned: false,
            tls: "opportunistic",
            extra: String::new(),
        }
    }

    /// Its tables in the configuration.
    fn toml(&self, dwell: u64) -> String {
        let (domain, name) = (&self.domain, self.name());
        let accounts: Vec<String> =
            self.people.iter().map(|person| format!("\"{person}@{domain}\"")).collect();
        let mut out = format!("\n[[domain]]\nname = \"{domain}\"\naccounts = [{}]\n", accounts.join(", "));
        if let Some(first) = accounts.first() {
            out.push_str(&format!("postmaster = {first}\n"));
        }
        out.push_str(&format!("authoritative = {}\n", !self.learned));
        out.push_str(&format!("dkim = {{ key_file = \"dkim-{domain}.pem\" }}\n"));
        let Some(hop) = self.hop else { return out };
        let (kind, port) = match hop {
            Hop::Smtp(port) => ("smtp", port),
            Hop::Lmtp(port) => ("lmtp", port),
        };
        out.push_str(&format!(
            "primary = \"{name}\"\n\n[[primary]]\nid = \"{name}\"\ndwell = \"{dwell}s\"\nreturn_dwell = \"1s\"\n\
             queue_time = \"5s\"\n{extra}\n[primary.deliver]\nkind = \"{kind}\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             tls = \"{tls}\"\ntrust = \"anybody\"\n",
            tls = self.tls,
            extra = self.extra
        ));
        if let Some(port) = self.imap {
            out.push_str(&format!(
                "\n[primary.mailbox]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
                 reader = {{ user = \"{{account}}*{}\", password = \"{}\" }}\n\
                 writer = {{ user = \"{{account}}*{}\", password = \"{}\" }}\n",
                READER.0, READER.1, WRITER.0, WRITER.1
            ));
        }
        out
    }

    /// The name of its primary in the configuration.
    pub fn name(&self) -> &str {
        self.domain.split('.').next().unwrap_or(&self.domain)
    }
}

/// What a story may want otherwise than usual.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The companies.
    pub companies: Vec<Company>,
    /// Where mail for other domains goes.
    pub smart_host: Option<u16>,
    /// The name server it asks.
    pub names: Option<SocketAddr>,
    /// The time a judgement must last, seconds.
    pub dwell: u64,
    /// Where it keeps its logs; the lab's directory when none.
    pub state: Option<PathBuf>,
    /// The largest message, bytes.
    pub message_size: Option<u64>,
    /// Further lines for `[limits]`.
    pub limits: String,
    /// Who is told of events by mail.
    pub notify: Option<String>,
    /// Environment of the process.
    pub environment: Vec<(String, String)>,
    /// Whether one process does everything; else the edge has one of its own.
    pub one_process: bool,
}

impl Setup {
    /// One company, a dwell of three seconds.
    pub fn of(primary: &Primary) -> Setup {
        Setup::with(vec![Company::of(primary)])
    }

    /// These companies, a dwell of three seconds.
    pub fn with(companies: Vec<Company>) -> Setup {
        Setup {
            companies,
            smart_host: None,
            names: None,
            dwell: 3,
            state: None,
            message_size: None,
            limits: String::new(),
            notify: None,
            environment: Vec::new(),
            one_process: false,
        }
    }
}

/// A running Stormpost.
pub struct Stormpost {
    /// The edge's SMTP port.
    pub smtp: u16,
    /// Submission with STARTTLS.
    pub submission: u16,
    /// Submission with TLS from the first byte.
    pub submissions: u16,
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// IMAP with TLS from the first byte.
    pub imaps: u16,
    /// Health page and metrics.
    pub web: u16,
    /// Its configuration file.
    pub configuration: PathBuf,
    /// The program of the next start; without one, that which was built beside the tests.
    pub program: Option<PathBuf>,
    /// Who oversees it: a script that is given the program and its arguments.
    pub overseer: Option<PathBuf>,
    dir: PathBuf,
    setup: Setup,
    tree: Option<Tree>,
}

impl Stormpost {
    /// Writes the configuration, starts the program and waits until the edge greets.
    pub fn start(lab: &Lab, name: &str, setup: &Setup) -> Stormpost {
        let mut stormpost = Stormpost::prepare(lab, name, setup);
        stormpost.restart();
        stormpost
    }

    /// Writes the configuration and starts nothing.
    pub fn prepare(lab: &Lab, name: &str, setup: &Setup) -> Stormpost {
        let dir = lab.room(name);
        let stormpost = Stormpost {
            smtp: ports::free_port(),
            submission: ports::free_port(),
            submissions: ports::free_port(),
            imap: ports::free_port(),
            imaps: ports::free_port(),
            web: ports::free_port(),
            configuration: dir.join("stormpost.toml"),
            program: None,
            overseer: None,
            dir,
            setup: setup.clone(),
            tree: None,
        };
        stormpost.write();
        stormpost.enrol();
        stormpost
    }

    fn write(&self) {
        let setup = &self.setup;
        let state = self.data();
        let at = |port: u16| format!("\"127.0.0.1:{port}\"");
        let mut text = format!(
            "[node]\nname = \"mx.{}\"\ndata = \"{}\"\n",
            setup.companies.first().map_or("stormpost.test", |first| first.domain.as_str()),
            state.display()
        );
        if setup.one_process {
            text.push_str("edge = \"inside\"\n");
        }
        if let Some(names) = setup.names {
            text.push_str(&format!("name_server = \"{names}\"\n"));
        }
        text.push_str(&format!(
            "\n[listen]\nsmtp = {}\nsubmission = {}\nsubmissions = {}\nimap = {}\nimaps = {}\nhttp = {}\n",
            at(self.smtp),
            at(self.submission),
            at(self.submissions),
            at(self.imap),
            at(self.imaps),
            at(self.web)
        ));
        for company in &setup.companies {
            text.push_str(&company.toml(setup.dwell));
        }
        if let Some(port) = setup.smart_host {
            text.push_str(&format!(
                "\n[outbound.smart_host]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n"
            ));
        }
        if let Some(address) = &setup.notify {
            text.push_str(&format!("\n[notify]\nmail = [\"{address}\"]\n"));
        }
        // The load comes from one address, and a story has no minute to wait for a retry.
        text.push_str(
            "\n[limits]\nconnections_per_address = 400\nretry_first = \"1s\"\nretry_max = \"5s\"\n",
        );
        if let Some(size) = setup.message_size {
            text.push_str(&format!("message_size = {size}\n"));
        }
        text.push_str(&setup.limits);
        fs::write(&self.configuration, text).unwrap();
    }

    /// Makes the signing keys, and gives everybody the password of his own sign-in at the primary.
    fn enrol(&self) {
        for company in &self.setup.companies {
            self.tell(&["dkim", &company.domain]).must("stormpost dkim");
            for person in &company.people {
                let address = format!("{person}@{}", company.domain);
                let mut command = Command::new(program());
                command.args(["account", "password", &address, "--config"]).arg(&self.configuration);
                run_with(&mut command, &format!("{PASSWORD}-{person}\n")).must("stormpost account password");
            }
        }
    }

    /// Gives the edge another port, from the next start on.
    pub fn move_edge(&mut self, port: u16) {
        self.smtp = port;
        self.write();
    }

    /// Where it keeps its logs.
    fn data(&self) -> PathBuf {
        self.setup.state.clone().unwrap_or_else(|| self.dir.join("state"))
    }

    /// SIGKILL to everything of it.
    pub fn kill(&mut self) {
        if let Some(mut tree) = self.tree.take() {
            tree.kill();
        }
        // An edge that outlived the process which began it.
        while let Some(pid) = self.edge_pid() {
            signal(pid, Signal::KILL);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL to the part behind the edge; the edge lives on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill_inside(&mut self) {
        self.tree.take().expect("Stormpost runs").behead();
    }

    /// SIGKILL to the edge; the part behind it lives on.
    pub fn kill_edge(&self) {
        if let Some(pid) = self.edge_pid() {
            signal(pid, Signal::KILL);
        }
    }

    /// The process of the edge: the one that writes the journal. None when nobody does.
    pub fn edge_pid(&self) -> Option<u32> {
        let path = self.data().join("edge.lock");
        let file = fs::File::open(&path).ok()?;
        if file.try_lock_shared().is_ok() {
            return None;
        }
        fs::read_to_string(&path).ok()?.trim().parse().ok()
    }

    /// SIGTERM, and up to twenty seconds to finish what is open.
    ///
    /// # Panics
    /// When it does not end by then.
    pub fn stop(&mut self) {
        if let Some(mut tree) = self.tree.take() {
            assert!(tree.stop(Duration::from_secs(20)), "SIGTERM did not end it in 20 s");
        }
    }

    /// Starts it on the same ports, waits until all of it works, and gives the time until the edge greeted.
    pub fn restart(&mut self) -> Duration {
        let greeted = self.reopen();
        self.comes_up();
        greeted
    }

    /// Starts it on the same ports and gives the time until the edge greeted. The rest may still be starting.
    pub fn reopen(&mut self) -> Duration {
        let begun = Instant::now();
        self.launch();
        let port = self.smtp;
        let tree = self.tree.as_mut();
        let tree = tree.expect("launched above");
        wait_for("Stormpost's edge to greet", Duration::from_secs(60), || {
            assert!(!Tree::ended(tree), "Stormpost ended while starting; see its log");
            greets(port)
        });
        begun.elapsed()
    }

    /// Waits until the part behind the edge works and knows what was accepted before.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn comes_up(&self) {
        wait_for("Stormpost to know its queue", Duration::from_secs(60), || {
            let said = self.tell(&["status"]);
            said.ok && !said.out.contains("the queue is still being read")
        });
        wait_for("Stormpost's mailboxes to be open", Duration::from_secs(60), || greets(self.imap));
    }

    /// Starts it and waits for nothing.
    pub fn launch(&mut self) {
        self.tree = Some(self.begin(&[]));
    }

    fn begin(&self, further: &[&str]) -> Tree {
        let program = self.program.clone().unwrap_or_else(program);
        let mut command = match &self.overseer {
            Some(script) => {
                let mut command = Command::new("python3");
                command.arg(script).arg(self.dir.join("notify.sock")).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("serve").arg("--config").arg(&self.configuration).args(further);
        command.envs(self.setup.environment.iter().cloned());
        Tree::start("Stormpost", command, &self.log_file(), None)
    }

    /// Starts the program once more beside the one that runs; it takes that one's place. Gives the time until the old
    /// process had ended.
    ///
    /// # Panics
    /// When the old one does not end within a minute.
    pub fn upgrade(&mut self) -> Duration {
        let begun = Instant::now();
        let next = self.begin(&["--take-over"]);
        if let Some(mut old) = self.tree.replace(next) {
            wait_for("the old Stormpost to leave", Duration::from_secs(60), || old.ended());
            // What it began belongs to its successor now.
            std::mem::forget(old);
        }
        begun.elapsed()
    }

    /// SIGHUP to whoever oversees it: a restart.
    pub fn hang_up(&self) {
        signal(self.pid(), Signal::HUP);
    }

    /// Whether the process lives.
    pub fn lives(&mut self) -> bool {
        self.tree.as_mut().is_some_and(|tree| !tree.ended())
    }

    /// Sets the environment of the next start.
    pub fn environment(&mut self, pairs: &[(&str, &str)]) {
        self.setup.environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> u32 {
        self.tree.as_ref().expect("Stormpost runs").pid()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.tree.as_ref().map_or(0, Tree::resident)
    }

    /// The log file of the process.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs a subcommand against this instance.
    pub fn tell(&self, arguments: &[&str]) -> Said {
        run(Command::new(program()).args(arguments).arg("--config").arg(&self.configuration))
    }

    /// The same with another configuration file.
    pub fn tell_as(&self, configuration: &Path, arguments: &[&str]) -> Said {
        run(Command::new(program()).args(arguments).arg("--config").arg(configuration))
    }

    /// The same with this in its environment.
    pub fn tell_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = Command::new(program());
        run(command
            .args(arguments)
            .arg("--config")
            .arg(&self.configuration)
            .envs(environment.iter().copied()))
    }

    /// Runs a subcommand with `--json` and reads its answer.
    ///
    /// # Panics
    /// When it fails or answers something else.
    pub fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.tell(&[arguments, &["--json"]].concat()).must(&format!("stormpost {arguments:?}"));
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{arguments:?} --json: {e}\n{}", said.out))
    }

    /// How many messages still go somewhere, as the queue's list tells: not those set aside for a person.
    pub fn queued(&self) -> usize {
        let aside = ["parked", "refused", "expired", "quarantined"];
        let list = self.ask(&["queue", "list"]);
        let states = list.as_array().into_iter().flatten().filter_map(|one| one["state"].as_str());
        states.filter(|state| !aside.contains(state)).count()
    }

    /// How many messages of the queue are in this state.
    pub fn queued_as(&self, state: &str) -> usize {
        self.ask(&["queue", "list", "--state", state]).as_array().map_or(0, Vec::len)
    }

    /// The state of one plane of a primary, as `status` tells it.
    ///
    /// # Panics
    /// When `status` does not tell it.
    pub fn state(&self, primary: &str, plane: &str) -> String {
        let status = self.ask(&["status"]);
        let state = status["primaries"][primary]["planes"][plane]["state"].as_str();
        state.unwrap_or_else(|| panic!("no state of {primary}'s {plane} in {status}")).to_owned()
    }

    /// Looks into one person's mailbox through Stormpost's own front.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn maildrop(&self, address: &str) -> Result<Maildrop, String> {
        Maildrop::read_all(self.imap_as(address)?, "BODY.PEEK[HEADER]")
    }

    /// Signs in at Stormpost's own front with a person's own password.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn imap_as(&self, address: &str) -> Result<ImapTalk, String> {
        let person = address.split('@').next().unwrap_or(address);
        let mut talk = ImapTalk::connect_tls("127.0.0.1", self.imaps)?;
        talk.sign_in(address, &format!("{PASSWORD}-{person}"))?;
        Ok(talk)
    }

    /// All companies' mailboxes as Stormpost shows them, by address.
    ///
    /// # Panics
    /// When somebody cannot be looked at.
    pub fn maildrops(&self) -> HashMap<String, Maildrop> {
        let mut all = HashMap::new();
        for company in &self.setup.companies {
            for person in &company.people {
                let address = format!("{person}@{}", company.domain);
                let drop = self.maildrop(&address).unwrap_or_else(|why| panic!("{address}: {why}"));
                all.insert(address, drop);
            }
        }
        all
    }
}

impl Drop for Stormpost {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program, built beside the tests.
///
/// # Panics
/// When it is not built.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let profile = test.ancestors().find(|dir| dir.join("stormpost").is_file()).map(Path::to_owned);
    profile.map(|dir| dir.join("stormpost")).unwrap_or_else(|| {
        panic!(
            "the stormpost program is not built beside {}; ./test builds it, or: cargo build",
            test.display()
        )
    })
}
