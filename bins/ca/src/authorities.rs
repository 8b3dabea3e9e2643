//! The hierarchy in use, and how it grows: brands and regions are added, CAs renewed, the root rolled over.
//!
//! Every change is one transaction that is refused if the hierarchy has changed since it was looked at: a
//! crash leaves the old hierarchy or the new one, and of two processes one sees what the other has done
//! before it goes on. Nothing is ever certified twice: a CA is renewed by a new key with a new name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, bail, ensure};
use openset_pki::Role;
use openset_protocol::BrandId;
use openset_service::offload::offload;
use openset_service::{clock, random};
use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::crls::{self, StoredCrl};
use openset_store::{Db, Vault, keys};
use sqlx::AnyConnection;
use zeroize::Zeroizing;

use crate::config::{Settings, slug};
use crate::error::CaError;
use crate::hierarchy::draft::{self, Draft, Given};
use crate::hierarchy::next_key;
use crate::hierarchy::plan::{self, Planned};
use crate::hierarchy::{self, ACCOUNT_KEY, Ca, Hierarchy};
use crate::journal::{Event, Journal, RecordedTx};
use crate::store::regions::{self, Region};
use crate::store::{authorities, certificates};
use crate::{brand_crl_identifiers, crl};

/// How often processes that change the hierarchy at once may get in each other's way.
const TRIES_MAX: u8 = 5;

/// The CAs and what is needed to change them.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) journal: Journal,
    pub(crate) settings: Arc<Settings>,
    current: RwLock<Arc<Hierarchy>>,
}

/// The CAs with what they have issued for everybody to read.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) held: Arc<Hierarchy>,
    /// By the CA's name.
    pub(crate) crls: HashMap<String, StoredCrl>,
    pub(crate) brand_crl_identifiers: Vec<StoredBrandCrlIdentifier>,
}

/// What a change of the hierarchy begins with, until it holds one.
#[derive(Debug)]
struct Maker<'a> {
    db: &'a Db,
    vault: &'a Vault,
    journal: &'a Journal,
    settings: &'a Settings,
}

impl Authorities {
    /// The hierarchy with whatever the configuration names and it lacks made now.
    ///
    /// # Errors
    /// When the database, the vault or a stored certificate cannot be used.
    pub(crate) async fn open(
        db: Db,
        vault: Vault,
        journal: Journal,
        settings: Arc<Settings>,
    ) -> anyhow::Result<Self> {
        let maker = Maker {
            db: &db,
            vault: &vault,
            journal: &journal,
            settings: &settings,
        };
        let hierarchy = Box::pin(maker.complete()).await?;
        Ok(Self {
            current: RwLock::new(Arc::new(hierarchy)),
            db,
            vault,
            journal,
            settings,
        })
    }

    /// The hierarchy as it is stored.
    ///
    /// # Errors
    /// When there is none yet, or it cannot be used.
    pub(crate) async fn open_stored(
        db: Db,
        vault: Vault,
        journal: Journal,
        settings: Arc<Settings>,
    ) -> anyhow::Result<Self> {
        let maker = Maker {
            db: &db,
            vault: &vault,
            journal: &journal,
            settings: &settings,
        };
        maker.describe().await?;
        let hierarchy = hierarchy::load(&db, &vault).await?.context(
            "this database has no certificate authority yet: start the service once (openset-ca serve), or \
             import an offline root (openset-ca import root.pem)",
        )?;
        Ok(Self {
            current: RwLock::new(Arc::new(hierarchy)),
            db,
            vault,
            journal,
            settings,
        })
    }

    /// The hierarchy as last looked at.
    pub(crate) fn current(&self) -> Arc<Hierarchy> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether another process has changed the hierarchy, and takes it over if so.
    pub(crate) async fn refresh(&self) -> anyhow::Result<bool> {
        let version = regions::version(&mut *self.db.read().await?).await?;
        if version == self.current().version {
            return Ok(false);
        }
        self.reload().await?;
        Ok(true)
    }

    /// Reads the hierarchy again.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        let hierarchy = hierarchy::load(&self.db, &self.vault)
            .await?
            .context("the hierarchy is gone")?;
        self.take_over(Arc::new(hierarchy));
        Ok(())
    }

    /// Serves a hierarchy from now on, unless a newer one is served already.
    fn take_over(&self, stored: Arc<Hierarchy>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.version < stored.version {
            *current = stored;
        }
    }

    /// The hierarchy as a connection sees it, which others may have changed just now.
    pub(crate) async fn held_in(
        &self,
        conn: &mut AnyConnection,
    ) -> Result<Arc<Hierarchy>, CaError> {
        let current = self.current();
        if regions::version(conn).await? == current.version {
            return Ok(current);
        }
        let unreadable = |error: &anyhow::Error| CaError::Hierarchy(format!("{error:#}"));
        let held = hierarchy::load_in(conn, &self.vault).await;
        let held = held.map_err(|error| unreadable(&error))?;
        Ok(Arc::new(held.ok_or_else(|| {
            CaError::Hierarchy("it is gone".to_owned())
        })?))
    }

    /// What everybody may know, all of it as it stood at one moment.
    pub(crate) async fn published(&self) -> Result<Published, CaError> {
        let mut seen = self.db.snapshot().await?;
        let published = Published {
            held: self.held_in(&mut seen).await?,
            crls: crl::by_id(crls::all(&mut seen).await?),
            brand_crl_identifiers: bcis::all(&mut seen).await?,
        };
        drop(seen);
        // Whoever learns of a CA here may turn to it at once.
        self.take_over(Arc::clone(&published.held));
        Ok(published)
    }

    /// Begins a transaction whose changes are journaled.
    pub(crate) async fn begin(&self) -> Result<RecordedTx, CaError> {
        Ok(self.journal.begin(&self.db).await?)
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            db: &self.db,
            vault: &self.vault,
            journal: &self.journal,
            settings: &self.settings,
        }
    }

    /// Makes the CAs of a brand in all regions; says which.
    pub(crate) async fn add_brand(&self, brand: &BrandId) -> anyhow::Result<Vec<String>> {
        self.change(|held| {
            let series = format!("{}-bca", slug(brand.as_str()));
            if let Some(ca) = held.newest(&series) {
                ensure!(
                    ca.brand() == Some(brand),
                    "the brand {} has the same name in URLs; choose another name",
                    ca.authority
                        .certificate()
                        .brand()
                        .map_or("?", BrandId::as_str)
                );
                bail!("the brand {brand} has its CAs already; openset-ca list shows them");
            }
            let regions = numbered(held.regions());
            Ok(plan::missing(
                Some(held),
                &held.newest_root().id,
                brand,
                &regions,
            ))
        })
        .await
    }

    /// Makes the CAs of a region for some brands, or for all; says which.
    pub(crate) async fn add_region(
        &self,
        region: &Region,
        brands: &[BrandId],
    ) -> anyhow::Result<Vec<String>> {
        let held = self.current();
        ensure!(
            !held
                .regions()
                .iter()
                .any(|there| there.slug == region.slug && there.name != region.name),
            "another region has the same name in URLs; choose another name"
        );
        let mut tx = self.begin().await?;
        if regions::put(&mut tx, region).await? {
            tx.record(Event::from(region));
            regions::changed(&mut tx).await?;
        }
        tx.commit().await?;
        self.reload().await?;
        self.change(|held| {
            let regions: Vec<_> = numbered(held.regions())
                .into_iter()
                .filter(|(there, _)| there.slug == region.slug)
                .collect();
            let mut planned = Vec::new();
            for brand in brands_of(held) {
                if brands.is_empty() || brands.contains(&brand) {
                    let root = &held.newest_root().id;
                    planned.extend(plan::missing(Some(held), root, &brand, &regions));
                }
            }
            ensure!(
                !planned.is_empty(),
                "the region {} has its CAs already; openset-ca list shows them",
                region.name
            );
            Ok(planned)
        })
        .await
    }

    /// Makes the next generation of a CA, and with `below` of all below it; says which.
    pub(crate) async fn renew(&self, id: &str, below: bool) -> anyhow::Result<Vec<String>> {
        if self.current().root_by_id(id).is_some() {
            return self.roll_over().await;
        }
        self.change(|held| {
            let ca = renewable(held, id)?;
            let parent = parent_for(held, ca)?;
            plan::renewal(held, ca, parent, below)
        })
        .await
    }

    /// Makes the next root from the key that the present one has promised, and under it a new generation of
    /// every brand's CAs; says which.
    pub(crate) async fn roll_over(&self) -> anyhow::Result<Vec<String>> {
        self.change(|held| {
            ensure!(
                held.newest_root().authority.is_some(),
                "the root's key is not here: roll it over on its own folder (openset-ca root rollover), then \
                 import the new root (openset-ca import root-2.pem)"
            );
            let root = plan::next_root(held);
            let id = root.id.clone();
            let mut planned = vec![root];
            for ca in held.all() {
                let newest = held.newest(&ca.series).is_some_and(|newest| newest.id == ca.id);
                if ca.role() == Role::BrandCa && newest {
                    planned.extend(plan::renewal(held, ca, id.clone(), true)?);
                }
            }
            Ok(planned)
        })
        .await
    }

    /// Makes what `plan` says of the hierarchy as it is; says which CAs that were.
    async fn change(
        &self,
        plan: impl Fn(&Hierarchy) -> anyhow::Result<Vec<Planned>>,
    ) -> anyhow::Result<Vec<String>> {
        for _ in 0..TRIES_MAX {
            self.refresh().await?;
            let held = self.current();
            let planned = plan(&held)?;
            let given = self.given(&held, &planned).await?;
            let drafts = draft::make(planned, given).await?;
            if self.maker().store(&drafts, held.version).await? {
                self.reload().await?;
                return Ok(drafts.into_iter().map(|draft| draft.held.id).collect());
            }
        }
        bail!("another process changes the hierarchy, too; try again")
    }

    async fn given(&self, held: &Hierarchy, planned: &[Planned]) -> anyhow::Result<Given> {
        self.maker().given(Some(held), planned).await
    }

    /// Stores CAs that were made; says whether the hierarchy was still as it was when they were planned.
    pub(crate) async fn store(&self, drafts: &[Draft], version: i64) -> anyhow::Result<bool> {
        let stored = self.maker().store(drafts, version).await?;
        if stored {
            self.reload().await?;
        }
        Ok(stored)
    }
}

/// The CA of this name, if it can be renewed.
pub(crate) fn renewable<'a>(held: &'a Hierarchy, id: &str) -> anyhow::Result<&'a Ca> {
    let ca = held
        .by_id(id)
        .with_context(|| format!("there is no CA {id}; openset-ca list --own shows them"))?;
    if let Some(newest) = held.newest(&ca.series)
        && newest.id != ca.id
    {
        bail!("{id} was renewed already: {} took its place", newest.id);
    }
    Ok(ca)
}

/// The CA that issues for the next generation of a CA.
fn parent_for(held: &Hierarchy, ca: &Ca) -> anyhow::Result<String> {
    if ca.role() == Role::BrandCa {
        return Ok(held.newest_root().id.clone());
    }
    let above = held
        .by_id(&ca.parent)
        .with_context(|| format!("the CA above {} is missing", ca.id))?;
    let current = held.current(&above.series).with_context(|| {
        format!("{0} was revoked: renew it first, with all below it (openset-ca authority renew {0} --below)", above.id)
    })?;
    Ok(current.id.clone())
}

/// Brands that have a CA.
pub(crate) fn brands_of(held: &Hierarchy) -> Vec<BrandId> {
    let mut brands: Vec<BrandId> = Vec::new();
    for ca in held.all() {
        if let Some(brand) = ca.brand()
            && !brands.contains(brand)
        {
            brands.push(brand.clone());
        }
    }
    brands
}

/// Regions, and whether each is the first.
pub(crate) fn numbered(regions: &[Region]) -> Vec<(Region, bool)> {
    regions
        .iter()
        .enumerate()
        .map(|(place, region)| (region.clone(), place == 0))
        .collect()
}

impl Maker<'_> {
    async fn complete(&self) -> anyhow::Result<Hierarchy> {
        self.describe().await?;
        for _ in 0..TRIES_MAX {
            let version = regions::version(&mut *self.db.read().await?).await?;
            let held = hierarchy::load(self.db, self.vault).await?;
            let planned = self.missing(held.as_ref()).await?;
            match held {
                Some(held) if planned.is_empty() => return Ok(held),
                held => {
                    let given = self.given(held.as_ref(), &planned).await?;
                    let drafts = draft::make(planned, given).await?;
                    // If another replica was faster, its hierarchy is loaded in the next round.
                    if self.store(&drafts, version).await? {
                        tracing::info!(kind = drafts.len(), "certificate authorities made");
                    }
                }
            }
        }
        bail!("the hierarchy could not be made; is another replica at it? Start again")
    }

    /// Stores what the configuration says of regions, and what the tables of an older version lack.
    async fn describe(&self) -> anyhow::Result<()> {
        let mut tx = self.journal.begin(self.db).await?;
        for region in &self.settings.regions {
            if regions::put(&mut tx, &region.region).await? {
                tx.record(Event::from(&region.region));
                regions::changed(&mut tx).await?;
            }
        }
        certificates::describe(&mut tx).await?;
        let now_s = clock::now_seconds();
        for held in authorities::all(&mut tx).await? {
            record_own(&mut tx, &held, now_s).await?;
        }
        Ok(tx.commit().await?)
    }

    /// What the configuration names and the hierarchy lacks.
    async fn missing(&self, held: Option<&Hierarchy>) -> anyhow::Result<Vec<Planned>> {
        let mut planned = Vec::new();
        let root = match held {
            Some(held) => held.newest_root().id.clone(),
            None => {
                ensure!(
                    !self.settings.offline_root,
                    "offline_root is set and no root was imported yet: make one on another machine (openset-ca \
                     root create --folder DIR), bring root.pem and root.crl here, and openset-ca import them"
                );
                let root = plan::first_root();
                planned.push(root.clone());
                root.id
            }
        };
        if held.is_some_and(|held| held.newest_root().authority.is_none()) {
            return Ok(planned);
        }
        let regions = regions::all(&mut *self.db.read().await?).await?;
        for brand in &self.settings.brands {
            let serve = |region: &Region| self.settings.serves(&region.slug, brand);
            let regions: Vec<_> = numbered(&regions)
                .into_iter()
                .filter(|(region, _)| serve(region))
                .collect();
            planned.extend(plan::missing(held, &root, brand, &regions));
        }
        Ok(planned)
    }

    /// The CAs and keys that planned ones are made with.
    async fn given(&self, held: Option<&Hierarchy>, planned: &[Planned]) -> anyhow::Result<Given> {
        let mut given = Given {
            crl_lifetime_s: self.settings.crl_lifetime_s(),
            next_passphrase: self.settings.next_passphrase.clone(),
            ..Given::default()
        };
        let Some(held) = held else { return Ok(given) };
        for id in planned.iter().filter_map(|planned| planned.parent.as_ref()) {
            if let Some(authority) = held.signer(id) {
                given.parents.insert(id.clone(), authority.clone());
            }
        }
        for planned in planned {
            if let (None, Some(before)) = (&planned.parent, &planned.replaces) {
                let name = authorities::next_key(before);
                let mut conn = self.db.read().await?;
                let kept = keys::load(&mut conn, self.vault, &name).await?;
                let kept =
                    kept.with_context(|| format!("the key that {before} promised is missing"))?;
                let passphrase = self.settings.next_passphrase.clone();
                let key = offload(move || next_key::open(&kept, passphrase.as_ref())).await?;
                given.keys.insert(planned.id.clone(), key);
            }
        }
        Ok(given)
    }

    /// Stores all drafts or none; says whether the hierarchy was still of this version.
    async fn store(&self, drafts: &[Draft], version: i64) -> anyhow::Result<bool> {
        let mut tx = self.journal.begin(self.db).await?;
        if !regions::change_from(&mut tx, version).await? {
            tx.rollback().await?;
            return Ok(false);
        }
        let now_s = clock::now_seconds();
        for draft in drafts {
            let id = &draft.held.id;
            let crl = &draft.crl;
            let stored = authorities::insert(&mut tx, self.vault, &draft.held, &draft.keys).await?
                && record_own(&mut tx, &draft.held, now_s).await?
                && crls::put(&mut tx, id, crl.number(), crl.der(), crl.next_update()).await?;
            ensure!(
                stored,
                "{id} is there already, or its name is: choose another brand or region"
            );
            if let Some(replaced) = &draft.replaces {
                let _ = authorities::retire(&mut tx, replaced, now_s).await?;
            }
            if draft.held.parent.is_none() {
                let account_key = Zeroizing::new(random::bytes::<32>());
                let _ = keys::put(&mut tx, self.vault, ACCOUNT_KEY, &*account_key).await?;
            }
        }
        // Whoever sees the new CAs sees that their lists count.
        brand_crl_identifiers::lock(&mut tx).await?;
        let made = hierarchy::load_in(&mut tx, self.vault).await?;
        let made = made.context("the hierarchy is gone")?;
        brand_crl_identifiers::issue(&mut tx, &made, self.settings.crl_lifetime_s()).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Records a CA's own certificates as issued; says whether their keys and serial numbers were free.
pub(crate) async fn record_own(
    tx: &mut RecordedTx,
    held: &authorities::Held,
    now_s: i64,
) -> Result<bool, openset_store::StoreError> {
    let issuer = held.parent.as_ref().unwrap_or(&held.id).clone();
    let mut own = vec![&held.certificate];
    if let Some(pair) = &held.message {
        own.extend([&pair.signature, &pair.key_exchange]);
    }
    let mut free = true;
    for certificate in own {
        free &= certificates::insert_own(tx, &issuer, &held.id, certificate, now_s).await?;
    }
    Ok(free)
}
