//! The root's fingerprint, by which all others know the hierarchy.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use openset_pki::Certificate;
use openset_service::config::Common;

/// The name of the file in the data folder.
const FILE: &str = "root.sha256";

/// Prints the fingerprint, and writes it to the data folder and where the configuration says.
///
/// # Errors
/// When a file cannot be written.
#[expect(clippy::print_stdout, reason = "this is what the operator copies")]
pub(crate) fn publish(common: &Common, root: &Certificate) -> anyhow::Result<()> {
    let fingerprint = hex::encode(openset_jose::sha256(root.der()));
    write(&common.data_dir.join(FILE), &fingerprint)?;
    if let Some(path) = &common.root_sha256_file {
        write(path, &fingerprint)?;
    }
    println!("root_sha256 = \"{fingerprint}\"");
    Ok(())
}

/// Replaces the file in one step: who waits for it never reads half of it.
fn write(path: &Path, fingerprint: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("sha256.new");
    fs::write(&beside, format!("{fingerprint}\n"))
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
