//! What an OCSP response is worth.

use super::PathVerifier;
use crate::ocsp::{About, Line, OcspWindow, Response};

use crate::verifier::CLOCK_SKEW_S;
use crate::{Certificate, Chain, Expect, PathError, Purpose};

impl PathVerifier {
    /// Checks a response about a certificate of a known CA, and says while it is good.
    ///
    /// All of this holds afterwards: the response repeats the nonce, if one was asked with; it is about this
    /// certificate; it was signed by a responder to which the certificate's own issuer delegated it, whose path is
    /// good; it is fresh; and it says that the certificate is not revoked. That it is revoked is remembered, as by
    /// [`Self::mark_revoked`].
    pub fn check_ocsp(
        &self,
        response: &Response,
        subject: &Certificate,
        nonce: Option<&[u8]>,
        now: i64,
    ) -> Result<OcspWindow, PathError> {
        if nonce.is_some() && response.nonce() != nonce {
            return Err(PathError::OcspWrongNonce);
        }
        let issuer = self.issuer_of(subject).ok_or(PathError::UnknownIssuer)?;
        let line = match response.about(subject, &issuer) {
            About::It(line) => line,
            About::AnotherIssuer => return Err(PathError::OcspWrongIssuer),
            About::Another => return Err(PathError::OcspOtherCertificate),
        };
        let responder = response.responder();
        let delegated = responder.purpose() == Purpose::OcspSigning
            && response.names_its_responder()
            && self.issuer_of(responder).as_ref() == Some(&issuer);
        if !delegated {
            return Err(PathError::OcspWrongResponder);
        }
        let expect = Expect {
            role: issuer.role(),
            purpose: Purpose::OcspSigning,
            brand: subject.brand(),
        };
        self.verify(&Chain::new(vec![responder.clone()])?, &expect, now)?;
        self.check_response_signature(response)?;
        let window = line.window();
        if window.this_update > now.saturating_add(CLOCK_SKEW_S) {
            return Err(PathError::OcspFuture(subject.role()));
        }
        if now >= window.next_update {
            return Err(PathError::OcspStale(subject.role()));
        }
        match line {
            Line::Good(window) => Ok(window),
            Line::Unknown(_) => Err(PathError::OcspUnknown(subject.role())),
            Line::Revoked(_) => {
                self.mark_revoked(&subject.thumbprint());
                Err(PathError::Revoked(subject.role()))
            }
        }
    }

    /// A response that was checked before costs no signature check. That its responder may still answer is checked
    /// each time.
    fn check_response_signature(&self, response: &Response) -> Result<(), PathError> {
        let thumbprint = response.thumbprint();
        if self.state().responses.find(&thumbprint).is_some() {
            return Ok(());
        }
        let (tbs, signature) = response.signed_parts();
        if !self
            .signatures
            .signed_by(response.responder(), tbs, signature)
        {
            return Err(PathError::OcspForged);
        }
        self.state().responses.insert(thumbprint, ());
        Ok(())
    }
}
