//! The payment instruction: opened by the gateway that it was sealed for, and by nobody else.

use crate::Rejection;
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::messages::p::{PiData, PiTbe};
use crate::sealed::open;
use crate::signed::decode;
use crate::wrapper::Jwe;
use openset_jose::Thumbprint;

/// A payment instruction that could be opened.
pub(super) struct OpenedPi {
    pub(super) data: PiData,
    pub(super) hpi: Digest,
    pub(super) hoi: Digest,
    /// The key-exchange certificate that it was sealed for.
    pub(super) gateway: Thumbprint,
}

impl OpenedPi {
    pub(super) fn open(pi: &Jwe, ours: &[&Credentials]) -> Result<Self, Rejection> {
        let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
        let PiTbe { pi_data, hoi } = open(pi, &keys, ContentType::PiDualSignedTbe)?;
        let gateway = openset_jose::jwe::Sealed::parse(&pi.0)?
            .header()
            .x5t_s256
            .ok_or(Rejection::NotSealedForUs)?;
        let hpi = digest(ContentType::PiData, &pi_data.0);
        Ok(Self {
            data: decode(&pi_data.0)?,
            hpi,
            hoi,
            gateway,
        })
    }
}
