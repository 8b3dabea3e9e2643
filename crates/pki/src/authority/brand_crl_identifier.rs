//! Issues BrandCRLIdentifiers.

use super::request::date;
use super::{Authority, IssueError};
use crate::brand_crl_identifier::{Contents, signed};
use crate::{BrandCrlIdentifier, BrandCrlIdentifierError, CrlIdentifier, Role};

impl Authority {
    /// Issues the brand's word on which CRLs are current, good from `not_before` to `not_after`, both included. A
    /// brand CA alone does so. The caller counts the sequence numbers up and names every CA of the brand and the
    /// root.
    pub fn issue_brand_crl_identifier(
        &self,
        sequence: u64,
        not_before: i64,
        not_after: i64,
        crls: &[CrlIdentifier],
    ) -> Result<BrandCrlIdentifier, IssueError> {
        let own = &self.certificate;
        let brand = match (own.role(), own.brand()) {
            (Role::BrandCa, Some(brand)) => brand.clone(),
            _ => return Err(IssueError::NotAnAuthority(own.role(), own.purpose())),
        };
        date(not_before)?;
        date(not_after)?;
        if not_after > own.not_after() {
            return Err(IssueError::OutlivesIssuer {
                issuer_ends: own.not_after(),
            });
        }
        let contents = Contents {
            sequence,
            brand,
            issuer_der: own.subject_der().to_vec(),
            not_before,
            not_after,
            crls: crls.to_vec(),
        };
        contents.check()?;
        let tbs = contents.encode().ok_or(BrandCrlIdentifierError::TooLarge)?;
        let signature = self
            .key
            .sign_pkcs1_sha256(&tbs)
            .map_err(|error| IssueError::Library(error.to_string()))?;
        Ok(BrandCrlIdentifier::from_der(&signed(&tbs, &signature))?)
    }
}
