//! Whether the gateway signed what a merchant keeps as the proof of a payment: the signature, the path from its
//! certificate to the pinned root, and what is said, judged as of the day it was signed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use openset_jose::{Thumbprint, jws, sha256};
use openset_pki::{Certificate, Purpose, Role};
use openset_protocol::Timestamp;
use openset_protocol::content_type::ContentType;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::auth::AuthResData;
use openset_protocol::messages::p::Receipt;
use openset_protocol::money::CurrencyAmount;
use openset_protocol::signed::Who;
use openset_store::sqlx::Row as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256;
use webpki::{EndEntityCert, KeyUsage};

use super::source::Source;

/// The extended key usage of a gateway's certificate, the content of the DER.
const GATEWAY_USAGE: &[u8] = &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 2];

/// The root that is pinned by its digest, its successors, and CAs that may stand below.
pub(super) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    /// Not trusted: a path through them ends at a root or nowhere.
    authorities: Vec<CertificateDer<'static>>,
}

/// What the frame of a signed payload says.
#[derive(Deserialize)]
struct Signed<T> {
    from: Who,
    message: String,
    rrpid: Rrpid,
    date: Timestamp,
    data: T,
}

/// What the gateway signed about an authorization, verified.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// When it signed its answer, in seconds since 1970.
    pub(super) signed_at_s: Option<i64>,
    /// The newest receipt that is kept.
    pub(super) receipt: Option<Receipt>,
}

/// What must be proved.
#[derive(Debug, Clone)]
pub(super) struct Claim<'a> {
    pub(super) xid: &'a str,
    pub(super) auth_rrpid: &'a str,
    pub(super) merchant_id: &'a str,
    pub(super) brand: &'a str,
    pub(super) currency: &'a str,
    pub(super) amount_minor: i64,
}

impl Trust {
    /// The CAs that the certificate authority has stored, under the root with this digest.
    pub(super) async fn read(source: &mut Source, pinned: &str) -> anyhow::Result<Self> {
        let mut certificates = Vec::new();
        for row in source.rows("SELECT certificate FROM authorities").await? {
            certificates.push(row.try_get(0)?);
        }
        Self::new(&certificates, pinned)
    }

    fn new(certificates: &[Vec<u8>], pinned: &str) -> anyhow::Result<Self> {
        let pinned = pinned.trim().to_ascii_lowercase();
        let first = certificates
            .iter()
            .find(|der| hex::encode(sha256(der)) == pinned);
        let first = first.context("the certificate authority has no root of the pinned SHA-256")?;
        let parsed: Vec<Certificate> = certificates
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .collect();
        let mut anchors = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Certificate::from_der(first).ok();
        while let Some(root) = next {
            ensure!(
                root.role() == Role::RootCa,
                "the pinned certificate is not a root's"
            );
            let der = CertificateDer::from(root.der());
            anchors.push(webpki::anchor_from_trusted_cert(&der)?.to_owned());
            seen.insert(root.thumbprint().to_string());
            next = parsed
                .iter()
                .find(|one| {
                    one.role() == Role::RootCa
                        && root.hashed_root_key() == Some(one.key_thumbprint())
                        && !seen.contains(&one.thumbprint().to_string())
                })
                .cloned();
        }
        let below = parsed.iter().filter(|one| one.role() != Role::RootCa);
        let authorities = below
            .map(|one| CertificateDer::from(one.der().to_vec()))
            .collect();
        Ok(Self {
            anchors,
            authorities,
        })
    }

    /// The gateway's answer to the request for this authorization. Gives when it was signed, in seconds since 1970.
    pub(super) fn check_auth_res(&self, text: &str, claim: &Claim<'_>) -> anyhow::Result<i64> {
        let signed: Signed<AuthResData> =
            self.verify(text, ContentType::AuthResTbs, claim.brand)?;
        claim.check_frame(&signed)?;
        let (tags, payload) = (&signed.data.auth_tags, &signed.data.auth_res_payload);
        ensure!(payload.approved(), "it is a refusal");
        claim.check_names(
            &tags.trans_ids.xid.to_string(),
            &tags.auth_rr_tags.merchant_id,
        )?;
        ensure!(
            tags.auth_rr_tags.rrpid.to_string() == claim.auth_rrpid,
            "it answers another request"
        );
        claim.check_amount(payload.auth_amt, true)?;
        Ok(signed.date.seconds())
    }

    /// The gateway's receipt for the cardholder: of the authorization, or of less after a reversal.
    pub(super) fn check_receipt(&self, text: &str, claim: &Claim<'_>) -> anyhow::Result<Receipt> {
        let signed: Signed<Receipt> = self.verify(text, ContentType::Receipt, claim.brand)?;
        claim.check_frame(&signed)?;
        let receipt = &signed.data;
        claim.check_names(&receipt.xid.to_string(), &receipt.merchant_id)?;
        claim.check_amount(receipt.auth_amt, receipt.sequence <= 1)?;
        Ok(signed.data)
    }

    fn verify<T: DeserializeOwned>(
        &self,
        text: &str,
        content: ContentType,
        brand: &str,
    ) -> anyhow::Result<Signed<T>> {
        let object = jws::Unverified::parse(text)?;
        ensure!(
            object.header().cty == content.name(),
            "it is signed as another content"
        );
        let leaf = object
            .header()
            .x5c
            .first()
            .context("it brings no certificate")?;
        let named = object.header().x5t_s256;
        ensure!(
            named == Some(Thumbprint::of(leaf)),
            "it names another certificate than it brings"
        );
        let leaf = Certificate::from_der(leaf)?;
        let payload = object
            .verify(leaf.public_key())
            .map_err(|_| anyhow!("its signature is wrong"))?;
        ensure!(
            leaf.role() == Role::Gateway && leaf.purpose() == Purpose::Signature,
            "who signed it is not a gateway"
        );
        ensure!(
            leaf.brand().is_some_and(|of| of.as_str() == brand),
            "who signed it is of another brand"
        );
        let signed: Signed<T> =
            serde_json::from_slice(payload).map_err(|_| anyhow!("it is not what it should be"))?;
        ensure!(
            signed.from == Who::Certificate(leaf.thumbprint()),
            "it names another sender than signed it"
        );
        self.check_path(&leaf, &object.header().x5c, signed.date)?;
        Ok(signed)
    }

    /// At the time of signing; whether it was revoked then nobody keeps.
    fn check_path(
        &self,
        leaf: &Certificate,
        x5c: &[Vec<u8>],
        date: Timestamp,
    ) -> anyhow::Result<()> {
        let der = CertificateDer::from(leaf.der());
        let end_entity = EndEntityCert::try_from(&der)?;
        let carried = x5c
            .iter()
            .skip(1)
            .map(|der| CertificateDer::from(der.as_slice()));
        let authorities: Vec<CertificateDer<'_>> =
            carried.chain(self.authorities.iter().cloned()).collect();
        let then = u64::try_from(date.seconds()).unwrap_or_default();
        let path = end_entity.verify_for_usage(
            &[RSA_PKCS1_2048_8192_SHA256],
            &self.anchors,
            &authorities,
            UnixTime::since_unix_epoch(Duration::from_secs(then)),
            KeyUsage::required_if_present(GATEWAY_USAGE),
            None,
            None,
        );
        let path =
            path.map_err(|error| anyhow!("its certificate does not lead to the root: {error}"))?;
        let Some(issuer) = path.intermediate_certificates().next() else {
            bail!("its certificate comes from the root itself");
        };
        let issuer = Certificate::from_der(&issuer.der())?;
        ensure!(
            issuer.role() == Role::GatewayCa && issuer.brand() == leaf.brand(),
            "its certificate comes from a CA that issues none to gateways of the brand"
        );
        Ok(())
    }
}

impl Claim<'_> {
    fn check_frame<T>(&self, signed: &Signed<T>) -> anyhow::Result<()> {
        ensure!(
            signed.message == "AuthRes",
            "it is signed as part of another message"
        );
        ensure!(
            signed.rrpid.to_string() == self.auth_rrpid,
            "it is about another authorization"
        );
        Ok(())
    }

    fn check_names(&self, xid: &str, merchant_id: &str) -> anyhow::Result<()> {
        ensure!(xid == self.xid, "it is about another payment");
        ensure!(
            merchant_id == self.merchant_id,
            "it is for another merchant"
        );
        Ok(())
    }

    fn check_amount(&self, amount: CurrencyAmount, exactly: bool) -> anyhow::Result<()> {
        let same = amount.minor_i64() == self.amount_minor;
        let less = amount.minor_i64() < self.amount_minor && !exactly;
        ensure!(
            amount.currency().alpha() == self.currency && (same || less),
            "it is about another amount"
        );
        Ok(())
    }
}
