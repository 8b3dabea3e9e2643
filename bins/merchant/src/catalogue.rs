//! What the shop sells, and what an order of it comes to.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use openset_protocol::Timestamp;
use openset_protocol::balance::DAY_SECONDS;
use openset_protocol::messages::initiation::Money;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::money::{AMOUNT_MINOR_MAX, Currency, CurrencyAmount};
use openset_protocol::plain::is_plain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// The products of a shop that was configured no others.
const DEFAULT: &str = include_str!("../catalogue.json");
/// A catalogue larger than this is no longer held in memory as a list.
const PRODUCTS_MAX: usize = 10_000;
const NAME_CHARS_MAX: usize = 80;
const ID_CHARS_MAX: usize = 64;
/// Most of one product in an order.
pub(crate) const QUANTITY_MAX: u64 = 99;
/// Most lines of an order.
pub(crate) const LINES_MAX: usize = 50;

/// A product.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Product {
    /// Names it in orders.
    #[schema(examples("espresso-250"))]
    pub(crate) product_id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    #[schema(value_type = schema::Amount)]
    pub(crate) price: Money,
    /// It is not in stock: what else is ordered with it is paid first, and it once it is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ships_later: bool,
    /// It is delivered as soon as it is paid, as a voucher is: an order of nothing else is a sale, captured with its
    /// authorization.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) delivered_at_once: bool,
    /// How it is paid, if not at once: in an order, all products are paid alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<Plan>,
}

/// How a product is paid, if not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Plan {
    /// In so many parts, 2 to 99; the first when it is ordered.
    Installments(u8),
    /// Its price again and again.
    Recurring {
        /// At least so many days lie between two payments; 28 is SET's "monthly".
        frequency_days: u16,
        /// For so many days it goes on.
        days: u32,
    },
}

impl Plan {
    /// As wallet and gateway are told it, of an order of this moment. Recurring payments end with a day, so that whoever
    /// orders twice on one day agrees to the same.
    pub(crate) fn at(self, now_s: i64) -> InstallRecurData {
        match self {
            Self::Installments(total) => InstallRecurData::InstallTotalTrans(total),
            Self::Recurring {
                frequency_days,
                days,
            } => {
                let today = now_s.div_euclid(DAY_SECONDS);
                let end = today.saturating_add(i64::from(days)).saturating_add(1);
                InstallRecurData::Recurring {
                    frequency_days,
                    expiry: Timestamp::from_seconds(end.saturating_mul(DAY_SECONDS) - 1),
                }
            }
        }
    }
}

/// All products, of one currency.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    products: Vec<Product>,
}

/// A line of an order, as it was priced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) product_id: String,
    pub(crate) name: String,
    pub(crate) quantity: u64,
    #[schema(value_type = schema::Amount)]
    pub(crate) unit_price: Money,
    /// It is sent and paid in a later part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ships_later: bool,
    /// It is delivered as soon as it is paid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) delivered_at_once: bool,
}

/// Whether the first part of an order is a sale: nothing of it is left to be delivered once it is paid.
pub(crate) fn is_sale(lines: &[Line]) -> bool {
    let mut now = lines.iter().filter(|line| !line.ships_later).peekable();
    now.peek().is_some() && now.all(|line| line.delivered_at_once)
}

/// The first part of an order: what it comes to in minor units, and whether more follows. Where nothing is in stock it is
/// all of it.
pub(crate) fn first_part(lines: &[Line], whole_minor: u64) -> (u64, bool) {
    let sum = |lines: &mut dyn Iterator<Item = &Line>| {
        lines.fold(0_u64, |sum, line| {
            sum.saturating_add(line.unit_price.amount_minor.saturating_mul(line.quantity))
        })
    };
    match sum(&mut lines.iter().filter(|line| line.ships_later)) {
        later if later > 0 && later < whole_minor => (whole_minor.saturating_sub(later), true),
        _ => (whole_minor, false),
    }
}

/// What the next payment of a plan comes to in minor units, after so many: of instalments equal parts, what does not
/// divide with the first.
pub(crate) fn next_payment(plan: InstallRecurData, whole_minor: u64, made: u64) -> u64 {
    match plan {
        InstallRecurData::Recurring { .. } => whole_minor,
        InstallRecurData::InstallTotalTrans(total) => {
            let total = u64::from(total).max(1);
            let (part, rest) = (whole_minor / total, whole_minor % total);
            if made == 0 {
                part.saturating_add(rest)
            } else {
                part
            }
        }
    }
}

/// Whether the payment after so many is the plan's last.
pub(crate) fn is_last(plan: InstallRecurData, made: u64) -> bool {
    match plan {
        InstallRecurData::InstallTotalTrans(total) => made.saturating_add(1) >= u64::from(total),
        InstallRecurData::Recurring { .. } => false,
    }
}

/// A priced order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) lines: Vec<Line>,
    pub(crate) plan: Option<Plan>,
    pub(crate) amount: CurrencyAmount,
}

/// Why an order cannot be priced; `line` counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpriceable {
    #[error("order 1 to {LINES_MAX} items")]
    Lines,
    #[error("no such product; GET /products lists them")]
    UnknownProduct { line: usize },
    #[error("the product stands in an item before; add the quantities up")]
    Doubled { line: usize },
    #[error("order 1 to {QUANTITY_MAX} of a product")]
    Quantity { line: usize },
    #[error("it is not paid as the products before it are; order it by itself")]
    Plan { line: usize },
    #[error("the order comes to more than {AMOUNT_MINOR_MAX} minor units; order less")]
    TooMuch,
}

impl Unpriceable {
    /// JSON pointer to what must be mended.
    pub(crate) fn pointer(self) -> String {
        match self {
            Self::Lines | Self::TooMuch => "/items".to_owned(),
            Self::UnknownProduct { line } | Self::Doubled { line } | Self::Plan { line } => {
                format!("/items/{line}/product_id")
            }
            Self::Quantity { line } => format!("/items/{line}/quantity"),
        }
    }
}

impl Catalogue {
    /// Reads the products of this file, or else the ones built in.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Self::read(DEFAULT);
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read catalogue {}", path.display()))?;
        Self::read(&text).with_context(|| format!("in catalogue {}", path.display()))
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let catalogue: Self = serde_json::from_str(text)?;
        let count = catalogue.products.len();
        ensure!(
            (1..=PRODUCTS_MAX).contains(&count),
            "a shop has 1 to {PRODUCTS_MAX} products, not {count}"
        );
        let mut seen = BTreeSet::new();
        for product in &catalogue.products {
            catalogue.check(product)?;
            let id = product.product_id.as_str();
            ensure!(seen.insert(id), "product_id \"{id}\" is there twice");
        }
        Ok(catalogue)
    }

    fn check(&self, product: &Product) -> anyhow::Result<()> {
        let Product {
            product_id: id,
            name,
            price,
            ..
        } = product;
        ensure!(
            (1..=ID_CHARS_MAX).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "product_id \"{id}\": 1 to {ID_CHARS_MAX} of A-Z a-z 0-9 - _ ."
        );
        // Names stand in order descriptions: one line, nothing invisible.
        ensure!(
            !name.trim().is_empty()
                && name.chars().count() <= NAME_CHARS_MAX
                && name.chars().all(is_plain),
            "the name of {id}: 1 to {NAME_CHARS_MAX} characters on one line"
        );
        ensure!(
            (1..=AMOUNT_MINOR_MAX).contains(&price.amount_minor),
            "the price of {id}: 1 to {AMOUNT_MINOR_MAX} minor units"
        );
        if let Some(plan) = product.plan {
            ensure!(
                plan.at(0).is_sound() && !matches!(plan, Plan::Recurring { days: 0, .. }),
                "the plan of {id}: 2 to 99 installments, or a payment every 1 to 366 days, for at least a day"
            );
            ensure!(
                !product.ships_later,
                "{id} has a plan, or ships_later, not both"
            );
        }
        ensure!(
            !(product.ships_later && product.delivered_at_once),
            "{id} is delivered_at_once or ships_later, not both"
        );
        ensure!(
            Some(price.currency) == self.currency(),
            "{id} is priced in {}; all prices must be of one currency",
            price.currency.alpha()
        );
        Ok(())
    }

    pub(crate) fn products(&self) -> &[Product] {
        &self.products
    }

    /// The products that are paid at once.
    pub(crate) fn without_plans(&self) -> Self {
        let at_once = self.products.iter().filter(|one| one.plan.is_none());
        Self {
            products: at_once.cloned().collect(),
        }
    }

    fn currency(&self) -> Option<Currency> {
        self.products.first().map(|product| product.price.currency)
    }

    /// Prices an order of (product, quantity), all arithmetic checked.
    pub(crate) fn price(&self, items: &[(&str, u64)]) -> Result<Priced, Unpriceable> {
        if items.is_empty() || items.len() > LINES_MAX {
            return Err(Unpriceable::Lines);
        }
        let currency = self.currency().ok_or(Unpriceable::Lines)?;
        let mut lines: Vec<Line> = Vec::with_capacity(items.len());
        let (mut total_minor, mut plan): (u64, Option<Plan>) = (0, None);
        for (line, (id, quantity)) in items.iter().enumerate() {
            let product = self
                .products
                .iter()
                .find(|product| product.product_id == *id);
            let product = product.ok_or(Unpriceable::UnknownProduct { line })?;
            if lines.iter().any(|other| other.product_id == *id) {
                return Err(Unpriceable::Doubled { line });
            }
            if !(1..=QUANTITY_MAX).contains(quantity) {
                return Err(Unpriceable::Quantity { line });
            }
            if line > 0 && product.plan != plan {
                return Err(Unpriceable::Plan { line });
            }
            plan = product.plan;
            total_minor = product
                .price
                .amount_minor
                .checked_mul(*quantity)
                .and_then(|sum| total_minor.checked_add(sum))
                .ok_or(Unpriceable::TooMuch)?;
            lines.push(Line {
                product_id: product.product_id.clone(),
                name: product.name.clone(),
                quantity: *quantity,
                unit_price: product.price,
                ships_later: product.ships_later,
                delivered_at_once: product.delivered_at_once,
            });
        }
        let amount =
            CurrencyAmount::new(currency, total_minor).map_err(|_| Unpriceable::TooMuch)?;
        Ok(Priced {
            lines,
            plan,
            amount,
        })
    }
}

impl Priced {
    /// OD, the order description: its exact bytes are hashed by both sides, so they never change.
    pub(crate) fn description(&self, order_id: &str) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let unit = CurrencyAmount::try_from(line.unit_price);
            let unit = unit.map(|amount| amount.to_string()).unwrap_or_default();
            text.push_str(&format!("{} x {} @ {unit}; ", line.quantity, line.name));
        }
        text + &format!("total {}; order {order_id}", self.amount)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::load(None).unwrap()
    }

    #[test]
    fn built_in_catalogue_is_a_shop() {
        assert!((8..=16).contains(&catalogue().products.len()));
    }

    #[test]
    fn order_description_names_lines_total_and_order() {
        let priced = catalogue()
            .price(&[("espresso-250", 2), ("decaf-250", 1)])
            .unwrap();
        assert_eq!(priced.amount.minor(), 2 * 750 + 940);
        assert_eq!(
            priced.description("o-1"),
            "2 x Espresso beans 250 g @ EUR 7.50; 1 x Decaf Colombia 250 g @ EUR 9.40; \
             total EUR 24.40; order o-1"
        );
    }

    #[test]
    fn pricing_refuses_what_cannot_be_sold() {
        let refusal = |items: &[(&str, u64)]| catalogue().price(items).unwrap_err();
        assert_eq!(refusal(&[]), Unpriceable::Lines);
        assert_eq!(refusal(&[("espresso-250", 1); 51]), Unpriceable::Lines);
        assert_eq!(
            refusal(&[("tea", 1)]),
            Unpriceable::UnknownProduct { line: 0 }
        );
        assert_eq!(
            refusal(&[("espresso-250", 0)]),
            Unpriceable::Quantity { line: 0 }
        );
        assert_eq!(
            refusal(&[("espresso-250", 100)]),
            Unpriceable::Quantity { line: 0 }
        );
        assert_eq!(
            refusal(&[("espresso-250", u64::MAX)]),
            Unpriceable::Quantity { line: 0 }
        );
        let twice = [("espresso-250", 1), ("espresso-250", 1)];
        assert_eq!(refusal(&twice), Unpriceable::Doubled { line: 1 });
    }

    #[test]
    fn order_of_what_is_delivered_at_once_alone_is_a_sale() {
        let is_sale = |items: &[(&str, u64)]| is_sale(&catalogue().price(items).unwrap().lines);
        assert!(is_sale(&[("voucher-tasting", 2)]));
        assert!(!is_sale(&[("voucher-tasting", 1), ("espresso-250", 1)]));
        // The grinder is paid once it is sent.
        assert!(is_sale(&[("voucher-tasting", 1), ("hand-grinder", 1)]));
        assert!(!is_sale(&[("hand-grinder", 1)]));
        let both = r#"{"products":[{"product_id":"a","name":"A","description":"",
            "price":{"currency":"EUR","amount_minor":1},"ships_later":true,"delivered_at_once":true}]}"#;
        assert!(Catalogue::read(both).is_err());
    }

    #[test]
    fn pricing_refuses_sums_above_the_largest_amount() {
        let text = r#"{"products":[{"product_id":"yacht","name":"Yacht","description":"",
            "price":{"currency":"EUR","amount_minor":999999999999}}]}"#;
        let shop = Catalogue::read(text).unwrap();
        assert!(shop.price(&[("yacht", 1)]).is_ok());
        assert_eq!(
            shop.price(&[("yacht", 2)]).unwrap_err(),
            Unpriceable::TooMuch
        );
    }

    #[test]
    fn catalogue_refuses_plans_that_nobody_can_mean() {
        let shop = |plan: &str, more: &str| {
            let text = format!(
                r#"{{"products":[{{"product_id":"a","name":"A","description":"","plan":{plan}{more},
                "price":{{"currency":"EUR","amount_minor":900}}}}]}}"#
            );
            Catalogue::read(&text)
        };
        let recurring = |frequency_days: u16, days: u32| {
            format!(r#"{{"recurring":{{"frequency_days":{frequency_days},"days":{days}}}}}"#)
        };
        for plan in [r#"{"installments":2}"#, r#"{"installments":99}"#] {
            assert!(shop(plan, "").is_ok());
        }
        assert!(shop(&recurring(1, 1), "").is_ok());
        assert!(shop(&recurring(366, 366), r#","delivered_at_once":true"#).is_ok());
        let beyond = [recurring(0, 9), recurring(367, 999), recurring(28, 0)];
        let beyond = beyond.iter().map(String::as_str);
        for plan in beyond.chain([r#"{"installments":1}"#, r#"{"installments":100}"#]) {
            assert!(shop(plan, "").is_err(), "{plan}");
        }
        let later = shop(r#"{"installments":3}"#, r#","ships_later":true"#);
        assert!(later.is_err(), "two ways to be paid");
    }

    #[test]
    fn instalments_come_to_the_whole_and_a_subscription_ends_with_a_day() {
        let plan = Plan::Installments(3).at(0);
        let parts: Vec<u64> = (0..3).map(|made| next_payment(plan, 1000, made)).collect();
        assert_eq!(parts, [334, 333, 333]);
        let last: Vec<bool> = (0..3).map(|made| is_last(plan, made)).collect();
        assert_eq!(last, [false, false, true]);
        let daily = Plan::Recurring {
            frequency_days: 1,
            days: 30,
        };
        assert_eq!(next_payment(daily.at(0), 1000, 5), 1000);
        assert!(!is_last(daily.at(0), 29));
        let day = |now_s| daily.at(now_s);
        assert_eq!(day(0), day(DAY_SECONDS - 1));
        assert_ne!(day(0), day(DAY_SECONDS));
        assert_eq!(
            day(0),
            InstallRecurData::Recurring {
                frequency_days: 1,
                expiry: Timestamp::from_seconds(31 * DAY_SECONDS - 1),
            }
        );
    }

    #[test]
    fn catalogue_refuses_a_second_currency_and_a_free_product() {
        let product = |id: &str, currency: &str, minor: u64| {
            format!(
                r#"{{"product_id":"{id}","name":"x","description":"",
                "price":{{"currency":"{currency}","amount_minor":{minor}}}}}"#
            )
        };
        let shop = |products: &[String]| format!(r#"{{"products":[{}]}}"#, products.join(","));
        assert!(Catalogue::read(&shop(&[product("a", "EUR", 1)])).is_ok());
        assert!(Catalogue::read(&shop(&[product("a", "EUR", 0)])).is_err());
        let mixed = [product("a", "EUR", 1), product("b", "USD", 1)];
        assert!(Catalogue::read(&shop(&mixed)).is_err());
        let doubled = [product("a", "EUR", 1), product("a", "EUR", 2)];
        assert!(Catalogue::read(&shop(&doubled)).is_err());
    }
}
