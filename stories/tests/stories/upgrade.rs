//! A newer program takes the place of the one that runs, under load: nothing is lost, nothing doubled, and nobody who
//! calls is refused.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stories::lab::wait_for;
use stories::stormpost::program;
use stories::{Load, PrimaryOptions, Sent};

use crate::scene::{Scene, by_lmtp};

/// Upgrades in one story.
const UPGRADES: usize = 4;

/// Somebody who knocks at doors all the time and remembers how he was received.
struct Knocker {
    stop: Arc<AtomicBool>,
    met: Arc<Mutex<Met>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Met {
    greeted: usize,
    turned_away: Vec<String>,
    longest: Duration,
}

impl Knocker {
    fn at(ports: &[u16]) -> Knocker {
        let (stop, met) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Met::default())));
        let threads = ports.iter().map(|port| {
            let (stop, met, port) = (stop.clone(), met.clone(), *port);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let heard = greeting(port);
                    let mut met = met.lock().unwrap();
                    met.longest = met.longest.max(begun.elapsed());
                    match heard {
                        Ok(()) => met.greeted += 1,
                        Err(why) => met.turned_away.push(format!("port {port}: {why}")),
                    }
                    drop(met);
                    std::thread::sleep(Duration::from_millis(3));
                }
            })
        });
        let threads = threads.collect();
        Knocker { stop, met, threads }
    }

    fn end(self) -> Met {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        std::mem::take(&mut *self.met.lock().unwrap())
    }
}

/// Connects, and waits for the first words, which may take a while: that is not a refusal.
fn greeting(port: u16) -> Result<(), String> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|e| format!("connecting: {e}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut first = [0; 1];
    match stream.read(&mut first) {
        Ok(1) => Ok(()),
        Ok(_) => Err("closed without a word".to_owned()),
        Err(e) => Err(format!("no greeting: {e}")),
    }
}

/// The programs that take each other's place: the older one, which `STORMPOST_PREVIOUS` may name, and this one.
fn programs(folder: &Path) -> [PathBuf; 2] {
    let older = std::env::var_os("STORMPOST_PREVIOUS").map_or_else(program, PathBuf::from);
    let (one, two) = (folder.join("older/stormpost"), folder.join("newer/stormpost"));
    for (from, to) in [(older, &one), (program(), &two)] {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    [one, two]
}

fn load(scene: &Scene) -> Load {
    Load {
        sessions: 6,
        messages: 1_000_000,
        size: 3_000,
        pause: Duration::from_millis(5),
        ..Load::new(scene.stormpost.smtp, "upgrade", &scene.primary.addresses())
    }
}

/// Runs `upgrade` so often under load, and judges.
fn upgraded(mut scene: Scene, mut upgrade: impl FnMut(&mut Scene, usize)) {
    let running = load(&scene).start();
    let doors = [scene.stormpost.smtp, scene.stormpost.submission, scene.stormpost.imap];
    let knocker = Knocker::at(&doors);
    let mut edges = vec![scene.stormpost.edge_pid().unwrap()];
    for round in 0..UPGRADES {
        std::thread::sleep(Duration::from_millis(400 + 70 * (round as u64 % 3)));
        let before = edges[edges.len() - 1];
        upgrade(&mut scene, round);
        wait_for("the newer edge to take mail", Duration::from_secs(60), || {
            scene.stormpost.edge_pid().is_some_and(|now| now != before)
        });
        edges.extend(scene.stormpost.edge_pid());
        // The next one begins when this one is whole, and something has come in since.
        scene.stormpost.comes_up();
        let acknowledged = running.acknowledged();
        wait_for("mail to come in", Duration::from_secs(30), || running.acknowledged() > acknowledged + 10);
    }
    let turned_away = running.turned_away();
    let sent: Vec<Sent> = running.stop();
    let met = knocker.end();
    scene.lab.say(&format!(
        "{UPGRADES} upgrades, {} messages, {} of them tried again, {} knocks, longest wait for a greeting {:.2} s",
        sent.len(),
        sent.iter().filter(|one| one.tries > 1).count(),
        met.greeted,
        met.longest.as_secs_f64()
    ));
    assert!(turned_away.is_empty(), "{} senders were turned away: {turned_away:?}", turned_away.len());
    assert!(met.turned_away.is_empty(), "{} knocks in vain: {:?}", met.turned_away.len(), met.turned_away);
    assert!(sent.len() > 100 && met.greeted > 100);
    scene.drained(Duration::from_secs(120));
    scene.judge(&sent);
    scene.stormpost.tell(&["journal", "verify"]).must("journal verify");
}

#[test]
fn a_newer_program_takes_over_under_load_and_refuses_nobody() {
    let mut scene = Scene::with("upgrade", &PrimaryOptions::default(), by_lmtp);
    let programs = programs(&scene.lab.room("programs"));
    scene.stormpost.stop();
    scene.stormpost.program = Some(programs[0].clone());
    scene.stormpost.restart();
    upgraded(scene, move |scene, round| {
        scene.stormpost.program = Some(programs[(round + 1) % 2].clone());
        scene.stormpost.upgrade();
    });
}

#[test]
fn a_package_upgrade_under_a_service_manager_refuses_nobody() {
    let mut scene = Scene::with("upgrade_overseen", &PrimaryOptions::default(), by_lmtp);
    let folder = scene.lab.room("programs");
    let programs = programs(&folder);
    let installed = folder.join("stormpost");
    fs::copy(&programs[0], &installed).unwrap();
    scene.stormpost.stop();
    scene.stormpost.program = Some(installed.clone());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/overseer.py");
    scene.stormpost.overseer = Some(script);
    scene.stormpost.restart();
    let ready = |log: &str| log.matches("'READY': '1'").count();
    wait_for("the first life to be ready", Duration::from_secs(30), || ready(&scene.stormpost.log()) == 1);
    upgraded(scene, |scene, round| {
        // As dpkg does: the new file is written beside the old one and takes its name.
        let unpacked = folder.join("stormpost.dpkg-new");
        fs::copy(&programs[(round + 1) % 2], &unpacked).unwrap();
        fs::rename(&unpacked, &installed).unwrap();
        scene.stormpost.hang_up();
        wait_for("the next life to be ready", Duration::from_secs(60), || {
            ready(&scene.stormpost.log()) == round + 2
        });
        let log = scene.stormpost.log();
        assert!(log.contains("'STOPPING': '1'") && log.contains("'WATCHDOG': '1'"), "{log}");
        let said = scene.stormpost.tell(&["serve", "--take-over"]);
        assert!(!said.ok && said.err.contains("systemctl restart"), "{}", said.err);
    });
}

#[test]
fn an_edge_that_is_killed_is_followed_by_another_and_nobody_is_refused() {
    let scene = Scene::with("edge_killed", &PrimaryOptions::default(), by_lmtp);
    let running = load(&scene).start();
    let knocker = Knocker::at(&[scene.stormpost.smtp, scene.stormpost.submission]);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        let before = scene.stormpost.edge_pid();
        scene.stormpost.kill_edge();
        wait_for("the next edge", Duration::from_secs(30), || {
            scene.stormpost.edge_pid().is_some_and(|now| Some(now) != before)
        });
        let acknowledged = running.acknowledged();
        wait_for("mail to come in", Duration::from_secs(30), || running.acknowledged() > acknowledged + 10);
    }
    let turned_away = running.turned_away();
    let sent = running.stop();
    let met = knocker.end();
    // Who had been let in already was cut off; nobody who came later stood before a closed door.
    let refused = |why: &&String| why.contains("refused");
    let refused: Vec<_> = turned_away.iter().chain(&met.turned_away).filter(refused).collect();
    assert!(refused.is_empty(), "{} refused: {refused:?}", refused.len());
    assert!(sent.iter().any(|one| one.tries > 1), "no kill met a sender, so nothing was proved");
    scene.drained(Duration::from_secs(120));
    scene.judge(&sent);
}
