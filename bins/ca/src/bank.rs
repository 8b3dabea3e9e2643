//! Whom the CA asks before it certifies: the issuer, the acquirer, and for gateways its own list.
//!
//! All three bind their approval to the keys, so that asking again after a crash brings the same
//! answer, and none is asked inside a transaction.

use openset_jose::{Thumbprint, sha256};
use openset_protocol::ca::cert::{
    CardApproval, CardApprovalRequest, GatewayApproval, GatewayApprovalRequest, MerchantApproval,
    MerchantApprovalRequest,
};
use openset_service::client::{HttpClient, join};
use openset_service::clock;
use openset_store::Db;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::config::{BankAt, Gateway, Settings};
use crate::error::CaError;
use crate::store::codes::{self, Holder, Keys, WRONG_ATTEMPTS_MAX};

/// The bank's word: yes with what the certificate is to say, or no with its reason.
pub(crate) type Word<T> = Result<T, String>;

/// What a bank answers. It may say more; that is not ours to judge.
#[derive(Debug, Deserialize)]
struct Answer {
    approved: bool,
    reason: Option<String>,
    issuer_name: Option<String>,
    name: Option<String>,
    country: Option<String>,
    acquirer_name: Option<String>,
}

impl Answer {
    /// The reason, if the bank does not approve.
    fn refusal(&self) -> Option<String> {
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        // It is shown to people and signed by us.
        let plain: String = reason
            .chars()
            .filter(|c| !c.is_control())
            .take(80)
            .collect();
        (!self.approved).then_some(plain)
    }
}

/// Asks the issuer about a cardholder.
pub(crate) async fn issuer(
    client: &HttpClient,
    settings: &Settings,
    request: &CardApprovalRequest,
) -> Result<Word<CardApproval>, CaError> {
    let Some(bank) = &settings.issuer else {
        return Ok(Err("no issuer is known here".to_owned()));
    };
    let answer: Answer = ask(client, bank, request).await?;
    if let Some(reason) = answer.refusal() {
        return Ok(Err(reason));
    }
    let issuer_name = answer
        .issuer_name
        .ok_or(CaError::BankAnswer("issuer_name"))?;
    Ok(Ok(CardApproval { issuer_name }))
}

/// Asks the acquirer about a merchant.
pub(crate) async fn acquirer(
    client: &HttpClient,
    settings: &Settings,
    request: &MerchantApprovalRequest,
) -> Result<Word<MerchantApproval>, CaError> {
    let Some(bank) = &settings.acquirer else {
        return Ok(Err("no acquirer is known here".to_owned()));
    };
    let answer: Answer = ask(client, bank, request).await?;
    if let Some(reason) = answer.refusal() {
        return Ok(Err(reason));
    }
    let country = answer
        .country
        .as_deref()
        .and_then(|country| country.parse().ok());
    Ok(Ok(MerchantApproval {
        name: answer.name.ok_or(CaError::BankAnswer("name"))?,
        country: country.ok_or(CaError::BankAnswer("country"))?,
        acquirer_name: answer
            .acquirer_name
            .ok_or(CaError::BankAnswer("acquirer_name"))?,
    }))
}

async fn ask<B: Serialize + Sync, T: DeserializeOwned>(
    client: &HttpClient,
    bank: &BankAt,
    request: &B,
) -> Result<T, CaError> {
    let url = join(&bank.url, "registrations/approve");
    let token = bank.token.clone().into();
    Ok(client.post_json(&url, Some(&token), None, request).await?)
}

/// Looks a gateway up among those that the brand has admitted, and uses its code up.
pub(crate) async fn brand(
    db: &Db,
    settings: &Settings,
    request: &GatewayApprovalRequest,
) -> Result<Word<GatewayApproval>, CaError> {
    let admitted = settings.gateways.iter().find(|gateway| {
        gateway.gateway_id == request.gateway_id
            && gateway.acquirer_bin == request.acquirer_bin
            && gateway.brand == request.brand
    });
    let Some(gateway) = admitted else {
        return Ok(Err("unknownGateway".to_owned()));
    };
    let approval = GatewayApproval {
        organization: gateway.organization.clone(),
    };
    let Some(given) = request.credential.activation_code() else {
        // It shows a certificate that it has, and is admitted still.
        return Ok(Ok(approval));
    };
    let mut tx = db.begin().await?;
    let holder = Holder {
        acquirer_bin: gateway.acquirer_bin.as_str(),
        gateway_id: &gateway.gateway_id,
        brand: gateway.brand.as_str(),
    };
    let keys = Keys {
        signature: key_name(request.key_thumbprint),
        key_exchange: key_name(request.key_exchange_thumbprint),
    };
    let now_s = clock::now_seconds();
    let code_hash = sha256(gateway.activation_code.expose().as_bytes());
    let known = codes::lock(&mut tx, holder, &code_hash, now_s).await?;
    let word = match judge(&known, &keys, same_code(gateway, given)) {
        Ok(()) => {
            codes::bind(&mut tx, holder, &keys).await?;
            Ok(approval)
        }
        Err(reason) => {
            if reason == WRONG_CODE {
                codes::count_wrong(&mut tx, holder, now_s).await?;
            }
            Err(reason.to_owned())
        }
    };
    tx.commit().await?;
    Ok(word)
}

/// A key as the use of a code names it; empty if none is to be certified.
fn key_name(key: Option<Thumbprint>) -> String {
    key.map(|key| key.to_string()).unwrap_or_default()
}

const WRONG_CODE: &str = "wrongCode";

fn judge(known: &codes::Use, keys: &Keys, same_code: bool) -> Result<(), &'static str> {
    match &known.keys {
        Some(used_for) if used_for != keys => Err("codeUsed"),
        None if known.wrong_attempts >= WRONG_ATTEMPTS_MAX => Err("codeLocked"),
        _ if !same_code => Err(WRONG_CODE),
        _ => Ok(()),
    }
}

fn same_code(gateway: &Gateway, given: &str) -> bool {
    let (held, given) = (
        sha256(gateway.activation_code.expose().as_bytes()),
        sha256(given.as_bytes()),
    );
    held.ct_eq(&given).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(name: &str) -> Keys {
        Keys {
            signature: name.to_owned(),
            key_exchange: format!("{name}-e"),
        }
    }

    fn after(wrong_attempts: i64, keys: Option<Keys>) -> codes::Use {
        codes::Use {
            wrong_attempts,
            keys,
        }
    }

    #[test]
    fn code_is_good_once_and_again_for_the_same_keys() {
        assert_eq!(judge(&after(0, None), &keys("a"), true), Ok(()));
        assert_eq!(judge(&after(0, Some(keys("a"))), &keys("a"), true), Ok(()));
        assert_eq!(
            judge(&after(0, Some(keys("a"))), &keys("b"), true),
            Err("codeUsed")
        );
    }

    #[test]
    fn code_is_locked_after_too_many_wrong_attempts() {
        assert_eq!(judge(&after(4, None), &keys("a"), false), Err("wrongCode"));
        assert_eq!(judge(&after(5, None), &keys("a"), true), Err("codeLocked"));
    }
}
