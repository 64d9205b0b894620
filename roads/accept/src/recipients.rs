//! Whether a recipient is taken, and whose mail it is.

use crate::AcceptLimits;
use crate::call_out::{CallOuts, Known};
use stores_directory::{Resolved, Snapshot};
use words_mail::{Address, PrimaryId, Reply, Source, Tenant, Time};

/// Whose mail an accepted recipient's is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `None` for an address that is not ours.
    pub(crate) tenant: Option<Tenant>,
    pub(crate) primary: Option<PrimaryId>,
}

/// Decides about one recipient. `anywhere`: devices may write to other organisations.
pub(crate) async fn decide(
    source: Source,
    anywhere: bool,
    to: &Address,
    snapshot: &Snapshot,
    call_outs: Option<&CallOuts>,
    limits: &AcceptLimits,
    now: Time,
) -> Result<Place, Reply> {
    let ours = |tenant, primary| Ok(Place { tenant: Some(tenant), primary });
    match snapshot.resolve(to) {
        Resolved::Account { tenant, primary, .. } => ours(tenant, primary),
        Resolved::Learned { tenant, primary, .. } => ours(tenant, Some(primary)),
        Resolved::Unknown { .. } => Err(unknown()),
        // People are trusted to mean an address; their own mail system tells them if it does not exist.
        Resolved::CannotTell { tenant, primary } if source != Source::Edge => ours(tenant, Some(primary)),
        Resolved::CannotTell { tenant, primary } => {
            let Some(call_outs) = call_outs else { return Err(cannot_tell()) };
            match call_outs.ask(&primary, to, limits).await {
                Known::Yes => {
                    snapshot.learned().learn(to, &primary, now);
                    ours(tenant, Some(primary))
                }
                Known::Anything => ours(tenant, Some(primary)),
                Known::No(reply) => {
                    let text = format!("its mail system refuses this address: {}", reply.text);
                    Err(Reply::new(550, (5, 1, 1), text))
                }
                Known::CannotTell => Err(cannot_tell()),
            }
        }
        Resolved::NotOurs if source == Source::Edge => Err(Reply::new(
            550,
            (5, 7, 1),
            "relaying denied: that domain is not served here; ask its own mail server",
        )),
        Resolved::NotOurs if source == Source::Internal && !anywhere => Err(Reply::new(
            550,
            (5, 7, 1),
            "devices write to people here only; to let them write to others, set [internal] recipients",
        )),
        Resolved::NotOurs => Ok(Place { tenant: None, primary: None }),
    }
}

fn unknown() -> Reply {
    Reply::new(550, (5, 1, 1), "nobody here has that address; check its spelling")
}

fn cannot_tell() -> Reply {
    let text = "cannot confirm this address while its mail system is down; try again";
    Reply::new(450, (4, 1, 1), text)
}
