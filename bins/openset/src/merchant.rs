//! `openset merchant`: what a shop's staff does with its orders, over the merchant's REST interface.

mod batches;
mod catalogue;
mod gateway_certificates;
mod order;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::Currency;
use openset_service::client::{IDEMPOTENCY_KEY, join};
use openset_service::problem::Problem;
use openset_service::random;
use reqwest::{Method, Url};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::ended::Ended;
use crate::shown::{amount, text};
use crate::wallet::{client, secret};

/// Where a merchant answers unless told otherwise.
const MERCHANT_URL: &str = "http://127.0.0.1:7004";
/// To the answer's last byte.
const PATIENCE: Duration = Duration::from_secs(60);
/// The environment's name of the operator's token.
const TOKEN: &str = "OPENSET_MERCHANT_TOKEN";

/// What to do at a shop.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write the shop's signed catalogue to a file, for orders by mail.
    Catalogue(catalogue::Options),
    /// Ask the gateway for its certificates (PCertReq), and show them.
    GatewayCertificates {
        #[command(flatten)]
        access: Access,
    },
    #[command(flatten)]
    Batches(batches::Command),
    /// List orders, the newest first.
    Orders {
        #[command(flatten)]
        access: Access,
        /// Only those in this state, for example authorized.
        #[arg(long)]
        state: Option<String>,
        /// What the page before ended with.
        #[arg(long)]
        after: Option<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Show an order with its authorizations, captures, refunds and reversals.
    Order {
        /// The order's id.
        order: String,
        #[command(flatten)]
        access: Access,
    },
    /// Ask the bank for a further part of an order that is sent in parts, or for the next payment of a plan.
    Authorize {
        #[command(flatten)]
        asked: Asked,
        /// How much, for example 12.50, in the order's currency; without, all that is not authorized yet, or of a plan what
        /// is due.
        #[arg(long)]
        amount: Option<String>,
        /// No more of the order is to follow.
        #[arg(long)]
        last: bool,
        /// Capture it in the same request.
        #[arg(long)]
        capture_now: bool,
    },
    /// Capture what is authorized, or a part of it; the rest is free again.
    Capture {
        #[command(flatten)]
        asked: Asked,
        /// How much, for example 12.50, in the order's currency; without, all.
        #[arg(long)]
        amount: Option<String>,
    },
    /// Give an authorization back, or a part of it.
    Reverse {
        #[command(flatten)]
        asked: Asked,
        /// How much stays authorized, for example 12.50, in the order's currency; without, nothing.
        #[arg(long)]
        new_amount: Option<String>,
    },
    /// Give back what was captured, or a part of it.
    Refund {
        #[command(flatten)]
        asked: Asked,
        /// How much, for example 12.50, in the order's currency; without, all that is left.
        #[arg(long)]
        amount: Option<String>,
    },
    /// Cancel a capture: the order is authorized again.
    VoidCapture {
        #[command(flatten)]
        asked: Asked,
    },
    /// Cancel a refund.
    VoidRefund {
        #[command(flatten)]
        asked: Asked,
        /// The refund's movement.
        #[arg(long)]
        refund: String,
    },
}

/// Which merchant, and with what.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// Where the merchant answers.
    #[arg(long, default_value = MERCHANT_URL)]
    url: String,
    /// File whose first line is the operator's token; else the variable OPENSET_MERCHANT_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// PEM file with the CA that the merchant's TLS certificate comes from.
    #[arg(long)]
    ca: Option<PathBuf>,
}

/// Which order, and how the request is known again.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The order's id.
    order: String,
    #[command(flatten)]
    access: Access,
    /// The number of the authorization, where the order has several.
    #[arg(long)]
    auth: Option<u32>,
    /// Idempotency-Key: the same one again brings the same answer and moves nothing; without, a fresh one.
    #[arg(long)]
    key: Option<String>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Catalogue(options) => {
            catalogue::run(options).await?;
            Ok(Ended::Done)
        }
        Command::GatewayCertificates { access } => gateway_certificates::run(&access).await,
        Command::Batches(command) => batches::run(command).await,
        Command::Orders {
            access,
            state,
            after,
            limit,
        } => {
            let mut url = access.url("orders")?;
            let limit = limit.map(|limit| limit.to_string());
            for (name, value) in [("state", state), ("after", after), ("limit", limit)] {
                if let Some(value) = value {
                    url.query_pairs_mut().append_pair(name, &value);
                }
            }
            order::list(&access.call(Method::GET, url, None).await?)?;
            Ok(Ended::Done)
        }
        Command::Order { order, access } => {
            let url = access.url(&format!("orders/{order}"))?;
            order::show(&access.call(Method::GET, url, None).await?)?;
            Ok(Ended::Done)
        }
        Command::Authorize {
            asked,
            amount,
            last,
            capture_now,
        } => {
            ensure!(
                asked.auth.is_none(),
                "a further part gets a number of its own"
            );
            let mut body = asked.with_amount("amount", amount.as_deref()).await?;
            if let Some(fields) = body.as_object_mut() {
                let wanted = [("last", last), ("capture_now", capture_now)];
                let wanted = wanted.into_iter().filter(|(_, wanted)| *wanted);
                fields.extend(wanted.map(|(name, _)| (name.to_owned(), true.into())));
            }
            asked.ask("authorize", body).await
        }
        Command::Capture { asked, amount } => {
            let body = asked.with_amount("amount", amount.as_deref()).await?;
            asked.ask("capture", body).await
        }
        Command::Reverse { asked, new_amount } => {
            let body = asked
                .with_amount("new_amount", new_amount.as_deref())
                .await?;
            asked.ask("reverse", body).await
        }
        Command::Refund { asked, amount } => {
            let body = asked.with_amount("amount", amount.as_deref()).await?;
            asked.ask("refund", body).await
        }
        Command::VoidCapture { asked } => asked.ask("void-capture", json!({})).await,
        Command::VoidRefund { asked, refund } => {
            ensure!(
                asked.auth.is_none(),
                "the refund says which authorization it is of"
            );
            asked.ask("void-refund", json!({ "refund": refund })).await
        }
    }
}

impl Asked {
    /// `{field: amount}`, in the order's currency.
    async fn with_amount(&self, field: &str, amount: Option<&str>) -> anyhow::Result<Value> {
        let Some(text) = amount else {
            return Ok(json!({}));
        };
        let url = self.access.url(&format!("orders/{}", self.order))?;
        let order = self.access.call(Method::GET, url, None).await?;
        let of = order.pointer("/amount/currency").and_then(Value::as_str);
        let currency = Currency::from_alpha(of.context("the order names no currency")?)?;
        let amount = currency.amount(text).with_context(|| text.to_owned())?;
        let money = Money::from(amount);
        Ok(json!({ field: money }))
    }

    async fn ask(&self, what: &str, mut body: Value) -> anyhow::Result<Ended> {
        if let (Some(auth), Some(fields)) = (self.auth, body.as_object_mut()) {
            fields.insert("auth".to_owned(), auth.into());
        }
        let fresh = random::hex_id::<16>;
        let key = self.key.clone().unwrap_or_else(fresh);
        let url = self.access.url(&format!("orders/{}/{what}", self.order))?;
        let answered = self
            .access
            .call(Method::POST, url, Some((&key, body)))
            .await;
        let answer = answered.with_context(|| format!("{what} under the key {key}"))?;
        let state = text(&answer, "state");
        match answer.get("auth") {
            Some(number) => println!("{state}, authorization {number}"),
            None => println!("{state}, movement {}", text(&answer, "movement")),
        }
        for field in ["amount", "authorized", "captured", "refunded", "voided"] {
            if answer.get(field).is_some() {
                println!("{field}: {}", amount(&answer, field)?);
            }
        }
        if let Some(rule) = answer.get("refused_by").and_then(Value::as_str) {
            println!("{rule}");
        }
        let done = ["authorized", "captured", "refunded", "reversed"];
        let ended = Ended::told(&state, &done);
        if ended == Ended::Pending {
            println!("the gateway has not answered yet; ask again with --key {key}");
        }
        Ok(ended)
    }
}

impl Access {
    fn url(&self, path: &str) -> anyhow::Result<Url> {
        Ok(join(
            &openset_service::config::url(&self.url, "--url")?,
            path,
        ))
    }

    async fn call(
        &self,
        method: Method,
        url: Url,
        post: Option<(&str, Value)>,
    ) -> anyhow::Result<Value> {
        let token = secret(self.token_file.as_deref(), TOKEN, "--token-file")?;
        let mut request = client(self.ca.as_deref(), PATIENCE)?
            .request(method, url.clone())
            .bearer_auth(token.expose_secret());
        if let Some((key, body)) = post {
            request = request.header(IDEMPOTENCY_KEY, key).json(&body);
        }
        let response = request.send().await.map_err(reqwest::Error::without_url);
        let response =
            response.with_context(|| format!("the merchant at {url} does not answer"))?;
        let status = response.status();
        let answer = response.bytes().await;
        let answer = answer.context("the merchant's answer breaks off")?;
        if status.is_success() {
            return serde_json::from_slice(&answer).context("the merchant's answer");
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => bail!("{} ({})", problem.detail, problem.code),
            Err(_) => bail!("the merchant at {url} answered with status {status}"),
        }
    }
}
