//! A brand's credentials in the vault: one entry for each generation, never overwritten.
//!
//! The first generation lies under the name that the only one had before there were renewals.

use openset_jose::default_provider;
use openset_pki::{BrandId, Chain};
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use openset_protocol::ids::ExactBytes;
use openset_protocol::signed::carried;
use openset_store::{Db, Tx, Vault, VaultError, keys};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Certified, EnrolmentError};

/// Counts a brand's certificates from the enrolment on; each renewal makes the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u32);

impl Generation {
    /// What the enrolment brings.
    pub const FIRST: Self = Self(1);

    /// What a renewal of this one brings.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A pair as it lies in the vault.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    signature: StoredKey,
    key_exchange: StoredKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    chain: Vec<ExactBytes>,
    /// PKCS#8; wiped when dropped.
    key: ExactBytes,
}

/// Stores a generation of a brand's pair, sealed in the vault: what
/// [`Keyring::load`](super::Keyring::load) finds at the next start. One that is there stays.
///
/// # Errors
/// The vault's or the database's failure.
pub async fn store(
    tx: &mut Tx,
    vault: &Vault,
    brand: &BrandId,
    generation: Generation,
    signature: &Certified,
    key_exchange: &Certified,
) -> Result<(), EnrolmentError> {
    let stored = |certified: &Certified| StoredKey {
        chain: carried(&certified.chain),
        key: ExactBytes(certified.key.to_pkcs8().to_vec()),
    };
    let stored = Stored {
        signature: stored(signature),
        key_exchange: stored(key_exchange),
    };
    put_json(tx, vault, &name(brand, generation), &stored).await
}

/// The generations of a brand that are stored, oldest first.
pub(super) async fn stored(db: &Db, brand: &BrandId) -> Result<Vec<Generation>, EnrolmentError> {
    let first = name(brand, Generation::FIRST);
    let names = keys::names(&mut *db.read().await?, &first).await?;
    let number = |name: &String| match name.strip_prefix(&first)? {
        "" => Some(Generation::FIRST),
        rest => rest.strip_prefix('/')?.parse().ok().map(Generation),
    };
    let mut found: Vec<Generation> = names.iter().filter_map(number).collect();
    found.sort_unstable();
    Ok(found)
}

/// A generation of a brand's pair, if it was stored.
pub(super) async fn load(
    db: &Db,
    vault: &Vault,
    brand: &BrandId,
    generation: Generation,
) -> Result<Option<Credentials>, EnrolmentError> {
    let stored: Option<Stored> = load_json(db, vault, &name(brand, generation), brand).await?;
    let Some(Stored {
        signature,
        key_exchange,
    }) = stored
    else {
        return Ok(None);
    };
    let (chain, key) = signature.read(brand)?;
    let signature = SigningIdentity::new(chain, key)?;
    let (chain, key) = key_exchange.read(brand)?;
    let key_exchange = KeyExchangeIdentity::new(chain, key)?;
    Ok(Some(Credentials {
        signature,
        key_exchange,
    }))
}

/// Removes a generation with its keys.
pub(super) async fn remove(
    tx: &mut Tx,
    brand: &BrandId,
    generation: Generation,
) -> Result<(), EnrolmentError> {
    keys::remove(tx, &name(brand, generation)).await?;
    Ok(())
}

impl StoredKey {
    fn read(&self, brand: &BrandId) -> Result<(Chain, openset_jose::PrivateKey), EnrolmentError> {
        let x5c: Vec<Vec<u8>> = self.chain.iter().map(|der| der.0.clone()).collect();
        let chain = Chain::from_x5c(&x5c).map_err(|_| EnrolmentError::Damaged(brand.clone()))?;
        Ok((
            chain,
            default_provider().private_key_from_pkcs8(&self.key.0)?,
        ))
    }
}

/// Stores a value under a name of the vault that has none; another replica's stays.
pub(super) async fn put_json(
    tx: &mut Tx,
    vault: &Vault,
    name: &str,
    value: &impl Serialize,
) -> Result<(), EnrolmentError> {
    // Strings and lists in memory: writing them as JSON cannot fail.
    let plain = Zeroizing::new(serde_json::to_vec(value).unwrap_or_default());
    let _ = keys::put(tx, vault, name, &plain).await?;
    Ok(())
}

/// The value that [`put_json`] stored.
pub(super) async fn load_json<T: serde::de::DeserializeOwned>(
    db: &Db,
    vault: &Vault,
    name: &str,
    brand: &BrandId,
) -> Result<Option<T>, EnrolmentError> {
    let mut connection = db.read().await?;
    let plain = keys::load(&mut connection, vault, name)
        .await
        .map_err(|error| match error {
            VaultError::Unopened => EnrolmentError::Damaged(brand.clone()),
            other => other.into(),
        })?;
    let Some(plain) = plain else { return Ok(None) };
    serde_json::from_slice(&plain)
        .map(Some)
        .map_err(|_| EnrolmentError::Damaged(brand.clone()))
}

fn name(brand: &BrandId, generation: Generation) -> String {
    match generation {
        Generation::FIRST => format!("enrolment/{brand}/credentials"),
        Generation(number) => format!("enrolment/{brand}/credentials/{number}"),
    }
}
