//! Samples on their way into the database: they are written with the transaction that packed such a value.

use std::sync::Arc;

use super::{Kind, Offer, Packer, Sample, context, lock, now_ms, random_id, remember};
use crate::write::Write;

impl Packer {
    /// Takes the values that are to be samples, to be written in the transaction that is about to be committed.
    pub(crate) fn take_offers(self: &Arc<Self>) -> Taken {
        let mut taken = Taken {
            packer: Arc::clone(self),
            samples: Vec::new(),
        };
        for (name, kind) in lock(&self.kinds).iter_mut() {
            if let Some(offer) = kind.offer.take() {
                kind.is_taken = true;
                taken.samples.push((name.clone(), random_id(), offer));
            }
        }
        taken
    }
}

/// Samples that a transaction writes. Dropped, they are taken for undone, and others may be taken.
#[must_use]
pub(crate) struct Taken {
    packer: Arc<Packer>,
    samples: Vec<(String, i64, Offer)>,
}

impl Taken {
    /// What is to be written.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Write> {
        self.samples.iter().map(|(name, id, offer)| {
            let sealed = offer.vault.as_ref();
            let sealed = sealed.map(|vault| vault.seal(&context(*id), &offer.bytes));
            Write::may(
                sqlx::query("INSERT INTO samples (id, kind, sealed, bytes, taken_at_ms) VALUES ($1, $2, $3, $4, $5)")
                    .bind(*id)
                    .bind(name.as_str())
                    .bind(i64::from(sealed.is_some()))
                    .bind(sealed.as_deref().unwrap_or(&offer.bytes))
                    .bind(now_ms()),
            )
        })
    }

    /// The transaction is committed: from now on values may name them.
    pub(crate) fn committed(mut self) {
        for (name, id, offer) in std::mem::take(&mut self.samples) {
            let sample = Sample::Open(Arc::new(offer.bytes.as_slice().into()));
            remember(id, sample.clone());
            let mut kinds = lock(&self.packer.kinds);
            let taken = kinds.get(&name).map_or(0, |kind| kind.taken);
            kinds.insert(name, Kind::of((id, sample), taken.saturating_add(1)));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for (name, ..) in &self.samples {
            if let Some(kind) = lock(&self.packer.kinds).get_mut(name) {
                kind.is_taken = false;
            }
        }
    }
}
