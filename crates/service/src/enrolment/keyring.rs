//! The credentials that a party holds, and where they are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use openset_jose::default_provider;
use openset_pki::{BrandId, Chain};
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use openset_protocol::ids::ExactBytes;
use openset_protocol::signed::carried;
use openset_store::{Db, Tx, Vault, VaultError, keys};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Certified, EnrolmentError};

/// The credentials that a party holds, parsed; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    held: RwLock<Arc<Vec<Credentials>>>,
    /// What stands between a brand and its certificates.
    missing: RwLock<BTreeMap<BrandId, String>>,
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

impl Keyring {
    /// A keyring with these credentials, none missing.
    #[must_use]
    pub fn holding(credentials: Vec<Credentials>) -> Self {
        let keyring = Self::default();
        *keyring
            .0
            .held
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        keyring
    }

    /// What was stored for these brands; the others count as missing until enrolled.
    ///
    /// # Errors
    /// When what is stored cannot be opened or read.
    pub async fn load(db: &Db, vault: &Vault, brands: &[BrandId]) -> Result<Self, EnrolmentError> {
        let keyring = Self::default();
        for brand in brands {
            match load(db, vault, brand).await? {
                Some(credentials) => keyring.add(brand, credentials),
                None => keyring.note_missing(brand, "not enrolled yet".to_owned()),
            }
        }
        Ok(keyring)
    }

    /// What is held now, one pair for each enrolled brand.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Credentials>> {
        Arc::clone(&self.0.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pair of a brand.
    #[must_use]
    pub fn of_brand(&self, brand: &BrandId) -> Option<Credentials> {
        self.all()
            .iter()
            .find(|held| held.signature.brand() == Some(brand))
            .cloned()
    }

    /// For `/readyz`: whether nothing is missing, or else what.
    ///
    /// # Errors
    /// The brands without certificates, and why.
    pub fn ready(&self) -> Result<(), String> {
        let missing = self
            .0
            .missing
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if missing.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = missing
            .iter()
            .map(|(brand, why)| format!("{brand}: {why}"))
            .collect();
        Err(all.join("; "))
    }

    pub(super) fn add(&self, brand: &BrandId, credentials: Credentials) {
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut held).push(credentials);
        drop(held);
        self.0
            .missing
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(brand);
    }

    pub(super) fn note_missing(&self, brand: &BrandId, why: String) {
        let mut missing = self
            .0
            .missing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        missing.insert(brand.clone(), why);
    }
}

/// Stores a brand's pair, sealed in the vault; what [`Keyring::load`] finds at the next start. A pair that is
/// there stays.
///
/// # Errors
/// The vault's or the database's failure.
pub async fn store(
    tx: &mut Tx,
    vault: &Vault,
    brand: &BrandId,
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
    put_json(tx, vault, &name(brand), &stored).await
}

/// A brand's pair, if it was stored.
pub(super) async fn load(
    db: &Db,
    vault: &Vault,
    brand: &BrandId,
) -> Result<Option<Credentials>, EnrolmentError> {
    let stored: Option<Stored> = load_json(db, vault, &name(brand), brand).await?;
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

fn name(brand: &BrandId) -> String {
    format!("enrolment/{brand}/credentials")
}
