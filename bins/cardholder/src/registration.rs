//! Step 2 with the CA: CardCInit, RegForm, Cert. What is sent is stored before, with the keys that it is for.
//!
//! | state | what is kept | how it goes on |
//! |---|---|---|
//! | `form` | the CA's form | the person fills it in and accepts the policy |
//! | `registering` | CertReq and its key | sent again as the same bytes until it is answered |
//! | `pended` | what CertInq takes, and the key | the CA's operator has to decide; it is asked until it has |
//! | `registered` | key and certificate, and a renewal under way | to be bought with; renewed before it ends, once the person has accepted the policy if that is another one |
//! | `refused` | nothing | it ends |
//! | `unsigned` | the card alone | no CA is asked: paid with unsigned, where that is taken |
//!
//! A bank takes a card's activation code for one key. So the key stays the card's until the CA, which signs CertRes,
//! has refused it: an Error, which anybody may send, only makes the registration begin anew with the same key.

use std::sync::Arc;

use openset_jose::Thumbprint;
use openset_protocol::card::{CardExpiry, CardSecret, Pan, PanSecret};
use openset_protocol::cardholder::Card;
use openset_protocol::cardholder::registration::{AwaitingCertRes, FormReceived, Pended};
use openset_protocol::ids::{ExactBytes, Language};
use openset_protocol::messages::reg_form::{FormAnswer, RegFormData};
use openset_service::problem::Problem;
use openset_service::step_report::StepReport;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::store::{self, CardRow};
use crate::{Wallet, corrupt};

mod anew;
mod background;
mod certify;
mod consent;
mod credentials;
pub(crate) mod expiry;
mod form;
mod referral;
pub(crate) mod renewal;
mod unsigned;

pub(crate) use background::go_on;
pub(crate) use certify::finish;
pub(crate) use consent::{Consent, agree, replace};
pub(crate) use credentials::{Credential, parsed};
pub(crate) use form::{Answers, FailedAnswer, NewCard, fill_in, register, to_mend};
pub(crate) use unsigned::{Paying, buying, hold, paying};

/// Cards whose keys are held parsed at once.
const PARSED_CARDS_MAX: usize = 256;

/// A card's state while its form is to be filled in.
pub(crate) const FORM: &str = "form";
/// While CertReq is not answered.
pub(crate) const REGISTERING: &str = "registering";
/// While the CA's operator has to decide.
pub(crate) const PENDED: &str = "pended";
/// Once the certificate is there.
pub(crate) const REGISTERED: &str = "registered";
/// When there will be none.
pub(crate) const REFUSED: &str = "refused";
/// A card that is to have none.
pub(crate) const UNSIGNED: &str = "unsigned";

/// What is kept of a card, sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one is held at a time, for as long as a step takes"
)]
pub(crate) enum Kept {
    /// The form is to be filled in.
    Form {
        form: Box<FormReceived>,
        pan: Pan,
        expiry: CardExpiry,
        /// Answers that were not taken.
        failed: Vec<FailedAnswer>,
        /// The CA's words for the person.
        message: Option<String>,
        /// The key that the bank may know already; none before CertReq was made for the first time.
        #[serde(default)]
        key: Option<ExactBytes>,
        /// What was sent for it and never answered with a signature.
        #[serde(default)]
        unanswered: Option<Box<Unanswered>>,
    },
    /// CertReq was made; its answer is awaited.
    Registering {
        awaiting: Box<AwaitingCertRes>,
        key: ExactBytes,
        holder: String,
        pan: Pan,
        expiry: CardExpiry,
        /// How often the CA has answered with an Error.
        #[serde(default)]
        errors: u32,
        /// SHA-256 of the policy that the person accepted.
        #[serde(default)]
        policy: Option<Thumbprint>,
    },
    /// The CA's operator has to decide.
    Pended {
        pended: Box<Pended>,
        key: ExactBytes,
        holder: String,
        pan: Pan,
        expiry: CardExpiry,
        policy: Option<Thumbprint>,
        /// The CA's words for the person.
        message: Option<String>,
    },
    /// The card can be used.
    Registered {
        chain: Vec<ExactBytes>,
        key: ExactBytes,
        holder: String,
        pan: Pan,
        expiry: CardExpiry,
        card_secret: CardSecret,
        pan_secret: PanSecret,
        steps: Vec<StepReport>,
        /// The CA's words for the person.
        #[serde(default)]
        message: Option<String>,
        /// SHA-256 of the policy that the person accepted.
        #[serde(default)]
        policy: Option<Thumbprint>,
        /// The language of the form that the person read.
        #[serde(default = "Language::english")]
        language: Language,
        /// The expiry of the card that the bank has sent in its place: the certificate is renewed for it.
        #[serde(default)]
        new_expiry: Option<CardExpiry>,
        /// What the CA shows for a renewal and the person has not accepted.
        #[serde(default)]
        renewal_form: Option<Box<RegFormData>>,
        /// The person's answers to what it asks, once it is accepted.
        #[serde(default)]
        renewal_answers: Vec<FormAnswer>,
        /// Keys and certificates before the last renewal, for purchases that were begun under them.
        #[serde(default)]
        earlier: Vec<Credential>,
        /// Renewals whose CertReq is not answered: one, unless a back-up brought another.
        #[serde(default)]
        renewals: Vec<Renewal>,
    },
    /// The CA gave no certificate; nothing of the card is kept.
    Refused,
    /// No certificate was asked for.
    Bare { pan: Pan, expiry: CardExpiry },
}

/// A CertReq that the CA may have certified the key for, although it answered with an Error.
#[derive(Serialize, Deserialize)]
pub(crate) struct Unanswered {
    awaiting: Box<AwaitingCertRes>,
    holder: String,
    policy: Option<Thumbprint>,
    wire: ExactBytes,
    /// Where it was sent.
    registration_url: Option<String>,
}

/// A new key on its way to a certificate.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renewal {
    pub(crate) awaiting: AwaitingCertRes,
    pub(crate) key: ExactBytes,
    /// CertReq, sent again as the same bytes until it is answered.
    pub(crate) wire: ExactBytes,
    /// Where it is sent, if another CA has referred there.
    pub(crate) referred_to: Option<String>,
    pub(crate) begun_at_s: i64,
    /// Once the CA's operator has to decide: CertInq is sent in place of CertReq.
    #[serde(default)]
    pub(crate) pended: Option<Box<Pended>>,
}

fn context(card_id: &str) -> String {
    format!("cards/sealed/{card_id}")
}

impl Wallet {
    pub(crate) fn seal_card(&self, card_id: &str, kept: &Kept) -> Result<Vec<u8>, Problem> {
        let json = serde_json::to_vec(kept)
            .map(Zeroizing::new)
            .map_err(Problem::internal)?;
        Ok(self.vault.seal(&context(card_id), &json))
    }

    pub(crate) fn open_card(&self, row: &CardRow) -> Result<Kept, Problem> {
        let json = self
            .vault
            .open(&context(&row.card_id), &row.sealed)
            .map_err(Problem::internal)?;
        serde_json::from_slice(&json).map_err(|_| corrupt("cards.sealed"))
    }

    /// Where a card registers: where its person says, as far as the wallet may call there, or with the CA of the
    /// configuration.
    pub(crate) fn registration_target(&self, chosen: Option<&str>) -> Result<Url, Problem> {
        let Some(chosen) = chosen else {
            return Ok(self.registration_url.clone());
        };
        let own = self.registration_url.origin();
        let allowed = |url: &Url| self.policy.allows(url) || url.origin() == own;
        let url = Url::parse(chosen).ok().filter(allowed);
        url.ok_or_else(|| {
            let detail =
                "not an address that this wallet may call; add its origin to allowed_origins";
            Problem::unprocessable("address-not-allowed", detail)
                .with_field("/registration_url", detail)
        })
    }
}

/// A registered card with its keys parsed: the current ones, or those of the `certificate` that a purchase was
/// begun with.
pub(crate) async fn card(
    wallet: &Wallet,
    card_id: &str,
    certificate: Option<&str>,
) -> Result<Arc<Card>, Problem> {
    let row = store::card_by_id(&mut *wallet.db.read().await?, card_id).await?;
    card_of(wallet, row, certificate)
}

/// The same, of what the database holds of it.
fn card_of(
    wallet: &Wallet,
    row: Option<CardRow>,
    certificate: Option<&str>,
) -> Result<Arc<Card>, Problem> {
    let unknown = || {
        Problem::unprocessable(
            "no-such-card",
            "this wallet has no registered card of this id",
        )
        .with_field("/card_id", "see GET /cards")
    };
    let row = row.ok_or_else(unknown)?;
    if row.state != REGISTERED {
        return Err(unknown());
    }
    // Another replica may have renewed the certificate: what was parsed is good for its revision alone.
    if let Some((revision, card)) = last_parsed(wallet, &row.card_id, certificate)
        && revision == row.revision
    {
        return Ok(card);
    }
    let card = Arc::new(wallet.open_card(&row)?.card(certificate)?);
    let name = (row.card_id, certificate.map(str::to_owned));
    if let Ok(mut cards) = wallet.cards.write() {
        if cards.len() >= PARSED_CARDS_MAX {
            cards.clear();
        }
        cards.insert(name, (row.revision, Arc::clone(&card)));
    }
    Ok(card)
}

/// The card as it was parsed last, and of which revision.
fn last_parsed(
    wallet: &Wallet,
    card_id: &str,
    certificate: Option<&str>,
) -> Option<(i64, Arc<Card>)> {
    let name = (card_id.to_owned(), certificate.map(str::to_owned));
    wallet.cards.read().ok()?.get(&name).cloned()
}

pub(crate) async fn load(wallet: &Wallet, card_id: &str) -> Result<CardRow, Problem> {
    let row = store::card_by_id(&mut *wallet.db.read().await?, card_id).await?;
    row.ok_or_else(|| {
        Problem::not_found(
            "no-such-card",
            "this wallet has no card of this id; see GET /cards",
        )
    })
}

/// The row with another state, one revision further.
pub(crate) fn moved(
    wallet: &Wallet,
    row: &CardRow,
    state: &str,
    kept: &Kept,
) -> Result<CardRow, Problem> {
    Ok(CardRow {
        state: state.to_owned(),
        sealed: wallet.seal_card(&row.card_id, kept)?,
        wire: None,
        reason: None,
        revision: row.revision.saturating_add(1),
        ..row.clone()
    })
}
