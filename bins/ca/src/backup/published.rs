//! Published CRLs, held against a restored back-up: what they revoke stays revoked, and the next lists have higher
//! numbers. Everybody has them, so they cannot be cut short as a journal can.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use openset_pki::Crl;
use openset_service::clock;
use openset_store::{Tx, crls};

use crate::store::authorities::{self, Held};
use crate::store::{certificates, regions};

/// A list, and the file that it came in.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) file: PathBuf,
    pub(crate) crl: Crl,
}

/// Marks what the lists revoke; says how much of it was not known. With `all_needed` every CA that has a list to
/// issue must have one among them.
pub(super) async fn mark(
    tx: &mut Tx,
    lists: &[Published],
    all_needed: bool,
) -> anyhow::Result<usize> {
    let held = authorities::all(tx).await?;
    let (mut marked, mut compared) = (0_usize, HashSet::new());
    for Published { file, crl } in lists {
        let issuer = held.iter().find(|ca| crl.is_signed_by(&ca.certificate));
        let issuer = issuer.with_context(|| {
            format!(
                "{} is a list of no CA that the back-up and the journals know, or was altered: take the newest \
                 back-up and journals, or leave that file out",
                file.display()
            )
        })?;
        for line in crl.revoked() {
            let serial = hex::encode(&line.serial);
            let newly = match certificates::find(tx, &serial).await? {
                Some(known) if known.authority != issuer.id => {
                    bail!(
                        "{} revokes {serial}, which another CA issued",
                        file.display()
                    )
                }
                Some(_) => certificates::mark_revoked(tx, &serial, line.reason, line.at).await?,
                None => certificates::mark_unknown_revoked(tx, &issuer.id, &line).await?,
            };
            marked = marked.saturating_add(usize::from(newly));
        }
        crls::put(tx, &issuer.id, crl.number(), crl.der(), crl.next_update()).await?;
        compared.insert(issuer.id.clone());
    }
    if all_needed {
        let missing = without_list(&authorities::all(tx).await?, &compared);
        ensure!(
            missing.is_empty(),
            "without a journal the newest published CRL of every CA is needed (--crl FILE): those of {} are missing",
            missing.join(", ")
        );
    }
    Ok(marked)
}

/// CAs that have lists to issue, and none among those given.
fn without_list(all: &[Held], given: &HashSet<String>) -> Vec<String> {
    let now = clock::now_seconds();
    let mut revoked: HashSet<&str> = HashSet::new();
    let mut missing = Vec::new();
    for ca in all {
        // Parents stand before children.
        let above = ca.parent.as_deref().is_some_and(|id| revoked.contains(id));
        if ca.revoked || above {
            revoked.insert(&ca.id);
        } else if ca.certificate.not_after() >= now && !given.contains(&ca.id) {
            missing.push(ca.id.clone());
        }
    }
    missing
}

/// Retires every CA below the roots: keys that it certified since the back-up are not known, so that it must not
/// certify any.
pub(super) async fn retire_all(tx: &mut Tx) -> anyhow::Result<()> {
    openset_store::sqlx::query(
        "UPDATE authorities SET retired_at_s = $1 WHERE parent IS NOT NULL AND retired_at_s IS NULL",
    )
    .bind(clock::now_seconds())
    .execute(&mut **tx)
    .await?;
    Ok(regions::changed(tx).await?)
}
