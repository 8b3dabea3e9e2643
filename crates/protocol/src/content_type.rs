//! SET's content types (reference section 8), used as `cty` of every JWS and JWE and as prefix
//! of every digest.

macro_rules! content_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// What a signed, sealed or hashed object holds. Names are SET's; those that SET 1.0 did
        /// not have are listed in docs/DIVERGENCES.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ContentType { $($(#[$doc])* $variant),* }

        impl ContentType {
            /// Every content type.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

content_types! {
    /// Payment instruction data, hashed as HPIData.
    PiData = "PIData",
    /// Payment instruction data of a cardholder without a certificate, hashed as HPIData.
    PiDataUnsigned = "PIDataUnsigned",
    /// Order information data, hashed as HOIData.
    OiData = "OIData",
    /// What HOD is the digest of.
    HodInput = "HODInput",
    /// The dual signature's payload.
    PiTbs = "PI-TBS",
    /// Payment instruction sealed for the gateway.
    PiDualSignedTbe = "PIDualSignedTBE",
    /// Payment instruction that nobody signed, sealed for the gateway.
    PiUnsignedTbe = "PIUnsignedTBE",
    /// Purchase request sealed for the merchant (SET 1.0 sent the order in clear).
    PReqTbe = "PReqTBE",
    /// Signed answer to PInitReq.
    PInitResData = "PInitResData",
    /// Signed answer to PReq and InqReq.
    PResData = "PResData",
    /// Signed inquiry.
    InqReqData = "InqReqData",
    /// Signed inquiry sealed for the merchant.
    InqReqTbe = "InqReqTBE",
    /// Signed authorization request.
    AuthReqTbs = "AuthReqTBS",
    /// Authorization request and payment instruction sealed for the gateway.
    AuthReqTbe = "AuthReqTBE",
    /// Signed authorization response.
    AuthResTbs = "AuthResTBS",
    /// Authorization response and baggage sealed for the merchant.
    AuthResTbe = "AuthResTBE",
    /// Tokens and messages that ride with an authorization response.
    AuthResBaggage = "AuthResBaggage",
    /// The gateway's receipt for the cardholder.
    Receipt = "ReceiptTBS",
    /// Capture token for the gateway's own eyes.
    CapToken = "CapTokenTBE",
    /// Token for a later authorization, for the gateway's own eyes.
    AuthToken = "AuthTokenTBE",
    /// The capture tokens of one request.
    CapTokenSeq = "CapTokenSeq",
    /// The gateway's message for the cardholder alone.
    AcqCardCodeMsg = "AcqCardCodeMsgTBE",
    /// Signed reversal of an authorization.
    AuthRevReqTbs = "AuthRevReqTBS",
    /// Reversal and capture token sealed for the gateway.
    AuthRevReqTbe = "AuthRevReqTBE",
    /// Signed answer to a reversal.
    AuthRevResData = "AuthRevResData",
    /// Answer to a reversal and baggage sealed for the merchant.
    AuthRevResTbe = "AuthRevResTBE",
    /// What rides with the answer to a reversal.
    AuthRevResBaggage = "AuthRevResBaggage",
    /// Signed capture request.
    CapReqTbs = "CapReqTBS",
    /// Capture request sealed for the gateway.
    CapReqTbe = "CapReqTBE",
    /// Signed capture response.
    CapResData = "CapResData",
    /// Capture response sealed for the merchant.
    CapResTbe = "CapResTBE",
    /// Signed cancellation of captures.
    CapRevReqTbs = "CapRevReqTBS",
    /// Cancellation of captures and capture tokens sealed for the gateway.
    CapRevReqTbe = "CapRevReqTBE",
    /// Signed answer to a cancellation of captures.
    CapRevResData = "CapRevResData",
    /// Answer to a cancellation of captures sealed for the merchant.
    CapRevResTbe = "CapRevResTBE",
    /// Signed refunds.
    CredReqTbs = "CredReqTBS",
    /// Refunds and capture tokens sealed for the gateway.
    CredReqTbe = "CredReqTBE",
    /// Signed answer to refunds.
    CredResData = "CredResData",
    /// Answer to refunds sealed for the merchant.
    CredResTbe = "CredResTBE",
    /// Signed cancellation of refunds.
    CredRevReqTbs = "CredRevReqTBS",
    /// Cancellation of refunds and capture tokens sealed for the gateway.
    CredRevReqTbe = "CredRevReqTBE",
    /// Signed answer to a cancellation of refunds.
    CredRevResData = "CredRevResData",
    /// Answer to a cancellation of refunds sealed for the merchant.
    CredRevResTbe = "CredRevResTBE",
    /// Signed request about a batch.
    BatchAdminReqData = "BatchAdminReqData",
    /// Request about a batch sealed for the gateway.
    BatchAdminReqTbe = "BatchAdminReqTBE",
    /// Signed answer about a batch.
    BatchAdminResData = "BatchAdminResData",
    /// Answer about a batch sealed for the merchant.
    BatchAdminResTbe = "BatchAdminResTBE",
    /// Signed request for the gateway's certificates.
    PCertReqData = "PCertReqData",
    /// Signed answer with the gateway's certificates.
    PCertResTbs = "PCertResTBS",
    /// Signed Error.
    ErrorTbs = "ErrorTBS",
    /// Signed answer to CardCInitReq.
    CardCInitResTbs = "CardCInitResTBS",
    /// Signed answer to Me-AqCInitReq.
    MeAqCInitResTbs = "MeAqCInitResTBS",
    /// Registration form request sealed for the CA.
    RegFormReqTbe = "RegFormReqTBE",
    /// Signed registration form.
    RegFormResTbs = "RegFormResTBS",
    /// Signed certificate request.
    CertReqData = "CertReqData",
    /// Certificate request and account data sealed for the CA.
    CertReqTbe = "CertReqTBE",
    /// The second signature of a renewal.
    RenewalData = "RenewalData",
    /// Account data of a certificate request.
    AcctInfo = "AcctInfo",
    /// Signed certificate response.
    CertResData = "CertResData",
    /// Certificate response sealed for a cardholder.
    CertResTbe = "CertResTBE",
    /// Signed inquiry after a certificate request.
    CertInqReqTbs = "CertInqReqTBS",
    /// Challenge sealed for a key-exchange key that has no certificate yet.
    KeyExchangeChallenge = "KeyExchangeChallenge",
    /// The merchant's signed catalogue for mail order.
    Catalogue = "CatalogueTBS",
    /// A message wrapper as it travelled, hashed to answer it.
    Wrapper = "MessageWrapper",
}

/// The content types that may be sealed with `dir` + `A256GCM`; all others take RSA-OAEP-256.
pub const DIRECT: &[ContentType] = &[
    ContentType::CertResTbe,
    ContentType::AcqCardCodeMsg,
    ContentType::CapToken,
    ContentType::AuthToken,
];
