//! The demo's REST calls: what a person would do with curl.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use openset_service::client::{HttpClient, join};
use openset_service::step_report::StepReport;
use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Story;
use super::processes::Services;
use super::screen::Screen;
use crate::setup::DemoFile;

/// How long services may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(15);

/// An account as the issuer opened it.
#[derive(Deserialize)]
pub(crate) struct Account {
    pub(crate) account_id: String,
    pub(crate) card: NewCard,
    pub(crate) activation_code: String,
}

/// A card as the issuer sends it.
#[derive(Deserialize)]
pub(crate) struct NewCard {
    pub(crate) pan: String,
    pub(crate) expiry: String,
}

/// A client for the five services with their tokens.
pub(crate) struct Calls {
    client: HttpClient,
    pub(crate) file: DemoFile,
}

impl Calls {
    pub(crate) fn new(file: DemoFile) -> anyhow::Result<Self> {
        Ok(Self {
            client: HttpClient::new(file.client_ca.as_deref())?,
            file,
        })
    }

    fn place(&self, party: &str) -> (&str, &str) {
        let (urls, tokens) = (&self.file.urls, &self.file.tokens);
        match party {
            "ca" => (&urls.ca, &tokens.ca),
            "issuer" => (&urls.issuer, &tokens.issuer),
            "gateway" => (&urls.gateway, &tokens.gateway),
            "merchant" => (&urls.merchant, &tokens.merchant),
            _ => (&urls.cardholder, &tokens.cardholder),
        }
    }

    /// Where a party answers.
    pub(crate) fn url(&self, party: &str) -> &str {
        self.place(party).0
    }

    /// What opens its REST interface.
    pub(crate) fn token(&self, party: &str) -> &str {
        self.place(party).1
    }

    fn target(&self, party: &str, path: &str) -> anyhow::Result<Url> {
        let base = openset_service::config::url(self.url(party), party)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut url = join(&base, path);
        url.set_query((!query.is_empty()).then_some(query));
        Ok(url)
    }

    pub(crate) async fn get(&self, party: &str, path: &str) -> anyhow::Result<Value> {
        let token = SecretString::from(self.token(party));
        let answer = self
            .client
            .get_json(&self.target(party, path)?, Some(&token))
            .await;
        answer.with_context(|| format!("GET {path} at {party}"))
    }

    pub(crate) async fn post(
        &self,
        party: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let key = openset_service::random::hex_id::<16>();
        self.post_as(&key, party, path, body).await
    }

    async fn post_as(
        &self,
        key: &str,
        party: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let token = SecretString::from(self.token(party));
        let answer = self
            .client
            .post_json(&self.target(party, path)?, Some(&token), Some(key), body)
            .await;
        answer.with_context(|| format!("POST {path} at {party}"))
    }

    /// The same, once what was asked for is done: until then the answer's state is "capturing", "refunding" and the like.
    pub(crate) async fn post_until_done(
        &self,
        party: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let key = openset_service::random::hex_id::<16>();
        let started = Instant::now();
        loop {
            let answer = self.post_as(&key, party, path, body).await?;
            if !text(&answer, "state")?.ends_with("ing") {
                return Ok(answer);
            }
            ensure!(
                started.elapsed() < READY_PATIENCE,
                "{path} is not done: {answer}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The payout of a closed batch, once the merchant has heard of it.
    pub(crate) async fn payout(&self, batch: &str) -> anyhow::Result<Value> {
        let started = Instant::now();
        loop {
            let view = self.get("merchant", &format!("batches/{batch}")).await?;
            match view.get("payout") {
                Some(payout) if payout.is_object() => return Ok(payout.clone()),
                _ => ensure!(
                    started.elapsed() < READY_PATIENCE,
                    "batch {batch} is not paid out: {view}"
                ),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until every service says that it is ready.
    pub(crate) async fn wait_until_ready(
        &self,
        screen: &Screen,
        services: Option<&Services>,
    ) -> anyhow::Result<()> {
        for party in Services::parties() {
            let started = Instant::now();
            while let Err(error) = self.client.get_bytes(&self.target(party, "readyz")?).await {
                let log = services
                    .map(|s| format!("; see {}", s.folder(party).join("log").display()))
                    .unwrap_or_default();
                ensure!(
                    started.elapsed() < READY_PATIENCE,
                    "{party} is not ready: {error}{log}"
                );
                tokio::time::sleep(POLL).await;
            }
            screen.line(&format!("  {party:<11} {}", screen.dim(self.url(party))));
        }
        Ok(())
    }

    /// Step 1.
    pub(crate) async fn open_account(&self, holder: &str) -> anyhow::Result<(Account, StepReport)> {
        let started = Instant::now();
        let request = json!({"holder": holder, "brand": self.file.brand, "currency": "EUR", "credit_limit": 10_000_000});
        let answer = self.post("issuer", "accounts", &request).await?;
        let account: Account = serde_json::from_value(answer).context("the issuer's account")?;
        let pan = account.card.pan.parse::<openset_protocol::card::Pan>();
        ensure!(
            pan.is_ok(),
            "the issuer's card number has a wrong check digit"
        );
        let seen = self
            .get("issuer", &format!("accounts/{}", account.account_id))
            .await?;
        ensure!(
            seen.is_object(),
            "the issuer does not know the account that it opened"
        );
        let verified = ["card number's check digit", "the issuer shows the account"];
        let bytes = request.to_string().len();
        let step = StepReport::since(
            started,
            1,
            "account opened",
            ["cardholder", "issuer"],
            "POST /accounts",
            bytes,
            &verified,
        );
        Ok((account, step))
    }

    /// Step 2: the CA's form is shown and filled in; gives the card, the policy that was accepted with it, and
    /// the step.
    pub(crate) async fn register_card(
        &self,
        account: &Account,
    ) -> anyhow::Result<(String, String, StepReport)> {
        let started = Instant::now();
        let request = json!({"pan": account.card.pan, "expiry": account.card.expiry, "brand": self.file.brand});
        let shown = self.post("cardholder", "cards", &request).await?;
        let card_id = text(&shown, "card_id")?;
        let policy = shown
            .get("form")
            .context("the CA's form")
            .and_then(|form| text(form, "policy_text"))?;
        let request = json!({
            "answers": {"holder": super::HOLDER, "activation_code": account.activation_code},
            "accept_policy": true,
        });
        let path = format!("cards/{card_id}/form");
        let card = self.post("cardholder", &path, &request).await?;
        ensure!(
            text(&card, "state")? == "registered",
            "the card was not registered: {card}"
        );
        let bytes = request.to_string().len();
        let mut step = StepReport::since(
            started,
            2,
            "cardholder certified",
            ["cardholder", "ca"],
            "CardCInit, RegForm, Cert",
            bytes,
            &[],
        );
        if let Some(reported) = steps(&card).into_iter().find(|s| s.step == 2) {
            step.bytes = reported.bytes;
            step.verified = reported.verified;
        }
        Ok((card_id, policy, step))
    }

    /// Step 3: merchant and gateway have enrolled since they started; the CA says so, and they are ready.
    pub(crate) async fn certificates(&self) -> anyhow::Result<StepReport> {
        let started = Instant::now();
        let issued = self.get("ca", "certificates?limit=200").await?;
        let shown = issued.to_string();
        for role in ["merchant", "gateway"] {
            ensure!(
                shown.contains(&format!("\"{role}\"")),
                "the CA shows no certificate of a {role}"
            );
        }
        let gateway = self.get("gateway", "certificates").await?;
        ensure!(
            gateway.to_string().contains("key_exchange"),
            "the gateway shows no key-exchange certificate"
        );
        let verified = [
            "possession of signature and key-exchange keys",
            "activation codes of acquirer and brand",
            "merchant holds the gateway's certificate",
        ];
        let what = "merchant and gateway certified";
        Ok(StepReport::since(
            started,
            3,
            what,
            ["merchant, gateway", "ca"],
            "Me-AqCInit, Cert",
            0,
            &verified,
        ))
    }

    /// A product of the merchant's catalogue.
    pub(crate) async fn first_product(&self) -> anyhow::Result<String> {
        let catalogue = self.get("merchant", "products").await?;
        let products = catalogue
            .get("products")
            .and_then(Value::as_array)
            .context("the merchant's catalogue")?;
        text(
            products
                .first()
                .context("the merchant's catalogue is empty")?,
            "product_id",
        )
    }

    /// The price of some products, in minor units.
    pub(crate) async fn price(&self, product_id: &str) -> anyhow::Result<Value> {
        let catalogue = self.get("merchant", "products").await?;
        let products = catalogue
            .get("products")
            .and_then(Value::as_array)
            .context("the merchant's catalogue")?;
        let product = products
            .iter()
            .find(|p| p.get("product_id").and_then(Value::as_str) == Some(product_id));
        product
            .and_then(|p| p.get("price"))
            .cloned()
            .context("the product's price")
    }

    /// Steps 4 to 10.
    pub(crate) async fn purchase(
        &self,
        card_id: &str,
        product_id: &str,
        quantity: u64,
    ) -> anyhow::Result<Value> {
        let price = self.price(product_id).await?;
        let minor = price
            .get("amount_minor")
            .and_then(Value::as_u64)
            .context("the product's price")?;
        let amount = json!({"currency": price.get("currency"), "amount_minor": minor.saturating_mul(quantity)});
        self.purchase_for(card_id, product_id, quantity, &amount)
            .await
    }

    /// Steps 4 to 10 with a known amount.
    pub(crate) async fn purchase_for(
        &self,
        card_id: &str,
        product_id: &str,
        quantity: u64,
        amount: &Value,
    ) -> anyhow::Result<Value> {
        let request = json!({
            "merchant_url": self.url("merchant"), "card_id": card_id,
            "items": [{"product_id": product_id, "quantity": quantity}], "amount": amount,
        });
        self.post("cardholder", "purchases", &request).await
    }

    /// What wallet, merchant and gateway report of steps 4 to 10: each step by the party that verified.
    pub(crate) async fn steps_of(&self, story: &Story) -> anyhow::Result<Vec<StepReport>> {
        let order = self
            .get(
                "merchant",
                &format!("orders/{}", story.of_purchase("order_id")),
            )
            .await?;
        let authorization = self
            .get(
                "gateway",
                &format!("authorizations/{}", story.of_purchase("xid")),
            )
            .await?;
        let mut all = steps(&story.purchase);
        all.extend(
            steps(&order)
                .into_iter()
                .filter(|s| s.step == 7 || s.step == 8),
        );
        all.extend(
            steps(&authorization)
                .into_iter()
                .filter(|s| s.step == 9 || s.step == 10),
        );
        Ok(all)
    }

    /// After step 10: the merchant asks for its money.
    pub(crate) async fn capture(&self, story: &Story) -> anyhow::Result<StepReport> {
        let started = Instant::now();
        let order = story.of_purchase("order_id");
        let captured = self
            .post("merchant", &format!("orders/{order}/capture"), &json!({}))
            .await?;
        ensure!(
            text(&captured, "state")? == "captured",
            "the order was not captured: {captured}"
        );
        let account = self
            .get("issuer", &format!("accounts/{}", story.account_id))
            .await?;
        let amount = story
            .purchase
            .pointer("/amount/amount_minor")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        ensure!(
            account.to_string().contains(&amount.to_string()),
            "the issuer's books do not show the captured amount: {account}"
        );
        let reported = self.get("merchant", &format!("orders/{order}")).await?;
        let bytes = steps(&reported)
            .iter()
            .find(|s| s.step == 11)
            .map_or(0, |s| s.bytes);
        let verified = [
            "capture token",
            "gateway's signature",
            "the issuer's books show the amount",
        ];
        Ok(StepReport::since(
            started,
            11,
            "merchant paid",
            ["merchant", "gateway"],
            "CapReq, CapRes",
            bytes,
            &verified,
        ))
    }
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let found = value.get(field).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("the answer has no {field}: {value}"))
}

/// The steps that a party reports in an answer.
fn steps(answer: &Value) -> Vec<StepReport> {
    answer
        .get("steps")
        .and_then(|steps| serde_json::from_value(steps.clone()).ok())
        .unwrap_or_default()
}
