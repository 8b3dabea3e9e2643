//! The CAs: roots, brands, regions and those that issue, with all their generations.
//!
//! What is served was read back from the database; [`crate::authorities`] changes it.

pub(crate) mod draft;
pub(crate) mod next_key;
pub(crate) mod plan;

use std::sync::Arc;

use anyhow::Context as _;
use openset_jose::Thumbprint;
use openset_pki::authority::Authority;
use openset_pki::{Certificate, Chain, Role};
use openset_protocol::BrandId;
use openset_protocol::ca::AccountKey;
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use openset_service::clock;
use openset_store::{Db, Vault, keys};
use sqlx::AnyConnection;

use crate::store::authorities::{self, Held, Keys};
use crate::store::regions::{self, Region};

/// The first root's name in URLs and tables, and that of the roots' series.
pub(crate) const ROOT: &str = "root";
/// The key under which cards are remembered between two messages.
pub(crate) const ACCOUNT_KEY: &str = "account_key";

/// Whether a CA issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It does.
    Current,
    /// A newer generation does; this one goes on with its CRL until it ends.
    Retired,
    /// Its certificate, or that of a CA above it, was revoked.
    Revoked,
}

/// A root; without its key if it is kept offline.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its name in `/crl/{id}`.
    pub(crate) id: String,
    pub(crate) generation: i64,
    pub(crate) state: State,
    pub(crate) certificate: Certificate,
    /// With which it issues, if the key is here.
    pub(crate) authority: Option<Authority>,
}

/// A CA below a root, with its keys.
#[derive(Debug)]
pub(crate) struct Ca {
    /// Its name in `/crl/{id}`.
    pub(crate) id: String,
    /// The CA above it.
    pub(crate) parent: String,
    /// The id of its first generation.
    pub(crate) series: String,
    pub(crate) generation: i64,
    /// The region that it is for; none for a brand CA.
    pub(crate) region: Option<String>,
    pub(crate) state: State,
    /// With which it issues.
    pub(crate) authority: Authority,
    /// With which an issuing CA signs and opens messages.
    pub(crate) credentials: Option<Credentials>,
}

/// All CAs, as they were at one moment.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    /// Oldest first, one at least.
    roots: Vec<Arc<Root>>,
    /// Parents before children.
    cas: Vec<Arc<Ca>>,
    regions: Vec<Region>,
    pub(crate) account_key: AccountKey,
    /// Which change of the hierarchy this is.
    pub(crate) version: i64,
}

impl Root {
    /// Whether its certificate has run out.
    pub(crate) fn ended(&self, now_s: i64) -> bool {
        self.certificate.not_after() < now_s
    }
}

impl Ca {
    pub(crate) fn role(&self) -> Role {
        self.authority.certificate().role()
    }

    pub(crate) fn brand(&self) -> Option<&BrandId> {
        self.authority.certificate().brand()
    }

    /// Whether it issues.
    pub(crate) fn is_current(&self) -> bool {
        self.state == State::Current
    }

    /// Whether it still has a CRL to issue.
    pub(crate) fn answers(&self, now_s: i64) -> bool {
        self.state != State::Revoked && self.authority.certificate().not_after() >= now_s
    }
}

impl Hierarchy {
    /// All CAs below the roots, parents before children.
    pub(crate) fn all(&self) -> &[Arc<Ca>] {
        &self.cas
    }

    /// All roots, the oldest first.
    pub(crate) fn roots(&self) -> &[Arc<Root>] {
        &self.roots
    }

    /// The regions; the first is the default.
    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The CA of this name, below the roots.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Ca>> {
        self.cas.iter().find(|ca| ca.id == id)
    }

    /// The root of this name.
    pub(crate) fn root_by_id(&self, id: &str) -> Option<&Arc<Root>> {
        self.roots.iter().find(|root| root.id == id)
    }

    /// The issuing CA of a role and brand in the first region.
    pub(crate) fn issuing(&self, role: Role, brand: &BrandId) -> Option<&Arc<Ca>> {
        let first = self.regions.first()?;
        self.issuing_in(&first.slug, role, brand)
    }

    /// The issuing CA of a role and brand in a region, by the region's name in URLs.
    pub(crate) fn issuing_in(&self, region: &str, role: Role, brand: &BrandId) -> Option<&Arc<Ca>> {
        self.cas.iter().find(|ca| {
            ca.is_current()
                && ca.role() == role
                && ca.brand() == Some(brand)
                && ca.region.as_deref() == Some(region)
        })
    }

    /// The issuing CA with this key-exchange certificate, of any generation that was not revoked.
    pub(crate) fn sealed_for(&self, certificate: &Thumbprint) -> Option<&Arc<Ca>> {
        let theirs = |ca: &&Arc<Ca>| {
            ca.state != State::Revoked
                && ca
                    .credentials
                    .as_ref()
                    .is_some_and(|own| own.key_exchange.thumbprint() == *certificate)
        };
        self.cas.iter().find(theirs)
    }

    /// The generation of this CA that issues, if there is one.
    pub(crate) fn current_of(&self, ca: &Ca) -> Option<&Arc<Ca>> {
        self.current(&ca.series)
    }

    /// The generation of a series that issues, if there is one.
    pub(crate) fn current(&self, series: &str) -> Option<&Arc<Ca>> {
        self.cas
            .iter()
            .find(|ca| ca.is_current() && ca.series == series)
    }

    /// The newest generation of a series, whatever its state.
    pub(crate) fn newest(&self, series: &str) -> Option<&Arc<Ca>> {
        self.cas
            .iter()
            .filter(|ca| ca.series == series)
            .max_by_key(|ca| ca.generation)
    }

    /// The root that others pin: the oldest that has not run out. From it they come to all later ones.
    pub(crate) fn pinned_root(&self) -> &Root {
        let now = clock::now_seconds();
        self.roots
            .iter()
            .find(|root| !root.ended(now))
            .unwrap_or_else(|| self.newest_root())
    }

    /// The root under which new CAs are made.
    ///
    /// # Panics
    /// Never: a hierarchy is loaded only with a root.
    pub(crate) fn newest_root(&self) -> &Arc<Root> {
        self.roots.last().expect("a hierarchy has a root")
    }

    /// The CA of this name as one that signs, if its key is here.
    pub(crate) fn signer(&self, id: &str) -> Option<&Authority> {
        self.by_id(id)
            .map(|ca| &ca.authority)
            .or_else(|| self.root_by_id(id)?.authority.as_ref())
    }

    /// A certificate that a CA below the roots issued, with the CAs above it.
    pub(crate) fn chain_of(&self, authority: &str, certificate: &Certificate) -> Option<Chain> {
        Some(self.by_id(authority)?.authority.chain_of(certificate))
    }

    /// The names of a CA and of all below it, parents first.
    pub(crate) fn with_below(&self, id: &str) -> Vec<String> {
        let mut names = vec![id.to_owned()];
        for ca in &self.cas {
            if names.contains(&ca.parent) {
                names.push(ca.id.clone());
            }
        }
        names
    }
}

/// The hierarchy as it is stored; none before the first start.
pub(crate) async fn load(db: &Db, vault: &Vault) -> anyhow::Result<Option<Hierarchy>> {
    load_in(&mut *db.read().await?, vault).await
}

/// As [`load`], through a connection.
pub(crate) async fn load_in(
    conn: &mut AnyConnection,
    vault: &Vault,
) -> anyhow::Result<Option<Hierarchy>> {
    // Read first: a change that comes in between is then seen again.
    let version = regions::version(&mut *conn).await?;
    let rows = authorities::all(&mut *conn).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let account_key = keys::load(&mut *conn, vault, ACCOUNT_KEY)
        .await?
        .context("the account key is missing")?;
    let account_key: [u8; 32] = account_key
        .as_slice()
        .try_into()
        .context("the account key is damaged")?;
    let mut hierarchy = Hierarchy {
        roots: Vec::new(),
        cas: Vec::with_capacity(rows.len()),
        regions: regions::all(&mut *conn).await?,
        account_key: AccountKey::from_bytes(account_key),
        version,
    };
    for held in rows {
        let keys = authorities::keys_of(&mut *conn, vault, &held).await?;
        let id = held.id.clone();
        hierarchy
            .add(held, keys)
            .with_context(|| format!("the CA {id}"))?;
    }
    anyhow::ensure!(!hierarchy.roots.is_empty(), "the root is missing");
    Ok(Some(hierarchy))
}

impl Hierarchy {
    fn add(&mut self, held: Held, keys: Keys) -> anyhow::Result<()> {
        let retired = held.retired_at_s.is_some();
        let own = |revoked: bool| match (revoked, retired) {
            (true, _) => State::Revoked,
            (false, true) => State::Retired,
            (false, false) => State::Current,
        };
        let Some(parent) = held.parent else {
            let authority = keys
                .issue
                .map(|key| Authority::root_with_key(held.certificate.clone(), key))
                .transpose()?;
            self.roots.push(Arc::new(Root {
                id: held.id,
                generation: held.generation,
                state: own(held.revoked),
                certificate: held.certificate,
                authority,
            }));
            return Ok(());
        };
        let above = self.by_id(&parent);
        let root = self.root_by_id(&parent);
        anyhow::ensure!(
            above.is_some() || root.is_some(),
            "the CA {parent} above it is missing"
        );
        let above_revoked = above.is_some_and(|ca| ca.state == State::Revoked)
            || root.is_some_and(|root| root.state == State::Revoked);
        let chain = |certificate: &Certificate| match above {
            Some(ca) => Ok(ca.authority.chain_of(certificate)),
            None => Chain::new(vec![certificate.clone()]),
        };
        let issue = keys.issue.context("its key is missing")?;
        let authority = Authority::with_key(chain(&held.certificate)?, issue)?;
        let credentials = match (held.message, keys.message) {
            (Some(certificates), Some(keys)) => Some(Credentials {
                signature: SigningIdentity::new(chain(&certificates.signature)?, keys.signature)?,
                key_exchange: KeyExchangeIdentity::new(
                    chain(&certificates.key_exchange)?,
                    keys.key_exchange,
                )?,
            }),
            _ => None,
        };
        let role = held.certificate.role();
        // From before there were several regions: it is of the first one.
        let first = self.regions.first().map(|region| region.slug.clone());
        let region = held.region.or(first).filter(|_| role != Role::BrandCa);
        self.cas.push(Arc::new(Ca {
            state: own(held.revoked || above_revoked),
            id: held.id,
            parent,
            series: held.series,
            generation: held.generation,
            region,
            authority,
            credentials,
        }));
        Ok(())
    }
}
