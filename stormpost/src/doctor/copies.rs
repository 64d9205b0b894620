//! Copies elsewhere: what is left when this machine burns.

use super::finding::Finding;
use super::patient::Patient;
use std::sync::Arc;
use words_world::Boxed;

/// Topic `copies`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let key = &patient.configuration.node.key_file;
        vec![
            Finding::warn("copies elsewhere", "none that this program knows of")
                .today("when this machine is lost, so is what waited on it and what people did in an outage")
                .mend(format!(
                    "copy {} and {} elsewhere, apart from each other",
                    patient.configuration.node.data.display(),
                    key.display()
                )),
        ]
    })
}
