//! What an offline root made, taken over by the CA: roots, their CRLs, brand CAs' certificates. Every one is
//! verified from the root down before anything is stored.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_jose::{PrivateKey, default_provider};
use openset_pki::authority::{CertificationRequest, IssueAuthority};
use openset_pki::{BrandId, Certificate, Chain, Crl, CrlIssuer, PathVerifier, Role, TrustAnchor};
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::{Db, StoreError, Vault, crls, keys};

use crate::authorities::{Authorities, brands_of, record_own, renewable};
use crate::config::{Settings, slug};
use crate::hierarchy::draft::{self, Given};
use crate::hierarchy::plan::{self, Planned};
use crate::hierarchy::{ACCOUNT_KEY, Hierarchy, ROOT};
use crate::journal::{Event, Journal, RecordedTx};
use crate::store::authorities::{self, Held, Keys};
use crate::store::certificates::{self, Origin};
use crate::store::regions;
use crate::{crl, hierarchy};

/// The years that a brand CA's certificate is good, and how many CAs may stand below it.
const BRAND_YEARS: i64 = 8;
const BRAND_PATH_LEN: u8 = 2;

/// What a PEM block with a request (PKCS#10) is called.
pub(crate) const REQUEST: &str = "CERTIFICATE REQUEST";

/// A part of a file.
#[derive(Debug)]
pub(crate) enum Part {
    Certificate(Certificate),
    Crl(Crl),
}

/// Reads PEM blocks, or one DER certificate or CRL.
pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Vec<Part>> {
    let part = |der: &[u8]| match Certificate::from_der(der) {
        Ok(certificate) => Ok(Part::Certificate(certificate)),
        Err(error) => Crl::from_der(der).map(Part::Crl).map_err(|_| error),
    };
    if !bytes.starts_with(b"-----") {
        return Ok(vec![part(bytes)?]);
    }
    let blocks = pem::parse_many(bytes)?;
    ensure!(!blocks.is_empty(), "it has no PEM block");
    blocks
        .iter()
        .map(|block| Ok(part(block.contents())?))
        .collect()
}

/// The DER of a file with one PEM block of this kind, or of DER itself.
pub(crate) fn der(kind: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    if !bytes.starts_with(b"-----") {
        return Ok(bytes.to_vec());
    }
    match <[pem::Pem; 1]>::try_from(pem::parse_many(bytes)?) {
        Ok([block]) if block.tag() == kind => Ok(block.into_contents()),
        _ => bail!("expected one PEM block, {kind}"),
    }
}

/// Imports roots first, then CRLs, then brand CAs; says what was done.
pub(crate) async fn import(
    db: Db,
    vault: Vault,
    journal: Journal,
    settings: Arc<Settings>,
    parts: Vec<Part>,
) -> anyhow::Result<Vec<String>> {
    let (mut roots, mut brands, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Crl(crl) => lists.push(crl),
            Part::Certificate(one) if one.role() == Role::RootCa => roots.push(one),
            Part::Certificate(one) if one.role() == Role::BrandCa => brands.push(one),
            Part::Certificate(one) => bail!(
                "a {}'s certificate cannot be imported: only roots and brand CAs come from elsewhere",
                one.role()
            ),
        }
    }
    let mut done = Vec::new();
    if hierarchy::load(&db, &vault).await?.is_none() {
        ensure!(
            !roots.is_empty(),
            "this CA has no root yet: import root.pem and root.crl first"
        );
        ensure!(
            settings.offline_root,
            "set offline_root = true in the CA's configuration first: else the service makes a root of its own"
        );
        let root = roots.remove(0);
        let anchor = pinned(&root)?;
        let first = FirstRoot {
            db: &db,
            vault: &vault,
            journal: &journal,
        };
        first.store(&root, take_crl(&anchor, &mut lists)?).await?;
        done.push(format!(
            "Took over the root, SHA-256 {}.",
            hex::encode(openset_jose::sha256(root.der()))
        ));
    }
    let ca = Authorities::open_stored(db, vault, journal, settings).await?;
    for root in roots {
        done.extend(ca.import_root(&root, &mut lists).await?);
    }
    for list in lists {
        done.push(ca.import_crl(list).await?);
    }
    for brand in brands {
        done.push(ca.import_brand(brand).await?);
    }
    Ok(done)
}

fn pinned(root: &Certificate) -> anyhow::Result<TrustAnchor> {
    let digest = openset_jose::sha256(root.der());
    Ok(TrustAnchor::pinned(root.der(), &digest)?)
}

fn verifier(anchor: TrustAnchor) -> PathVerifier {
    PathVerifier::new(anchor, default_provider())
}

/// The CRL of this root among those given.
fn take_crl(root: &TrustAnchor, lists: &mut Vec<Crl>) -> anyhow::Result<Crl> {
    let now = clock::now_seconds();
    let verifier = verifier(root.clone());
    let place = lists.iter().position(|list| {
        verifier
            .install_crl(list.clone(), CrlIssuer::Root, now)
            .is_ok()
    });
    let place = place
        .context("give the root's current CRL with it: openset-ca import root.pem root.crl")?;
    Ok(lists.remove(place))
}

fn held_root(root: &Certificate, id: String, generation: i64) -> Held {
    Held {
        id,
        parent: None,
        series: ROOT.to_owned(),
        generation,
        region: None,
        retired_at_s: None,
        revoked: false,
        certificate: root.clone(),
        message: None,
    }
}

const NO_KEYS: Keys = Keys {
    issue: None,
    next: None,
    message: None,
};

/// Keeps a root's list, unless one as new is held; says whether it was kept.
async fn put_crl(tx: &mut RecordedTx, id: &str, list: &Crl) -> Result<bool, StoreError> {
    let newer = crls::put(tx, id, list.number(), list.der(), list.next_update()).await?;
    if newer {
        tx.record(Event::Crl {
            id: id.to_owned(),
            crl: STANDARD.encode(list.der()),
        });
    }
    Ok(newer)
}

/// A CA that has no root yet.
struct FirstRoot<'a> {
    db: &'a Db,
    vault: &'a Vault,
    journal: &'a Journal,
}

impl FirstRoot<'_> {
    async fn store(&self, root: &Certificate, crl: Crl) -> anyhow::Result<()> {
        let mut tx = self.journal.begin(self.db).await?;
        let held = held_root(root, ROOT.to_owned(), 1);
        let stored = authorities::insert(&mut tx, self.vault, &held, &NO_KEYS).await?
            && record_own(&mut tx, &held, clock::now_seconds()).await?
            && put_crl(&mut tx, ROOT, &crl).await?;
        ensure!(
            stored,
            "another process has made a root meanwhile; openset-ca list shows it"
        );
        let account_key = zeroize::Zeroizing::new(openset_service::random::bytes::<32>());
        let _ = keys::put(&mut tx, self.vault, ACCOUNT_KEY, &*account_key).await?;
        regions::changed(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

/// What the key of a CA that waits for its certificate is called in the vault.
fn waiting_key(id: &str) -> String {
    format!("request/{id}/issue")
}

impl Authorities {
    /// The brand CA that a new brand begins with.
    pub(crate) fn plan_brand(&self, brand: &BrandId) -> anyhow::Result<Planned> {
        let held = self.current();
        let series = format!("{}-bca", slug(brand.as_str()));
        ensure!(
            held.newest(&series).is_none(),
            "the brand {brand} has its CAs already, or another has its name in URLs; openset-ca list --own shows them"
        );
        Ok(plan::brand_ca(
            brand,
            series,
            1,
            held.newest_root().id.clone(),
        ))
    }

    /// The next generation of a CA, if it is a brand's and its root is kept offline.
    pub(crate) fn plan_brand_renewal(&self, id: &str) -> anyhow::Result<Option<Planned>> {
        let held = self.current();
        let root = held.newest_root();
        if root.authority.is_some() || held.root_by_id(id).is_some() {
            return Ok(None);
        }
        let ca = renewable(&held, id)?;
        if ca.role() != Role::BrandCa {
            return Ok(None);
        }
        let mut planned = plan::renewal(&held, ca, root.id.clone(), false)?;
        Ok(planned.pop())
    }

    /// The request of a brand CA, DER. Its key is made once and waits sealed for the certificate.
    pub(crate) async fn request(&self, planned: &Planned) -> anyhow::Result<Vec<u8>> {
        let name = waiting_key(&planned.id);
        let held = authorities::load_key(&mut *self.db.read().await?, &self.vault, &name).await?;
        let key = match held {
            Some(key) => key,
            None => {
                let key = offload(draft::new_key).await?;
                let mut tx = self.db.begin().await?;
                ensure!(
                    authorities::put_key(&mut tx, &self.vault, &name, &key).await?,
                    "another process makes the same request; try again"
                );
                tx.commit().await?;
                key
            }
        };
        let subject = planned.subject.clone();
        Ok(offload(move || CertificationRequest::write(&key, &subject)).await?)
    }

    /// Signs a brand CA's request with the newest root, once for each key and each name: two CAs of one name could not be
    /// told apart.
    pub(crate) async fn sign_brand(
        &self,
        request: &CertificationRequest,
    ) -> anyhow::Result<Certificate> {
        let held = self.current();
        let root = held.newest_root();
        let authority = root
            .authority
            .clone()
            .context("the root's key is not in this folder")?;
        let issue = IssueAuthority {
            role: Role::BrandCa,
            subject: request.subject().clone(),
            validity: draft::validity(BRAND_YEARS, Some(authority.certificate())),
            serial: draft::serial(),
            path_len: BRAND_PATH_LEN,
        };
        let key = request.public_key().clone();
        let certificate = offload(move || authority.issue_authority(&key, &issue)).await?;
        let mut tx = self.begin().await?;
        let now_s = clock::now_seconds();
        let none = Origin::default();
        ensure!(
            certificates::insert(&mut tx, &root.id, &certificate, &none, now_s).await?,
            "this key was certified before, and nothing is certified twice: make a new request at the CA"
        );
        let of_name = certificates::authorities_named(&mut tx, certificate.subject_der()).await?;
        ensure!(
            of_name == 1,
            "this root has signed a CA named {} before: make the request of its next generation at the CA (openset-ca \
             authority renew ID --request FILE)",
            certificate.common_name()
        );
        tx.commit().await?;
        Ok(certificate)
    }

    async fn import_root(
        &self,
        root: &Certificate,
        lists: &mut Vec<Crl>,
    ) -> anyhow::Result<Option<String>> {
        let held = self.current();
        if held.roots().iter().any(|known| known.certificate == *root) {
            return Ok(None);
        }
        let newest = held.newest_root();
        let next = pinned(&newest.certificate)?
            .successor(root.der())
            .context("this root was not promised by the one before it")?;
        let crl = take_crl(&next, lists)?;
        let generation = newest.generation.saturating_add(1);
        let row = held_root(root, format!("{ROOT}-{generation}"), generation);
        let mut tx = self.begin().await?;
        let now_s = clock::now_seconds();
        let stored = regions::change_from(&mut tx, held.version).await?
            && authorities::insert(&mut tx, &self.vault, &row, &NO_KEYS).await?
            && record_own(&mut tx, &row, now_s).await?
            && put_crl(&mut tx, &row.id, &crl).await?;
        ensure!(
            stored,
            "another process changes the hierarchy, too; try again"
        );
        let _ = authorities::retire(&mut tx, &newest.id, now_s).await?;
        self.issue_brand_crl_identifiers(&mut tx).await?;
        tx.commit().await?;
        self.reload().await?;
        let brands: Vec<String> = brands_of(&held)
            .iter()
            .map(|brand| format!("{}-bca", slug(brand.as_str())))
            .collect();
        Ok(Some(format!(
            "Took over {}. Next, renew the brands' CAs under it: openset-ca authority renew ID --request FILE for {}",
            row.id,
            brands.join(", ")
        )))
    }

    async fn import_crl(&self, list: Crl) -> anyhow::Result<String> {
        let (held, now) = (self.current(), clock::now_seconds());
        let of = held.roots().iter().find(|root| {
            pinned(&root.certificate).is_ok_and(|anchor| {
                verifier(anchor)
                    .install_crl(list.clone(), CrlIssuer::Root, now)
                    .is_ok()
            })
        });
        let root = of.context("the CRL is not a current one of a root that is known here")?;
        ensure!(
            root.authority.is_none(),
            "the root's key is here: this service issues its CRLs itself"
        );
        let mut tx = self.begin().await?;
        // It may retire CAs: the hierarchy is locked before any of them (see `store`).
        regions::changed(&mut tx).await?;
        if !put_crl(&mut tx, &root.id, &list).await? {
            return Ok(format!(
                "The CRL of {} is known, or older than the one held.",
                root.id
            ));
        }
        let mut revoked = 0_usize;
        for ca in held.all().iter().filter(|ca| ca.parent == root.id) {
            let serial = ca.authority.certificate().serial();
            if !list.revokes(serial) {
                continue;
            }
            let serial = hex::encode(serial);
            let reason = openset_pki::authority::RevocationReason::Unspecified;
            if certificates::revoke(&mut tx, &serial, reason, now).await?
                && let Some(issued) = certificates::find(&mut tx, &serial).await?
            {
                crl::retire_revoked(&mut tx, &held, &issued, now).await?;
                revoked = revoked.saturating_add(1);
            }
        }
        self.issue_brand_crl_identifiers(&mut tx).await?;
        tx.commit().await?;
        self.reload().await?;
        Ok(format!(
            "Took over the CRL of {}; {revoked} CAs newly revoked.",
            root.id
        ))
    }

    async fn import_brand(&self, certificate: Certificate) -> anyhow::Result<String> {
        let held = self.current();
        if held
            .all()
            .iter()
            .any(|ca| *ca.authority.certificate() == certificate)
        {
            return Ok(format!("{} is known.", certificate.common_name()));
        }
        let (planned, key) = self.awaiting(&held, &certificate).await?;
        let root = held.newest_root();
        let id = planned
            .first()
            .map(|first| first.id.clone())
            .unwrap_or_default();
        let mut given = Given {
            crl_lifetime_s: self.settings.crl_lifetime_s(),
            ..Given::default()
        };
        given.keys.insert(id.clone(), key);
        given.chains.insert(id, certificate.clone());
        let drafts = draft::make(planned, given).await?;
        self.verify_brand(&root.id, &root.certificate, &certificate, &drafts)
            .await?;
        ensure!(
            self.store(&drafts, held.version).await?,
            "another process changes the hierarchy, too; try again"
        );
        let ids: Vec<&str> = drafts.iter().map(|draft| draft.held.id.as_str()).collect();
        Ok(format!("Made {}.", ids.join(", ")))
    }

    /// What is to be made of a brand CA's certificate, and the key that has waited for it.
    async fn awaiting(
        &self,
        held: &Hierarchy,
        certificate: &Certificate,
    ) -> anyhow::Result<(Vec<Planned>, PrivateKey)> {
        let brand = certificate.brand().context("it names no brand")?;
        let root = held.newest_root().id.clone();
        let planned = match held.newest(&format!("{}-bca", slug(brand.as_str()))) {
            Some(ca) => plan::renewal(held, ca, root, true)?,
            None => {
                let regions = crate::authorities::numbered(held.regions());
                plan::missing(Some(held), &root, brand, &regions)
            }
        };
        let first = planned
            .first()
            .context("nothing is missing of this brand")?;
        let name = waiting_key(&first.id);
        let key = authorities::load_key(&mut *self.db.read().await?, &self.vault, &name).await?;
        let key = key.filter(|key| key.public_key() == certificate.public_key());
        let key = key.with_context(|| {
            format!(
                "no key waits here for this certificate: make the request of {} here first (openset-ca brand add \
                 or authority renew, with --request), and have that file signed",
                first.id
            )
        })?;
        Ok((planned, key))
    }

    /// Checks that a brand CA's certificate leads to the newest root and was not revoked by it.
    async fn verify_brand(
        &self,
        root_id: &str,
        root: &Certificate,
        certificate: &Certificate,
        drafts: &[draft::Draft],
    ) -> anyhow::Result<()> {
        let crls = self.crls().await?;
        let list = crls.get(root_id).context("the root's CRL is missing")?;
        let own = drafts.first().context("no CA was made")?.crl.clone();
        let (now, anchor) = (clock::now_seconds(), pinned(root)?);
        let (list, chain) = (
            Crl::from_der(&list.der)?,
            Chain::new(vec![certificate.clone()])?,
        );
        offload(move || {
            let verifier = verifier(anchor);
            verifier.install_crl(list, CrlIssuer::Root, now).context(
                "the root's CRL held here is not current: import a new one (openset-ca root crl)",
            )?;
            verifier
                .install_crl(own, CrlIssuer::Chain(&chain), now)
                .context("the certificate does not lead to the root held here")?;
            Ok(())
        })
        .await
    }
}
