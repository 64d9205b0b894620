//! Named places where a crash is most interesting.
//!
//! Every place where a crash leaves a state of its own calls [`crash_point`] with its name; the names are listed
//! in `docs/crash-states.md`. In a release nothing happens there. A build with debug assertions asks a hook, which
//! a test has set: the stories abort the process, the simulation stops the node.

/// Passes a named place.
#[inline]
pub fn crash_point(name: &'static str) {
    #[cfg(debug_assertions)]
    hook::ask(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Sets what happens at crash points in this thread, and in every thread that set nothing of its own when
/// `everywhere`. Has no effect in a release.
pub fn on_crash_point(everywhere: bool, act: impl Fn(&'static str) + Send + Sync + 'static) {
    #[cfg(debug_assertions)]
    hook::set(everywhere, std::sync::Arc::new(act));
    #[cfg(not(debug_assertions))]
    let _ = (everywhere, act);
}

#[cfg(debug_assertions)]
mod hook {
    use std::cell::RefCell;
    use std::sync::{Arc, OnceLock};

    type Act = Arc<dyn Fn(&'static str) + Send + Sync>;

    static EVERYWHERE: OnceLock<Act> = OnceLock::new();
    thread_local! {
        static HERE: RefCell<Option<Act>> = const { RefCell::new(None) };
    }

    pub(super) fn ask(name: &'static str) {
        let here = HERE.with(|h| h.borrow().clone());
        if let Some(act) = here.as_ref().or(EVERYWHERE.get()) {
            act(name);
        }
    }

    pub(super) fn set(everywhere: bool, act: Act) {
        if everywhere {
            // The first one stays: it was set by the program's start for its whole life.
            let _ = EVERYWHERE.set(act);
        } else {
            HERE.with(|h| *h.borrow_mut() = Some(act));
        }
    }
}
