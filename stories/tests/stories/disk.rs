//! The disk is full, or does not confirm.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stories::lab::{Lab, program, wait_for};
use stories::load::{SmtpTalk, story_message};
use stories::tools::run;
use stories::{Load, PrimaryOptions};

use crate::scene::{Scene, by_lmtp};

/// A small file system of its own, gone at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(lab: &Lab, megabytes: u32) -> SmallDisk {
        let place = lab.room("small");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "story"])
            .arg(&place))
        .must("mounting a small file system (needs root, and a container that may mount)");
        SmallDisk(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn one(port: u16, id: &str, size: usize) -> Result<String, String> {
    let message = story_message(id, "sender@outside.test", "anna@company.test", size);
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], port).into(), "outside.test")?;
    talk.send("sender@outside.test", &["anna@company.test"], &message).map(|(reply, _)| reply)
}

#[test]
fn a_full_disk_refuses_for_now_keeps_what_it_has_and_recovers_by_itself() {
    // Not in the scene's own lab, which is opened later; its place outlives the scene.
    let lab = Lab::open("disk_full");
    let disk = SmallDisk::mount(&lab, 96);
    let ballast = disk.0.join("ballast");
    let mut scene = Scene::with("disk_full_scene", &PrimaryOptions::default(), |setup, primary| {
        setup.state = Some(disk.0.join("state"));
        setup.limits = "reserve = \"16MiB\"\n".to_owned();
        by_lmtp(setup, primary);
    });
    let mut sent = Load::new(scene.stormpost.smtp, "before", &scene.primary.addresses()).run();

    std::fs::write(&ballast, vec![0; 60 << 20]).unwrap();
    let load = Load {
        sessions: 4,
        messages: 200,
        size: 100_000,
        insist: false,
        ..Load::new(scene.stormpost.smtp, "filling", &scene.primary.addresses())
    };
    let filling = load.run();
    let refused: Vec<_> = filling.iter().filter(|one| !one.acknowledged()).collect();
    assert!(!refused.is_empty(), "the disk never became full");
    for one in refused {
        let words = format!("{:?}", one.outcome);
        assert!(words.contains("452 4.3.1"), "{words}");
    }
    sent.extend(filling);
    assert!(one(scene.stormpost.smtp, "small", 100).unwrap().starts_with("452 4.3.1"));
    assert!(scene.stormpost.maildrop("anna@company.test").is_ok(), "reading goes on");
    scene.lab.say("full: 452 4.3.1, reading goes on");

    std::fs::remove_file(&ballast).unwrap();
    let back = wait_for("mail to be taken again", Duration::from_secs(30), || {
        one(scene.stormpost.smtp, "again", 100).is_ok_and(|reply| reply.starts_with("250"))
    });
    scene.lab.say(&format!("taken again {:.2} s after there was room", back.as_secs_f64()));
    scene.stormpost.kill();
    scene.stormpost.restart();
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
    drop(scene);
}

/// Every `fdatasync` and `fsync` of some processes fails with EIO while this lives: strace answers in the kernel's place.
struct FailingSync(Child);

impl FailingSync {
    fn begin(pids: &[u32]) -> FailingSync {
        let mut command = Command::new(program("strace", "strace"));
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]);
        command.args(["-e", "inject=fdatasync,fsync:error=EIO"]);
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let is_held = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
        };
        wait_for("strace to hold the processes", Duration::from_secs(10), || pids.iter().all(is_held));
        FailingSync(child)
    }
}

impl Drop for FailingSync {
    fn drop(&mut self) {
        // SIGINT makes strace let go of the process; SIGKILL would leave its threads stopped.
        let _ = Command::new("kill").arg("-INT").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[test]
fn a_disk_that_does_not_confirm_is_never_believed_and_nothing_acknowledged_is_lost() {
    let mut scene = Scene::with("sync_fails", &PrimaryOptions::default(), by_lmtp);
    let mut sent = Load::new(scene.stormpost.smtp, "before", &scene.primary.addresses()).run();
    let edge = scene.stormpost.edge_pid().unwrap();
    let failing = FailingSync::begin(&[scene.stormpost.pid(), edge]);
    let load = Load {
        sessions: 3,
        messages: 5,
        insist: false,
        ..Load::new(scene.stormpost.smtp, "failing", &scene.primary.addresses())
    };
    let during = load.run();
    for one in &during {
        let words = format!("{:?}", one.outcome);
        assert!(!one.acknowledged(), "acknowledged while no sync succeeded: {words}");
        assert!(words.contains("451 4.3.0") || words.contains("Unknown"), "{words}");
    }
    drop(failing);
    sent.extend(during);

    // The disk works again. Whoever still answers 250 must have gone on in a new file; and a restart ends all doubt.
    let begun = Instant::now();
    wait_for("mail to be taken again, by itself or after a restart", Duration::from_secs(60), || {
        if begun.elapsed() > Duration::from_secs(20) && !scene.stormpost.lives() {
            scene.stormpost.restart();
        }
        one(scene.stormpost.smtp, "again", 100).is_ok_and(|reply| reply.starts_with("250"))
    });
    scene.lab.say(&format!("taken again after {:.2} s", begun.elapsed().as_secs_f64()));
    scene.stormpost.kill();
    scene.stormpost.restart();
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
    scene.stormpost.tell(&["journal", "verify"]).must("journal verify");
}
