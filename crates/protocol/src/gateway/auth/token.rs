//! The gateway's token for a later authorization of the same purchase, and what is verified anew when it is shown.

use super::{Asker, Refusal, TokenKey, VerifiedPayment};
use crate::content_type::ContentType;
use crate::messages::auth::AuthTokenData;
use crate::sealed::open_direct;
use crate::signed::verify_chain;
use crate::wrapper::Jwe;
use crate::{BrandId, Rejection, Timestamp};
use openset_pki::{Expect, PathError, PathVerifier, Purpose, Role};

/// Opens a token, which must be one of ours, given to who shows it for this purchase.
pub(super) fn open(
    token: &Jwe,
    tokens: &TokenKey,
    asker: &Asker,
) -> Result<AuthTokenData, Refusal> {
    let provider = openset_jose::default_provider();
    let data: AuthTokenData = open_direct(token, provider, tokens.key(), ContentType::AuthToken)
        .map_err(|_| Refusal::AuthToken)?;
    let theirs = data.merchant_id == asker.merchant_id()
        && data.brand_id == asker.brand_id
        && data.trans_ids == asker.auth_tags.trans_ids;
    if theirs {
        Ok(data)
    } else {
        Err(Refusal::AuthToken)
    }
}

impl VerifiedPayment {
    /// Verifies what may have ended since the payment instruction was taken: the card, and the cardholder's
    /// certificate with its path. `Ok(Err(_))` is a refusal in the normal answer.
    ///
    /// # Errors
    /// A [`Rejection`] when the path cannot be judged now: newer lists may mend it.
    pub fn verify_again(
        &self,
        brand: &BrandId,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, Rejection> {
        let expect = Expect {
            role: Role::Cardholder,
            purpose: Purpose::Signature,
            brand: Some(brand),
        };
        // Kept before chains were: nobody can tell what became of the certificate.
        if self.cardholder_chain.is_empty() {
            return Ok(Err(Refusal::Cardholder));
        }
        match verify_chain(&self.cardholder_chain, &expect, verifier, now) {
            Ok(_) if self.card_expiry.is_past(now) => Ok(Err(Refusal::Expired)),
            Ok(_) => Ok(Ok(())),
            Err(Rejection::Certificate(PathError::Expired(_) | PathError::Revoked(_))) => {
                Ok(Err(Refusal::Cardholder))
            }
            Err(rejection) => Err(rejection),
        }
    }
}
