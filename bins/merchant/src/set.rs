//! `POST /set`: PInitReq, PReq and InqReq of wallets.

mod inq;
mod mail;
mod p;
mod p_init;

use std::sync::Arc;

use axum::body::Bytes;
use openset_pki::PathError;
use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::messages::mail_order::is_lid_m;
use openset_protocol::wrapper::{AGE_SECONDS_MAX, Message, MessageWrapper, SKEW_SECONDS_MAX};
use openset_protocol::{Context, Rejection, Timestamp};
use openset_service::server::SET_BODY_LIMIT_BYTES;
use openset_service::set_endpoint::{self, MediaType, SetHandler, SetReply, Wire};
use openset_service::{clock, random, set_errors};
use openset_store::exchanges::{self, Opened, Recorded};
use openset_store::{Db, StoreError, Tx, Write};
use sqlx::AnyConnection;

use crate::Merchant;
use crate::failure::Failure;
use crate::store::purchases::{self, Purchase};
use crate::store::{orders, payments};

/// Answers to purchases are kept so long: longer than AuthReq is asked, and than any date is taken.
const KEEP_SECONDS: i64 = 3 * 24 * 60 * 60;
/// Answers to PInitReq, which anyone may send, only as long as its date is taken.
const KEEP_UNAUTHENTICATED_SECONDS: i64 = AGE_SECONDS_MAX + 2 * SKEW_SECONDS_MAX;
/// A mail order that is dated ahead by more than a day's work on somebody's clock is refused.
const AHEAD_SECONDS_MAX: i64 = 24 * 60 * 60;

/// The merchant's side of `POST /set`.
#[derive(Debug)]
pub(crate) struct SetEndpoint(pub(crate) Arc<Merchant>);

/// A message as it came.
#[derive(Debug, Clone)]
struct Received {
    bytes: Bytes,
    /// SHA-256 of the bytes, by which they are known again.
    digest: [u8; 32],
}

impl Received {
    /// What is on record of these bytes.
    async fn recorded(
        &self,
        connection: &mut AnyConnection,
        wrapper: &MessageWrapper,
    ) -> Result<Option<Recorded>, StoreError> {
        match wrapper.rrpid() {
            Ok(rrpid) => exchanges::find_same(connection, &rrpid.to_string(), &self.digest).await,
            Err(_) => Ok(None),
        }
    }
}

/// Who sent a message, and for how long its answer is kept.
#[derive(Debug)]
struct Sender {
    name: String,
    keep_s: i64,
    /// How old a message of it may be when it comes first.
    age_s_max: i64,
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    /// Through the spool folder, where nobody waits for an answer.
    Mail,
}

/// What becomes of a message from the spool folder.
#[derive(Debug)]
pub(crate) enum Mailed {
    /// Its answer, which may be SET's Error.
    Answer {
        wire: Vec<u8>,
        outcome: &'static str,
    },
    /// It is no message, and why.
    Undecodable(String),
    /// It has no answer yet, and why.
    Waits(String),
}

impl SetHandler for SetEndpoint {
    const MEDIA_TYPE: MediaType = MediaType::Payment;

    async fn handle(&self, wire: Wire) -> SetReply {
        let received = Received {
            digest: openset_jose::sha256(&wire.bytes),
            bytes: wire.bytes,
        };
        let failure = match self.answer_with_news(&received, Way::Http).await {
            Ok(answer) => return SetReply::Answer(answer),
            Err(failure) => failure,
        };
        let wrapper = MessageWrapper::decode(&received.bytes).ok();
        let heard = wrapper.as_ref().and_then(set_errors::hear);
        heard.unwrap_or_else(|| refuse(failure, wrapper.as_ref()))
    }

    async fn refuse(&self, rejection: set_endpoint::Rejection) -> SetReply {
        let rejection = match rejection {
            set_endpoint::Rejection::TooLarge => Rejection::TooBig {
                limit_bytes: SET_BODY_LIMIT_BYTES,
            },
            set_endpoint::Rejection::WrongMediaType { .. } => Rejection::MediaType,
            _ => return SetReply::Busy,
        };
        SetReply::Error(error(&rejection, None))
    }
}

impl SetEndpoint {
    /// Takes a message from the spool folder as it would be taken at `POST /set`.
    pub(crate) async fn by_mail(&self, bytes: Bytes) -> Mailed {
        let received = Received {
            digest: openset_jose::sha256(&bytes),
            bytes,
        };
        let wrapper = match MessageWrapper::decode(&received.bytes) {
            Ok(wrapper) => wrapper,
            Err(refusal) => return Mailed::Undecodable(refusal.to_string()),
        };
        match self.answer_with_news(&received, Way::Mail).await {
            Ok(wire) => Mailed::Answer {
                wire,
                outcome: "answered",
            },
            Err(Failure::Rejected(refusal))
                if !passes(&refusal, wrapper.message_header.date, clock::now()) =>
            {
                let set_message = wrapper.message.name();
                tracing::warn!(set_message, outcome = "refused", error = %refusal, "message refused");
                Mailed::Answer {
                    wire: error(&refusal, Some(&wrapper)),
                    outcome: "refused",
                }
            }
            Err(Failure::Internal(cause)) => Mailed::Waits(format!("{cause:#}")),
            Err(failure) => Mailed::Waits(failure.to_string()),
        }
    }

    /// Answers, if need be after a look for news that may turn a refusal.
    async fn answer_with_news(&self, received: &Received, way: Way) -> Result<Vec<u8>, Failure> {
        let mut answered = Box::pin(self.answer(received, way)).await;
        if let Err(Failure::Rejected(refusal)) = &answered
            && self.0.has_news_after(refusal).await
        {
            answered = Box::pin(self.answer(received, way)).await;
        }
        answered
    }

    async fn answer(&self, received: &Received, way: Way) -> Result<Vec<u8>, Failure> {
        let merchant = &self.0;
        let wrapper = MessageWrapper::decode(&received.bytes)?;
        // Whoever carried the file has its bytes, too: what it is answered with is for the folder alone.
        if way == Way::Http && is_mail_order(&wrapper) {
            return Err(Rejection::NotServed("a mail order over HTTP").into());
        }
        // The same bytes again get the same answer, before any key is used or date is judged.
        let mut connection = merchant.db.read().await?;
        let about = About::of(&mut connection, &wrapper, way).await?;
        let recorded = match about.is_new() {
            true => None,
            false => received.recorded(&mut connection, &wrapper).await?,
        };
        drop(connection);
        if let Some(known) = recorded {
            return match known.response {
                Some(answer) => Ok(answer),
                None if way == Way::Mail => Err(Failure::Overtaken("the gateway is asked")),
                None => p::join(merchant, received, &wrapper).await,
            };
        }
        match (&wrapper.message, about) {
            (Message::PReq(_), _) if is_mail_order(&wrapper) => {
                mail::handle(merchant, received, wrapper).await
            }
            // Nobody waits for the others there, and their senders would be waited for.
            (Message::PInitReq(_) | Message::PReq(_) | Message::InqReq(_), _)
                if way == Way::Mail =>
            {
                Err(Rejection::NotServed("what orders nothing by mail").into())
            }
            (Message::PInitReq(_), About::Order(open)) => {
                p_init::handle(merchant, received, wrapper, open).await
            }
            (Message::PReq(_), About::Purchase(opened)) => {
                let opened = opened.ok_or(Rejection::UnknownXid)?;
                p::handle(merchant, received, wrapper, *opened).await
            }
            (Message::PReq(_), _) => Err(Rejection::HeaderMismatch("xid").into()),
            (Message::InqReq(_), _) => inq::handle(merchant, received, wrapper).await,
            _ => Err(wrapper.not_taken().into()),
        }
    }
}

/// What a message is about, as the database has it: looked up first, since it nearly always tells that the same bytes cannot
/// have come before.
enum About {
    /// Of PInitReq: how many purchases of its order are open; none if there is no such order.
    Order(Option<i64>),
    /// Of PReq: the purchase that was opened for it.
    Purchase(Option<Box<Purchase>>),
    /// Of any other.
    Anything,
}

impl About {
    async fn of(
        connection: &mut AnyConnection,
        wrapper: &MessageWrapper,
        way: Way,
    ) -> Result<Self, Failure> {
        let ids = &wrapper.message_header.message_ids;
        let now_s = clock::now_seconds();
        Ok(match (&wrapper.message, &ids.xid) {
            (Message::PInitReq(request), _) if way == Way::Http => {
                let lid_m = request.lid_m.as_str();
                Self::Order(purchases::count(connection, lid_m, now_s).await?)
            }
            (Message::PReq(_), Some(xid)) if way == Way::Http => {
                let found = purchases::find(connection, xid, now_s).await?;
                Self::Purchase(found.map(Box::new))
            }
            _ => Self::Anything,
        })
    }

    /// Whether no such message is recorded, as long as its record is to be kept: PInitReq leaves a purchase for longer than that,
    /// and PReq a payment for good.
    fn is_new(&self) -> bool {
        match self {
            Self::Order(open) => *open == Some(0),
            Self::Purchase(opened) => opened.as_ref().is_some_and(|opened| !opened.used),
            Self::Anything => false,
        }
    }
}

/// Whether this is a PReq of which the header says that nothing came before.
fn is_mail_order(wrapper: &MessageWrapper) -> bool {
    let ids = &wrapper.message_header.message_ids;
    matches!(wrapper.message, Message::PReq(_)) && ids.lid_m.as_ref().is_some_and(is_lid_m)
}

/// Whether the same message may be good soon. By mail it is not sent again, so it waits here; not for years, whatever
/// date its sender writes.
fn passes(refusal: &Rejection, dated: Timestamp, now: Timestamp) -> bool {
    match refusal {
        Rejection::TooNew => dated <= now.plus(AHEAD_SECONDS_MAX),
        Rejection::Certificate(error) => matches!(
            error,
            PathError::CrlMissing(_)
                | PathError::CrlStale(_)
                | PathError::CrlBehindBci { .. }
                | PathError::BciMissing(_)
                | PathError::BciStale(_)
                | PathError::BciOmits(_)
        ),
        _ => false,
    }
}

/// SET's Error for what the sender can mend; "send it again" for all else.
fn refuse(failure: Failure, wrapper: Option<&MessageWrapper>) -> SetReply {
    let set_message = wrapper.map_or("unreadable", |wrapper| wrapper.message.name());
    match failure {
        Failure::Rejected(rejection) => {
            tracing::warn!(set_message, outcome = "refused", error = %rejection, "message refused");
            SetReply::Error(error(&rejection, wrapper))
        }
        Failure::NotReady(what) | Failure::Overtaken(what) => {
            tracing::info!(
                set_message,
                outcome = "busy",
                error = what,
                "message put off"
            );
            SetReply::Busy
        }
        // Its log line stands where the question was put.
        Failure::RevocationUnknown => SetReply::PutOff(Box::new(failure.into())),
        Failure::Internal(cause) => {
            let cause = format!("{cause:#}");
            tracing::error!(
                set_message,
                outcome = "failed",
                error = cause,
                "message not handled"
            );
            SetReply::Busy
        }
    }
}

fn error(rejection: &Rejection, wrapper: Option<&MessageWrapper>) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    ErrorMessage::answer(&mut ctx, rejection, wrapper).encode()
}

/// What the effect of a message counts on, and another message may have changed.
const OVERTAKEN: [&str; 3] = [purchases::TOO_MANY, orders::TAKEN, payments::NOT_BEGUN];

/// What is on record of a message.
enum Found {
    /// It is now, and was not before. Its date was judged.
    New,
    /// Recorded before: this is its answer.
    Answered(Vec<u8>),
    /// Recorded before and not answered yet.
    AtWork,
    /// Nothing: what its effect counts on is not so, for this reason.
    Overtaken(&'static str),
}

impl Found {
    /// The stored answer of a message that is recorded and answered in one transaction.
    fn answered(self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::New => Ok(None),
            Self::Answered(answer) => Ok(Some(answer)),
            Self::AtWork => Err(Failure::Overtaken("the same message is at work")),
            Self::Overtaken(reason) => Err(Failure::Overtaken(reason)),
        }
    }
}

/// A verified message that is to be recorded with its effect, and with its answer if that is made.
struct Recording<'a> {
    sender: &'a Sender,
    wrapper: &'a MessageWrapper,
    received: &'a Received,
    answer: Option<&'a [u8]>,
}

impl Recording<'_> {
    /// Records it with its effect, all or nothing, or says that it is known.
    async fn commit(&self, db: &Db, effect: Vec<Write>) -> Result<Found, Failure> {
        let now = clock::now();
        let rrpid = self.wrapper.rrpid()?.to_string();
        let names = self.names(&rrpid, now);
        // The same bytes get their answer however old they are.
        let judged = self.wrapper.check_date_within(now, self.sender.age_s_max);
        if judged.is_ok() {
            let mut writes = vec![exchanges::received(db.packer(), &names, self.answer)];
            writes.extend(effect);
            match db.write(writes).await {
                Ok(()) => return Ok(Found::New),
                Err(StoreError::Conflict(exchanges::KNOWN)) => {}
                Err(StoreError::Conflict(reason)) if OVERTAKEN.contains(&reason) => {
                    return Ok(Found::Overtaken(reason));
                }
                Err(error) => return Err(error.into()),
            }
        }
        match exchanges::find(&mut *db.read().await?, &names).await? {
            Some(known) => found(known),
            None => {
                judged?;
                Ok(Found::Overtaken("the message's record was removed"))
            }
        }
    }

    /// Records it in a transaction that goes on with its effect, or says that it is known.
    async fn open(&self, tx: &mut Tx) -> Result<Found, Failure> {
        let now = clock::now();
        let rrpid = self.wrapper.rrpid()?.to_string();
        let names = self.names(&rrpid, now);
        let opened = match self.answer {
            Some(answer) => exchanges::open_answered(tx, &names, answer).await?,
            None => exchanges::open(tx, &names).await?,
        };
        if opened == Opened::New {
            self.wrapper.check_date_within(now, self.sender.age_s_max)?;
        }
        found(opened)
    }

    fn names<'a>(&'a self, rrpid: &'a str, now: Timestamp) -> exchanges::Received<'a> {
        exchanges::Received {
            sender: &self.sender.name,
            message: self.wrapper.message.name(),
            rrpid,
            digest: self.received.digest,
            received_at: now.seconds(),
            keep_until: now.seconds().saturating_add(self.sender.keep_s),
        }
    }
}

fn found(opened: Opened) -> Result<Found, Failure> {
    match opened {
        Opened::New => Ok(Found::New),
        Opened::Same {
            response: Some(answer),
        } => Ok(Found::Answered(answer)),
        Opened::Same { response: None } => Ok(Found::AtWork),
        Opened::Different => Err(Rejection::RrpidReused.into()),
    }
}
