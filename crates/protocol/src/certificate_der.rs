//! A certificate in what is stored between two messages: its DER in base64url, read once, when it comes back.

use openset_jose::base64url;
use openset_pki::Certificate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::ids::ExactBytes;
use crate::text;

pub(crate) fn serialize<S: Serializer>(
    certificate: &Certificate,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    text::write(&base64url::encode(certificate.der()), serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Certificate, D::Error> {
    let der = ExactBytes::deserialize(deserializer)?;
    Certificate::from_der(&der.0).map_err(D::Error::custom)
}
