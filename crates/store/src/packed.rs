//! Long values stored short: messages, answers and records, most of which is certificates in base64 in base64.
//!
//! A value is compressed (Zstandard) with a sample: an earlier value of the same kind, which stands in a table of its own.
//! What both have in common, certificates and names of members above all, is there once. A packed value says which sample it
//! needs and how long it is, and has the beginning of its own digest, so that it comes back byte for byte or not at all. A
//! value that would not come back so, or not be shorter, is stored as it is; so is everything that was stored before there
//! were packed values. Base64url is packed as what it stands for.
//!
//! Ciphertext cannot be compressed. Where the content key of a sealed object is known, what it says is packed, beside the key,
//! and the same object made again. So the table says in clear what its sender sealed: that is for answers whose content
//! stands in clear in other tables of the same database anyway, as amounts and approval codes do in the gateway's. Whoever must
//! not see the one must not see the other.
//!
//! A sample is committed before any value names it, and stays for good: few are taken. A new one is, when many values have
//! become longer than they were, as after a renewal of certificates; each time twice as many. Secrets whose length alone must
//! not tell of their content (a card number) are not packed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use openset_jose::{ContentKey, sha256};
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

use crate::{StoreError, Vault};

mod decoded;
mod length;
mod offers;
mod scratch;
mod sealed;

use decoded::{decoded, encoded};
use scratch::{Scratch, Secrecy};
use sealed::{Apart, Head};

/// Shorter values are stored as they are.
const BYTES_MIN: usize = 96;
/// Longer values are stored as they are, and nothing unfolds to more.
const BYTES_MAX: usize = 4 << 20;
/// The newest bytes of samples that one is made of.
const SAMPLE_BYTES_MAX: usize = 32 << 10;
/// By how much a value that its sample no longer fits is longer than the shortest.
const POOR_BYTES: usize = 512;
/// After so many of them a second sample is taken, after twice as many a third, and so on: whoever sends what no sample fits
/// adds next to nothing for each.
const POOR_MAX: u32 = 256;
/// Samples held in memory.
const KNOWN_MAX: usize = 256;
/// What begins like this Zstandard takes for a dictionary of its own form, and a sample for a broken one
/// (<https://www.rfc-editor.org/rfc/rfc8878#section-5>).
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xA4, 0x30, 0xEC];
/// Zstandard's quickest: what repeats is in the sample, and little is gained by looking longer.
const LEVEL: i32 = 1;

/// Texts and JSON, all that was stored before, begin above these.
const AS_IS: u8 = 0;
/// Packed as text. Nothing is any more, but some was.
const PACKED_TEXT: u8 = 2;
/// The same, with a sealed object in it that is to be made again.
const SEALED_TEXT: u8 = 3;
const PACKED: u8 = 4;
/// Packed, with a sealed object in it that is to be made again.
const SEALED: u8 = 5;
const ID_LEN: usize = 8;
const CHECK_LEN: usize = 8;
/// Room for what stands beside the compressed bytes: form, id, check, lengths, a key.
const BESIDE_MAX: usize = 80;

/// Each has almost a megabyte of tables: one does for all samples, which are used for microseconds.
static COMPRESSOR: LazyLock<Mutex<CCtx<'static>>> = LazyLock::new(|| Mutex::new(CCtx::create()));
static DECOMPRESSOR: LazyLock<Mutex<DCtx<'static>>> = LazyLock::new(|| Mutex::new(DCtx::create()));

/// Samples of every database of this process, by id.
static KNOWN: LazyLock<Mutex<HashMap<i64, Sample>>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
enum Sample {
    Open(Arc<Fitted>),
    Sealed(Arc<[u8]>),
}

impl Sample {
    /// With the vault that sealed it, if one did; it stays open.
    fn open(&mut self, id: i64, vault: Option<&Vault>) -> Option<Arc<Fitted>> {
        let fitted = match self {
            Self::Open(fitted) => return Some(Arc::clone(fitted)),
            Self::Sealed(sealed) => {
                let opened = vault?.open(&context(id), sealed).ok()?;
                Arc::new(Fitted::from(opened.as_slice()))
            }
        };
        *self = Self::Open(Arc::clone(&fitted));
        Some(fitted)
    }
}

/// A sample, made ready for Zstandard once that was needed; no bytes stand for none. Its copies in there, and what the compressor
/// looked at last, are not wiped: what must leave no trace in memory is not packed.
#[derive(Default)]
struct Fitted {
    bytes: Box<[u8]>,
    /// None inside if they are no sample of ours, which Zstandard would take for a dictionary of its own form, and a broken one.
    encoder: OnceLock<Option<EncoderDictionary<'static>>>,
    decoder: OnceLock<Option<DecoderDictionary<'static>>>,
}

impl From<&[u8]> for Fitted {
    fn from(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            ..Self::default()
        }
    }
}

impl Fitted {
    fn compress(&self, bytes: &[u8], secrecy: Secrecy) -> Option<Scratch> {
        let encoder = self
            .encoder
            .get_or_init(|| EncoderDictionary::try_copy(&self.bytes, LEVEL).ok())
            .as_ref()?;
        let mut packed = secrecy.room(compress_bound(bytes.len()));
        let done = lock(&COMPRESSOR).compress_using_cdict(&mut *packed, bytes, encoder.as_cdict());
        done.ok().map(|_| packed)
    }

    /// To at most `len_max` bytes.
    fn expand(&self, packed: &[u8], len_max: usize, secrecy: Secrecy) -> Option<Scratch> {
        let decoder = self
            .decoder
            .get_or_init(|| DecoderDictionary::try_copy(&self.bytes).ok())
            .as_ref()?;
        let mut bytes = secrecy.room(len_max);
        let done =
            lock(&DECOMPRESSOR).decompress_using_ddict(&mut *bytes, packed, decoder.as_ddict());
        done.ok().map(|_| bytes)
    }

    /// Whether the value comes back whose so many bytes of pieces were compressed. Of a sealed object its parts do: it is made again
    /// of what its tag has authenticated.
    fn gives(&self, compressed: &[u8], len: usize, (value, secrecy): (&[u8], Secrecy)) -> bool {
        let pieces = self.expand(compressed, len, secrecy);
        let again = pieces.and_then(|pieces| encoded(&pieces, value.len(), secrecy));
        again.is_some_and(|again| **again == *value)
    }
}

/// What packs one database's values.
#[derive(Default)]
pub struct Packer {
    kinds: Mutex<HashMap<String, Kind>>,
}

#[derive(Default)]
struct Kind {
    sample: Option<(i64, Sample)>,
    /// The shortest that a value has become with it.
    least: usize,
    poor: u32,
    /// So many poor ones make another sample.
    poor_max: u32,
    /// Samples that there are.
    taken: i64,
    offer: Option<Offer>,
    /// The offer is being committed.
    is_taken: bool,
}

/// A value that is to be a sample.
struct Offer {
    bytes: Vec<u8>,
    vault: Option<Vault>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Packer {
    /// Makes a long value short, to be stored in this database; [`unpack`] gives it again. Values of one kind have much in
    /// common.
    #[must_use]
    pub fn pack(&self, kind: &str, bytes: &[u8]) -> Vec<u8> {
        self.shorten(kind, (bytes, 0), None).into_open()
    }

    /// Like [`Packer::pack`], for a value with a sealed object in it that this key opens: what the object says is packed, in
    /// clear and beside the key, and the object made again. A value without one is packed as by [`Packer::pack`].
    #[must_use]
    pub fn pack_sealed(&self, kind: &str, bytes: &[u8], key: &ContentKey) -> Vec<u8> {
        self.shorten_sealed(kind, bytes, key).into_open()
    }

    /// Makes a long value short, all but its first `head` bytes, of which the length must not tell, and seals it for one place
    /// in this database. [`Vault::open`] gives it again, once [`learn_sealed`] has seen it.
    #[must_use]
    pub fn seal_packed(
        &self,
        vault: &Vault,
        kind: &str,
        context: &str,
        (plain, head): (&[u8], usize),
    ) -> Vec<u8> {
        let packed = self.shorten(kind, (plain, head), Some(vault));
        vault.seal_packed(context, &packed)
    }

    /// Packs a value of a kind, all but its first `head` bytes; with a vault, a value that will be sealed by it, so that
    /// its sample is, too.
    fn shorten(&self, kind: &str, (bytes, head): (&[u8], usize), vault: Option<&Vault>) -> Scratch {
        let secrecy = match vault {
            Some(_) => Secrecy::Secret,
            None => Secrecy::Open,
        };
        let tail = bytes.get(head..).unwrap_or_default();
        if tail.len() < BYTES_MIN || bytes.len() > BYTES_MAX {
            return as_is(bytes, secrecy);
        }
        let kind = format!("{kind}/decoded");
        let pieces = decoded(tail, secrecy);
        let (id, sample) = self.newest(&kind, vault);
        let Some(compressed) = sample.compress(&pieces, secrecy) else {
            return as_is(bytes, secrecy);
        };
        let len = compressed.len().saturating_add(head);
        let mut packed = begun(PACKED, id, (bytes, secrecy), len);
        length::write(head, &mut packed);
        packed.extend_from_slice(bytes.get(..head).unwrap_or_default());
        length::write(pieces.len(), &mut packed);
        packed.extend_from_slice(&compressed);
        self.learn(&kind, packed.len(), (id, &sample.bytes), &pieces, vault);
        let shorter = packed.len() < bytes.len();
        if shorter && sample.gives(&compressed, pieces.len(), (tail, secrecy)) {
            packed
        } else {
            as_is(bytes, secrecy)
        }
    }

    /// Packs a value of a kind with a sealed object in it that this key opens; one without is packed as ever.
    fn shorten_sealed(&self, kind: &str, bytes: &[u8], key: &ContentKey) -> Scratch {
        // What opened objects say has nothing in common with ciphertext: a kind, and samples, of their own.
        let opened = format!("{kind}/opened/decoded");
        let packed = self.pack_opened(&opened, bytes, key);
        packed.unwrap_or_else(|| self.shorten(kind, (bytes, 0), None))
    }

    fn pack_opened(&self, kind: &str, bytes: &[u8], key: &ContentKey) -> Option<Scratch> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let secrecy = Secrecy::Open;
        let apart = Apart::of(bytes, key)?;
        let (id, sample) = self.newest(kind, None);
        let pieces = decoded(&apart.parts, secrecy);
        let compressed = sample.compress(&pieces, secrecy)?;
        let mut packed = begun(SEALED, id, (bytes, secrecy), compressed.len());
        apart.write_head(key, &mut packed);
        length::write(pieces.len(), &mut packed);
        packed.extend_from_slice(&compressed);
        self.learn(kind, packed.len(), (id, &sample.bytes), &pieces, None);
        let shorter = packed.len() < bytes.len();
        (shorter && sample.gives(&compressed, pieces.len(), (&apart.parts, secrecy)))
            .then_some(packed)
    }

    /// The newest sample of a kind, and its id; none and 0 if there is none.
    fn newest(&self, kind: &str, vault: Option<&Vault>) -> (i64, Arc<Fitted>) {
        let mut kinds = lock(&self.kinds);
        let newest = kinds.get_mut(kind).and_then(|kind| kind.sample.as_mut());
        let opened = newest.and_then(|(id, sample)| Some((*id, sample.open(*id, vault)?)));
        opened.unwrap_or_default()
    }

    /// Takes note of how well the sample served, and of this value in its stead.
    fn learn(
        &self,
        kind: &str,
        len: usize,
        (id, sample): (i64, &[u8]),
        value: &[u8],
        vault: Option<&Vault>,
    ) {
        let mut kinds = lock(&self.kinds);
        if !kinds.contains_key(kind) {
            kinds.insert(kind.to_owned(), Kind::default());
        }
        let Some(kind) = kinds.get_mut(kind) else {
            return;
        };
        if id != 0 {
            kind.least = kind.least.min(len);
            if len > kind.least.saturating_add(POOR_BYTES) {
                kind.poor = kind.poor.saturating_add(1);
            }
            if kind.poor < kind.poor_max {
                return;
            }
        }
        if kind.offer.is_none() && !kind.is_taken {
            let newest = value.get(..SAMPLE_BYTES_MAX).unwrap_or(value);
            let older = SAMPLE_BYTES_MAX
                .saturating_sub(newest.len())
                .min(sample.len());
            let older = sample.len().saturating_sub(older);
            let older = sample.get(older..).unwrap_or_default();
            let mut bytes = [older, newest].concat();
            if bytes.starts_with(&DICTIONARY_MAGIC) {
                // No longer the magic then.
                bytes.remove(0);
            }
            kind.offer = Some(Offer {
                bytes,
                vault: vault.cloned(),
            });
        }
    }

    /// The newest sample of each kind.
    pub(crate) async fn load(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let rows = sqlx::query(
            "SELECT s.id, s.sealed, s.bytes, s.kind, k.taken FROM samples s JOIN \
             (SELECT kind, MAX(taken_at_ms) AS newest, COUNT(*) AS taken FROM samples GROUP BY kind) k \
             ON k.kind = s.kind AND k.newest = s.taken_at_ms",
        )
        .fetch_all(conn)
        .await?;
        for row in rows {
            let id = row.try_get(0)?;
            let sample = read(&row)?;
            remember(id, sample.clone());
            let kind = Kind::of((id, sample), row.try_get(4)?);
            lock(&self.kinds).insert(row.try_get(3)?, kind);
        }
        Ok(())
    }
}

impl Kind {
    /// With the newest of so many samples.
    fn of(sample: (i64, Sample), taken: i64) -> Self {
        let doubled = u32::try_from(taken.saturating_sub(1)).unwrap_or(0).min(16);
        Self {
            sample: Some(sample),
            least: usize::MAX,
            poor_max: POOR_MAX << doubled,
            taken,
            ..Self::default()
        }
    }
}

/// Gives a stored value as it was before it was packed, if it was.
///
/// # Errors
/// [`StoreError::Corrupt`] if it does not come back as it was, or the database's own failure.
pub async fn unpack(conn: &mut AnyConnection, stored: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let mut sample = learn(conn, sample_of(&stored)).await?;
    let known = |id| sample.as_mut()?.open(id, None);
    let unpacked = unpack_with(&stored, Secrecy::Open, known).ok_or(DAMAGED)?;
    Ok(unpacked.into_open())
}

/// Makes ready for [`Vault::open`] what [`Packer::seal_packed`] has made: its sample may be another
/// replica's.
///
/// # Errors
/// [`StoreError::Corrupt`] if there is no such sample, or the database's own failure.
pub async fn learn_sealed(conn: &mut AnyConnection, sealed: &[u8]) -> Result<(), StoreError> {
    match Vault::sample_of(sealed) {
        Some(id) => learn(conn, id).await.map(drop),
        None => Ok(()),
    }
}

const DAMAGED: StoreError = StoreError::Corrupt("a packed value");

/// The sample of this id, which is read if it is not known yet; none for 0.
async fn learn(conn: &mut AnyConnection, id: i64) -> Result<Option<Sample>, StoreError> {
    let known = lock(&KNOWN).get(&id).cloned();
    if id == 0 || known.is_some() {
        return Ok(known);
    }
    let row = sqlx::query("SELECT id, sealed, bytes FROM samples WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    let row = row.ok_or(StoreError::Corrupt("samples.id"))?;
    let sample = read(&row)?;
    remember(id, sample.clone());
    Ok(Some(sample))
}

/// The sample that a packed value needs.
fn named_by(stored: &[u8]) -> Option<i64> {
    let (&(PACKED_TEXT | SEALED_TEXT | PACKED | SEALED), rest) = stored.split_first()? else {
        return None;
    };
    rest.first_chunk::<ID_LEN>()
        .map(|id| i64::from_be_bytes(*id))
}

/// The id of the sample that a packed value names; 0 if none is needed.
pub(crate) fn sample_of(packed: &[u8]) -> i64 {
    named_by(packed).unwrap_or_default()
}

/// Gives a value as it was; None if it does not come back, or its sample is not known.
pub(crate) fn unpack_known(stored: &[u8], vault: Option<&Vault>) -> Option<Zeroizing<Vec<u8>>> {
    let sample = |id| {
        let known = lock(&KNOWN).get(&id).cloned();
        let fitted = known?.open(id, vault)?;
        remember(id, Sample::Open(Arc::clone(&fitted)));
        Some(fitted)
    };
    unpack_with(stored, Secrecy::Secret, sample).map(Scratch::into_zeroizing)
}

fn unpack_with(
    stored: &[u8],
    secrecy: Secrecy,
    sample: impl FnOnce(i64) -> Option<Arc<Fitted>>,
) -> Option<Scratch> {
    match stored.split_first() {
        Some((&AS_IS, value)) => Some(secrecy.scratch(value.to_vec())),
        Some((&(PACKED_TEXT | SEALED_TEXT | PACKED | SEALED), _)) => {
            let id = named_by(stored)?;
            let sample = if id == 0 { Arc::default() } else { sample(id)? };
            unfold(stored, &sample, secrecy)
        }
        Some((..b' ', _)) => None,
        _ => Some(secrecy.scratch(stored.to_vec())),
    }
}

fn as_is(bytes: &[u8], secrecy: Secrecy) -> Scratch {
    secrecy.scratch(match bytes.first() {
        Some(..b' ') => [&[AS_IS], bytes].concat(),
        _ => bytes.to_vec(),
    })
}

/// A form's byte, its sample's id, the check; with room for `len` more. Never moved to where there is more: what is left behind
/// would not be wiped.
fn begun(form: u8, id: i64, (bytes, secrecy): (&[u8], Secrecy), len: usize) -> Scratch {
    let mut packed = secrecy.room(len.saturating_add(BESIDE_MAX));
    packed.push(form);
    packed.extend_from_slice(&id.to_be_bytes());
    packed.extend_from_slice(check(bytes).as_slice());
    packed
}

/// What a packed value stands for, if it has the check that was written beside it.
fn unfold(packed: &[u8], sample: &Fitted, secrecy: Secrecy) -> Option<Scratch> {
    let (form, rest) = packed.split_first()?;
    let (wanted, rest) = rest.get(ID_LEN..)?.split_first_chunk::<CHECK_LEN>()?;
    let bytes = match *form {
        SEALED_TEXT => {
            let (head, rest) = Head::read(rest)?;
            let parts = expand(sample, rest, (head.parts_len()?, secrecy))?;
            secrecy.scratch(head.put_together(&parts)?)
        }
        SEALED => {
            let (head, rest) = Head::read(rest)?;
            let (len, rest) = length::read(rest)?;
            let pieces = expand(sample, rest, (len, secrecy))?;
            let parts = encoded(&pieces, BYTES_MAX, secrecy)?;
            secrecy.scratch(head.put_together(&parts)?)
        }
        _ => {
            let (head_len, rest) = length::read(rest)?;
            let (head, rest) = rest.split_at_checked(head_len)?;
            let (len, rest) = length::read(rest)?;
            let expanded = expand(sample, rest, (len, secrecy))?;
            let tail = match *form {
                PACKED_TEXT => expanded,
                _ => encoded(&expanded, BYTES_MAX, secrecy)?,
            };
            if head.is_empty() {
                tail
            } else {
                secrecy.scratch([head, &tail].concat())
            }
        }
    };
    (check(&bytes) == *wanted).then_some(bytes)
}

/// Few bytes are a megabyte, if they say so: no more than what was ever packed.
fn expand(sample: &Fitted, packed: &[u8], (len, secrecy): (usize, Secrecy)) -> Option<Scratch> {
    (len <= BYTES_MAX.saturating_add(BESIDE_MAX))
        .then(|| sample.expand(packed, len, secrecy))
        .flatten()
}

fn check(bytes: &[u8]) -> [u8; CHECK_LEN] {
    let digest = sha256(bytes);
    digest.first_chunk().copied().unwrap_or_default()
}

fn read(row: &sqlx::any::AnyRow) -> Result<Sample, StoreError> {
    let (sealed, bytes): (i64, Vec<u8>) = (row.try_get(1)?, row.try_get(2)?);
    Ok(match sealed {
        0 => Sample::Open(Arc::new(bytes.as_slice().into())),
        _ => Sample::Sealed(bytes.into()),
    })
}

fn remember(id: i64, sample: Sample) {
    let mut known = lock(&KNOWN);
    if known.len() >= KNOWN_MAX
        && !known.contains_key(&id)
        && let Some(other) = known.keys().next().copied()
    {
        known.remove(&other);
    }
    known.insert(id, sample);
}

fn context(id: i64) -> String {
    format!("samples/bytes/{id}")
}

/// Random, so that nobody chooses which sample a value finds; never 0, which stands for none.
fn random_id() -> i64 {
    let mut bytes = [0; ID_LEN];
    getrandom::fill(&mut bytes).expect("no id can be made without the system's random source");
    i64::from_be_bytes(bytes) | 1
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
