//! `brand`, `region`, `authority` and `revoke`.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use openset_pki::authority::RevocationReason;
use openset_protocol::BrandId;
use openset_protocol::card::Bin;

use crate::authorities::Authorities;
use crate::config::{check_name, region};
use crate::crl::Revocation;
use crate::hierarchy::Hierarchy;

use super::publish::write;
use crate::import::REQUEST;

/// Why a certificate is revoked, as the command line writes it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Reason {
    /// No reason given.
    Unspecified,
    /// The owner's key is known to others.
    KeyCompromise,
    /// The CA's key is known to others.
    CaCompromise,
    /// The owner's name or bank changed.
    AffiliationChanged,
    /// A new certificate takes its place.
    Superseded,
    /// The owner no longer takes part.
    CessationOfOperation,
    /// The owner may no longer take part.
    PrivilegeWithdrawn,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::CaCompromise => Self::CaCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

pub(super) async fn add_brand(
    ca: &Authorities,
    brand: &BrandId,
    request: Option<&Path>,
) -> anyhow::Result<String> {
    for region in ca.current().regions() {
        check_name(brand, &region.name)?;
    }
    if let Some(text) = ask_offline_root(ca, ca.plan_brand(brand)?, request).await? {
        return Ok(text);
    }
    Ok(made(&ca.add_brand(brand).await?))
}

pub(super) async fn add_region(
    ca: &Authorities,
    name: &str,
    brands: &[BrandId],
    bins: Vec<Bin>,
) -> anyhow::Result<String> {
    let known = crate::authorities::brands_of(&ca.current());
    for brand in brands {
        ensure!(
            known.contains(brand),
            "the brand {brand} has no CAs yet: openset-ca brand add {brand:?} comes first"
        );
    }
    for brand in &known {
        check_name(brand, name)?;
    }
    Ok(made(&ca.add_region(&region(name, bins)?, brands).await?))
}

pub(super) async fn renew(
    ca: &Authorities,
    id: &str,
    below: bool,
    request: Option<&Path>,
) -> anyhow::Result<String> {
    if let Some(planned) = ca.plan_brand_renewal(id)?
        && let Some(text) = ask_offline_root(ca, planned, request).await?
    {
        return Ok(text);
    }
    Ok(made(&ca.renew(id, below).await?))
}

/// Writes the request of a brand CA, if the root's key is not here.
async fn ask_offline_root(
    ca: &Authorities,
    planned: crate::hierarchy::plan::Planned,
    request: Option<&Path>,
) -> anyhow::Result<Option<String>> {
    let offline = is_offline(&ca.current());
    match (offline, request) {
        (false, None) => Ok(None),
        (false, Some(_)) => bail!("the root's key is here: leave --request out"),
        (true, None) => bail!(
            "the root is kept offline: give --request FILE, sign that file there (openset-ca root sign), and \
             import the certificate here (openset-ca import)"
        ),
        (true, Some(path)) => {
            let der = ca.request(&planned).await?;
            let pem = pem::encode(&pem::Pem::new(REQUEST, der.clone()));
            write(path, pem.as_bytes())?;
            let (path, sha256) = (path.display(), hex::encode(openset_jose::sha256(&der)));
            Ok(Some(format!(
                "The request of {id} is in {path}, SHA-256 {sha256}. Take that number to the root's machine by another \
                 way than the file. Next: there\n  openset-ca root sign {path} --sha256 {sha256} --out {id}.pem \
                 --folder DIR\nand then here\n  openset-ca import {id}.pem\n",
                id = planned.id
            )))
        }
    }
}

fn is_offline(held: &Hierarchy) -> bool {
    held.newest_root().authority.is_none()
}

/// Says which CAs were made.
pub(super) fn made(ids: &[String]) -> String {
    let count = ids.len();
    let ids = ids.join(", ");
    format!("Made {count}: {ids}. A running service sees them within seconds.\n")
}

pub(super) async fn revoke(
    ca: &Authorities,
    serial: &str,
    reason: Reason,
) -> anyhow::Result<String> {
    let serial = serial.to_ascii_lowercase().replace(':', "");
    match ca.revoke(&serial, reason.into()).await? {
        Revocation::Revoked => Ok(format!("Revoked {serial}; its issuer's new CRL says so.\n")),
        Revocation::WasRevoked => Ok(format!(
            "{serial} was revoked before; nothing was changed.\n"
        )),
        Revocation::Unknown => {
            bail!("no certificate has the serial {serial}; openset-ca list shows them")
        }
        Revocation::Root => bail!(
            "nobody stands above a root who could revoke it; roll it over (openset-ca authority renew root), and \
             tell everybody who pins it"
        ),
        Revocation::OfflineRoot => bail!(
            "its issuer is the offline root: revoke it there (openset-ca root crl --revoke {serial}), then import \
             the new root.crl here (openset-ca import root.crl)"
        ),
    }
}

/// Takes over what an offline root made.
pub(super) async fn import(
    place: &super::Place,
    files: &[std::path::PathBuf],
) -> anyhow::Result<String> {
    let opened = place.unlock().await?;
    let mut parts = Vec::new();
    for path in files {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let read = crate::import::read(&bytes);
        parts.extend(read.with_context(|| format!("{} cannot be imported", path.display()))?);
    }
    let done = crate::import::import(
        opened.db,
        opened.vault,
        opened.journal,
        opened.settings,
        parts,
    );
    let done = done.await?;
    Ok(done.into_iter().map(|line| line + "\n").collect())
}
