//! The certificate, renewed because a person says so.

use super::{Answers, Caller, Ended, No};

impl Answers {
    pub(super) async fn certificate_renew(&self, caller: &Caller) -> Ended {
        let Some(renewal) = &self.parts.renewal else {
            return Err(No::not_now(
                "nothing here fetches certificates: [tls.acme] is not in the configuration that the node was started with",
            ));
        };
        tracing::info!(by = %caller.by, "a new certificate is asked for by a person");
        caller.progress("the authority is asked; this takes some seconds".to_owned()).await?;
        renewal
            .now()
            .await
            .map_err(|why| No::failed(format!("no new certificate, the old one stays in use: {why}")))
    }
}
