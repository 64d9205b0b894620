//! The directory of one story, and what must be there before a story can run.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One story's directory. Removed when the story ends well; kept, and named, when it fails.
pub struct Lab {
    dir: PathBuf,
    story: String,
    started: Instant,
}

impl Lab {
    /// Opens the lab for `story`. Ends the story with words when the machine lacks what the lab needs.
    pub fn open(story: &str) -> Lab {
        Lab::below(&std::env::temp_dir(), story)
    }

    /// As [`Lab::open`], in a directory below `place`: on the disk that is meant.
    pub fn below(place: &Path, story: &str) -> Lab {
        require_root();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short, because the path of a unix socket has room for 107 bytes only.
        let dir = place.join(format!("stories-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // Postfix and Dovecot run as users of their own and must be able to walk in.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        Lab { dir, story: story.to_owned(), started: Instant::now() }
    }

    /// The story's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory inside the lab, made when it is not there.
    pub fn room(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// One line of progress with the story's name and the seconds since it began.
    pub fn say(&self, line: &str) {
        // Written past the test harness, which would keep it until the end.
        let line = format!("[{} {:6.2}s] {line}\n", self.story, self.started.elapsed().as_secs_f64());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("STORIES_KEEP").is_some() {
            println!("[{}] the logs are kept in {}", self.story, self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Waits until `done` says so, looking every 20 ms.
///
/// # Panics
/// When `limit` passes first; `what` names what did not happen.
pub fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "waited {:.1} s for {what}", limit.as_secs_f64());
        std::thread::sleep(Duration::from_millis(20));
    }
    started.elapsed()
}

/// Finds a program in the places where Debian puts it.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not installed; ./test installs it, or: apt-get install {package}")
        })
}

fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the stories run Postfix and Dovecot as own instances, and both start only as root; run ./test as root \
         (a container will do), or ./test unit for everything that needs no servers"
    );
}
