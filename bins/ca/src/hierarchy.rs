//! The CAs: root, brands, regions and those that issue.
//!
//! What is missing is made at start, all of it in one transaction: a crash leaves the old hierarchy or
//! the new one. Whatever is served was read back from the database, as after any other start.

mod draft;

use std::sync::Arc;

use anyhow::Context as _;
use openset_jose::Thumbprint;
use openset_pki::authority::Authority;
use openset_pki::{Certificate, Chain, Role};
use openset_protocol::BrandId;
use openset_protocol::ca::AccountKey;
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use openset_service::{clock, random};
use openset_store::{Db, Vault, crls, keys};
use zeroize::Zeroizing;

use crate::config::Settings;
use crate::store::authorities::{self, Held};
use draft::Draft;

/// The root's name in URLs and tables.
pub(crate) const ROOT: &str = "root";
/// The key of the root after this one, sealed until it is needed.
const NEXT_ROOT_KEY: &str = "root/next";
/// The key under which cards are remembered between two messages.
const ACCOUNT_KEY: &str = "account_key";
/// How often replicas that make the hierarchy at once may get in each other's way.
const TRIES_MAX: u8 = 5;

/// A CA with its keys.
#[derive(Debug)]
pub(crate) struct Ca {
    /// Its name in `/crl/{id}`.
    pub(crate) id: String,
    /// With which it issues.
    pub(crate) authority: Authority,
    /// With which an issuing CA signs and opens messages.
    pub(crate) credentials: Option<Credentials>,
}

/// All CAs.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    /// Parents before children; the root is the first.
    cas: Vec<Arc<Ca>>,
    pub(crate) account_key: AccountKey,
}

impl Ca {
    pub(crate) fn role(&self) -> Role {
        self.authority.certificate().role()
    }

    pub(crate) fn brand(&self) -> Option<&BrandId> {
        self.authority.certificate().brand()
    }
}

impl Hierarchy {
    /// All CAs, parents before children.
    pub(crate) fn all(&self) -> &[Arc<Ca>] {
        &self.cas
    }

    /// The CA of this name.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Ca>> {
        self.cas.iter().find(|ca| ca.id == id)
    }

    /// The issuing CA of a role and brand.
    pub(crate) fn issuing(&self, role: Role, brand: &BrandId) -> Option<&Arc<Ca>> {
        self.cas
            .iter()
            .find(|ca| ca.role() == role && ca.brand() == Some(brand))
    }

    /// The issuing CA with this key-exchange certificate.
    pub(crate) fn sealed_for(&self, certificate: &Thumbprint) -> Option<&Arc<Ca>> {
        let theirs = |ca: &&Arc<Ca>| {
            ca.credentials
                .as_ref()
                .is_some_and(|own| own.key_exchange.thumbprint() == *certificate)
        };
        self.cas.iter().find(theirs)
    }

    /// The root's certificate.
    ///
    /// # Panics
    /// Never: a hierarchy is loaded only with its root.
    pub(crate) fn root(&self) -> &Certificate {
        let root = self.cas.first().expect("a hierarchy has its root");
        root.authority.certificate()
    }
}

/// The hierarchy, with whatever was missing of it made now.
///
/// # Errors
/// When the database, the vault or a stored certificate cannot be used.
pub(crate) async fn open(db: &Db, vault: &Vault, settings: &Settings) -> anyhow::Result<Hierarchy> {
    for _ in 0..TRIES_MAX {
        let held = load(db, vault).await?;
        let missing: Vec<BrandId> = settings
            .brands
            .iter()
            .filter(|brand| {
                held.as_ref()
                    .is_none_or(|held| held.issuing(Role::CardholderCa, brand).is_none())
            })
            .cloned()
            .collect();
        match held {
            Some(held) if missing.is_empty() => return Ok(held),
            held => {
                let root = held
                    .as_ref()
                    .and_then(|held| held.cas.first())
                    .map(|ca| ca.authority.clone());
                let drafts = draft::make(root, missing, settings).await?;
                // If another replica was faster, its hierarchy is loaded in the next round.
                store(db, vault, &drafts, held.map_or(0, |held| held.cas.len())).await?;
            }
        }
    }
    anyhow::bail!("the hierarchy could not be made; is another replica at it? Start again")
}

async fn load(db: &Db, vault: &Vault) -> anyhow::Result<Option<Hierarchy>> {
    let mut conn = db.read().await?;
    let rows = authorities::all(&mut conn).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let account_key = keys::load(&mut conn, vault, ACCOUNT_KEY)
        .await?
        .context("the account key is missing")?;
    let account_key: [u8; 32] = account_key
        .as_slice()
        .try_into()
        .context("the account key is damaged")?;
    let mut cas: Vec<Arc<Ca>> = Vec::with_capacity(rows.len());
    for held in rows {
        let keys = authorities::keys_of(&mut conn, vault, &held).await?;
        let parent = held
            .parent
            .as_ref()
            .and_then(|parent| cas.iter().find(|ca| ca.id == *parent))
            .cloned();
        let id = held.id.clone();
        cas.push(Arc::new(
            assemble(held, keys, parent.as_deref()).with_context(|| format!("the CA {id}"))?,
        ));
    }
    Ok(Some(Hierarchy {
        cas,
        account_key: AccountKey::from_bytes(account_key),
    }))
}

fn assemble(held: Held, keys: authorities::Keys, parent: Option<&Ca>) -> anyhow::Result<Ca> {
    let Some(parent) = parent else {
        let authority = Authority::root_with_key(held.certificate, keys.issue)?;
        return Ok(Ca {
            id: held.id,
            authority,
            credentials: None,
        });
    };
    let chain = |certificate: &Certificate| -> Chain { parent.authority.chain_of(certificate) };
    let authority = Authority::with_key(chain(&held.certificate), keys.issue)?;
    let credentials = match (held.message, keys.message) {
        (Some(certificates), Some(keys)) => Some(Credentials {
            signature: SigningIdentity::new(chain(&certificates.signature), keys.signature)?,
            key_exchange: KeyExchangeIdentity::new(
                chain(&certificates.key_exchange),
                keys.key_exchange,
            )?,
        }),
        _ => None,
    };
    Ok(Ca {
        id: held.id,
        authority,
        credentials,
    })
}

/// Stores all drafts or none.
async fn store(db: &Db, vault: &Vault, drafts: &[Draft], held: usize) -> anyhow::Result<()> {
    let mut tx = db.begin().await?;
    for (place, draft) in (i64::try_from(held)?..).zip(drafts) {
        let stored = authorities::insert(&mut tx, vault, place, &draft.held, &draft.keys).await?;
        let crl = &draft.crl;
        if !stored
            || !crls::put(
                &mut tx,
                &draft.held.id,
                crl.number(),
                crl.der(),
                crl.next_update(),
            )
            .await?
        {
            return Ok(tx.rollback().await?);
        }
        if let Some(next) = &draft.next_root_key {
            let account_key = Zeroizing::new(random::bytes::<32>());
            let _ = authorities::put_key(&mut tx, vault, NEXT_ROOT_KEY, next).await?;
            let _ = keys::put(&mut tx, vault, ACCOUNT_KEY, &*account_key).await?;
        }
    }
    tx.commit().await?;
    tracing::info!(kind = drafts.len(), "certificate authorities made");
    Ok(())
}

/// The moment from which new certificates of CAs are good: a little in the past, for the clocks of others.
fn not_before() -> i64 {
    clock::now_seconds().saturating_sub(3600)
}
