//! `openset merchant batches` and what changes one.

use anyhow::Context as _;
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_service::random;
use reqwest::Method;
use serde_json::{Value, json};

use super::Access;
use crate::ended::Ended;
use crate::shown::{amount, text};

/// What to do with the acquirer's batches.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the acquirer's batches, the newest first.
    Batches {
        #[command(flatten)]
        access: Access,
        /// Only those that are open or closed.
        #[arg(long)]
        state: Option<String>,
        /// What the page before ended with.
        #[arg(long)]
        after: Option<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<u16>,
    },
    /// Show a batch, after the acquirer was asked how it stands.
    Batch {
        #[command(flatten)]
        named: Named,
    },
    /// Open a batch; one opens of itself with the first capture.
    OpenBatch {
        #[command(flatten)]
        access: Access,
        /// Its currency, for example EUR.
        #[arg(long)]
        currency: String,
        /// Its brand, where the shop has several.
        #[arg(long)]
        brand: Option<String>,
        /// Idempotency-Key: the same one again brings the same answer; without, a fresh one.
        #[arg(long)]
        key: Option<String>,
    },
    /// Close a batch with what the shop counts in it, so that it is paid out.
    CloseBatch {
        #[command(flatten)]
        named: Named,
        /// Idempotency-Key: the same one again brings the same answer; without, a fresh one.
        #[arg(long)]
        key: Option<String>,
    },
    /// Undo what stands in an open batch, 32 captures and refunds at a time.
    PurgeBatch {
        #[command(flatten)]
        named: Named,
        /// Idempotency-Key: the same one again brings the same answer; without, a fresh one.
        #[arg(long)]
        key: Option<String>,
    },
    /// Compare a batch with the acquirer's items, one by one.
    ReconcileBatch {
        #[command(flatten)]
        named: Named,
    },
    /// Show the shop's books: what it sold, what the acquirer owes it, what was paid out.
    Ledger {
        #[command(flatten)]
        access: Access,
    },
}

/// Which batch, of which merchant.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The batch's id.
    batch: String,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Batches {
            access,
            state,
            after,
            limit,
        } => {
            let mut url = access.url("batches")?;
            let limit = limit.map(|limit| limit.to_string());
            for (name, value) in [("state", state), ("after", after), ("limit", limit)] {
                if let Some(value) = value {
                    url.query_pairs_mut().append_pair(name, &value);
                }
            }
            let page = access.call(Method::GET, url, None).await?;
            for batch in items(&page, "items")? {
                show(batch)?;
            }
            if let Some(next) = page.get("next").and_then(Value::as_str) {
                println!("more: --after {next}");
            }
        }
        Command::Batch { named } => show(&named.post("refresh", None).await?)?,
        Command::OpenBatch {
            access,
            currency,
            brand,
            key,
        } => {
            let mut body = json!({ "currency": currency });
            if let (Some(brand), Some(fields)) = (brand, body.as_object_mut()) {
                fields.insert("brand".to_owned(), brand.into());
            }
            let key = key.unwrap_or_else(random::hex_id::<16>);
            let url = access.url("batches")?;
            let asked = access.call(Method::POST, url, Some((&key, body))).await;
            let asked = asked.with_context(|| format!("open-batch under the key {key}"))?;
            return told(&asked, &key);
        }
        Command::CloseBatch { named, key } => return named.change("close", key).await,
        Command::PurgeBatch { named, key } => return named.change("purge", key).await,
        Command::ReconcileBatch { named } => compared(&named.post("reconcile", None).await?)?,
        Command::Ledger { access } => {
            let books = access
                .call(Method::GET, access.url("ledger")?, None)
                .await?;
            for account in items(&books, "accounts")? {
                let minor = account.get("balance_minor").and_then(Value::as_i64);
                let amount = in_currency(account, minor.context("a balance")?)?;
                println!("{:<28}  {amount}", text(account, "id"));
            }
        }
    }
    Ok(Ended::Done)
}

impl Named {
    async fn post(&self, what: &str, key: Option<&str>) -> anyhow::Result<Value> {
        let url = self.access.url(&format!("batches/{}/{what}", self.batch))?;
        let fresh = random::hex_id::<16>();
        let key = key.unwrap_or(&fresh);
        let answered = self.access.call(Method::POST, url, Some((key, json!({}))));
        answered.await
    }

    async fn change(&self, what: &str, key: Option<String>) -> anyhow::Result<Ended> {
        let key = key.unwrap_or_else(random::hex_id::<16>);
        let answered = self.post(what, Some(&key)).await;
        told(
            &answered.with_context(|| format!("{what} under the key {key}"))?,
            &key,
        )
    }
}

fn items<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a Vec<Value>> {
    let items = value.get(field).and_then(Value::as_array);
    items.with_context(|| format!("the merchant's answer has no {field}"))
}

/// An amount in the currency of what it belongs to, also below zero.
fn in_currency(of: &Value, minor: i64) -> anyhow::Result<String> {
    let currency = Currency::from_alpha(&text(of, "currency"))?;
    let amount = CurrencyAmount::new(currency, minor.unsigned_abs())?.to_string();
    Ok(match minor < 0 {
        true => format!("-{amount}"),
        false => amount,
    })
}

fn show(batch: &Value) -> anyhow::Result<()> {
    let (id, state) = (text(batch, "batch_id"), text(batch, "state"));
    println!(
        "{id}  {:<8}  {} {}",
        state,
        text(batch, "brand"),
        text(batch, "currency")
    );
    for whose in ["ours", "acquirers"] {
        let Some(totals) = batch.get(whose) else {
            continue;
        };
        let number = |field: &str| totals.get(field).and_then(Value::as_i64).unwrap_or(0);
        println!(
            "  {whose:<9}  {} in: {}, {} out: {}",
            number("credits"),
            in_currency(batch, number("credits_minor"))?,
            number("debits"),
            in_currency(batch, number("debits_minor"))?
        );
    }
    if let Some(payout) = batch.get("payout") {
        let amount = amount(payout, "amount")?;
        println!(
            "  payout     {amount} ({}), {}",
            text(payout, "type"),
            text(payout, "at")
        );
    } else if batch.get("transmission").is_some() {
        println!("  payout     {}", text(batch, "transmission"));
    }
    Ok(())
}

fn told(answer: &Value, key: &str) -> anyhow::Result<Ended> {
    println!(
        "{}, batch {}",
        text(answer, "state"),
        text(answer, "batch_id")
    );
    for undone in answer
        .get("undone")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let amount = amount(undone, "amount")?;
        let (order, movement) = (text(undone, "order_id"), text(undone, "movement"));
        println!("undone: {amount} of order {order}, movement {movement}");
    }
    let ended = Ended::told(&text(answer, "state"), &["open", "closed", "purged"]);
    if ended == Ended::Pending {
        println!("the gateway has not answered yet; ask again with --key {key}");
    }
    Ok(ended)
}

fn compared(answer: &Value) -> anyhow::Result<()> {
    let differences = items(answer, "differences")?;
    for one in differences {
        let sum = |whose: &str| match one.get(whose) {
            Some(_) => amount(one, whose).map(|amount| amount.to_string()),
            None => Ok("nothing".to_owned()),
        };
        println!(
            "item {}, {} of purchase {}: the shop has {}, the acquirer {}",
            one.get("batch_sequence_num").unwrap_or(&Value::Null),
            text(one, "kind"),
            text(one, "xid"),
            sum("ours")?,
            sum("acquirers")?
        );
    }
    if differences.is_empty() {
        println!("both have the same");
    }
    Ok(())
}
