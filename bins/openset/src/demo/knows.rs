//! Who knows what, told by each party's own REST interface and searched for in its store.

use std::fs;

use anyhow::ensure;
use openset_jose::{base64url, sha256};
use serde_json::Value;

use super::Story;
use super::calls::Calls;
use super::processes::Services;
use super::screen::Screen;

/// What is looked for.
const FACTS: [&str; 5] = [
    "card number",
    "expiry",
    "order description",
    "amount",
    "cardholder name",
];

/// One row a fact, one column a party.
pub(crate) struct Table {
    rows: Vec<(&'static str, [String; 5])>,
}

/// What a party showed: its REST answers, and its files where they are at hand.
struct Shown {
    answers: String,
    files: Vec<u8>,
}

pub(crate) async fn ask(
    calls: &Calls,
    story: &Story,
    services: Option<&Services>,
) -> anyhow::Result<Table> {
    let mut shown = Vec::new();
    for party in Services::parties() {
        let mut answers = String::new();
        for path in paths(party, story) {
            answers.push_str(&without_steps(calls.get(party, &path).await?).to_string());
        }
        shown.push(Shown {
            answers,
            files: services.map(|s| files(s, party)).unwrap_or_default(),
        });
    }
    let row = |fact: &'static str| {
        let mut cells: [String; 5] = Default::default();
        for (cell, shown) in cells.iter_mut().zip(&shown) {
            *cell = shown.cell(fact, story);
        }
        (fact, cells)
    };
    Ok(Table {
        rows: FACTS.into_iter().map(row).collect(),
    })
}

fn paths(party: &str, story: &Story) -> Vec<String> {
    match party {
        "ca" => vec!["certificates".to_owned()],
        "issuer" => vec![format!("accounts/{}", story.account_id)],
        "gateway" => vec![format!("authorizations/{}", story.of_purchase("xid"))],
        "merchant" => vec![format!("orders/{}", story.of_purchase("order_id"))],
        _ => vec![
            "cards".to_owned(),
            format!("purchases/{}", story.of_purchase("purchase_id")),
        ],
    }
}

/// Step reports name messages and checks, not facts.
fn without_steps(mut answer: Value) -> Value {
    if let Some(object) = answer.as_object_mut() {
        object.remove("steps");
    }
    answer
}

/// Every file of a service: database, its log ahead, and what it printed. Its configuration is left out.
fn files(services: &Services, party: &str) -> Vec<u8> {
    let Ok(entries) = fs::read_dir(services.folder(party)) else {
        return Vec::new();
    };
    let kept = entries
        .flatten()
        .filter(|e| e.path().extension().is_none_or(|x| x != "toml"));
    kept.filter_map(|e| fs::read(e.path()).ok())
        .flatten()
        .collect()
}

impl Shown {
    fn cell(&self, fact: &str, story: &Story) -> String {
        let (says, has) = match fact {
            "card number" => return self.card_number(story),
            "expiry" => (
                self.answers.contains(&story.expiry),
                self.stores(&story.expiry),
            ),
            "order description" => {
                let description = story.of_purchase("order_description");
                (self.answers.contains(description), self.stores(description))
            }
            "amount" => {
                let minor = story
                    .purchase
                    .pointer("/amount/amount_minor")
                    .map(Value::to_string)
                    .unwrap_or_default();
                // Digits alone stand in any store by chance, so here only the party's own answer counts.
                (self.answers.contains(&format!(":{minor}")), false)
            }
            _ => (
                self.answers.contains(story.holder),
                self.stores(story.holder),
            ),
        };
        match (says, has) {
            (true, _) => "knows".to_owned(),
            (false, true) => "stores".to_owned(),
            (false, false) => "-".to_owned(),
        }
    }

    /// No party shows a whole card number; who shows its end has opened it.
    fn card_number(&self, story: &Story) -> String {
        let end = story
            .pan
            .get(story.pan.len().saturating_sub(4)..)
            .unwrap_or_default();
        let masked = [
            format!("*{end}"),
            format!("* {end}"),
            format!("\"last_four\":\"{end}\""),
        ];
        if self.answers.contains(&story.pan) || self.stores(&story.pan) {
            "IN CLEAR".to_owned()
        } else if masked.iter().any(|m| self.answers.contains(m)) {
            "knows".to_owned()
        } else {
            "-".to_owned()
        }
    }

    /// Whether the files hold a text: plain, in hexadecimal, in base64, or as its bare SHA-256.
    fn stores(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let digest = sha256(bytes);
        let aligned = |skip: usize| {
            let encoded = base64url::encode(bytes.get(skip..).unwrap_or_default());
            encoded
                .get(..encoded.len().saturating_sub(2))
                .unwrap_or_default()
                .to_owned()
        };
        let mut needles = vec![
            bytes.to_vec(),
            hex::encode(bytes).into_bytes(),
            digest.to_vec(),
            hex::encode(digest).into_bytes(),
        ];
        // The six digits of an expiry would be found by chance in a shorter form.
        if text.len() >= 12 {
            needles.extend([0, 1, 2].map(|skip| aligned(skip).into_bytes()));
            needles.push(base64url::encode(&digest).into_bytes());
        }
        needles.iter().any(|needle| contains(&self.files, needle))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty()
        && haystack
            .windows(needle.len())
            .any(|window| window == needle)
}

impl Table {
    pub(crate) fn show(&self, screen: &Screen) {
        let columns = Services::parties();
        let titles: String = columns.iter().map(|c| format!("{c:<12}")).collect();
        screen.line(&screen.dim(&format!("{:<20}{titles}", "")));
        for (fact, cells) in &self.rows {
            let cells: String = cells.iter().map(|c| format!("{c:<12}")).collect();
            screen.line(&format!("{fact:<20}{cells}"));
        }
    }

    /// SET's promise: the merchant and the CA keep no card number, the banks and the CA no order.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let [ca, issuer, gateway, merchant, cardholder] = [0, 1, 2, 3, 4];
        let cell = |fact: &str, party: usize| {
            let row = self.rows.iter().find(|(name, _)| *name == fact);
            row.and_then(|(_, cells)| cells.get(party))
                .map(String::as_str)
                .unwrap_or_default()
        };
        for party in [merchant, ca] {
            ensure!(
                cell("card number", party) == "-",
                "a party that must not know the card number shows it"
            );
        }
        for party in [gateway, issuer, ca] {
            ensure!(
                cell("order description", party) == "-",
                "a party that must not know the order shows it"
            );
        }
        for party in [cardholder, gateway, issuer] {
            ensure!(
                cell("card number", party) == "knows",
                "a party that must know the card number does not show its end"
            );
        }
        for party in [cardholder, merchant] {
            ensure!(
                cell("order description", party) == "knows",
                "a party that must know the order does not show it"
            );
        }
        Ok(())
    }
}
