//! The names of certificates' owners: SET knows only C, O, OU and CN, each once.

use x509_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::CertificateError;
use crate::oid;

/// The most characters of an attribute (RFC 5280 appendix A, ub-common-name).
const ATTRIBUTE_CHARS_MAX: usize = 64;

/// A name, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) country: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) organizational_unit: Option<String>,
    pub(crate) common_name: Option<String>,
}

impl Name {
    /// Reads a name; one attribute twice would leave open which of the two counts, so it is refused. So is any other
    /// order than C, O, OU, CN (set-reference section 1): one owner has one name.
    pub(crate) fn read(name: &X509Name<'_>) -> Result<Self, CertificateError> {
        let mut read = Self::default();
        let mut last = 0;
        for rdn in name.iter() {
            let mut attributes = rdn.iter();
            let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
                return Err(CertificateError::Name(
                    "an RDN does not have exactly one attribute",
                ));
            };
            let (place, field) = read.field(attribute)?;
            if field.is_some() {
                return Err(CertificateError::Name("an attribute stands there twice"));
            }
            if place < last {
                return Err(CertificateError::Name(
                    "its attributes are not in the order C, O, OU, CN",
                ));
            }
            last = place;
            *field = Some(text(attribute)?);
        }
        Ok(read)
    }

    /// An attribute's place in the order, and where it goes.
    fn field(
        &mut self,
        attribute: &AttributeTypeAndValue<'_>,
    ) -> Result<(u8, &mut Option<String>), CertificateError> {
        let is = |arcs| oid::is(attribute.attr_type(), arcs);
        if is(oid::COUNTRY) {
            Ok((0, &mut self.country))
        } else if is(oid::ORGANIZATION) {
            Ok((1, &mut self.organization))
        } else if is(oid::ORGANIZATIONAL_UNIT) {
            Ok((2, &mut self.organizational_unit))
        } else if is(oid::COMMON_NAME) {
            Ok((3, &mut self.common_name))
        } else {
            Err(CertificateError::Name(
                "an attribute is none of C, O, OU and CN",
            ))
        }
    }
}

/// An attribute's text.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Result<String, CertificateError> {
    let value = attribute.attr_value();
    if !matches!(value.tag(), Tag::Utf8String | Tag::PrintableString) {
        return Err(CertificateError::Name(
            "an attribute is neither UTF8String nor PrintableString",
        ));
    }
    let text = std::str::from_utf8(value.data)
        .map_err(|_| CertificateError::Name("an attribute is not UTF-8"))?;
    check_text(text)?;
    Ok(text.to_owned())
}

/// Checks an attribute's text, on the way in and on the way out.
pub(crate) fn check_text(text: &str) -> Result<(), CertificateError> {
    let chars = text.chars().count();
    if chars == 0 || chars > ATTRIBUTE_CHARS_MAX {
        return Err(CertificateError::Name(
            "an attribute has no character or more than 64",
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(CertificateError::Name(
            "an attribute has a control character",
        ));
    }
    Ok(())
}
