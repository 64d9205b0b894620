//! The node's power switch, and the named places where it is thrown.

use crate::net::Internet;
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stores_log::FaultDisk;
use tokio::sync::Notify;

/// How a node ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// SIGKILL: what was handed to the disk stays as it is.
    Kill,
    /// The machine loses its power: what was not synced is lost or torn.
    Power,
}

/// Where the power is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// At this named place, or at any.
    pub name: Option<&'static str>,
    /// Passes before it fails.
    pub after: u64,
    /// How.
    pub crash: Crash,
}

/// What unwinds the stack of a node that has no power any more.
pub struct PowerIsOff;

#[derive(Default)]
struct Inside {
    struck: Option<Crash>,
    armed: Vec<Armed>,
    passed: BTreeMap<&'static str, u64>,
    struck_at: BTreeSet<&'static str>,
}

/// The switch.
#[derive(Clone)]
pub struct Power {
    disk: FaultDisk,
    internet: Internet,
    ip: IpAddr,
    record: Record,
    wake: Arc<Notify>,
    inside: Arc<Mutex<Inside>>,
}

impl Power {
    /// The switch of the node at `ip`.
    pub fn new(disk: FaultDisk, internet: Internet, ip: IpAddr, record: Record) -> Power {
        Power { disk, internet, ip, record, wake: Arc::default(), inside: Arc::default() }
    }

    /// From this instant nothing that still runs on the node leaves a trace anywhere.
    pub fn strike(&self, crash: Crash, why: &str) {
        let mut inside = self.inside();
        if inside.struck.is_some() {
            return;
        }
        inside.struck = Some(crash);
        drop(inside);
        self.record.note("node", format_args!("{crash:?}: {why}"));
        self.disk.power_off();
        self.internet.darken(self.ip);
        self.wake.notify_one();
    }

    /// Whether it was struck and not switched on again.
    pub fn is_off(&self) -> bool {
        self.inside().struck.is_some()
    }

    /// Waits until it is struck.
    pub async fn struck(&self) -> Crash {
        loop {
            if let Some(crash) = self.inside().struck {
                return crash;
            }
            self.wake.notified().await;
        }
    }

    /// Nothing of the node runs any more: the disk is left as the crash leaves it. A killed process's peers hear of it.
    pub fn dead(&self, crash: Crash) {
        match crash {
            Crash::Kill => {
                self.disk.kill_process();
                self.internet.lighten(self.ip);
            }
            Crash::Power => self.disk.restart(),
        }
    }

    /// Power again.
    pub fn on(&self) {
        self.internet.lighten(self.ip);
        self.inside().struck = None;
    }

    /// Fails at a named place, later; once.
    pub fn arm(&self, armed: Armed) {
        self.inside().armed.push(armed);
    }

    /// Fails nowhere any more; or, while `named`, only at places that were named.
    pub fn disarm(&self, named: bool) {
        self.inside().armed.retain(|armed| named && armed.name.is_some());
    }

    /// How often each named place was passed, and at which the power failed.
    pub fn places(&self) -> (BTreeMap<&'static str, u64>, BTreeSet<&'static str>) {
        let inside = self.inside();
        (inside.passed.clone(), inside.struck_at.clone())
    }

    /// A named place is passed. The node's stack is unwound when the power fails here.
    pub fn pass(&self, name: &'static str) {
        if std::thread::panicking() {
            return;
        }
        let mut inside = self.inside();
        if inside.struck.is_some() {
            drop(inside);
            std::panic::resume_unwind(Box::new(PowerIsOff));
        }
        *inside.passed.entry(name).or_default() += 1;
        let mut due = None;
        for (at, armed) in inside.armed.iter_mut().enumerate() {
            if armed.name.is_none_or(|wanted| wanted == name) {
                match armed.after.checked_sub(1) {
                    Some(left) => armed.after = left,
                    None => due = due.or(Some(at)),
                }
            }
        }
        let Some(due) = due else { return };
        let crash = inside.armed.remove(due).crash;
        inside.struck_at.insert(name);
        drop(inside);
        self.strike(crash, name);
        // Not a panic that anybody is told of: the machine is gone.
        std::panic::resume_unwind(Box::new(PowerIsOff));
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
