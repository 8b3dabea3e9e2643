//! TLS certificates for the demo: one CA whose key is forgotten, and a certificate for each service.
//! They protect the transport only and have nothing to do with SET's own hierarchy.

use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use super::write_private;

/// The demo's TLS CA, in memory alone.
pub(super) struct DemoAuthority(CertifiedIssuer<'static, KeyPair>);

impl DemoAuthority {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "OpenSET demo TLS CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("cannot make a TLS key")?;
        Ok(Self(
            CertifiedIssuer::self_signed(params, key).context("cannot make the TLS CA")?,
        ))
    }

    pub(super) fn certificate_pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate that is good for the container's name and for the host's loopback.
    pub(super) fn write_for(&self, party: &str, folder: &Path) -> anyhow::Result<()> {
        let names = [party, "localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).context("TLS names")?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("OpenSET demo {party}"));
        let key = KeyPair::generate().context("cannot make a TLS key")?;
        let certificate = params
            .signed_by(&key, &self.0)
            .context("cannot make a TLS certificate")?;
        write_private(&folder.join("tls.pem"), certificate.pem().as_bytes())?;
        write_private(&folder.join("tls.key"), key.serialize_pem().as_bytes())?;
        write_private(
            &folder.join("tls-ca.pem"),
            self.certificate_pem().as_bytes(),
        )
    }
}
