//! Groups of fields that several messages share.

use crate::rows::Alteration::{Add, Bit, LastByte, Later, Number, Text};
use crate::rows::{Row, harmless, malformed, row, thumbprints};
use crate::run::End;
use openset_pki::PathError;
use openset_protocol::Rejection::{self, Disagreement, DualSignature, HeaderMismatch};
use openset_protocol::gateway::auth::Refusal;
use openset_protocol::messages::auth::AuthCode;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::thumbs::{RevocationState, Thumbs};

pub type Rows = Vec<Row<End>>;

/// What stands around the data in every signed payload.
pub fn frame(message: &'static str, prefix: &str, to: &str, is_response: bool) -> Rows {
    let refused = |rejection| End::Refused(message, rejection);
    let receiver = match to {
        "exchange" | "acquirer" => Text("somebody-else"),
        _ => Bit,
    };
    let mut rows = vec![
        row(
            format!("{prefix}from/certificate"),
            Bit,
            refused(Rejection::NotFromSigner),
        ),
        row(
            format!("{prefix}to/{to}"),
            receiver,
            refused(Rejection::NotForUs),
        ),
        row(
            format!("{prefix}message"),
            Text("Error"),
            refused(HeaderMismatch("message")),
        ),
        row(
            format!("{prefix}rrpid"),
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            format!("{prefix}date"),
            Later,
            refused(HeaderMismatch("date")),
        ),
    ];
    if is_response {
        rows.push(row(
            format!("{prefix}answers"),
            Bit,
            refused(Rejection::AnotherRequest),
        ));
    }
    rows
}

/// Thumbs that a request names or a response repeats: they must be the same. `message` is the response.
pub fn thumbs(message: &'static str, prefix: &str, thumbs: &Thumbs) -> Rows {
    let refused = || End::Refused(message, Rejection::ThumbsMismatch);
    thumbprints(prefix, thumbs)
        .into_iter()
        .map(|path| row(path, Bit, refused()))
        .collect()
}

/// What a response brings: it proves itself, and here it is what the receiver holds already.
pub fn news(message: &'static str, prefix: &str, state: &RevocationState) -> Rows {
    let refused = |error| End::Refused(message, Rejection::Certificate(error));
    let sequence = state.bci.as_ref().unwrap().sequence();
    let number = state.crls.last().unwrap().number();
    vec![
        row(
            format!("{prefix}news/bci"),
            LastByte,
            refused(PathError::BciSequenceReused { sequence }),
        ),
        row(
            format!("{prefix}news/crls/0"),
            LastByte,
            refused(PathError::CrlNumberReused { number }),
        ),
    ]
}

/// TransIDs whose three names stand in the header too; `others` is what comes of date and language.
pub fn trans_ids(message: &'static str, prefix: &str, others: [End; 2]) -> Rows {
    let refused = |rejection| End::Refused(message, rejection);
    let [date, language] = others;
    vec![
        row(
            format!("{prefix}lid_c"),
            Text("other"),
            refused(HeaderMismatch("lid_c")),
        ),
        row(
            format!("{prefix}lid_m"),
            Text("other"),
            refused(HeaderMismatch("lid_m")),
        ),
        row(format!("{prefix}xid"), Bit, refused(HeaderMismatch("xid"))),
        row(format!("{prefix}p_req_date"), Later, date),
        row(format!("{prefix}language"), Text("de"), language),
    ]
}

/// TransIDs that all end the same way.
pub fn same_trans_ids(prefix: &str, end: &End) -> Rows {
    vec![
        row(format!("{prefix}lid_c"), Text("other"), end.clone()),
        row(format!("{prefix}lid_m"), Text("other"), end.clone()),
        row(format!("{prefix}xid"), Bit, end.clone()),
        row(format!("{prefix}p_req_date"), Later, end.clone()),
        row(format!("{prefix}language"), Text("de"), end.clone()),
    ]
}

/// An amount: another number or currency ends the same way, another exponent contradicts ISO 4217.
pub fn amount(message: &'static str, prefix: &str, change: i64, end: &End) -> Rows {
    vec![
        row(format!("{prefix}amount"), Add(change), end.clone()),
        row(format!("{prefix}currency"), Number(840), end.clone()),
        malformed(format!("{prefix}amt_exp10"), Add(1), message),
    ]
}

/// A chain inside a message, of which `count` certificates travel: the receiver holds those above. Whichever is
/// altered, its issuer's signature fails.
pub fn chain(message: &'static str, prefix: &str, count: usize) -> Rows {
    let refused = || End::Refused(message, Rejection::Certificate(PathError::BadSignature));
    (0..count)
        .map(|place| row(format!("{prefix}/{place}"), LastByte, refused()))
        .collect()
}

/// The dual signature's payload.
pub fn dual_signature(message: &'static str) -> Rows {
    let field = |(name, alteration, what)| {
        row(
            format!("dual_signature/{name}"),
            alteration,
            End::Refused(message, DualSignature(what)),
        )
    };
    let fields = [
        ("version", Add(1), "version"),
        ("xid", Bit, "xid"),
        ("hoi", Bit, "order"),
        ("hpi", Bit, "payment"),
        ("merchant", Bit, "merchant"),
        ("gateway", Bit, "gateway"),
    ];
    fields.into_iter().map(field).collect()
}

/// The plan in it, which nobody agrees to by mail.
pub fn plan_of_payment_instruction() -> Rows {
    let plan = "pi/pi_data/pi_head/install_recur_data/recurring/";
    let other = End::Declined(Refusal::Plan);
    vec![
        row(format!("{plan}frequency_days"), Add(-1), other.clone()),
        row(format!("{plan}expiry"), Later, other),
    ]
}

/// The payment instruction, signed again by the cardholder: what the gateway finds.
pub fn payment_instruction() -> Rows {
    let declined = End::Declined;
    let head = "pi/pi_data/pi_head/";
    let card = "pi/pi_data/pan_data/";
    let refused = |rejection| End::Refused("AuthReq", rejection);
    let mut rows = vec![
        row("pi/hoi", Bit, refused(DualSignature("order"))),
        row(
            format!("{head}trans_ids/lid_c"),
            Text("other"),
            declined(Refusal::TransIds),
        ),
        row(
            format!("{head}trans_ids/lid_m"),
            Text("other"),
            declined(Refusal::TransIds),
        ),
        row(
            format!("{head}trans_ids/xid"),
            Bit,
            refused(DualSignature("xid")),
        ),
        row(
            format!("{head}trans_ids/p_req_date"),
            Later,
            declined(Refusal::TransIds),
        ),
        row(
            format!("{head}trans_ids/language"),
            Text("de"),
            declined(Refusal::TransIds),
        ),
        row(format!("{head}inputs/hod"), Bit, declined(Refusal::Hod)),
        row(
            format!("{head}merchant_id"),
            Text("shop-2"),
            declined(Refusal::Merchant),
        ),
        harmless(
            format!("{head}trans_stain"),
            Bit,
            "only who knows CardSecret can judge it, later",
        ),
        harmless(
            format!("{head}sw_ident"),
            Text("other/1"),
            "names software, decides nothing",
        ),
        row(
            format!("{head}acq_back_key_data"),
            Bit,
            End::Refused("PRes", Rejection::Unauthentic),
        ),
        row(
            format!("{card}pan"),
            Text("4000000000000002"),
            declined(Refusal::Account),
        ),
        row(
            format!("{card}card_expiry"),
            Text("203011"),
            declined(Refusal::Account),
        ),
        row(format!("{card}pan_secret"), Bit, declined(Refusal::Account)),
        harmless(
            format!("{card}ex_nonce"),
            Bit,
            "drawn freely; HPIData, which is signed, covers it",
        ),
    ];
    rows.extend(amount(
        "AuthReq",
        &format!("{head}inputs/purch_amt/"),
        -1,
        &End::Unauthorized(AuthCode::AmountError),
    ));
    rows
}

/// The gateway's token for itself.
pub fn cap_token(prefix: &str) -> Rows {
    let invalid = End::Uncaptured(CapCode::InvalidCapToken);
    let contradicts = End::Uncaptured(CapCode::InvalidAuthData);
    let mut rows = vec![
        row(
            format!("{prefix}merchant_id"),
            Text("shop-2"),
            invalid.clone(),
        ),
        row(format!("{prefix}auth_rrpid"), Bit, invalid.clone()),
        row(
            format!("{prefix}auth_amt/amount"),
            Add(-1),
            contradicts.clone(),
        ),
        row(
            format!("{prefix}auth_amt/currency"),
            Number(840),
            contradicts,
        ),
        row(
            format!("{prefix}auth_amt/amt_exp10"),
            Add(1),
            invalid.clone(),
        ),
        row(format!("{prefix}sequence"), Add(1), invalid.clone()),
    ];
    rows.extend(same_trans_ids(&format!("{prefix}trans_ids/"), &invalid));
    rows
}

/// The gateway's token for a later authorization.
pub fn auth_token(prefix: &str) -> Rows {
    let mismatch = End::Declined(Refusal::AuthToken);
    let field =
        |name: &str, alteration| row(format!("{prefix}{name}"), alteration, mismatch.clone());
    let mut rows = vec![
        field("merchant_id", Text("shop-2")),
        field("brand_id", Text("MasterCard")),
        field("hpi", Bit),
        row(
            format!("{prefix}approvals"),
            Add(1),
            End::Unauthorized(AuthCode::PiPreviouslyUsed),
        ),
    ];
    rows.extend(same_trans_ids(&format!("{prefix}trans_ids/"), &mismatch));
    rows
}

/// The gateway's message for the cardholder, which the wallet alone can open.
pub fn acq_card_msg(reader: &'static str, prefix: &str) -> Rows {
    vec![
        harmless(
            format!("{prefix}acq_card_code"),
            Text("accountInfo"),
            "the gateway's word, shown to the person",
        ),
        row(
            format!("{prefix}xid"),
            Bit,
            End::Refused(reader, Disagreement("acq_card_msg")),
        ),
        harmless(
            format!("{prefix}acq_card_text"),
            Text("Hello"),
            "the gateway's word, shown to the person",
        ),
    ]
}

/// The receipt but for RRPID and approval code, which only the merchant can compare.
pub fn receipt(reader: &'static str, prefix: &str) -> Rows {
    let refused = |rejection| End::Refused(reader, rejection);
    let differs = |what| End::Refused(reader, Disagreement(what));
    let mut rows = vec![
        row(
            format!("{prefix}from/certificate"),
            Bit,
            refused(Rejection::NotFromSigner),
        ),
        row(
            format!("{prefix}to/exchange"),
            Text("somebody-else"),
            refused(Rejection::NotForUs),
        ),
        row(
            format!("{prefix}message"),
            Text("PRes"),
            refused(HeaderMismatch("message")),
        ),
        row(format!("{prefix}date"), Later, differs("receipt auth_date")),
        row(format!("{prefix}data/xid"), Bit, differs("receipt xid")),
        row(format!("{prefix}data/hod"), Bit, differs("receipt hod")),
        row(
            format!("{prefix}data/auth_date"),
            Later,
            differs("receipt auth_date"),
        ),
        row(
            format!("{prefix}data/merchant_id"),
            Text("shop-2"),
            differs("receipt merchant_id"),
        ),
    ];
    rows.extend(amount(
        reader,
        &format!("{prefix}data/auth_amt/"),
        -1,
        &differs("receipt amount"),
    ));
    rows
}

/// The receipts of the gateway's answers, as the merchant reads them: `which` receipts are good there is tested by their
/// number.
pub fn newer_receipt(reader: &'static str, prefix: &str) -> Rows {
    let differs = |what| End::Refused(reader, Disagreement(what));
    let mut rows = receipt(reader, prefix);
    rows.extend([
        row(
            format!("{prefix}rrpid"),
            Bit,
            End::Refused(reader, HeaderMismatch("rrpid")),
        ),
        harmless(
            format!("{prefix}data/approval_code"),
            Text("ZZZZZZ"),
            "the bank's word, for the cardholder",
        ),
        row(
            format!("{prefix}data/sequence"),
            Number(1),
            differs("receipt amount"),
        ),
    ]);
    rows
}

/// A refund in a receipt, as far as it cannot be more than there was.
pub fn credit(reader: &'static str, prefix: &str) -> Rows {
    let differs = End::Refused(reader, Disagreement("receipt credits"));
    amount(reader, &format!("{prefix}cred_amt/"), 4200, &differs)
}
