//! An object store as a process of its own. It is a package with a lock file of its own, built beside the product.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::wait_for;
use crate::tools::run;
use crate::{Lab, Tree, ports};
use std::time::Duration;

/// The name of its access key, and the key.
pub const ACCESS: (&str, &str) = ("story-key", "story-secret-of-forty-characters-0123456");

/// A running object store with one bucket, `mail`.
pub struct ObjectStore {
    /// Its port.
    pub port: u16,
    /// The folder with its objects.
    pub folder: PathBuf,
    tree: Option<Tree>,
    log: PathBuf,
}

impl ObjectStore {
    /// Builds it when that was never done, and starts it.
    ///
    /// # Panics
    /// When it cannot be built or started.
    pub fn start(lab: &Lab) -> ObjectStore {
        let dir = lab.room("object-store");
        let folder = dir.join("objects");
        fs::create_dir_all(folder.join("mail")).unwrap();
        let mut store = ObjectStore { port: ports::free_port(), folder, tree: None, log: dir.join("log") };
        store.restart();
        store
    }

    /// Starts it again on its port.
    ///
    /// # Panics
    /// When it does not answer in ten seconds.
    pub fn restart(&mut self) {
        let mut command = Command::new(program());
        command.arg(&self.folder).arg(self.port.to_string()).arg(ACCESS.0).arg(ACCESS.1);
        self.tree = Some(Tree::start("the object store", command, &self.log, None));
        wait_for("the object store to answer", Duration::from_secs(10), || listens(self.port));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut tree) = self.tree.take() {
            tree.kill();
        }
    }

    /// What Stormpost is told of it; the secret is in `secret`.
    pub fn toml(&self, secret: &Path) -> String {
        format!(
            "\n[s3]\nendpoint = \"http://127.0.0.1:{}\"\npath_style = true\nkey_id = \"{}\"\nsecret_file = \"{}\"\n",
            self.port,
            ACCESS.0,
            secret.display()
        )
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The program, in a folder of the build's.
fn program() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target =
        crate::stormpost::program().ancestors().nth(2).map(|target| target.join("object-store")).unwrap();
    let built = target.join("debug/object-store");
    // Cargo looks by itself whether anything changed.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").arg("--quiet").arg("--locked");
    cargo.arg("--manifest-path").arg(top.join("s3/Cargo.toml")).arg("--target-dir").arg(&target);
    run(&mut cargo).must("building the object store");
    built
}
