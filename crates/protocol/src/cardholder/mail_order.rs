//! Mail order in the wallet: reads a shop's catalogue as it would PInitRes, and makes PReq by it.

use super::Card;
use super::purchase::{Agreed, AwaitingPRes, Sealing, Shown, Step, p_req, shown_parties};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::ids::{ExactBytes, Language, LocalId, TransIds, Xid};
use crate::messages::mail_order::{
    CATALOGUE_BYTES_MAX, CatalogueData, MAIL_ORDER_AGE_SECONDS_MAX, MailOrder, OrderedItem,
    Product, Unpriceable, catalogue_digest, is_product_id, lid_m, price,
};
use crate::money::CurrencyAmount;
use crate::plain::is_plain;
use crate::signed::{Signer, VerifiedBytes, Who, decode};
use crate::thumbs::Receiver;
use crate::wrapper::{Jws, SKEW_SECONDS_MAX, VERSION};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_pki::{Certificate, PathError, PathVerifier, Role};

/// A catalogue after every check.
#[derive(Debug)]
pub struct Catalogue {
    digest: Digest,
    data: CatalogueData,
    merchant: Certificate,
    merchant_key_exchange: Certificate,
    gateway_key_exchange: Certificate,
}

/// What is ordered by a catalogue.
#[derive(Debug)]
pub struct Ordering {
    /// What of it.
    pub items: Vec<OrderedItem>,
    /// The amount that the person expects.
    pub purch_amt: CurrencyAmount,
    /// The language of texts for the person.
    pub language: Language,
}

impl Catalogue {
    /// Reads a catalogue: the merchant's signature, all certificates with their paths, of the card's brand and of one
    /// merchant, and its dates.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn read(
        jws: &str,
        brand: &BrandId,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        if jws.len() > CATALOGUE_BYTES_MAX {
            return Err(Rejection::TooBig {
                limit_bytes: CATALOGUE_BYTES_MAX,
            });
        }
        let signer = Signer {
            role: Role::Merchant,
            brand: Some(brand),
        };
        let signed = Jws(jws.to_owned());
        let object = VerifiedBytes::verify(&signed, ContentType::Catalogue, signer, verifier, now)?;
        let data: CatalogueData = decode(object.payload()?)?;
        let merchant = object.certificate;
        if data.from != Who::Certificate(merchant.thumbprint()) {
            return Err(Rejection::NotFromSigner);
        }
        if data.version != VERSION {
            return Err(Rejection::Disagreement("version"));
        }
        if let Some(news) = &data.news {
            // Who knows the root alone knows neither CA yet.
            let mut authorities = Vec::new();
            for chain in [&data.merchant_key_exchange, &data.gateway_key_exchange] {
                for der in chain.iter().skip(1) {
                    let ca = Certificate::from_der(&der.0);
                    authorities.push(ca.map_err(PathError::from)?);
                }
            }
            news.learn(&authorities, verifier, now)?;
        }
        if data.brand_id != *brand {
            return Err(Rejection::Disagreement("brand_id"));
        }
        check_dates(&data, now)?;
        let key_exchange = [&data.merchant_key_exchange, &data.gateway_key_exchange];
        let parties = shown_parties(brand, &merchant, key_exchange, verifier, now)?;
        if parties.merchant_id != data.merchant_id {
            return Err(Rejection::AnotherParty("merchant"));
        }
        let outlived = |certificate: &Certificate| {
            let until = data.valid_until.plus(MAIL_ORDER_AGE_SECONDS_MAX);
            until.seconds() <= certificate.not_after()
        };
        let (theirs, gateway) = (parties.merchant_key_exchange, parties.gateway_key_exchange);
        if ![&merchant, &theirs, &gateway].into_iter().all(outlived) {
            return Err(Rejection::Disagreement("valid_until"));
        }
        if !data
            .products
            .iter()
            .all(|one| is_product_id(&one.product_id))
        {
            return Err(Rejection::Disagreement("product_id"));
        }
        // A person reads them beside the prices.
        let names = data.products.iter().flat_map(|one| one.name.chars());
        if !names.chain(data.merchant_id.chars()).all(is_plain) {
            return Err(Rejection::Disagreement("name"));
        }
        Ok(Self {
            digest: catalogue_digest(jws),
            data,
            merchant,
            merchant_key_exchange: theirs,
            gateway_key_exchange: gateway,
        })
    }

    /// By what orders name it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the shop sells.
    #[must_use]
    pub fn products(&self) -> &[Product] {
        &self.data.products
    }

    /// Where SET messages go that do not go by mail.
    #[must_use]
    pub fn set_url(&self) -> &str {
        &self.data.set_url
    }

    /// The merchant, as its acquirer names and certifies it.
    #[must_use]
    pub fn merchant_id(&self) -> &str {
        &self.data.merchant_id
    }

    /// Until when one may order by it.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.data.valid_until
    }

    /// What an order comes to.
    ///
    /// # Errors
    /// [`Unpriceable`].
    pub fn price(&self, items: &[OrderedItem]) -> Result<CurrencyAmount, Unpriceable> {
        price(&self.data.products, items)
    }

    /// Makes PReq, to be written to a file; all chains in it travel whole, for weeks may pass. `ocsp` is a fresh OCSP
    /// response about the card's certificate, if there is one.
    ///
    /// # Errors
    /// The order does not come to what the person expects, or the key cannot sign or seal.
    pub fn order(
        self,
        ctx: &mut Context<'_>,
        card: &Card,
        ordering: Ordering,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Step<AwaitingPRes>, Rejection> {
        if card.brand()? != &self.data.brand_id {
            return Err(Rejection::Disagreement("brand_id"));
        }
        if self.price(&ordering.items) != Ok(ordering.purch_amt) {
            return Err(Rejection::Disagreement("the order's amount"));
        }
        let lid_c = LocalId::generate(ctx.rng);
        let trans_ids = TransIds {
            lid_m: lid_m(&lid_c).ok_or(Rejection::Internal)?,
            lid_c,
            xid: Xid::generate(&mut ctx.again()),
            p_req_date: ctx.now,
            language: ordering.language,
        };
        let order = MailOrder {
            catalogue: self.digest,
            items: ordering.items,
        };
        let agreed = Agreed {
            order_description: ExactBytes(order.description(&trans_ids.lid_m).into_bytes()),
            purch_amt: ordering.purch_amt,
            install_recur_data: None,
            brand_id: self.data.brand_id,
            bin: card.pan.bin(),
        };
        let shown = Shown {
            trans_ids,
            chall_m: None,
            merchant: self.merchant,
            merchant_id: self.data.merchant_id,
            merchant_key_exchange: self.merchant_key_exchange,
            gateway_key_exchange: self.gateway_key_exchange,
        };
        let sealing = Sealing {
            receiver: Receiver::unknown(),
            ocsp: ocsp.map(ExactBytes),
            order: Some(order),
        };
        p_req(ctx, card.into(), agreed, shown, sealing)
    }
}

/// It is good now.
fn check_dates(data: &CatalogueData, now: Timestamp) -> Result<(), Rejection> {
    if data.issued_at > now.plus(SKEW_SECONDS_MAX) {
        return Err(Rejection::TooNew);
    }
    if data.valid_until < now {
        return Err(Rejection::OutOfOrder(
            "the catalogue has run out; ask the shop for a newer one",
        ));
    }
    Ok(())
}
