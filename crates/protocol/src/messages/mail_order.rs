//! Mail order: a purchase without PInit, in files (reference section 5, store-and-forward). The merchant's signed
//! catalogue stands for PInitRes, and what is ordered travels in PReq, for no order was placed before.

use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::ids::{ExactBytes, LocalId};
use crate::messages::initiation::Money;
use crate::money::CurrencyAmount;
use crate::signed::Who;
use crate::thumbs::News;
use crate::{BrandId, Timestamp};
use serde::{Deserialize, Serialize};

/// How old a mail order may be when it comes in, in days. Certificates in a catalogue outlive it by as much.
pub const MAIL_ORDER_AGE_DAYS_MAX: u32 = 30;
/// The same in seconds.
pub const MAIL_ORDER_AGE_SECONDS_MAX: i64 = 30 * 24 * 60 * 60;
/// The most bytes of a signed catalogue.
pub const CATALOGUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most lines of a mail order.
pub const ITEMS_MAX: usize = 50;
/// The most of one product.
pub const QUANTITY_MAX: u64 = 99;
/// The longest name of a product, in characters.
const PRODUCT_ID_CHARS_MAX: usize = 64;
/// The names of orders that came by mail begin so; nobody else's do.
const LID_M_PREFIX: &str = "mail.";

/// The signed payload of a catalogue: what a shop sells, and all that PInitRes would show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueData {
    /// The protocol's version.
    pub version: u8,
    /// The certificate that signs, as in every signed payload.
    pub from: Who,
    /// The merchant, as its acquirer names it.
    pub merchant_id: String,
    /// The brand that all certificates are of.
    pub brand_id: BrandId,
    /// Where SET messages go that do not go by mail, inquiries for example.
    pub set_url: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Until when one may order by it.
    pub valid_until: Timestamp,
    /// What the shop sells.
    pub products: Vec<Product>,
    /// The merchant's key-exchange certificate and its chain: PReq is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
    /// The gateway's key-exchange certificate (Cert-PE) and its chain: the payment is sealed for it.
    pub gateway_key_exchange: Vec<ExactBytes>,
    /// The brand's newest revocations.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub news: Option<News>,
}

/// A product with its price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Names it in orders.
    pub product_id: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Of one.
    pub price: Money,
}

/// What is ordered by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailOrder {
    /// [`catalogue_digest`] of the catalogue that it is ordered by.
    pub catalogue: Digest,
    /// What of it.
    pub items: Vec<OrderedItem>,
}

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderedItem {
    /// The product's name in the catalogue.
    pub product_id: String,
    /// How many.
    pub quantity: u64,
}

/// Why an order by a catalogue has no price; lines count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unpriceable {
    /// Nothing, or too many lines.
    #[error("order 1 to {ITEMS_MAX} items")]
    Lines,
    /// Not in the catalogue, or in an item before.
    #[error("item {0} is no product of the catalogue, or stands in an item before")]
    Product(usize),
    /// None, or too many.
    #[error("order 1 to {QUANTITY_MAX} of a product (item {0})")]
    Quantity(usize),
    /// More than an amount can be, or in two currencies.
    #[error("the order comes to more than an amount can be, or to two currencies")]
    Amount,
}

/// By what an order names its catalogue: the digest of the JWS as it travels.
#[must_use]
pub fn catalogue_digest(jws: &str) -> Digest {
    digest(ContentType::Catalogue, jws.as_bytes())
}

/// The merchant's name for a mail order, made of the cardholder's.
#[must_use]
pub fn lid_m(lid_c: &LocalId) -> Option<LocalId> {
    format!("{LID_M_PREFIX}{lid_c}").parse().ok()
}

/// Whether this is the name of an order that came by mail.
#[must_use]
pub fn is_lid_m(lid_m: &LocalId) -> bool {
    lid_m.as_str().starts_with(LID_M_PREFIX)
}

/// Whether a text can name a product: 1 to 64 of `A-Z a-z 0-9 - _ .`, so that an order description has one reading.
#[must_use]
pub fn is_product_id(text: &str) -> bool {
    (1..=PRODUCT_ID_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What an order of these products comes to, all arithmetic checked.
///
/// # Errors
/// [`Unpriceable`].
pub fn price(products: &[Product], items: &[OrderedItem]) -> Result<CurrencyAmount, Unpriceable> {
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(Unpriceable::Lines);
    }
    let (mut total_minor, mut currency) = (0_u64, None);
    for (line, item) in items.iter().enumerate() {
        let named = |product: &&Product| product.product_id == item.product_id;
        let product = products.iter().find(named);
        let product = product.ok_or(Unpriceable::Product(line))?;
        let before = items.iter().take(line);
        if before
            .clone()
            .any(|other| other.product_id == item.product_id)
        {
            return Err(Unpriceable::Product(line));
        }
        if !(1..=QUANTITY_MAX).contains(&item.quantity) {
            return Err(Unpriceable::Quantity(line));
        }
        if *currency.get_or_insert(product.price.currency) != product.price.currency {
            return Err(Unpriceable::Amount);
        }
        let sum = product.price.amount_minor.checked_mul(item.quantity);
        let sum = sum.and_then(|sum| total_minor.checked_add(sum));
        total_minor = sum.ok_or(Unpriceable::Amount)?;
    }
    let currency = currency.ok_or(Unpriceable::Lines)?;
    CurrencyAmount::new(currency, total_minor).map_err(|_| Unpriceable::Amount)
}

impl MailOrder {
    /// OD, the order description, as both sides make it for themselves: its exact bytes are hashed, so this never
    /// changes. The catalogue's digest fixes names and prices; HOD has the amount beside it.
    #[must_use]
    pub fn description(&self, lid_m: &LocalId) -> String {
        let items: Vec<String> = self
            .items
            .iter()
            .map(|item| format!("{} x {}", item.quantity, item.product_id))
            .collect();
        format!(
            "order {lid_m} by catalogue {}: {}",
            self.catalogue,
            items.join(", ")
        )
    }

    /// Whether its description can be read in one way alone.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (1..=ITEMS_MAX).contains(&self.items.len())
            && self
                .items
                .iter()
                .all(|item| is_product_id(&item.product_id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::money::Currency;

    fn product(id: &str, currency: &str, amount_minor: u64) -> Product {
        Product {
            product_id: id.to_owned(),
            name: id.to_owned(),
            description: String::new(),
            price: Money {
                currency: Currency::from_alpha(currency).unwrap(),
                amount_minor,
            },
        }
    }

    fn item(id: &str, quantity: u64) -> OrderedItem {
        OrderedItem {
            product_id: id.to_owned(),
            quantity,
        }
    }

    #[test]
    fn order_description_is_one_text_for_catalogue_items_and_name() {
        let order = MailOrder {
            catalogue: Digest::from_bytes([0; 32]),
            items: vec![item("espresso-250", 2), item("decaf-250", 1)],
        };
        let lid_m = lid_m(&"0f".parse().unwrap()).unwrap();
        assert_eq!(
            order.description(&lid_m),
            "order mail.0f by catalogue AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: \
             2 x espresso-250, 1 x decaf-250"
        );
    }

    #[test]
    fn prices_add_up_and_what_cannot_be_sold_has_none() {
        let shop = [
            product("a", "EUR", 750),
            product("b", "EUR", 940),
            product("c", "USD", 1),
            product("yacht", "EUR", 999_999_999_999),
        ];
        let priced = |items: &[OrderedItem]| price(&shop, items);
        let both = [item("a", 2), item("b", 1)];
        assert_eq!(priced(&both).unwrap().minor(), 2440);
        assert_eq!(priced(&[]), Err(Unpriceable::Lines));
        let many: Vec<_> = (0..51).map(|_| item("a", 1)).collect();
        assert_eq!(priced(&many), Err(Unpriceable::Lines));
        let refusals = [
            (vec![item("tea", 1)], Unpriceable::Product(0)),
            (vec![item("a", 1), item("a", 1)], Unpriceable::Product(1)),
            (vec![item("a", 0)], Unpriceable::Quantity(0)),
            (vec![item("a", 100)], Unpriceable::Quantity(0)),
            (vec![item("a", 1), item("c", 1)], Unpriceable::Amount),
            (vec![item("yacht", 2)], Unpriceable::Amount),
        ];
        for (items, refusal) in refusals {
            assert_eq!(priced(&items), Err(refusal), "{items:?}");
        }
    }

    #[test]
    fn descriptions_with_two_readings_are_not_sound() {
        let order = |items| MailOrder {
            catalogue: Digest::from_bytes([0; 32]),
            items,
        };
        assert!(order(vec![item("a", 1)]).is_sound());
        for odd in ["", "a, 1 x b", "a b", "ä"] {
            assert!(!order(vec![item(odd, 1)]).is_sound(), "{odd:?}");
        }
        assert!(!order(Vec::new()).is_sound());
    }
}
