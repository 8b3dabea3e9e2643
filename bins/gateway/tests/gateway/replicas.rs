//! Two replicas of one gateway on one PostgreSQL.

use openset_protocol::messages::cap::CapCode;
use openset_testkit::postgres::PostgresServer;

use crate::bank::Bank;
use crate::purchase::{SHOP, buy, claim};
use crate::service::Premises;

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_hold_once_and_capture_once() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let (one, two) = tokio::join!(premises.replica().start(), premises.replica().start());
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let (left, right) = tokio::join!(
        one.set_until_answered(&asked.wire),
        two.set_until_answered(&asked.wire)
    );
    assert_eq!(left, right);
    assert_eq!(bank.effects("authorize"), 1);
    // The same payment instruction under another request, to either: used.
    let second = bought.ask();
    assert_eq!(
        second.auth_code(&two.set(&second.wire).await.taken()),
        "piPreviouslyUsed"
    );
    // Each replica captures: one succeeds, with a token that the other may have made.
    let [first, other] = [1, 2].map(|_| claim(&SHOP, vec![asked.capture(&bought, &left, 4200)]));
    let (answer, other_answer) = tokio::join!(
        one.set_until_answered(&first.wire),
        two.set_until_answered(&other.wire)
    );
    let mut codes = [first.codes(&answer)[0], other.codes(&other_answer)[0]];
    codes.sort_by_key(|code| format!("{code:?}"));
    assert_eq!(codes, [CapCode::DuplicateRequest, CapCode::Success]);
    assert_eq!(bank.effects("capture"), 1);
    assert_eq!(two.balance("payable/shop-1/EUR").await, Some(-4200));
}
