//! One certificate, from the account to the chain (RFC 8555 §7).

use super::answer::Answering;
use super::web::Web;
use crate::certificates::{CertificateFiles, write_private};
use crate::configuration::{AcmeChallenge, AcmeSettings, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::time::Duration;
use stores_primary::tls::Tls;
use words_mail::Time;
use words_world::World;

/// How long the authority may take to look, and to sign.
const PATIENCE: Duration = Duration::from_secs(180);
/// It knows no such account: somebody removed it there, or it is another authority at the same address.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Fetches certificates.
pub(super) struct Fetch {
    settings: AcmeSettings,
    customer: Option<(String, Secret)>,
    data: PathBuf,
    web: Web,
}

impl Fetch {
    pub(super) fn new(
        world: World,
        settings: AcmeSettings,
        customer: Option<(String, Secret)>,
        data: PathBuf,
        tls: Tls,
    ) -> Fetch {
        Fetch { settings, customer, data, web: Web::new(world, tls) }
    }

    fn account_file(&self) -> PathBuf {
        self.data.join("acme").join("account.json")
    }

    /// Whether an account was opened already.
    pub(super) fn has_account(&self) -> bool {
        self.account_file().exists()
    }

    /// How long the authority wants to hear nothing.
    pub(super) fn asked_to_wait(&self) -> Option<Duration> {
        self.web.asked_to_wait()
    }

    /// A new certificate: chain and private key as one PEM text, checked against each other.
    pub(super) async fn certificate(&self) -> Result<String, String> {
        let _ = self.web.asked_to_wait();
        let account = self.account().await?;
        let identifiers: Vec<Identifier> =
            self.settings.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let opened = account.new_order(&NewOrder::new(&identifiers)).await;
        let mut order = match opened {
            Ok(order) => order,
            Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                tracing::warn!("the authority does not know our account any more; a new one is opened");
                let account = self.open_account().await?;
                account.new_order(&NewOrder::new(&identifiers)).await.map_err(words)?
            }
            Err(error) => return Err(words(error)),
        };
        let mut answering = Answering::default();
        let proved = self.prove(&mut order, &mut answering).await;
        answering.end().await;
        proved?;
        let key = self.key()?;
        let request = self.signing_request(&key)?;
        order.finalize_csr(&request).await.map_err(words)?;
        let chain = order.poll_certificate(&policy()).await.map_err(words)?;
        let pem = format!("{}\n{}\n", chain.trim(), key.serialize_pem().trim());
        belong_together(&pem)?;
        Ok(pem)
    }

    /// When the authority wants the certificate in `file` renewed: from, until, and how long that answer holds.
    pub(super) async fn advice(&self, file: &Path) -> Result<(Time, Time, Duration), String> {
        let pem = std::fs::read(file).map_err(|why| why.to_string())?;
        let first = CertificateDer::pem_slice_iter(&pem).next().and_then(Result::ok);
        let der = first.ok_or("no certificate")?;
        let id = CertificateIdentifier::try_from(&der)?;
        let account = self.account().await?;
        let (info, again) = account.renewal_info(&id).await.map_err(words)?;
        let window = info.suggested_window;
        let time = |at: i64| Time::from_seconds(at);
        let (begin, end) = (time(window.start.unix_timestamp()), time(window.end.unix_timestamp()));
        Ok((begin, end.max(begin), again))
    }

    /// The account: the one that was kept, if it is this authority's, or a new one.
    async fn account(&self) -> Result<Account, String> {
        let file = self.account_file();
        let text = match crate::configuration::read_private(&file) {
            Ok(text) => text,
            Err(_) if !file.exists() => return self.open_account().await,
            Err(why) => return Err(why),
        };
        let wrong = |why| {
            format!("{} makes no sense ({why}); remove it, and a new account is opened", file.display())
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
        if value.get("directory").and_then(|at| at.as_str()) != Some(&self.settings.directory) {
            return self.open_account().await;
        }
        let kept: AccountCredentials = serde_json::from_value(value).map_err(|why| wrong(why.to_string()))?;
        Account::builder_with_http(Box::new(self.web.clone())).from_credentials(kept).await.map_err(words)
    }

    async fn open_account(&self) -> Result<Account, String> {
        let contact: Vec<String> = self.settings.contact.iter().map(|to| format!("mailto:{to}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let customer = match &self.customer {
            Some((id, key)) => {
                let key = URL_SAFE_NO_PAD.decode(key.expose().trim().trim_end_matches('='));
                let key = key.map_err(|why| format!("the key in eab_key_file is not base64url: {why}"))?;
                Some(ExternalAccountKey::new(id.clone(), &key))
            }
            None => None,
        };
        let builder = Account::builder_with_http(Box::new(self.web.clone()));
        let opened = builder.create(&new, self.settings.directory.clone(), customer.as_ref()).await;
        let (account, credentials) = opened.map_err(words)?;
        let text = serde_json::to_vec_pretty(&credentials).map_err(|why| why.to_string())?;
        write_private(&self.account_file(), &text).map_err(|why| format!("{why:#}"))?;
        tracing::info!(directory = %self.settings.directory, "an account at the certificate authority was opened");
        Ok(account)
    }

    /// Shows that every name is ours.
    async fn prove(&self, order: &mut Order, answering: &mut Answering) -> Result<(), String> {
        let kind = match self.settings.challenge {
            AcmeChallenge::Http(_) => ChallengeType::Http01,
            AcmeChallenge::TlsAlpn(_) => ChallengeType::TlsAlpn01,
            AcmeChallenge::Dns(..) => ChallengeType::Dns01,
        };
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(words)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().identifier.clone();
            let Identifier::Dns(name) = name else {
                return Err("it asks about something else than a name".into());
            };
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                let way = format!("{kind:?}").to_lowercase();
                return Err(format!(
                    "the authority does not offer {way} for {name}; choose another challenge"
                ));
            };
            let (token, key) = (challenge.token.clone(), challenge.key_authorization());
            answering.begin(&self.settings.challenge, &name, &token, &key).await?;
            challenge.set_ready().await.map_err(words)?;
        }
        match order.poll_ready(&policy()).await.map_err(words)? {
            OrderStatus::Ready | OrderStatus::Valid => Ok(()),
            status => Err(refusal(order, status).await),
        }
    }

    /// The private key: a new one, unless it is to stay.
    fn key(&self) -> Result<KeyPair, String> {
        let file = CertificateFiles::fetched(&self.data).key;
        if self.settings.keep_key && file.exists() {
            let key = PrivateKeyDer::from_pem_file(&file).map_err(|why| why.to_string())?;
            return KeyPair::try_from(&key).map_err(|why| format!("the private key that is to stay: {why}"));
        }
        KeyPair::generate().map_err(|why| why.to_string())
    }

    fn signing_request(&self, key: &KeyPair) -> Result<Vec<u8>, String> {
        let mut wanted =
            CertificateParams::new(self.settings.names.clone()).map_err(|why| why.to_string())?;
        wanted.distinguished_name = DistinguishedName::new();
        let request = wanted.serialize_request(key).map_err(|why| why.to_string())?;
        Ok(request.der().to_vec())
    }
}

/// Why the authority did not believe us, in its own words.
async fn refusal(order: &mut Order, status: OrderStatus) -> String {
    let mut why: Vec<String> = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        let Ok(mut authorization) = next else { continue };
        let name = match authorization.identifier().identifier {
            Identifier::Dns(name) => name.clone(),
            _ => String::new(),
        };
        let Ok(state) = authorization.refresh().await else { continue };
        let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        why.extend(errors.map(|error| format!("{name}: {}", error.detail.as_deref().unwrap_or("no words"))));
    }
    if why.is_empty() {
        let error = order.state().error.as_ref().and_then(|error| error.detail.clone());
        why.extend(error);
    }
    format!("the authority says {}: {}", format!("{status:?}").to_lowercase(), why.join("; "))
}

fn policy() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(PATIENCE)
}

fn words(error: Error) -> String {
    match error {
        Error::Timeout(_) => format!("the authority did not decide within {} s", PATIENCE.as_secs()),
        Error::Json(why) => format!("the authority's answer makes no sense: {why}"),
        other => other.to_string(),
    }
}

/// Whether what is about to be kept could be shown.
fn belong_together(pem: &str) -> Result<(), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|why| format!("the authority's certificate cannot be read: {why}"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|why| why.to_string())?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    config.map(drop).map_err(|why| format!("the authority's certificate cannot be used: {why}"))
}
