//! From nothing to a signed-in connection.

use super::wire::{Said, Wire};
use super::{Hop, ImapStore, SignIn, Stage};
use crate::smtp::Place;
use crate::store::StoreError;
use crate::tls::TlsMode;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use words_imap::client::{Literals, Untagged};
use words_imap::{Code, Plain, Status, encode_base64};
use words_smtp::reply::escape;
use words_world::{NameError, Stream, World};

/// The most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Told of each stage as it ends: which, how long it took, and how it failed.
pub(super) type Watch<'a> = &'a mut (dyn FnMut(Stage, Duration, Option<&StoreError>) + Send);

/// Times the stages.
struct Stages<'a> {
    watch: Watch<'a>,
    since: Instant,
}

impl Stages<'_> {
    fn ended<T>(&mut self, stage: Stage, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let took = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        (self.watch)(stage, took, result.as_ref().err());
        result
    }
}

pub(super) async fn open(
    world: &World,
    hop: &Hop,
    sign_in: &SignIn,
    watch: Watch<'_>,
) -> Result<ImapStore, StoreError> {
    let mut stages = Stages { watch, since: Instant::now() };
    let addresses = stages.ended(Stage::Names, addresses(world, hop).await)?;
    let mut stream = stages.ended(Stage::Connect, connect(world, hop, &addresses).await)?;
    if hop.tls == TlsMode::Implicit {
        stream = stages.ended(Stage::Tls, encrypt(hop, stream).await)?;
    }
    let mut store = ImapStore::new(Wire::new(stream), hop.limits, tag_prefix(world));
    let greeted = greeting(&mut store).await;
    stages.ended(Stage::Greeting, greeted)?;
    if matches!(hop.tls, TlsMode::Required | TlsMode::Opportunistic) {
        let encrypted = start_tls(store, hop).await;
        store = stages.ended(Stage::Tls, encrypted)?;
    }
    let signed_in = store.sign_in(sign_in).await;
    stages.ended(Stage::SignIn, signed_in)?;
    Ok(store)
}

/// Tags that nobody can guess: text in a message that looks like an answer cannot be taken for one, even by way of a
/// server that writes it where it does not belong.
fn tag_prefix(world: &World) -> String {
    let mut random = [0; 6];
    world.random.fill(&mut random);
    random.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

async fn addresses(world: &World, hop: &Hop) -> Result<Vec<IpAddr>, StoreError> {
    let Place::Host(host, _) = &hop.place else { return Ok(Vec::new()) };
    if !hop.addresses.is_empty() {
        return Ok(hop.addresses.clone());
    }
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = timeout(hop.limits.names, world.names.addresses(host)).await;
    let found = found.unwrap_or_else(|_| Err(NameError::Temporary("too slow".to_owned())));
    found.map_err(|e| StoreError::NoAnswer(format!("{host}: {e}")))
}

async fn connect(world: &World, hop: &Hop, addresses: &[IpAddr]) -> Result<Box<dyn Stream>, StoreError> {
    let limit = hop.limits.connect;
    let port = match &hop.place {
        Place::Host(_, port) => *port,
        Place::Local(path) => {
            let opened = timeout(limit, world.net.connect_local(path)).await;
            return match opened {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(e)) => Err(StoreError::NoAnswer(format!("{}: {e}", hop.place))),
                Err(_) => Err(StoreError::NoAnswer(format!("{}: no answer", hop.place))),
            };
        }
    };
    let mut last = StoreError::NoAnswer(format!("{} has no address", hop.place));
    for address in addresses.iter().take(ADDRESSES_MAX) {
        let to = SocketAddr::new(*address, port);
        match timeout(limit, world.net.connect(to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => last = StoreError::NoAnswer(format!("{to}: {e}")),
            Err(_) => {
                let after = limit.as_secs_f32();
                last = StoreError::NoAnswer(format!("{to}: no connection after {after} s"));
            }
        }
    }
    Err(last)
}

async fn encrypt(hop: &Hop, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, StoreError> {
    let name = match &hop.place {
        Place::Host(host, _) => host.as_str(),
        Place::Local(_) => "localhost",
    };
    match timeout(hop.limits.tls, hop.trust.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(why)) => Err(StoreError::NoAnswer(escape(why.as_bytes()))),
        Err(_) => {
            let after = hop.limits.tls.as_secs_f32();
            Err(StoreError::NoAnswer(format!("the TLS handshake was not done after {after} s")))
        }
    }
}

async fn greeting(store: &mut ImapStore) -> Result<(), StoreError> {
    let limit = store.limits.greeting;
    let said = store.wire.next(limit, Instant::now() + limit).await?;
    match said {
        Said::Untagged(Untagged::Status { status: Status::Ok, code, .. }) => {
            store.learn(code);
            Ok(())
        }
        Said::Untagged(Untagged::Status { status: Status::Bye, text, .. }) => Err(store.wire.fail(text)),
        // Signed in as whom? It also is how somebody in between keeps a client from encrypting.
        Said::Untagged(Untagged::Status { status: Status::PreAuth, .. }) => {
            Err(store.wire.fail("the server claims that we are signed in already (PREAUTH)"))
        }
        _ => Err(store.wire.fail("what answers is no IMAP server")),
    }
}

async fn start_tls(mut store: ImapStore, hop: &Hop) -> Result<ImapStore, StoreError> {
    store.capabilities().await?;
    if !store.can("STARTTLS") {
        let why = "the server offers no STARTTLS, and the password is not sent in plain text";
        return Err(store.wire.fail(why));
    }
    let request = store.request("STARTTLS");
    store.ask(request, store.limits.answer, |_| {}).await?;
    let ImapStore { wire, limits, prefix, .. } = store;
    let stream = encrypt(hop, wire.into_stream()?).await?;
    // Nothing that was said in plain text is believed any more, the capabilities least of all.
    Ok(ImapStore::new(Wire::new(stream), limits, prefix))
}

impl ImapStore {
    /// Signs in, then learns what the server can do for the one who signed in.
    async fn sign_in(&mut self, sign_in: &SignIn) -> Result<(), StoreError> {
        if self.capabilities.is_empty() {
            self.capabilities().await?;
        }
        self.tell_client(sign_in).await?;
        let plain = self.can("AUTH=PLAIN");
        if !plain && !sign_in.authorize.is_empty() {
            return Err(StoreError::Unsupported("signing in for another needs AUTH=PLAIN".to_owned()));
        }
        if !plain && self.can("LOGINDISABLED") {
            return Err(StoreError::Unsupported("the server takes no password here".to_owned()));
        }
        self.capabilities.clear();
        let result = if plain { self.authenticate(sign_in).await } else { self.login(sign_in).await };
        self.learn(result?);
        if self.capabilities.is_empty() {
            self.capabilities().await?;
        }
        if self.can("ID") {
            let request = self.request("ID").word("(\"name\" \"Stormpost\")");
            // Out of courtesy to the server's operator; a refusal means nothing.
            if let Err(error) = self.ask(request, self.limits.answer, |_| {}).await {
                self.wire.check().map_err(|_| error)?;
            }
        }
        Ok(())
    }

    /// Says before the sign-in whom we act for (RFC 2971; Dovecot believes it from `login_trusted_networks`).
    async fn tell_client(&mut self, sign_in: &SignIn) -> Result<(), StoreError> {
        let Some(ip) = sign_in.client.filter(|_| self.can("ID")) else { return Ok(()) };
        let fields = format!("(\"name\" \"Stormpost\" \"x-originating-ip\" \"{ip}\")");
        let request = self.request("ID").word(&fields);
        // A refusal means only that the server goes by our address.
        if let Err(error) = self.ask(request, self.limits.answer, |_| {}).await {
            self.wire.check().map_err(|_| error)?;
        }
        Ok(())
    }

    async fn login(&mut self, sign_in: &SignIn) -> Result<Option<Code>, StoreError> {
        let request = self.request("LOGIN").string(sign_in.user.as_bytes()).string(&sign_in.password.0);
        let limit = self.limits.sign_in;
        self.ask(request, limit, |_| {}).await.map_err(as_sign_in)
    }

    /// AUTHENTICATE PLAIN. The response goes only when it is asked for, also where SASL-IR would allow it at once: the
    /// turn it saves is nothing beside a connection.
    async fn authenticate(&mut self, sign_in: &SignIn) -> Result<Option<Code>, StoreError> {
        let limit = self.limits.sign_in;
        let end = Instant::now() + limit;
        let request = self.request("AUTHENTICATE").word("PLAIN");
        let parts = [sign_in.authorize.as_bytes(), sign_in.user.as_bytes(), &sign_in.password.0];
        if parts.iter().any(|part| part.contains(&0)) {
            return Err(StoreError::Unsupported("a name or password holds a zero byte".to_owned()));
        }
        self.begin()?;
        self.send(request, end).await?;
        self.continued(end).await.map_err(as_sign_in)?;
        let plain = Plain {
            authorize: sign_in.authorize.clone(),
            user: sign_in.user.clone(),
            password: sign_in.password.clone(),
        };
        let line = format!("{}\r\n", encode_base64(&plain.write()));
        self.wire.write(line.as_bytes(), limit).await.map_err(|unwritten| unwritten.why)?;
        self.finish(limit, end, |_| {}).await.map_err(as_sign_in)
    }

    /// Asks what the server can do.
    pub(super) async fn capabilities(&mut self) -> Result<(), StoreError> {
        let request = self.request("CAPABILITY");
        let mut told = Vec::new();
        let limit = self.limits.answer;
        self.ask(request, limit, |said| {
            if let Untagged::Capability(words) = said {
                told = words;
            }
        })
        .await?;
        self.know(told);
        Ok(())
    }

    fn know(&mut self, words: Vec<String>) {
        self.literals = Literals::of(&words);
        self.capabilities = words;
    }

    /// Takes capabilities out of a response code.
    fn learn(&mut self, code: Option<Code>) {
        if let Some(Code::Capability(words)) = code {
            self.know(words.iter().map(|w| w.to_ascii_uppercase()).collect());
        }
    }
}

/// A NO to a sign-in without a better reason is a refusal of name or password: older servers give no code.
fn as_sign_in(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(why) if why.starts_with("NO") => StoreError::SignIn(why),
        error => error,
    }
}
