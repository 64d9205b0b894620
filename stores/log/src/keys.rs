//! Keys: one that wraps, one per file that encrypts.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use words_world::Random;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes that AES-GCM adds.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of the name of a wrapping key.
pub(crate) const KEY_ID_LEN: usize = 8;
/// A wrapped data key: nonce, key, tag.
pub(crate) const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;

/// What a sealed small file begins with: its kind and format version.
const SEALED: &[u8; 10] = b"STORMSLD\x01\x00";

/// The name of a wrapping key: the first bytes of a hash of it.
pub(crate) type KeyId = [u8; KEY_ID_LEN];

/// Why keys could not be had; the words are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or made.
    #[error("key file {path}: {error}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Others on this machine may read the file.
    #[error("key file {0} can be read by others; run: chmod 600 {0}")]
    Readable(String),
    /// A line is not a key.
    #[error("key file {path}, line {line}: a key is 32 bytes in hexadecimal or base 64")]
    NotAKey {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no key in it.
    #[error("key file {0} has no key in it")]
    Empty(String),
}

/// The keys that wrap the data keys of segments and body files. The first wraps new ones; all unwrap. Held in
/// memory from the start on, so that accepting mail needs nothing outside.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<Vec<(KeyId, LessSafeKey)>>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

impl KeyRing {
    /// A ring of the given keys, the present one first.
    pub fn new(present: [u8; KEY_LEN], former: &[[u8; KEY_LEN]]) -> KeyRing {
        let all = std::iter::once(&present).chain(former);
        KeyRing { keys: Arc::new(all.filter_map(|key| Some((key_id(key), cipher(key)?))).collect()) }
    }

    /// Reads a key file, one key a line in hexadecimal or base 64, the present key first; empty lines and lines
    /// that begin with `#` do not count. Makes the file, with one new key and mode 0600, when it is not there.
    ///
    /// # Errors
    /// When the file cannot be read or made, can be read by others, or holds something that is no key.
    pub fn from_file(path: &Path, random: &dyn Random) -> Result<KeyRing, KeyError> {
        let failed = |error| KeyError::File { path: path.display().to_string(), error };
        let text = match fs::metadata(path) {
            // A group may read it: systemd gives a credential to its one reader in that way.
            Ok(facts) if facts.permissions().mode() & 0o037 != 0 => {
                return Err(KeyError::Readable(path.display().to_string()));
            }
            Ok(_) => fs::read_to_string(path).map_err(failed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => make_file(path, random).map_err(failed)?,
            Err(e) => return Err(failed(e)),
        };
        KeyRing::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, path: &str) -> Result<KeyRing, KeyError> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = read_key(line).ok_or(KeyError::NotAKey { path: path.to_owned(), line: at + 1 })?;
            keys.push(key);
        }
        match keys.split_first() {
            Some((present, former)) => Ok(KeyRing::new(*present, former)),
            None => Err(KeyError::Empty(path.to_owned())),
        }
    }

    /// A small file, encrypted so that only this ring opens it, and only under the same name. `None` when the ring is
    /// empty.
    pub fn seal(&self, random: &dyn Random, name: &str, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = SEALED.to_vec();
        out.extend_from_slice(&self.present_id());
        let (key, wrapped) = self.new_data_key(random, &out)?;
        out.extend_from_slice(&wrapped);
        let start = out.len();
        out.extend_from_slice(text);
        let tag = key.seal(nonce(0, 0), name.as_bytes(), &mut out[start..]);
        out.extend_from_slice(&tag);
        Some(out)
    }

    /// What [`KeyRing::seal`] made under this name; `None` when it was altered, or for another ring or name.
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let bound = sealed.get(..SEALED.len() + KEY_ID_LEN).filter(|bound| bound.starts_with(SEALED))?;
        let id: KeyId = bound[SEALED.len()..].try_into().ok()?;
        let (wrapped, text) = sealed[bound.len()..].split_at_checked(WRAPPED_LEN)?;
        let key = self.data_key(&id, wrapped.try_into().ok()?, bound).ok()?;
        let mut text = text.to_vec();
        key.open(nonce(0, 0), name.as_bytes(), &mut text).map(|opened| opened.to_vec())
    }

    /// Whether the ring has the key of this name (hexadecimal, as [`crate::Extent::key`] has it).
    pub fn has(&self, name: &str) -> bool {
        self.names().iter().any(|known| known == name)
    }

    /// The names of its keys, hexadecimal, the present one first.
    pub fn names(&self) -> Vec<String> {
        self.keys.iter().map(|(id, _)| id.iter().map(|b| format!("{b:02x}")).collect()).collect()
    }

    /// A new data key: the cipher, the name of the key that wraps it, and its wrapped form bound to `context`.
    pub(crate) fn new_data_key(
        &self,
        random: &dyn Random,
        context: &[u8],
    ) -> Option<(DataKey, [u8; WRAPPED_LEN])> {
        let (_, wrapping) = self.keys.first()?;
        let mut key = [0; KEY_LEN];
        random.fill(&mut key);
        let mut wrapped = [0; WRAPPED_LEN];
        let (nonce, rest) = wrapped.split_at_mut(NONCE_LEN);
        let (sealed, tag) = rest.split_at_mut(KEY_LEN);
        random.fill(nonce);
        sealed.copy_from_slice(&key);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let made = wrapping.seal_in_place_separate_tag(nonce, Aad::from(context), sealed).ok()?;
        tag.copy_from_slice(made.as_ref());
        Some((DataKey(cipher(&key)?), wrapped))
    }

    /// The name of the key that wraps new data keys.
    pub(crate) fn present_id(&self) -> KeyId {
        self.keys.first().map(|(id, _)| *id).unwrap_or_default()
    }

    /// The data key that was wrapped by the key named `id` for `context`.
    pub(crate) fn data_key(
        &self,
        id: &KeyId,
        wrapped: &[u8; WRAPPED_LEN],
        context: &[u8],
    ) -> Result<DataKey, UnwrapError> {
        let (_, wrapping) = self.keys.iter().find(|(known, _)| known == id).ok_or(UnwrapError::NoKey)?;
        let (nonce, rest) = wrapped.split_at(NONCE_LEN);
        let mut sealed = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| UnwrapError::Damaged)?;
        let opened = wrapping.open_in_place(nonce, Aad::from(context), &mut sealed);
        let key = opened.map_err(|_| UnwrapError::Damaged)?;
        let key: &[u8; KEY_LEN] = (&*key).try_into().map_err(|_| UnwrapError::Damaged)?;
        cipher(key).map(DataKey).ok_or(UnwrapError::Damaged)
    }
}

/// Why a data key could not be unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnwrapError {
    /// The ring does not have the wrapping key.
    NoKey,
    /// The wrapped key or what it is bound to was altered.
    Damaged,
}

/// The cipher of one file. Every nonce is used once: see [`nonce`].
pub(crate) struct DataKey(LessSafeKey);

impl DataKey {
    /// Encrypts `text` where it is and returns the tag.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LEN], context: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut tag = [0; TAG_LEN];
        // AES-GCM refuses only texts of more than 64 GiB; a zero tag is refused on reading.
        if let Ok(made) = self.0.seal_in_place_separate_tag(nonce, Aad::from(context), text) {
            tag.copy_from_slice(made.as_ref());
        }
        tag
    }

    /// Decrypts text and tag where they are; `None` when either was altered.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        context: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(context), sealed).ok()
    }
}

/// The nonce of part `part` of item `number` of a file. A file has a data key of its own and an item number of its
/// own for each item, so no nonce comes twice.
pub(crate) fn nonce(part: u8, number: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[0] = part;
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

fn cipher(key: &[u8; KEY_LEN]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

fn key_id(key: &[u8; KEY_LEN]) -> KeyId {
    let hash = blake3::derive_key("stormpost 2026 the name of a wrapping key", key);
    let mut id = [0; KEY_ID_LEN];
    id.copy_from_slice(&hash[..KEY_ID_LEN]);
    id
}

fn read_key(line: &str) -> Option<[u8; KEY_LEN]> {
    let bytes = if line.len() == 2 * KEY_LEN {
        let digits: Option<Vec<u8>> =
            line.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        digits?.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    } else {
        base64::engine::general_purpose::STANDARD.decode(line).ok()?
    };
    bytes.try_into().ok()
}

/// Makes a key file with one new key, durable before anything is encrypted with it.
fn make_file(path: &Path, random: &dyn Random) -> io::Result<String> {
    let mut key = [0; KEY_LEN];
    random.fill(&mut key);
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let text = format!(
        "# Stormpost encrypts what it stores with this key. Without it nothing can be read: keep a copy elsewhere.\n\
         {hex}\n"
    );
    // Under another name first: a start cut short must not leave an empty key file behind.
    let temporary = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir)?.sync_all()?;
    Ok(text)
}
