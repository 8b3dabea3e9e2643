//! Mail order at the merchant: signs the catalogue, and takes a PReq that nothing came before.

use super::merchant_data;
use super::p::OpenedPReq;
use super::p_init::OpenedPurchase;
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::Credentials;
use crate::messages::mail_order::{
    CATALOGUE_BYTES_MAX, CatalogueData, MAIL_ORDER_AGE_SECONDS_MAX, Product, catalogue_digest,
    lid_m,
};
use crate::signed::{Who, carried, sign_bytes};
use crate::thumbs::{News, Receiver, RevocationState, Thumbs};
use crate::wrapper::{Jws, MessageWrapper, VERSION};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, Chain};

/// No catalogue is good for longer, however long its certificates are.
const CATALOGUE_SECONDS_MAX: i64 = 90 * 24 * 60 * 60;

/// What goes into a catalogue besides keys and dates.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// What the shop sells.
    pub products: Vec<Product>,
    /// Where SET messages go that do not go by mail.
    pub set_url: &'a str,
}

/// A signed catalogue.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The file.
    pub jws: Jws,
    /// By what orders name it.
    pub digest: Digest,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Until when one may order by it.
    pub valid_until: Timestamp,
}

/// Signs a catalogue of one brand. It ends so long before the first of its certificates that a mail order may still
/// be on its way when it does: AuthReq needs the certificates that the dual signature names.
///
/// # Errors
/// A certificate ends too soon, it would be larger than [`CATALOGUE_BYTES_MAX`], or the key cannot sign.
pub fn catalogue(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    gateway: &Chain,
    state: &RevocationState,
    contents: Contents<'_>,
) -> Result<Issued, Rejection> {
    let chains = [ours.signature.chain(), ours.key_exchange.chain(), gateway];
    let certificates = chains.iter().flat_map(|chain| chain.certificates());
    let ends = certificates.map(Certificate::not_after).min();
    let valid_until_s = ends
        .unwrap_or_default()
        .saturating_sub(MAIL_ORDER_AGE_SECONDS_MAX)
        .min(ctx.now.plus(CATALOGUE_SECONDS_MAX).seconds());
    if valid_until_s <= ctx.now.seconds() {
        return Err(Rejection::OutOfOrder(
            "the certificates end too soon for mail orders; renew them",
        ));
    }
    let brand = ours.signature.brand().cloned();
    let data = CatalogueData {
        version: VERSION,
        from: Who::Certificate(ours.signature.thumbprint()),
        merchant_id: merchant_data(ours)?.merchant_id.clone(),
        brand_id: brand.ok_or(Rejection::MissingCertificate("brand"))?,
        set_url: contents.set_url.to_owned(),
        issued_at: ctx.now,
        valid_until: Timestamp::from_seconds(valid_until_s),
        products: contents.products,
        merchant_key_exchange: carried(ours.key_exchange.chain()),
        gateway_key_exchange: carried(gateway),
        news: News::beyond(&Thumbs::default(), state),
    };
    let bytes = serde_json::to_vec(&data).map_err(|_| Rejection::Internal)?;
    let receiver = Receiver::unknown();
    let jws = sign_bytes(
        ctx,
        &ours.signature,
        ContentType::Catalogue,
        &receiver,
        &bytes,
    )?;
    // No wallet would read it.
    if jws.0.len() > CATALOGUE_BYTES_MAX {
        return Err(Rejection::TooBig {
            limit_bytes: CATALOGUE_BYTES_MAX,
        });
    }
    Ok(Issued {
        digest: catalogue_digest(&jws.0),
        jws,
        issued_at: data.issued_at,
        valid_until: data.valid_until,
    })
}

/// What the merchant remembers of a catalogue that it has signed.
#[derive(Clone, Debug)]
pub struct OrderedBy<'a> {
    /// Its brand.
    pub brand_id: &'a BrandId,
    /// The certificate that signed it; the dual signature must name it.
    pub merchant: Thumbprint,
    /// The gateway's key-exchange certificate in it.
    pub gateway: Thumbprint,
    /// Until when one may order by it.
    pub valid_until: Timestamp,
    /// How old an order may be when it comes in, in seconds.
    pub age_seconds_max: i64,
}

impl OpenedPReq {
    /// What PInit would have opened, for a PReq that came by mail. Nothing of it is verified yet: that is for
    /// [`OpenedPReq::verify`], to which this goes.
    ///
    /// # Errors
    /// It is no mail order, is too old, or is ordered by another catalogue.
    pub fn opened_by_mail(
        &self,
        wrapper: &MessageWrapper,
        catalogue: &OrderedBy<'_>,
        now: Timestamp,
    ) -> Result<OpenedPurchase, Rejection> {
        let oi = self.oi();
        if oi.chall_m.is_some() {
            return Err(Rejection::ChallengeMismatch("chall_m"));
        }
        if !self.mail_order().is_some_and(|order| order.is_sound()) {
            return Err(Rejection::Disagreement("order"));
        }
        let names = &oi.trans_ids;
        if lid_m(&names.lid_c).as_ref() != Some(&names.lid_m) {
            return Err(Rejection::UnknownLid);
        }
        // The one date that the cardholder signs: the header's alone anybody could renew.
        wrapper.check_signed_date(names.p_req_date)?;
        wrapper.check_date_within(now, catalogue.age_seconds_max)?;
        if names.p_req_date > catalogue.valid_until {
            return Err(Rejection::OutOfOrder(
                "ordered by a catalogue that had run out",
            ));
        }
        if oi.brand_id != *catalogue.brand_id {
            return Err(Rejection::Disagreement("brand_id"));
        }
        Ok(OpenedPurchase {
            trans_ids: names.clone(),
            chall_m: None,
            brand_id: oi.brand_id.clone(),
            bin: oi.bin.clone(),
            merchant: catalogue.merchant,
            gateway: catalogue.gateway,
        })
    }
}
