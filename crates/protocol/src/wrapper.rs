//! MessageWrapper and MessageHeader: what travels (reference 3.0).

use crate::ids::{LocalId, Rrpid, Xid};
use crate::messages::{card_c_init, error, me_aq_c_init, p_init};
use crate::{Context, Rejection, SW_IDENT, Timestamp, text};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the protocol: SET was 1.0; this is its descendant on JSON and JOSE.
pub const VERSION: u8 = 2;
/// The revision of the version.
pub const REVISION: u8 = 0;
/// How old a message may be, in seconds. Stored answers live longer than this.
pub const AGE_SECONDS_MAX: i64 = 600;
/// How far ahead of the receiver's clock a message may be dated, in seconds.
pub const SKEW_SECONDS_MAX: i64 = 120;

/// One message with its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MessageWrapper {
    /// Who speaks of what, and when.
    pub message_header: MessageHeader,
    /// The message.
    pub message: Message,
    /// Extensions of the wrapper; critical ones that are not known are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mw_extensions: Vec<Extension>,
}

/// MessageHeader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageHeader {
    /// [`VERSION`].
    pub version: u8,
    /// [`REVISION`].
    pub revision: u8,
    /// When the message was made.
    pub date: Timestamp,
    /// The names of the exchange that the sender knows.
    pub message_ids: MessageIds,
    /// The request/response pair; absent only in an Error about a message without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rrpid: Option<Rrpid>,
    /// The sending software.
    pub sw_ident: String,
}

/// The names of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageIds {
    /// The cardholder's (in registrations: the applicant's) name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lid_c: Option<LocalId>,
    /// The merchant's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lid_m: Option<LocalId>,
    /// The purchase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xid: Option<Xid>,
}

impl MessageIds {
    /// The names in a purchase's TransIDs.
    #[must_use]
    pub fn of(trans_ids: &crate::ids::TransIds) -> Self {
        Self {
            lid_c: Some(trans_ids.lid_c.clone()),
            lid_m: Some(trans_ids.lid_m.clone()),
            xid: Some(trans_ids.xid),
        }
    }

    /// Only the applicant's or cardholder's name.
    #[must_use]
    pub fn of_lid_c(lid_c: &LocalId) -> Self {
        Self {
            lid_c: Some(lid_c.clone()),
            ..Self::default()
        }
    }
}

/// An extension of a wrapper. None is defined yet, so critical ones are refused and others ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Its object identifier, dotted.
    pub oid: String,
    /// Whether a receiver that does not know it must refuse the message.
    pub critical: bool,
    /// Its content, base64url.
    pub value: String,
}

/// A JWS in compact form, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Jws(#[serde(serialize_with = "text::write")] pub String);

/// A JWE in compact form, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Jwe(#[serde(serialize_with = "text::write")] pub String);

/// Whether a message belongs to a purchase or to a registration: its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/set-payment+json`
    Payment,
    /// `application/set-registration+json`
    Registration,
}

impl MediaType {
    /// The media type of this name; letter case does not matter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Payment, Self::Registration]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.name()))
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payment => "application/set-payment+json",
            Self::Registration => "application/set-registration+json",
        }
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $variant:ident($content:ty) = $name:literal in $media:ident),* $(,)?) => {
        /// Every message. On the wire an object with one member, named as SET names the message.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub enum Message { $($(#[$doc])* #[serde(rename = $name)] $variant($content)),* }

        impl Message {
            /// Its name on the wire.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),* }
            }

            /// Its media type; an Error goes by that of the message that it answers.
            #[must_use]
            pub fn media_type(&self) -> MediaType {
                match self { $(Self::$variant(_) => MediaType::$media),* }
            }

            fn decode(name: &str, content: &RawValue) -> Result<Self, Rejection> {
                match name {
                    $($name => serde_json::from_str(content.get()).map(Self::$variant).map_err(|e| malformed(&e)),)*
                    other => Err(Rejection::UnknownMessage(other.chars().take(40).collect())),
                }
            }
        }

    };
}

messages! {
    /// Cardholder to CA: begin a registration.
    CardCInitReq(card_c_init::CardCInitReq) = "CardCInitReq" in Registration,
    /// CA to cardholder: the CA's certificates.
    CardCInitRes(Jws) = "CardCInitRes" in Registration,
    /// Cardholder to CA: card number, sealed; asks for the form.
    RegFormReq(Jwe) = "RegFormReq" in Registration,
    /// CA to cardholder: the form.
    RegFormRes(Jws) = "RegFormRes" in Registration,
    /// Merchant or gateway to CA: begin a registration.
    MeAqCInitReq(me_aq_c_init::MeAqCInitReq) = "Me-AqCInitReq" in Registration,
    /// CA to merchant or gateway: certificates, form and challenge.
    MeAqCInitRes(Jws) = "Me-AqCInitRes" in Registration,
    /// Applicant to CA: keys, form and proof of possession, sealed.
    CertReq(Jwe) = "CertReq" in Registration,
    /// CA to applicant: the certificates, or why there are none.
    CertRes(crate::messages::cert::CertRes) = "CertRes" in Registration,
    /// Applicant to CA: what became of my request for certificates?
    CertInqReq(Jws) = "CertInqReq" in Registration,
    /// CA to applicant: as CertRes.
    CertInqRes(crate::messages::cert::CertRes) = "CertInqRes" in Registration,
    /// Cardholder to merchant: begin a purchase.
    PInitReq(p_init::PInitReq) = "PInitReq" in Payment,
    /// Merchant to cardholder: certificates and XID.
    PInitRes(Jws) = "PInitRes" in Payment,
    /// Cardholder to merchant: order, payment and dual signature, sealed.
    PReq(Jwe) = "PReq" in Payment,
    /// Merchant to cardholder: what became of the order.
    PRes(Jws) = "PRes" in Payment,
    /// Cardholder to merchant: what became of my order? Sealed.
    InqReq(Jwe) = "InqReq" in Payment,
    /// Merchant to cardholder: as PRes.
    InqRes(Jws) = "InqRes" in Payment,
    /// Merchant to gateway: may I have this amount? Sealed.
    AuthReq(Jwe) = "AuthReq" in Payment,
    /// Gateway to merchant: the bank's answer, sealed.
    AuthRes(Jwe) = "AuthRes" in Payment,
    /// Merchant to gateway: less is to be authorized, or nothing. Sealed.
    AuthRevReq(Jwe) = "AuthRevReq" in Payment,
    /// Gateway to merchant: so much is authorized now, sealed.
    AuthRevRes(Jwe) = "AuthRevRes" in Payment,
    /// Merchant to gateway: pay me, sealed.
    CapReq(Jwe) = "CapReq" in Payment,
    /// Gateway to merchant: paid or not, sealed.
    CapRes(Jwe) = "CapRes" in Payment,
    /// Merchant to gateway: these captures were in error, sealed.
    CapRevReq(Jwe) = "CapRevReq" in Payment,
    /// Gateway to merchant: cancelled or not, sealed.
    CapRevRes(Jwe) = "CapRevRes" in Payment,
    /// Merchant to gateway: give this back to the cardholder, sealed.
    CredReq(Jwe) = "CredReq" in Payment,
    /// Gateway to merchant: given back or not, sealed.
    CredRes(Jwe) = "CredRes" in Payment,
    /// Merchant to gateway: these refunds were in error, sealed.
    CredRevReq(Jwe) = "CredRevReq" in Payment,
    /// Gateway to merchant: cancelled or not, sealed.
    CredRevRes(Jwe) = "CredRevRes" in Payment,
    /// Merchant to gateway: about a batch, sealed.
    BatchAdminReq(Jwe) = "BatchAdminReq" in Payment,
    /// Gateway to merchant: how it stands, sealed.
    BatchAdminRes(Jwe) = "BatchAdminRes" in Payment,
    /// Merchant to gateway: which certificates are yours?
    PCertReq(Jws) = "PCertReq" in Payment,
    /// Gateway to merchant: these.
    PCertRes(Jws) = "PCertRes" in Payment,
    /// Anyone to anyone: the message could not be taken.
    Error(error::ErrorMessage) = "Error" in Payment,
}

/// Members of the wrapper as they came, so that the version is judged before anything else is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow)]
    message_header: &'a RawValue,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(default)]
    mw_extensions: Vec<Extension>,
}

/// All that is read of a header before its version is known.
#[derive(Deserialize)]
struct VersionOnly {
    version: u8,
}

/// An object with exactly one member: the message's name and content, unread.
struct OneMember<'a>(std::borrow::Cow<'a, str>, &'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for OneMember<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = OneMember<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with one member, named as the message")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<OneMember<'de>, A::Error> {
                use serde::de::Error;
                let none = || A::Error::custom("message is empty");
                let (name, content) = map
                    .next_entry::<std::borrow::Cow<'de, str>, &'de RawValue>()?
                    .ok_or_else(none)?;
                match map.next_key::<serde::de::IgnoredAny>()? {
                    Some(_) => Err(A::Error::custom("message has more than one member")),
                    None => Ok(OneMember(name, content)),
                }
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn malformed(error: &serde_json::Error) -> Rejection {
    Rejection::Malformed(error.to_string().chars().take(200).collect())
}

impl MessageWrapper {
    /// Wraps a message with a header dated now.
    pub fn new(ctx: &Context<'_>, message_ids: MessageIds, rrpid: Rrpid, message: Message) -> Self {
        let message_header = MessageHeader {
            version: VERSION,
            revision: REVISION,
            date: ctx.now,
            message_ids,
            rrpid: Some(rrpid),
            sw_ident: SW_IDENT.to_owned(),
        };
        Self {
            message_header,
            message,
            mw_extensions: Vec::new(),
        }
    }

    /// Reads a wrapper: version, structure, message and extensions, but neither dates nor
    /// signatures: a repeated message gets its stored answer before its date is judged.
    ///
    /// # Errors
    /// A [`Rejection`] of the form of the message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Rejection> {
        let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
        let VersionOnly { version } =
            serde_json::from_str(raw.message_header.get()).map_err(|e| malformed(&e))?;
        if version < VERSION {
            return Err(Rejection::VersionTooOld(version));
        }
        if version > VERSION {
            return Err(Rejection::VersionTooNew(version));
        }
        let message_header: MessageHeader =
            serde_json::from_str(raw.message_header.get()).map_err(|e| malformed(&e))?;
        if message_header.revision > REVISION {
            return Err(Rejection::VersionTooNew(version));
        }
        if message_header.sw_ident.len() > 256 {
            return Err(Rejection::BadHeader("sw_ident is longer than 256 bytes"));
        }
        if let Some(unknown) = raw.mw_extensions.iter().find(|e| e.critical) {
            return Err(Rejection::UnrecognizedExtension(
                unknown.oid.chars().take(80).collect(),
            ));
        }
        let OneMember(name, content) =
            serde_json::from_str(raw.message.get()).map_err(|e| malformed(&e))?;
        let message = Message::decode(&name, content)?;
        Ok(Self {
            message_header,
            message,
            mw_extensions: raw.mw_extensions,
        })
    }

    /// The bytes to send. They are made once and kept: a resent message is the same bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serializing owned strings, integers and lists into memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Judges the header's date.
    ///
    /// # Errors
    /// [`Rejection::TooOld`] or [`Rejection::TooNew`].
    pub fn check_date(&self, now: Timestamp) -> Result<(), Rejection> {
        self.check_date_within(now, AGE_SECONDS_MAX)
    }

    /// Judges the header's date where a message may take longer than most.
    ///
    /// # Errors
    /// As [`Self::check_date`].
    pub fn check_date_within(&self, now: Timestamp, age_seconds_max: i64) -> Result<(), Rejection> {
        let age = now
            .seconds()
            .saturating_sub(self.message_header.date.seconds());
        if age > age_seconds_max {
            return Err(Rejection::TooOld);
        }
        if age < SKEW_SECONDS_MAX.saturating_neg() {
            return Err(Rejection::TooNew);
        }
        Ok(())
    }

    /// The refusal of a message that does not belong here.
    #[must_use]
    pub fn not_taken(&self) -> Rejection {
        Rejection::MessageNotTaken(self.message.name())
    }

    /// The header's RRPID, which every message but an Error has.
    ///
    /// # Errors
    /// [`Rejection::BadHeader`] when it is missing.
    pub fn rrpid(&self) -> Result<Rrpid, Rejection> {
        self.message_header
            .rrpid
            .ok_or(Rejection::BadHeader("rrpid is missing"))
    }

    /// Checks that the header's date, which nobody signs, is the one that was signed: otherwise an old
    /// message could be sent again under a new date.
    ///
    /// # Errors
    /// [`Rejection::HeaderMismatch`].
    pub fn check_signed_date(&self, signed: Timestamp) -> Result<(), Rejection> {
        if self.message_header.date == signed {
            Ok(())
        } else {
            Err(Rejection::HeaderMismatch("date"))
        }
    }

    /// Checks that the header names the exchange as the message inside does.
    ///
    /// # Errors
    /// [`Rejection::HeaderMismatch`] naming the first field that differs.
    pub fn check_ids(&self, inside: &MessageIds, rrpid: Rrpid) -> Result<(), Rejection> {
        let header = &self.message_header;
        if header.rrpid != Some(rrpid) {
            return Err(Rejection::HeaderMismatch("rrpid"));
        }
        if header.message_ids.lid_c != inside.lid_c {
            return Err(Rejection::HeaderMismatch("lid_c"));
        }
        if header.message_ids.lid_m != inside.lid_m {
            return Err(Rejection::HeaderMismatch("lid_m"));
        }
        if header.message_ids.xid != inside.xid {
            return Err(Rejection::HeaderMismatch("xid"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
