//! The hierarchy, the CA's answers and the applicants that the tests use.

use std::sync::LazyLock;

use openset_pki::{Certificate, PathVerifier};
use openset_protocol::ca::cert::{
    Approved, CardApproval, GatewayApproval, Inquiry, Issued, Issuer, MerchantApproval, Record,
    Verdict,
};
use openset_protocol::ca::reg_form::CardTerms;
use openset_protocol::ca::{
    AccountKey, AwaitingCertReq, AwaitingRegFormReq, Reply, Request, card_c_init, cert, form,
    me_aq_c_init, reg_form,
};
use openset_protocol::card::Bin;
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, FormAnswer, HOLDER, RegFormData};
use openset_protocol::thumbs::{RevocationState, Thumbs};
use openset_protocol::{Context, Rejection, Timestamp};
use openset_testkit::keys;
use openset_testkit::pki::{TestCa, TestPki};

pub(crate) const BRAND: &str = "Visa";
pub(crate) const PAN: &str = "4111111111111111";

static PKI: LazyLock<TestPki> = LazyLock::new(|| {
    TestPki::new(
        &[BRAND, "MasterCard"],
        Timestamp::from_seconds(1_800_000_000),
    )
});

pub(crate) fn pki() -> &'static TestPki {
    &PKI
}

/// A context at the fixture's moment. Every call draws other random bytes.
pub(crate) fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEED: AtomicU64 = AtomicU64::new(1);
    let mut rng = keys::rng(SEED.fetch_add(1, Ordering::Relaxed));
    work(&mut Context {
        now: pki().now,
        rng: &mut rng,
    })
}

pub(crate) fn answer(name: &str, value: &str) -> FormAnswer {
    FormAnswer {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

pub(crate) fn good_answers() -> Vec<FormAnswer> {
    vec![
        answer(HOLDER, "Alice Example"),
        answer(ACTIVATION_CODE, "1234-5678"),
    ]
}

/// The CA, as a service would run it.
pub(crate) struct Ca {
    pub account_key: AccountKey,
    pub card_form: RegFormData,
    pub served_bins: Vec<Bin>,
    pub certified_before: bool,
    pub earlier: Vec<cert::Earlier>,
    pub renewed_before: bool,
    /// What it knows of the brand's revocations.
    pub state: RevocationState,
}

impl Default for Ca {
    fn default() -> Self {
        Self {
            account_key: AccountKey::from_bytes([7; 32]),
            card_form: form::cardholder("Use the card well."),
            served_bins: vec!["411111".parse().unwrap()],
            certified_before: false,
            earlier: Vec::new(),
            renewed_before: false,
            state: RevocationState::of(pki().verifier(), &pki().brand(BRAND).id),
        }
    }
}

/// All that an applicant can hold of the brand.
pub(crate) fn thumbs() -> Thumbs {
    Thumbs::of(pki().verifier(), &pki().brand(BRAND).id)
}

pub(crate) fn cca() -> &'static TestCa {
    &pki().brand(BRAND).cca
}

impl Ca {
    pub(crate) fn card_c_init(&self, wire: &[u8]) -> Result<Reply<AwaitingRegFormReq>, Rejection> {
        let request = Request::decode(wire)?;
        with_context(|ctx| card_c_init::handle(ctx, &cca().credentials, &request, &self.state))
    }

    pub(crate) fn reg_form(
        &self,
        wire: &[u8],
        session: AwaitingRegFormReq,
    ) -> Result<Reply<Option<AwaitingCertReq>>, Rejection> {
        let request = Request::decode(wire)?;
        let ca = &cca().credentials;
        let opened = reg_form::open(ca, &request)?;
        let elsewhere = ["https://example.com/other-ca".to_owned()];
        let serves = self.served_bins.contains(&opened.bin());
        let terms = CardTerms {
            form: &self.card_form,
            refers_to: (!serves).then_some(elsewhere.as_slice()),
            account_key: &self.account_key,
            state: &self.state,
        };
        with_context(|ctx| opened.handle(ctx, ca, &request, session, &terms))
    }

    pub(crate) fn me_aq_c_init(
        &self,
        ca: &TestCa,
        wire: &[u8],
        form: &RegFormData,
    ) -> Result<Reply<AwaitingCertReq>, Rejection> {
        let request = Request::decode(wire)?;
        with_context(|ctx| me_aq_c_init::handle(ctx, &ca.credentials, &request, form, &self.state))
    }

    pub(crate) fn cert(
        &self,
        ca: &TestCa,
        wire: &[u8],
        session: &AwaitingCertReq,
    ) -> Result<Verdict, Rejection> {
        self.cert_with(ca, wire, session, pki().verifier())
    }

    pub(crate) fn cert_with(
        &self,
        ca: &TestCa,
        wire: &[u8],
        session: &AwaitingCertReq,
        verifier: &PathVerifier,
    ) -> Result<Verdict, Rejection> {
        let request = Request::decode(wire)?;
        let opened = cert::open(&ca.credentials, &request)?;
        let inquiry = Inquiry {
            account_key: &self.account_key,
            certified_before: self.certified_before,
            earlier: &self.earlier,
            renewed_before: self.renewed_before,
            verifier,
            state: &self.state,
        };
        with_context(|ctx| opened.verify(ctx, &ca.credentials, &request, session, &inquiry))
    }
}

fn issuer(ca: &TestCa) -> Issuer<'_> {
    Issuer {
        credentials: &ca.credentials,
        authority: &ca.authority,
        certificate_seconds: 365 * 86_400,
        card_cert_required: true,
    }
}

/// The bank says yes: the certificates are issued.
pub(crate) fn approve(ca: &TestCa, verdict: Verdict) -> Issued {
    with_context(|ctx| approved(ctx, verdict).issue(ctx, &issuer(ca))).unwrap()
}

/// The bank says yes, and an operator has to approve too.
pub(crate) fn pend(ca: &TestCa, verdict: Verdict) -> (Vec<u8>, Record) {
    with_context(|ctx| approved(ctx, verdict).pend(ctx, &ca.credentials, "Please wait.")).unwrap()
}

/// The operator says yes.
pub(crate) fn decide(ca: &TestCa, record: Record) -> (Record, Vec<Certificate>) {
    with_context(|ctx| record.issue(ctx, &issuer(ca))).unwrap()
}

/// What the CA answers to an inquiry.
pub(crate) fn inquired(ca: &TestCa, wire: &[u8], record: &Record) -> Result<Vec<u8>, Rejection> {
    inquired_with(ca, wire, record, pki().verifier())
}

pub(crate) fn inquired_with(
    ca: &TestCa,
    wire: &[u8],
    record: &Record,
    verifier: &PathVerifier,
) -> Result<Vec<u8>, Rejection> {
    let request = Request::decode(wire)?;
    let inquired = cert::read_inquiry(&request)?;
    with_context(|ctx| {
        let reply = inquired.verify(ctx, &ca.credentials, &request, record, verifier)?;
        record.answer(ctx, &ca.credentials, &reply)
    })
}

/// What is left to certify after the bank's yes.
fn approved(ctx: &mut Context<'_>, verdict: Verdict) -> Approved {
    match verdict {
        Verdict::AskIssuer(application) => {
            let approval = CardApproval {
                issuer_name: "Test Issuer".to_owned(),
            };
            application.approved(ctx, approval)
        }
        Verdict::AskAcquirer(application) => {
            let name = "Book Shop".to_owned();
            let approval = MerchantApproval {
                name,
                country: 276,
                acquirer_name: "Test Acquirer".to_owned(),
            };
            application.approved(approval)
        }
        Verdict::AskBrand(application) => {
            let approval = GatewayApproval {
                organization: "Test Acquirer".to_owned(),
            };
            application.approved(approval)
        }
        other => panic!("{other:?} without asking the bank"),
    }
}
