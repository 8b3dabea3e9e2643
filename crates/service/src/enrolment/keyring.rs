//! The credentials that a party holds: of each brand the current ones, and those that were renewed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openset_jose::Thumbprint;
use openset_pki::BrandId;
use openset_protocol::identity::Credentials;
use openset_store::{Db, Vault};
use tokio::time::Instant;

use super::EnrolmentError;
use super::generations::{self, Generation};
use crate::clock;

/// Credentials that were renewed are kept this long after they ended: what was sealed for them may come late.
pub const RETIRED_KEEP_SECONDS: i64 = 30 * 24 * 60 * 60;
/// Between two looks into the vault for what another replica has stored.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The credentials that a party holds, parsed; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    held: RwLock<Held>,
    /// What stands between a brand and its certificates.
    missing: RwLock<BTreeMap<BrandId, String>>,
    /// Why a renewal that is due has not come about yet.
    unrenewed: RwLock<BTreeMap<BrandId, String>>,
    source: Option<Source>,
    /// When the vault was looked into last. Held while somebody looks.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// Where credentials come from, for those that another replica stores.
#[derive(Debug)]
struct Source {
    db: Db,
    vault: Vault,
    brands: Vec<BrandId>,
}

#[derive(Debug, Default)]
struct Held {
    generations: BTreeMap<(BrandId, Generation), Credentials>,
    /// The same without their names, newest first.
    all: Arc<Vec<Credentials>>,
}

/// A pair and which of its brand's generations it is.
#[derive(Debug, Clone)]
pub struct HeldPair {
    /// The brand.
    pub brand: BrandId,
    /// Which generation.
    pub generation: Generation,
    /// Whether it is the newest one.
    pub current: bool,
    /// The pair.
    pub credentials: Credentials,
}

impl Held {
    fn insert(&mut self, brand: &BrandId, generation: Generation, credentials: Credentials) {
        self.generations
            .insert((brand.clone(), generation), credentials);
        self.list();
    }

    fn list(&mut self) {
        let mut all: Vec<_> = self.generations.iter().collect();
        all.sort_by_key(|((_, generation), _)| std::cmp::Reverse(*generation));
        self.all = Arc::new(all.into_iter().map(|(_, pair)| pair.clone()).collect());
    }

    fn newest(&self, brand: &BrandId) -> Option<Generation> {
        let of_brand =
            |(of, generation): &(BrandId, Generation)| (of == brand).then_some(*generation);
        self.generations.keys().filter_map(of_brand).max()
    }
}

impl Keyring {
    /// A keyring with these credentials, none missing; of several of one brand the first is the current one.
    #[must_use]
    pub fn holding(credentials: Vec<Credentials>) -> Self {
        let keyring = Self::default();
        let mut generation = Generation::FIRST;
        for pair in credentials.into_iter().rev() {
            if let Some(brand) = pair.signature.brand().cloned() {
                keyring.add(&brand, generation, pair);
                generation = generation.next();
            }
        }
        keyring
    }

    /// What was stored for these brands; the others count as missing until enrolled.
    ///
    /// # Errors
    /// When what is stored cannot be opened or read.
    pub async fn load(db: &Db, vault: &Vault, brands: &[BrandId]) -> Result<Self, EnrolmentError> {
        let source = Source {
            db: db.clone(),
            vault: vault.clone(),
            brands: brands.to_vec(),
        };
        let keyring = Self(Arc::new(Inner {
            source: Some(source),
            ..Inner::default()
        }));
        for brand in brands {
            keyring.note_missing(brand, "not enrolled yet".to_owned());
        }
        keyring.look().await?;
        Ok(keyring)
    }

    /// All with which something may have to be opened, the current ones of every brand before those that were
    /// renewed.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Credentials>> {
        Arc::clone(&self.held().all)
    }

    /// The current pair of a brand.
    #[must_use]
    pub fn of_brand(&self, brand: &BrandId) -> Option<Credentials> {
        self.all()
            .iter()
            .find(|held| held.signature.brand() == Some(brand))
            .cloned()
    }

    /// The pair with this signature certificate, be it the current one or not.
    #[must_use]
    pub fn named(&self, signature: &Thumbprint) -> Option<Credentials> {
        self.all()
            .iter()
            .find(|held| held.signature.thumbprint() == *signature)
            .cloned()
    }

    /// Everything held, by brand and generation.
    #[must_use]
    pub fn pairs(&self) -> Vec<HeldPair> {
        let held = self.held();
        held.generations
            .iter()
            .map(|((brand, generation), credentials)| HeldPair {
                brand: brand.clone(),
                generation: *generation,
                current: held.newest(brand) == Some(*generation),
                credentials: credentials.clone(),
            })
            .collect()
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

    /// The brands without certificates, and why.
    pub(super) fn missing(&self) -> BTreeMap<BrandId, String> {
        let missing = &self.0.missing;
        missing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks for credentials that another replica has stored meanwhile: for what was sealed for a certificate
    /// that is not known here. However often it is called, the vault is looked into twice a second at most.
    ///
    /// # Errors
    /// When what is stored cannot be opened or read.
    pub async fn look_again(&self) -> Result<(), EnrolmentError> {
        let asked = Instant::now();
        let mut looked = self.0.looked.lock().await;
        if looked.is_some_and(|at| at > asked) {
            return Ok(());
        }
        if let Some(at) = *looked {
            tokio::time::sleep_until(at + LOOK_INTERVAL).await;
        }
        *looked = Some(Instant::now());
        self.look().await
    }

    /// Takes up every stored generation that is not held yet.
    async fn look(&self) -> Result<(), EnrolmentError> {
        let Some(Source { db, vault, brands }) = &self.0.source else {
            return Ok(());
        };
        for brand in brands {
            let stored = generations::stored(db, brand).await?;
            let newest = stored.last().copied();
            for generation in stored {
                if self
                    .held()
                    .generations
                    .contains_key(&(brand.clone(), generation))
                {
                    continue;
                }
                let found = generations::load(db, vault, brand, generation).await?;
                let wanted = |pair: &Credentials| Some(generation) == newest || !is_over(pair);
                if let Some(pair) = found.filter(wanted) {
                    self.add(brand, generation, pair);
                }
            }
        }
        Ok(())
    }

    /// Removes those that were renewed and ended long ago, here and in the vault.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn drop_retired(&self) -> Result<(), EnrolmentError> {
        let Some(Source { db, .. }) = &self.0.source else {
            return Ok(());
        };
        for pair in self.pairs() {
            if pair.current || !is_over(&pair.credentials) {
                continue;
            }
            let mut tx = db.begin().await?;
            generations::remove(&mut tx, &pair.brand, pair.generation).await?;
            tx.commit().await?;
            let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
            held.generations
                .remove(&(pair.brand.clone(), pair.generation));
            held.list();
            drop(held);
            tracing::info!(kind = %pair.brand, "keys of certificates that ended long ago were removed");
        }
        Ok(())
    }

    pub(super) fn add(&self, brand: &BrandId, generation: Generation, credentials: Credentials) {
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(brand, generation, credentials);
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

    /// Why a brand's certificates are not renewed though it is time.
    #[must_use]
    pub fn unrenewed(&self, brand: &BrandId) -> Option<String> {
        let unrenewed = &self.0.unrenewed;
        let unrenewed = unrenewed.read().unwrap_or_else(PoisonError::into_inner);
        unrenewed.get(brand).cloned()
    }

    pub(super) fn note_renewal(&self, brand: &BrandId, obstacle: Option<String>) {
        let unrenewed = &self.0.unrenewed;
        let mut unrenewed = unrenewed.write().unwrap_or_else(PoisonError::into_inner);
        match obstacle {
            Some(why) => unrenewed.insert(brand.clone(), why),
            None => unrenewed.remove(brand),
        };
    }

    fn held(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        self.0.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing that was sealed for it may come any more.
fn is_over(pair: &Credentials) -> bool {
    let ended = pair.key_exchange.certificate().not_after();
    clock::now_seconds() > ended.saturating_add(RETIRED_KEEP_SECONDS)
}
