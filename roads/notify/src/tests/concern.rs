//! What people should see to on this machine is told once for each step of urgency.

use super::*;
use std::sync::atomic::AtomicU32;

#[derive(Default)]
struct Trouble(AtomicU32);

impl Concerns for Trouble {
    fn now(&self) -> Boxed<'_, Vec<Concern>> {
        let level = self.0.load(Ordering::Relaxed);
        let concern = Concern {
            name: "certificate-7".into(),
            level,
            subject: format!("[Stormpost] the certificate, step {level}"),
            text: "see to it".into(),
        };
        Box::pin(async move { if level > 0 { vec![concern] } else { Vec::new() } })
    }
}

async fn live(house: &House, trouble: &Arc<Trouble>, to: &Arc<Letterbox>, act: impl AsyncFnOnce()) {
    let mut options = LogOptions::new("/ledger", LogKind::Ledger, "node-1");
    options.reserve_bytes = 0;
    let (ledger, writer, _) = Ledger::open(&house.world, KeyRing::new([9; 32], &[]), options).unwrap();
    let (stop, stopping) = watch::channel(false);
    let worry = Worry {
        world: house.world.clone(),
        ledger: ledger.clone(),
        node: "node-1".into(),
        couriers: vec![to.clone()],
        concerns: trouble.clone(),
    };
    let writing = tokio::spawn(writer.run(stopping.clone()));
    let road = tokio::spawn(worry.run(stopping));
    act().await;
    stop.send_replace(true);
    road.await.unwrap();
    drop(ledger);
    let _ = writing.await;
}

#[tokio::test(start_paused = true)]
async fn a_concern_is_told_once_and_again_when_it_grows_and_a_restart_repeats_nothing() {
    let (house, trouble, to) = (House::new(), Arc::new(Trouble::default()), Letterbox::new("anna"));
    let rest = || sleep(Duration::from_secs(200));
    live(&house, &trouble, &to, async || {
        rest().await;
        assert!(to.ids().is_empty());
        trouble.0.store(1, Ordering::Relaxed);
        rest().await;
        assert_eq!(to.ids(), ["concern-certificate-7-1"]);
        to.broken.store(true, Ordering::Relaxed);
        trouble.0.store(2, Ordering::Relaxed);
        rest().await;
        to.broken.store(false, Ordering::Relaxed);
        rest().await;
        assert_eq!(to.ids(), ["concern-certificate-7-1", "concern-certificate-7-2"]);
    })
    .await;
    live(&house, &trouble, &to, async || {
        rest().await;
        assert_eq!(to.ids().len(), 2, "told before the restart");
        trouble.0.store(3, Ordering::Relaxed);
        rest().await;
        assert_eq!(to.last(), "[Stormpost] the certificate, step 3");
    })
    .await;
    assert!(to.letters.lock().unwrap()[0].text.contains("Stormpost on node-1"));
}
