//! `publish`: files for a web server.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use openset_service::clock;

use crate::authorities::Authorities;

/// Writes roots, chains and CRLs; says what.
pub(super) async fn publish(ca: &Authorities, out: &Path) -> anyhow::Result<String> {
    ca.renew_crls().await?;
    let published = ca.published().await?;
    let (held, now) = (&published.held, clock::now_seconds());
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut roots = String::new();
    for root in held.roots() {
        let pem = root.certificate.to_pem();
        roots.push_str(&pem);
        files.push((format!("{}.pem", root.id), pem.into_bytes()));
    }
    files.push(("roots.pem".to_owned(), roots.into_bytes()));
    for held in held.all().iter().filter(|held| held.answers(now)) {
        let chain = held.authority.chain().context("a CA has a chain")?;
        let pem: String = chain
            .certificates()
            .iter()
            .map(|one| one.to_pem())
            .collect();
        files.push((format!("{}.pem", held.id), pem.into_bytes()));
    }
    for (id, crl) in published.crls {
        files.push((format!("{id}.crl"), crl.der));
    }
    for bci in published.brand_crl_identifiers {
        files.push((format!("{}.bci", bci.brand), bci.der));
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    for (name, bytes) in &files {
        write(&out.join(name), bytes)?;
    }
    Ok(format!(
        "{} files written to {}: certificates and chains (.pem), CRLs (.crl) and BrandCRLIdentifiers (.bci) in DER\n",
        files.len(),
        out.display()
    ))
}

/// Replaces a file in one step: who reads it meanwhile gets the old one or the new.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
