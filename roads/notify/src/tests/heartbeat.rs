//! Signs of life: they go out while the node is well, and only then.

use super::*;
use tokio::sync::watch as channel;

struct Body(AtomicBool);

impl Vital for Body {
    fn look(&self) -> Boxed<'_, Result<(), String>> {
        Box::pin(async {
            match self.0.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err("the disk did not confirm".to_owned()),
            }
        })
    }
}

/// A web server that counts what is asked of it, and takes it or not.
struct Counting {
    asked: Arc<Mutex<Vec<String>>>,
    takes: AtomicBool,
}

impl Net for Counting {
    fn connect(&self, _: std::net::SocketAddr) -> Boxed<'_, std::io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            let (ours, mut theirs) = tokio::io::duplex(4_096);
            let (asked, takes) = (self.asked.clone(), self.takes.load(Ordering::Relaxed));
            tokio::spawn(async move {
                let mut heard = vec![0; 4_096];
                let read = theirs.read(&mut heard).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&heard[..read]).into_owned();
                asked.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
                let status = if takes { "200 OK" } else { "500 No" };
                let _ = theirs
                    .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                    .await;
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    fn listen(&self, _: std::net::SocketAddr) -> Boxed<'_, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }

    fn connect_local<'a>(&'a self, _: &'a std::path::Path) -> Boxed<'a, std::io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }

    fn listen_local<'a>(&'a self, _: &'a std::path::Path) -> Boxed<'a, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_stop_when_the_node_is_not_well_and_a_place_that_wants_it_hears_why() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let net = Arc::new(Counting { asked: asked.clone(), takes: AtomicBool::new(true) });
    let world = World { net: net.clone(), ..House::new().world };
    let web = crate::Web::new(world.clone(), Tls::new(&Trust::Anybody).unwrap());
    let url = |text| Url::parse(text).unwrap();
    let mail = Letterbox::new("anna@outside.net");
    let body = Arc::new(Body(AtomicBool::new(true)));
    let pulse = Pulse::default();
    let road = Heartbeat {
        world,
        node: "mx.example.org".into(),
        vital: body.clone(),
        places: vec![
            Place::Web { web: web.clone(), url: url("http://192.0.2.1/ping/secret?x=1"), fails: true },
            Place::Web { web, url: url("http://192.0.2.2/quiet"), fails: false },
            Place::Mail(mail.clone()),
        ],
        every: Duration::from_secs(60),
        pulse: pulse.clone(),
    };
    let (stop, stopped) = channel::channel(false);
    let mut running = tokio::task::JoinSet::new();
    running.spawn(road.run(stopped));
    let drain = || std::mem::take(&mut *asked.lock().unwrap());
    let count = |asked: &[String], what: &str| asked.iter().filter(|line| line.starts_with(what)).count();

    sleep(Duration::from_secs(150)).await;
    let first = drain();
    assert_eq!(count(&first, "GET /ping/secret?x=1 "), 3, "{first:?}");
    assert_eq!(count(&first, "GET /quiet "), 3);
    assert_eq!(mail.got.lock().unwrap().len(), 3);
    assert!(pulse.warnings().is_empty() && pulse.taken().values().all(Option::is_some));
    assert!(pulse.taken().keys().all(|place| !place.contains("secret")));

    body.0.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(120)).await;
    let ill = drain();
    assert_eq!(count(&ill, "GET"), 0, "{ill:?}");
    assert_eq!(count(&ill, "POST /ping/secret/fail?x=1 "), 2, "{ill:?}");
    assert_eq!(mail.got.lock().unwrap().len(), 3, "silence says it");

    body.0.store(true, Ordering::Relaxed);
    net.takes.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(120)).await;
    assert!(pulse.warnings().is_empty(), "two misses are not a warning yet");
    sleep(Duration::from_secs(60)).await;
    let warnings = pulse.warnings();
    assert!(warnings.len() == 2 && warnings[0].contains("status 500"), "{warnings:?}");
    net.takes.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert!(pulse.warnings().is_empty(), "one that is taken ends it");
    stop.send_replace(true);
    running.join_next().await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_hangs_holds_nothing_up() {
    let mail = Letterbox::new("anna@outside.net");
    mail.slow.store(true, Ordering::Relaxed);
    let pulse = Pulse::default();
    let road = Heartbeat {
        world: House::new().world,
        node: "mx.example.org".into(),
        vital: Arc::new(Body(AtomicBool::new(true))),
        places: vec![Place::Mail(mail.clone())],
        every: Duration::from_secs(5),
        pulse: pulse.clone(),
    };
    let (stop, stopped) = channel::channel(false);
    let mut running = tokio::task::JoinSet::new();
    running.spawn(road.run(stopped));
    sleep(Duration::from_secs(59)).await;
    assert_eq!(mail.got.lock().unwrap().len(), 1, "one at a time");
    sleep(Duration::from_secs(130)).await;
    assert!(!pulse.warnings().is_empty(), "given up after a minute each");
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(1), running.join_next()).await.expect("it ends at once");
}
