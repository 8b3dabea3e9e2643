//! The negative matrix of a purchase: every signed or sealed field of every message of it, altered on the
//! wire, and altered and made whole again with the real keys.

use crate::layers::Link;
use crate::rows::{Expected, Row};
use crate::run::{End, Run};
use crate::trial::Ending;
use crate::world::world;
use openset_pki::PathVerifier;
use openset_protocol::Rejection;
use openset_protocol::content_type::ContentType;
use openset_protocol::gateway::auth::Refusal;
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;

mod answers;
mod batches;
mod captures;
mod certificates;
mod credits;
mod fields;
mod mail_orders;
mod requests;
mod reversals;

/// A message of the purchase under test.
pub type Case = crate::trial::Case<End>;

impl Ending for End {
    fn refused(&self) -> Option<(&'static str, &Rejection)> {
        match self {
            Self::Refused(message, rejection) => Some((message, rejection)),
            _ => None,
        }
    }

    /// The gateway's own tokens are judged in its signed answer, whatever is wrong with them.
    fn covers(&self, path: &str, _part: Option<usize>) -> bool {
        let judged = [
            Self::Uncaptured(CapCode::InvalidCapToken),
            Self::Unreversed(AuthRevCode::InvalidCapToken),
            Self::Undone(CapRevOrCredCode::InvalidCapToken),
        ];
        let refused = *self == Self::Declined(Refusal::AuthToken);
        (judged.contains(self) && path.contains("cap_token"))
            || (refused && path.contains("auth_token"))
    }
}

/// Why what a gateway reports may be anything: it is signed, and the merchant holds its own books against it.
pub const REPORT: &str = "the gateway's report on a batch";

fn fresh() -> PathVerifier {
    world().pki.fresh_verifier()
}

fn run(verifier: &PathVerifier) -> Run<'_> {
    Run {
        world: world(),
        verifier,
    }
}

const HPI: Link = Link {
    over: "pi/pi_data",
    content: ContentType::PiData,
    at: "dual_signature/hpi",
};

pub const P_REQ_LINKS: &[Link] = &[
    Link {
        over: "oi_data",
        content: ContentType::OiData,
        at: "dual_signature/hoi",
    },
    Link {
        over: "oi_data",
        content: ContentType::OiData,
        at: "pi/hoi",
    },
    Link {
        over: "pi/pi_data",
        content: ContentType::PiData,
        at: "hpi",
    },
    HPI,
];
pub const AUTH_REQ_LINKS: &[Link] = &[
    HPI,
    Link {
        over: "pi",
        content: ContentType::PiDualSignedTbe,
        at: "auth_req/data/pi_digest",
    },
    Link {
        over: "dual_signature",
        content: ContentType::PiTbs,
        at: "auth_req/data/dual_signature_digest",
    },
];
pub const NEXT_AUTH_REQ_LINKS: &[Link] = &[Link {
    over: "auth_token",
    content: ContentType::AuthToken,
    at: "auth_req/data/pi_digest",
}];
pub const AUTH_RES_LINKS: &[Link] = &[Link {
    over: "baggage",
    content: ContentType::AuthResBaggage,
    at: "auth_res/data/baggage_digest",
}];
pub const AUTH_REV_REQ_LINKS: &[Link] = &[Link {
    over: "cap_token",
    content: ContentType::CapToken,
    at: "auth_rev_req/data/cap_token_digest",
}];
pub const AUTH_REV_RES_LINKS: &[Link] = &[Link {
    over: "baggage",
    content: ContentType::AuthRevResBaggage,
    at: "auth_rev_res/data/baggage_digest",
}];
pub const CAP_REQ_LINKS: &[Link] = &[Link {
    over: "cap_token_seq",
    content: ContentType::CapTokenSeq,
    at: "cap_req/data/cap_token_seq_digest",
}];

pub const CAP_REV_OR_CRED_REQ_LINKS: &[Link] = &[Link {
    over: "cap_token_seq",
    content: ContentType::CapTokenSeq,
    at: "cap_rev_or_cred_req/data/cap_token_seq_digest",
}];

/// Every message.
pub fn all() -> Vec<Case> {
    let all = [
        requests::all(),
        answers::all(),
        reversals::all(),
        captures::all(),
        credits::all(),
        batches::all(),
        certificates::all(),
    ];
    all.into_iter().flatten().collect()
}

/// Harmless fields must be few, and stay few.
#[test]
fn of_all_fields_few_are_harmless_and_each_has_its_reason() {
    let rows: Vec<Row<End>> = all().into_iter().flat_map(|case| case.rows).collect();
    let harmless: Vec<&Row<End>> = rows
        .iter()
        .filter(|row| matches!(row.expected, Expected::Harmless(why) if why != REPORT))
        .collect();
    println!("{} fields, {} of them harmless", rows.len(), harmless.len());
    assert!(rows.len() >= 700, "{}", rows.len());
    assert!(harmless.len() <= 64, "{harmless:#?}");
}
