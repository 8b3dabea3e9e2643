//! A certificate in what is stored between two messages: its DER in base64url, read once, when it comes back.

use openset_pki::Certificate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::ExactBytes;

pub(crate) fn serialize<S: Serializer>(
    certificate: &Certificate,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    ExactBytes(certificate.der().to_vec()).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Certificate, D::Error> {
    let der = ExactBytes::deserialize(deserializer)?;
    Certificate::from_der(&der.0).map_err(D::Error::custom)
}
