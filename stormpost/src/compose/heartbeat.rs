//! Signs of life for somebody outside: what it takes to give one, and where they go.

use super::deliver::internet;
use super::primaries::trust;
use crate::configuration::{Configuration, HeartbeatPlace, TrustWanted};
use crate::control::answer::Answers;
use anyhow::Result;
use roads_notify::{Heartbeat, MailCourier, Place, Pulse, Vital, Web};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::Entry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use words_mail::Plane;
use words_world::{Boxed, World};

/// How long the door for mail may take to greet.
const GREETING: Duration = Duration::from_secs(10);
/// After so long a node that measures nothing stands still.
const MEASURES_AFTER: Duration = Duration::from_secs(90);

/// The roads that give signs of life: to the web, and more rarely by mail.
///
/// # Errors
/// When TLS or the smart host cannot be set up.
pub fn heartbeats(world: &World, configuration: &Configuration, answers: &Answers) -> Result<Vec<Heartbeat>> {
    let notify = &configuration.notify;
    let vital = Arc::new(Health {
        world: world.clone(),
        answers: answers.clone(),
        door: configuration.listen.smtp.first().copied(),
    });
    let (mut web, mut mail) = (Vec::new(), Vec::new());
    for place in &notify.heartbeat {
        match place {
            HeartbeatPlace::Web(url) => web.push(Place::Web {
                web: Web::new(world.clone(), trust(&TrustWanted::Public)?),
                url: url.clone(),
                fails: notify.heartbeat_fail,
            }),
            HeartbeatPlace::Mail(to) => {
                let way = internet(configuration)?;
                let courier = MailCourier::new(world.clone(), way, notify.from.clone(), to.clone());
                mail.push(Place::Mail(Arc::new(courier)));
            }
        }
    }
    let pulse = answers.pulse();
    let road = |places: Vec<Place>, every| Heartbeat {
        world: world.clone(),
        node: configuration.node.name.clone(),
        vital: vital.clone(),
        places,
        every,
        pulse: Pulse::clone(&pulse),
    };
    let all = [(web, notify.heartbeat_every), (mail, notify.heartbeat_mail_every)];
    Ok(all
        .into_iter()
        .filter(|(places, _)| !places.is_empty())
        .map(|(places, every)| road(places, every))
        .collect())
}

/// What a node must do to be well: take in mail at its door, have its disk confirm, and not stand still.
struct Health {
    world: World,
    answers: Answers,
    door: Option<SocketAddr>,
}

impl Health {
    async fn examine(&self) -> Result<(), String> {
        let status = self.answers.status().await.map_err(|no| no.words)?;
        if let Some((log, _)) = status.disk.logs.iter().find(|(_, health)| *health != "open") {
            return Err(format!("the {log} takes nothing"));
        }
        if status.edge.as_ref().is_some_and(|edge| !edge.up) {
            return Err("the part that takes in mail does not answer".to_owned());
        }
        if status.disk.full {
            return Err("as much mail waits as may wait".to_owned());
        }
        if status.now.since(status.started) > MEASURES_AFTER {
            let inbound = Plane::Inbound.to_string();
            let still = |primary: &&crate::control::protocol::PrimaryStatus| {
                primary.planes.get(&inbound).is_some_and(|plane| plane.finding.is_none())
            };
            if status.primaries.values().any(|primary| still(&primary)) {
                return Err("nothing was measured for a minute: the watch stands still".to_owned());
            }
        }
        // The disk is asked, not believed.
        let entry = Entry::Heartbeat(stores_ledger::Heartbeat {
            at: status.now,
            node: status.node.clone(),
            since: status.started,
        });
        let written = self.answers.parts.ledger.append(entry).await;
        written.map_err(|why| format!("the ledger did not confirm: {why}"))?;
        match self.door {
            Some(at) => greets(&self.world, at).await,
            None => Ok(()),
        }
    }
}

impl Vital for Health {
    fn look(&self) -> Boxed<'_, Result<(), String>> {
        Box::pin(self.examine())
    }
}

/// Whether the door for mail greets, as a sender finds it.
async fn greets(world: &World, at: SocketAddr) -> Result<(), String> {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let talk = async {
        let mut stream = world.net.connect(SocketAddr::new(ip, at.port())).await?;
        let mut code = [0; 4];
        stream.read_exact(&mut code).await?;
        // Leaving without a word would be counted as a client that broke off.
        let _ = stream.write_all(b"QUIT\r\n").await;
        Ok::<bool, std::io::Error>(code.starts_with(b"220"))
    };
    match timeout(GREETING, talk).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("the door for mail turns senders away".to_owned()),
        Ok(Err(why)) => Err(format!("the door for mail does not open: {why}")),
        Err(_) => Err("the door for mail does not greet".to_owned()),
    }
}
