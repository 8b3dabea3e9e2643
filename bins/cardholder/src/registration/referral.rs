//! CardCInit and RegForm, with as many CAs as it takes: one that does not serve the card names others.

use std::sync::Arc;

use openset_protocol::cardholder::purchase::Step;
use openset_protocol::cardholder::registration::{
    AwaitingCardCInitRes, FormOrReferral, FormReceived,
};
use openset_protocol::messages::reg_form::ReferralData;
use openset_service::offload::offload;
use openset_service::problem::Problem;
use reqwest::Url;

use super::certify::ask;
use crate::payment::{Told, protocol_answer};
use crate::{Wallet, with_context};

/// So many CAs are asked for one form.
const CAS_MAX: usize = 4;

/// The form of the CA that serves a card.
pub(super) struct Served {
    pub(super) form: FormReceived,
    /// Where another CA has referred to.
    pub(super) referred_to: Option<String>,
}

/// Asks for the form, and follows referrals to addresses that the wallet may call. `begin` makes CardCInitReq.
pub(super) async fn serving_ca(
    wallet: &Arc<Wallet>,
    chosen: Option<&str>,
    begin: impl Fn() -> Step<AwaitingCardCInitRes>,
) -> Result<Served, Problem> {
    let first = wallet.registration_target(chosen)?;
    let mut referral = match exchange_form(wallet, &first, begin()).await? {
        FormOrReferral::Form(form) => {
            return Ok(Served {
                form: *form,
                referred_to: None,
            });
        }
        FormOrReferral::Referral(referral) => referral,
    };
    let mut asked = vec![first];
    while asked.len() < CAS_MAX {
        let Some((text, url)) = next(wallet, &referral, &asked) else {
            break;
        };
        match exchange_form(wallet, &url, begin()).await {
            Ok(FormOrReferral::Form(form)) => {
                return Ok(Served {
                    form: *form,
                    referred_to: Some(text),
                });
            }
            Ok(FormOrReferral::Referral(further)) => referral = further,
            Err(problem) => {
                tracing::warn!(error = %problem.detail, "a CA that was referred to gives no form");
            }
        }
        asked.push(url);
    }
    Err(referred(&referral))
}

/// The first address of a referral that the wallet may call and has not asked.
fn next(wallet: &Wallet, referral: &ReferralData, asked: &[Url]) -> Option<(String, Url)> {
    let urls = referral.referral_urls.iter();
    let mut allowed = urls.filter_map(|text| {
        let url = wallet.registration_target(Some(text)).ok()?;
        Some((text.clone(), url))
    });
    allowed.find(|(_, url)| !asked.contains(url))
}

async fn exchange_form(
    wallet: &Arc<Wallet>,
    target: &Url,
    step: Step<AwaitingCardCInitRes>,
) -> Result<FormOrReferral, Problem> {
    let answer = ask(wallet, target, step.wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let step = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| step.state.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await
    .map_err(|told| told.problem("ca-not-verified"))?;
    let answer = ask(wallet, target, step.wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| step.state.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await
    .map_err(|told| told.problem("ca-not-verified"))
}

/// Other CAs serve the card, none of which gave its form: where they are is told by one field for each address.
fn referred(referral: &ReferralData) -> Problem {
    let detail = format!(
        "{} Send the card again with the registration_url of the CA that serves it.",
        referral.reason
    );
    let mut problem = Problem::unprocessable("card-not-served", detail);
    for url in &referral.referral_urls {
        problem = problem.with_field("/registration_url", url.clone());
    }
    problem
}
