//! By webhook: one `POST` of JSON.

use crate::courier::{Courier, NotTaken};
use crate::web::Web;
use crate::words::Letter;
use stores_primary::tls::Tls;
use words_world::{Boxed, World};

pub use words_world::Url;

/// A way to one webhook.
pub struct WebhookCourier {
    web: Web,
    url: Url,
    shown: String,
}

/// A web address as it may be shown: the path is often the secret. Its hash tells two of one host apart.
pub(crate) fn shown(url: &Url) -> String {
    let hash = blake3::hash(url.target.as_bytes()).to_hex();
    format!("{}#{}", url.authority(), &hash[..6])
}

impl WebhookCourier {
    /// A way to `url`, over TLS that is prepared to believe whom it should.
    pub fn new(world: World, tls: Tls, url: Url) -> WebhookCourier {
        WebhookCourier { web: Web::new(world, tls), shown: shown(&url), url }
    }

    async fn post(&self, letter: &Letter) -> Result<(), String> {
        let fields = format!("Content-Type: application/json\r\nIdempotency-Key: {}\r\n", letter.id);
        let status = self.web.post(&self.url, &fields, letter.json.to_string().as_bytes()).await?;
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("it answered with status {status}")) }
    }
}

impl Courier for WebhookCourier {
    fn send<'a>(&'a self, letter: &'a Letter) -> Boxed<'a, Result<(), NotTaken>> {
        // What is set up wrong today may be right after somebody's hand in a minute, so nothing is for good.
        Box::pin(async move { self.post(letter).await.map_err(|why| NotTaken { why, for_good: false }) })
    }

    fn channel(&self) -> &'static str {
        "webhook"
    }

    fn to(&self) -> &str {
        &self.shown
    }
}
