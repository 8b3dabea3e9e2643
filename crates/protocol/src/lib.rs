//! SET's messages, its dual signature and each party's rules, as pure functions.
//!
//! Nothing here reads a clock, a socket, a file or a random source of its own: time, randomness,
//! keys and trust anchors come in as arguments. A party's module takes what it stored and a
//! message, checks the message, and gives back the message to send and the facts to store.
//!
//! | module | what it holds |
//! |---|---|
//! | [`wrapper`] | MessageWrapper and MessageHeader: what travels over the wire |
//! | [`messages`] | one file for each pair of messages: its fields and code lists |
//! | [`signed`], [`sealed`] | how a payload is signed and sealed, and the checks common to all |
//! | [`dual_signature`] | the signature that ties order and payment together |
//! | [`cardholder`], [`merchant`], [`gateway`], [`ca`] | what each party checks and answers |
//! | [`balance`] | what may be done with a payment, by what was done so far: the state rules |
//! | [`enrolment`] | how a merchant or gateway gets its certificates |

pub mod balance;
pub mod ca;
pub mod card;
pub mod cardholder;
mod certificate_der;
pub mod content_type;
pub mod digest;
pub mod dual_signature;
pub mod enrolment;
pub mod gateway;
pub mod identity;
pub mod ids;
pub mod merchant;
pub mod messages;
pub mod money;
pub mod plain;
mod possession;
mod receipt;
pub mod rejection;
pub mod sealed;
pub mod signed;
mod text;
pub mod thumbs;
pub mod timestamp;
pub mod wrapper;

pub use openset_jose::{Random, Thumbprint};
pub use openset_pki::BrandId;
pub use rejection::{ErrorCode, Rejection};
pub use timestamp::Timestamp;

/// What a party's function needs from outside: the time and a source of randomness.
pub struct Context<'a> {
    /// The time at which the function is called.
    pub now: Timestamp,
    /// A cryptographic random source.
    pub rng: Random<'a>,
}

impl Context<'_> {
    /// The same context for a function called from this one.
    pub fn again(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            rng: &mut *self.rng,
        }
    }
}

/// The software's name and version, sent as SWIdent.
pub const SW_IDENT: &str = concat!("openset/", env!("CARGO_PKG_VERSION"));
