//! Me-AqCInitReq: a merchant or gateway begins a registration; it gets the CA's certificates, the form
//! and a challenge that only the owner of its key-exchange key can open.

use super::{
    Applicant, AwaitingCertReq, Kind, Possession, Reply, Request, check_serves, form, respond,
};
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{Challenge, LocalId, Nonce};
use crate::messages::me_aq_c_init::{IdData, KeyExchangeChallenge, MeAqCInitReq, MeAqCInitResTbs};
use crate::messages::reg_form::{RegFormData, RegFormOrReferral};
use crate::possession::{seal_challenge, secret_digest};
use crate::thumbs::{Receiver, RevocationState};
use crate::wrapper::{Jwe, Message, MessageIds};
use crate::{Context, Rejection};
use openset_jose::PublicKey;
use openset_pki::Role;

const ME_AQ_C_INIT_RES: Kind = Kind {
    content: ContentType::MeAqCInitResTbs,
    name: "Me-AqCInitRes",
    wrap: Message::MeAqCInitRes,
};

/// The most characters of a merchant's or gateway's name at its acquirer.
const PARTY_ID_CHARS_MAX: usize = 30;

/// The CA that serves an applicant: merchants' or gateways'.
///
/// # Errors
/// [`Rejection::Disagreement`] when the request type is not one of theirs.
pub fn serving_role(init: &MeAqCInitReq) -> Result<Role, Rejection> {
    match (init.request_type.role(), &init.id_data) {
        (Role::Merchant, IdData::Merchant { .. }) | (Role::Gateway, IdData::Gateway { .. }) => {
            Ok(init.request_type.ca_role())
        }
        _ => Err(Rejection::Disagreement("request_type")),
    }
}

/// Answers Me-AqCInitReq with the credentials of the CA of its brand and [`serving_role`] and, if the applicant lacks
/// them, the brand's newest revocations (`state`).
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn handle(
    ctx: &mut Context<'_>,
    ca: &Credentials,
    request: &Request,
    form: &RegFormData,
    state: &RevocationState,
) -> Result<Reply<AwaitingCertReq>, Rejection> {
    let Message::MeAqCInitReq(init) = &request.wrapper.message else {
        return Err(request.wrapper.not_taken());
    };
    request
        .wrapper
        .check_ids(&MessageIds::of_lid_c(&init.lid_ee), init.rrpid)?;
    check_serves(ca, serving_role(init)?, &init.brand_id)?;
    check_party_id(&init.id_data)?;
    let key = key_exchange_key(ca, init)?;
    let form = form::asked(form, init.request_type);
    let lid_ca = LocalId::generate(ctx.rng);
    let chall_ca = Challenge::generate(ctx.rng);
    let (challenge, possession) = key
        .map(|key| challenge(ctx, &key, &lid_ca))
        .transpose()?
        .unzip();
    let receiver = Receiver::asking(init.thumbs.as_ref(), state);
    let data = MeAqCInitResTbs {
        lid_ee: init.lid_ee.clone(),
        chall_ee: init.chall_ee,
        lid_ca: lid_ca.clone(),
        chall_ca,
        request_type: init.request_type,
        reg_form_or_referral: RegFormOrReferral::RegForm(form.clone()),
        cae_thumb: ca.key_exchange.thumbprint(),
        ca_key_exchange: receiver.carried(ca.key_exchange.chain()),
        key_exchange_challenge: challenge,
    };
    let signed = (&receiver, &data);
    let wire = respond(ctx, ca, request, &init.lid_ee, &ME_AQ_C_INIT_RES, signed)?;
    let session = AwaitingCertReq {
        lid_ee: init.lid_ee.clone(),
        lid_ca,
        brand_id: init.brand_id.clone(),
        chall_ca,
        request_type: init.request_type,
        form,
        applicant: Applicant::Party {
            id_data: init.id_data.clone(),
            possession,
        },
    };
    Ok(Reply { wire, session })
}

/// A challenge that only the owner of the key can open, and what is kept of it.
fn challenge(
    ctx: &mut Context<'_>,
    key: &PublicKey,
    lid_ca: &LocalId,
) -> Result<(Jwe, Possession), Rejection> {
    let secret = Nonce::generate(ctx.rng);
    let challenge = KeyExchangeChallenge {
        lid_ca: lid_ca.clone(),
        secret,
    };
    let possession = Possession {
        key_exchange: key.thumbprint(),
        secret: secret_digest(&secret),
    };
    Ok((seal_challenge(ctx, key, &challenge)?, possession))
}

/// The key-exchange key to be certified: there if and only if one is applied for.
fn key_exchange_key(ca: &Credentials, init: &MeAqCInitReq) -> Result<Option<PublicKey>, Rejection> {
    if init.public_key_e.is_some() != init.request_type.certifies_key_exchange() {
        return Err(Rejection::Disagreement("public_key_e"));
    }
    let Some(spki) = &init.public_key_e else {
        return Ok(None);
    };
    let provider = ca.key_exchange.key().public_key().provider();
    let refused =
        |_| Rejection::Malformed("public_key_e is not an RSA key of 2048 to 4096 bits".to_owned());
    provider
        .public_key_from_spki(&spki.0)
        .map(Some)
        .map_err(refused)
}

fn check_party_id(id_data: &IdData) -> Result<(), Rejection> {
    let (IdData::Merchant {
        merchant_id: id, ..
    }
    | IdData::Gateway { gateway_id: id, .. }) = id_data;
    let fits =
        (1..=PARTY_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(())
    } else {
        Err(Rejection::Malformed(
            "an id has 1 to 30 printable ASCII characters".to_owned(),
        ))
    }
}
