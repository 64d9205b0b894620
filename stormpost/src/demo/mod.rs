//! `stormpost demo`: an outage, and the way back, counted.
//!
//! Four mail hosts are processes of their own: a company's mail system, an unprotected twin of it, Stormpost in front of
//! the first, and the rest of the world. Both mail systems are killed while mail is coming in. All are this same
//! program, or the mail systems are the installed Postfix and Dovecot.

mod acts;
mod company;
mod count;
mod debian;
mod ending;
mod mail;
mod names;
mod observer;
mod outside;
mod people;
mod report;
mod stage;
mod story;
mod tree;

use crate::command::{DemoArguments, DemoPrimary};
use acts::Cast;
use anyhow::{Context, Result, bail};
use mail::Stock;
use stage::Stage;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use story::say;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long what still runs in the background may take to end.
const BACKGROUND_MAX: Duration = Duration::from_secs(1);

/// Runs the demonstration; whether it came out clean.
///
/// # Errors
/// When it could not be carried through, with the end of the log that says why.
pub fn run(arguments: DemoArguments) -> Result<bool> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    ending::writable(&arguments)?;
    if arguments.primary == DemoPrimary::Debian {
        debian::Programs::find()?;
    }
    let stock = match &arguments.mail {
        Some(path) => Stock::read(path, arguments.messages as usize)?,
        None => Stock::default(),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let folder = Folder::make(&arguments)?;
    let ended = runtime.block_on(perform(&arguments, &folder.path, stock));
    runtime.shutdown_timeout(BACKGROUND_MAX);
    match &ended {
        Ok(Ended::Played { clean: true }) | Ok(Ended::Stopped(_)) => folder.remove(),
        Ok(Ended::Played { clean: false }) | Err(_) => {
            say(&format!("logs and mailboxes are left in {}", folder.path.display()));
        }
    }
    match ended? {
        Ended::Played { clean } => Ok(clean),
        Ended::Stopped(by) => bail!("ended by {by} before the end; everything that ran was stopped"),
    }
}

/// How the performance ended.
enum Ended {
    /// It was played to its end.
    Played { clean: bool },
    /// Somebody stopped it, by this signal.
    Stopped(&'static str),
}

async fn perform(arguments: &DemoArguments, folder: &Path, stock: Stock) -> Result<Ended> {
    let mut stop = Stop::new()?;
    let mut cast = Cast::new(Stage::set(folder, arguments)?, stock);
    let played = tokio::select! {
        biased;
        by = stop.asked() => {
            say(&format!("ended by {by}: everything is stopped"));
            Ended::Stopped(by)
        }
        clean = cast.play(arguments) => Ended::Played { clean: clean? },
    };
    if arguments.keep && matches!(played, Ended::Played { .. }) {
        ending::look_around(&cast.stage);
        say(&format!("ended by {}: everything is stopped", stop.asked().await));
    }
    // What leaves its data behind ends in order; a second Ctrl-C is the end of patience.
    tokio::select! {
        biased;
        _ = stop.asked() => {}
        () = cast.stop() => {}
    }
    Ok(played)
}

/// The ways in which a person or the system ends a program.
struct Stop([(Signal, &'static str); 3]);

impl Stop {
    fn new() -> Result<Stop> {
        let listen = |kind: SignalKind| signal(kind).context("listening for signals");
        Ok(Stop([
            (listen(SignalKind::interrupt())?, "Ctrl-C"),
            (listen(SignalKind::terminate())?, "SIGTERM"),
            (listen(SignalKind::hangup())?, "SIGHUP"),
        ]))
    }

    /// Waits until one of them comes.
    async fn asked(&mut self) -> &'static str {
        let [(interrupt, a), (terminate, b), (hangup, c)] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => a,
            _ = terminate.recv() => b,
            _ = hangup.recv() => c,
        }
    }
}

/// Where the demonstration lives.
struct Folder {
    path: PathBuf,
    ours: bool,
}

impl Folder {
    fn make(arguments: &DemoArguments) -> Result<Folder> {
        let folder = match &arguments.folder {
            Some(path) => Folder::given(path)?,
            None => Folder::temporary()?,
        };
        match folder.check(arguments.primary) {
            Ok(()) => Ok(folder),
            Err(why) => {
                folder.remove();
                Err(why)
            }
        }
    }

    fn temporary() -> Result<Folder> {
        let mut random = [0; 8];
        words_world::Random::fill(&crate::world::SystemRandom, &mut random);
        let name: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let path = std::env::temp_dir().join(format!("stormpost-demo-{name}"));
        fs::create_dir(&path)
            .with_context(|| format!("making {}; name another place with --folder", path.display()))?;
        Ok(Folder { path: path.canonicalize().unwrap_or(path), ours: true })
    }

    fn given(path: &Path) -> Result<Folder> {
        let name = || format!("making {}", path.display());
        let is_new = !path.exists();
        fs::create_dir_all(path).with_context(name)?;
        if path.read_dir().with_context(name)?.next().is_some() {
            bail!("{} is not empty; name another folder", path.display());
        }
        if is_new {
            // Nobody but the owner may list it; Postfix's and Dovecot's own users pass through.
            fs::set_permissions(path, fs::Permissions::from_mode(0o711)).with_context(name)?;
        }
        Ok(Folder { path: path.canonicalize().with_context(name)?, ours: false })
    }

    fn check(&self, primary: DemoPrimary) -> Result<()> {
        if primary == DemoPrimary::Debian {
            if self.ours {
                fs::set_permissions(&self.path, fs::Permissions::from_mode(0o711))
                    .with_context(|| format!("opening {}", self.path.display()))?;
            }
            debian::reachable(&self.path)?;
        }
        if self.path.as_os_str().len() > PATH_MAX {
            bail!(
                "{} is longer than {PATH_MAX} bytes, too long for sockets in it; name a shorter --folder",
                self.path.display()
            );
        }
        Ok(())
    }

    fn remove(&self) {
        if !self.ours {
            say(&format!("logs and mailboxes are left in {}", self.path.display()));
        } else if let Err(why) = fs::remove_dir_all(&self.path) {
            say(&format!("{} could not be removed: {why}", self.path.display()));
        }
    }
}

/// A socket's path has at most 107 bytes, and ours stand two folders below.
const PATH_MAX: usize = 75;

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: Option<PathBuf>) -> DemoArguments {
        DemoArguments {
            mail: None,
            people: 2,
            messages: 1,
            outage: 20,
            dwell: 3,
            keep: false,
            primary: DemoPrimary::Own,
            report: None,
            page: "demo.html".into(),
            folder,
        }
    }

    #[test]
    fn a_folder_of_ours_is_gone_afterwards_and_a_given_one_stays() {
        let ours = Folder::make(&arguments(None)).unwrap();
        assert!(ours.path.is_dir());
        ours.remove();
        assert!(!ours.path.exists());
        let home = tempfile::tempdir().unwrap();
        let given = Folder::make(&arguments(Some(home.path().join("a/b")))).unwrap();
        given.remove();
        assert!(given.path.is_dir());
    }

    #[test]
    fn a_folder_in_which_something_stands_is_refused() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis.txt"), "x").unwrap();
        let refused = Folder::make(&arguments(Some(home.path().to_owned())));
        let words = refused.err().map(|why| why.to_string()).unwrap_or_default();
        assert!(words.contains("is not empty; name another folder"), "{words}");
        assert!(home.path().join("thesis.txt").exists());
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_before_anything_starts() {
        let home = tempfile::tempdir().unwrap();
        let refused = Folder::make(&arguments(Some(home.path().join("x".repeat(80)))));
        let words = refused.err().map(|why| why.to_string()).unwrap_or_default();
        assert!(words.contains("too long for sockets"), "{words}");
    }
}
