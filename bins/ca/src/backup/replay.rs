//! The journal, replayed over a restored back-up.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_pki::{Certificate, Crl};
use openset_store::{StoreError, Tx, crls, sqlx};

use crate::journal::{Entry, Event, Head, all_seen, put_seen};
use crate::store::regions::{self, Region};
use crate::store::{authorities, certificates};

/// So many lines before the last one that the back-up has seen are replayed as well: the transaction of an
/// earlier line may be committed after that of a later one.
const OVERLAP: u64 = 100;

/// What replaying has recorded: the serial number by key.
#[derive(Default)]
struct Replay {
    recorded: HashMap<String, String>,
}

/// Replays journals; says how many lines the back-up did not know.
pub(super) async fn replay(tx: &mut Tx, journals: &[Vec<(Entry, Head)>]) -> anyhow::Result<usize> {
    let seen = all_seen(tx).await?;
    for (id, head) in &seen {
        let goes_on = |lines: &&Vec<(Entry, Head)>| {
            lines
                .iter()
                .any(|(entry, at)| entry.journal == *id && at == head)
        };
        ensure!(
            journals.iter().any(|lines| goes_on(&lines)),
            "the journal {id} is missing, or ends before the back-up: give the journal.log of every data folder \
             (--journal FILE), the newest that there is"
        );
    }
    let mut replay = Replay::default();
    let mut newer = 0_usize;
    for lines in journals {
        let Some((first, _)) = lines.first() else {
            continue;
        };
        let from = seen
            .iter()
            .find(|(id, _)| *id == first.journal)
            .map_or(0, |(_, head)| head.number);
        for (entry, head) in lines {
            if entry.number.saturating_add(OVERLAP) <= from {
                continue;
            }
            for event in &entry.events {
                replay
                    .event(tx, event, entry.number > from)
                    .await
                    .with_context(|| format!("at line {} of the journal", entry.number))?;
            }
            put_seen(tx, &entry.journal, head).await?;
            newer = newer.saturating_add(usize::from(entry.number > from));
        }
    }
    regions::changed(tx).await?;
    Ok(newer)
}

impl Replay {
    async fn event(&mut self, tx: &mut Tx, event: &Event, newer: bool) -> anyhow::Result<()> {
        match event {
            Event::Authority(made) => {
                if authorities::insert_made(tx, made).await? {
                    for (name, sealed) in &made.secrets {
                        put_sealed(tx, name, &STANDARD.decode(sealed)?).await?;
                    }
                }
            }
            Event::Certificate {
                authority,
                owner,
                certificate,
                origin,
                at_s,
            } => {
                let certificate = Certificate::from_der(&STANDARD.decode(certificate)?)?;
                let key = certificate.public_key().thumbprint().to_string();
                // A key that stands there twice was not certified the first time: that line was never
                // committed.
                if newer && let Some(serial) = self.recorded.get(&key) {
                    certificates::forget(tx, serial, &key).await?;
                }
                // A registration that waited when the back-up was made may have been decided since.
                certificates::release_key(tx, &key).await?;
                let owner = owner.as_deref();
                if certificates::store(tx, authority, owner, &certificate, origin, *at_s).await? {
                    self.recorded
                        .insert(key, certificates::serial(&certificate));
                }
            }
            Event::Retired { id, at_s } => {
                sqlx::query(
                    "UPDATE authorities SET retired_at_s = $1 WHERE id = $2 AND retired_at_s IS NULL",
                )
                .bind(*at_s)
                .bind(id)
                .execute(&mut **tx)
                .await?;
            }
            Event::Revoked {
                serial,
                reason,
                at_s,
            } => {
                certificates::mark_revoked(tx, serial, *reason, *at_s).await?;
            }
            Event::Crl { id, crl } => {
                let crl = Crl::from_der(&STANDARD.decode(crl)?)?;
                crls::put(tx, id, crl.number(), crl.der(), crl.next_update()).await?;
            }
            Event::Region { slug, name, bins } => {
                let bins = bins
                    .iter()
                    .map(|bin| bin.parse())
                    .collect::<Result<_, _>>()?;
                let region = Region {
                    slug: slug.clone(),
                    name: name.clone(),
                    bins,
                };
                regions::put(tx, &region).await?;
            }
        }
        Ok(())
    }
}

async fn put_sealed(tx: &mut Tx, name: &str, sealed: &[u8]) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO vault_secrets (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The lists that came with the back-up are older than what has been revoked: each whose key is here is
/// issued anew before anybody sees it.
pub(super) async fn make_stale(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE crls SET next_update_s = 0 WHERE EXISTS (SELECT 1 FROM vault_secrets \
         WHERE name = 'authority/' || crls.issuer_id || '/issue')",
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
