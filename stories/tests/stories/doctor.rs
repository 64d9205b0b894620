//! The doctor finds nothing where all is well, and each fault that is planted; and somebody outside hears when this node dies.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use stories::lab::wait_for;
use stories::ports;
use stories::stormpost::Setup;
use stories::tools::run;
use stories::tree::signal;

use crate::scene::Scene;

/// A web server that takes everything and remembers the first line of each request.
struct Pings {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Pings {
    fn start() -> Pings {
        let port = ports::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut first = String::new();
                let _ = reader.read_line(&mut first);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                shared.lock().unwrap().push(first.trim_end().to_owned());
                let _ = reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Pings { port, heard }
    }

    fn count(&self, what: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }
}

/// The address that outgoing mail comes from, in the names of the story.
const OUT: [u8; 4] = [192, 0, 2, 7];

/// A certificate of an authority of the story's own, valid for so many days; none for one that has ended.
fn certificate(dir: &Path, name: &str, days: i32) {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        run(command.current_dir(dir).args(line.split(' '))).must(line);
    };
    if !dir.join("ca.crt").exists() {
        openssl("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.crt");
        openssl("req -newkey rsa:2048 -nodes -subj /CN=x -keyout tls.key -out tls.csr");
    }
    fs::write(dir.join("names"), format!("subjectAltName=DNS:{name}\n")).unwrap();
    openssl(&format!(
        "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -days {days} -out tls.new"
    ));
    fs::rename(dir.join("tls.new"), dir.join("tls.crt")).unwrap();
}

/// What the doctor finds, as (topic, grade, everything it says).
fn examined(said: &str) -> Vec<(String, String, String)> {
    let value: Value = serde_json::from_str(said).unwrap_or_else(|why| panic!("{why}: {said}"));
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let findings = value["findings"].as_array().unwrap().iter();
    findings
        .map(|one| {
            let all = ["about", "words", "today", "mend"].map(|name| text(one, name)).join(" | ");
            (text(one, "topic"), text(one, "grade"), all)
        })
        .collect()
}

fn doctor(scene: &Scene, arguments: &[&str]) -> Vec<(String, String, String)> {
    examined(&scene.stormpost.tell(&[&["doctor", "--json"], arguments].concat()).out)
}

/// The finding that a planted fault must give.
fn finds(scene: &Scene, topic: &str, grade: &str, words: &str) {
    let found = doctor(scene, &["--only", topic]);
    let there = found.iter().any(|(_, g, all)| g == grade && all.contains(words));
    assert!(there, "no {grade} of {topic} says {words:?}: {found:#?}");
}

fn well(scene: &Scene, topic: &str) {
    let found = doctor(scene, &["--only", topic]);
    assert!(found.iter().all(|(_, grade, _)| grade == "ok" || grade == "unseen"), "{found:#?}");
}

fn healthy(setup: &mut Setup, tls: &Path, pings: u16) {
    // By another name than the primary's: a smart host that is the primary itself is a finding.
    let outside = setup.smart_host.take().unwrap();
    let company = &mut setup.companies[0];
    company.tls = "none";
    company.extra = "canary = \"carla@company.test\"\n".to_owned();
    setup.limits = format!(
        "spool_size = \"100MiB\"\nreserve = \"16MiB\"\n\n[outbound]\nhelo = \"out.company.test\"\n\n[outbound.smart_host]\nhost = \"localhost\"\nport = {outside}\ntls = \"none\"\n\n[tls]\ncertificate = {:?}\nkey = {:?}\n\n\
         [filter]\nstands = \"primary\"\n\n[notify]\nmail = [\"boss@outside.test\"]\n\
         heartbeat = [\"http://127.0.0.1:{pings}/ping\"]\nheartbeat_every = \"1s\"\nheartbeat_fail = true\n",
        tls.join("tls.crt"),
        tls.join("tls.key")
    );
}

/// The record that publishes the company's key, as the product prints it.
fn publish(scene: &Scene) {
    let dkim = scene.stormpost.ask(&["dkim", "company.test"]);
    let (name, text) = (dkim["name"].as_str().unwrap(), dkim["text"].as_str().unwrap());
    scene.names.no_txt(name);
    scene.names.txt(name, text);
}

#[test]
fn the_doctor_is_content_with_a_good_set_up_and_finds_each_fault_that_is_planted() {
    let pings = Pings::start();
    let tls = std::env::temp_dir().join(format!("stories-tls-{}", std::process::id()));
    fs::create_dir_all(&tls).unwrap();
    certificate(&tls, "mx.company.test", 30);
    let scene = Scene::with("doctor", &Default::default(), |setup, _| healthy(setup, &tls, pings.port));
    publish(&scene);
    scene.names.txt("company.test", "v=spf1 a:out.company.test -all");
    scene.names.txt("_dmarc.company.test", "v=DMARC1; p=reject");
    // What sends has an address of its own: nobody's resolver asks anybody for the name of 127.0.0.1.
    scene.names.at("out.company.test", OUT);
    scene.names.called(OUT, "out.company.test");
    scene.stormpost.tell(&["notice", "test"]).must("notice test");
    scene.stormpost.tell(&["failover", "--reason", "drill"]).must("failover");
    scene.becomes("inbound", "ACTIVE", Duration::from_secs(10));
    scene.stormpost.tell(&["failback", "--reason", "drill"]).must("failback");
    scene.becomes("inbound", "READY", Duration::from_secs(20));

    // A copy elsewhere is missed until there is one.
    finds(&scene, "copies", "warn", "none was ever made");
    let copy = scene.lab.room("copy").display().to_string();
    scene.stormpost.tell(&["backup", "--to", &copy]).must("backup");

    let begun = Instant::now();
    let found = doctor(&scene, &[]);
    scene.lab.say(&format!("{} findings in {:.1} s", found.len(), begun.elapsed().as_secs_f64()));
    let bad: Vec<_> =
        found.iter().filter(|(topic, g, _)| g != "ok" && g != "unseen" && topic != "copies").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "everything is asked at the same time");

    // Names.
    scene.names.called(OUT, "host7.isp.test");
    finds(&scene, "reverse", "warn", "does not lead back");
    scene.names.called(OUT, "out.company.test");
    let dkim = scene.stormpost.ask(&["dkim", "company.test"])["name"].as_str().unwrap().to_owned();
    scene.names.no_txt(&dkim);
    scene.names.txt(&dkim, "v=DKIM1; k=rsa; p=AAAA");
    finds(&scene, "dkim", "fail", "another key is published");
    publish(&scene);
    scene.names.no_mx("company.test");
    scene.names.mx("company.test", "elsewhere.test");
    finds(&scene, "mx", "fail", "not this machine");
    scene.names.no_mx("company.test");
    scene.names.mx("company.test", "mx.company.test");

    // The certificate.
    certificate(&tls, "mx.company.test", -1);
    wait_for("the ended certificate to be shown", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(500));
        doctor(&scene, &["--only", "doors"])
            .iter()
            .any(|(_, g, all)| g == "fail" && all.contains("ended: until"))
    });

    // The primary.
    scene.primary.master_passwords("changed", stories::primary::WRITER.1);
    // Dovecot looks at its file once in a while.
    wait_for("the changed password to be found", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(500));
        let found = doctor(&scene, &["--only", "sign-in"]);
        found.iter().any(|(_, grade, all)| grade == "fail" && all.contains("reader of company"))
    });

    bounds_that_do_not_fit(&scene);

    // Without the node the rest is still seen, and what is not is said.
    let mut scene = scene;
    scene.stormpost.kill();
    finds(&scene, "node", "fail", "says nothing");
    finds(&scene, "room", "unseen", "the node does not run");
    finds(&scene, "doors", "fail", "no mail comes in by it");
    well(&scene, "spf");
    let _ = fs::remove_dir_all(&tls);
}

/// Faults of a configuration that is only looked at.
fn bounds_that_do_not_fit(scene: &Scene) {
    let other = scene.lab.dir().join("other.toml");
    let look = |change: &dyn Fn(String) -> String, topic: &str, grade: &str, words: &str| {
        let text = fs::read_to_string(&scene.stormpost.configuration).unwrap();
        // Files beside the configuration are named by where it stands.
        let home = scene.stormpost.configuration.parent().unwrap().display().to_string();
        let text = change(text).replace("\"dkim-", &format!("\"{home}/dkim-"));
        fs::write(&other, text).unwrap();
        let said = scene.stormpost.tell_as(&other, &["doctor", "--json", "--only", topic]);
        let found = examined(&said.out);
        let there = found.iter().any(|(_, g, all)| g == grade && all.contains(words));
        assert!(there, "no {grade} of {topic} says {words:?}: {found:#?}");
    };
    look(
        &|text| text.replace("spool_size", "message_size = \"200MiB\"\nspool_size"),
        "primary",
        "warn",
        "and ours is",
    );
    look(&|text| text.replace("reserve = \"16MiB\"", "reserve = \"9999GiB\""), "room", "fail", "452 4.3.1");
    look(&|text| text.replace("heartbeat = ", "# heartbeat = "), "notices", "warn", "nobody outside is told");
}

#[test]
fn somebody_outside_hears_when_the_node_hangs_or_dies() {
    let pings = Pings::start();
    let mut scene = Scene::with("heartbeat", &Default::default(), |setup, _| {
        setup.limits = format!(
            "\n[notify]\nmail = [\"boss@outside.test\"]\nheartbeat = [\"http://127.0.0.1:{}/ping\"]\n\
             heartbeat_every = \"1s\"\nheartbeat_fail = true\n",
            pings.port
        );
    });
    wait_for("signs of life", Duration::from_secs(20), || pings.count("GET /ping ") >= 3);
    assert_eq!(pings.count("POST"), 0, "{:?}", pings.heard.lock().unwrap());

    // The edge stands still: nobody can hand in mail, whatever the rest believes.
    let edge = scene.stormpost.edge_pid().unwrap();
    signal(edge, Signal::STOP);
    let begun = Instant::now();
    wait_for("a word that the node does not do its work", Duration::from_secs(25), || {
        pings.count("POST /ping/fail ") >= 1
    });
    scene.lab.say(&format!("heard of the edge that hung after {:.1} s", begun.elapsed().as_secs_f64()));
    signal(edge, Signal::CONT);
    let before = pings.count("GET /ping ");
    wait_for("signs of life again", Duration::from_secs(40), || pings.count("GET /ping ") > before + 1);

    scene.stormpost.kill();
    std::thread::sleep(Duration::from_millis(500));
    let at_death = pings.heard.lock().unwrap().len();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(pings.heard.lock().unwrap().len(), at_death, "the dead say nothing");
}
