//! The spool folder: mail orders come in as files, answers go out as files of the same name.
//!
//! | folder | what lies there |
//! |---|---|
//! | `in` | messages that are not answered yet |
//! | `out` | answers |
//! | `done` | messages that were answered |
//! | `failed` | files that are no messages, each with a `.txt` that says why |
//!
//! Nothing but these files and the database is remembered, so whoever is killed goes on where it was: the same bytes
//! get the same answer, however often they are read. So do two replicas on one folder.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openset_service::CancellationToken;
use openset_service::offload::offload;
use openset_service::random;
use openset_service::server::SET_BODY_LIMIT_BYTES;

use crate::Merchant;
use crate::set::{Mailed, SetEndpoint};

/// Between two looks into the folder.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest name of a file, without `.json`.
const NAME_CHARS_MAX: usize = 128;
/// Files that one look takes at most; the others come with the next.
const FILES_MAX: usize = 1000;
/// What was being written when somebody was killed is removed after this.
const UNFINISHED_SECONDS: u64 = 60 * 60;

/// A spool folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// A file as it was read.
#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    /// Which file that was: another may take its name.
    identity: Identity,
}

/// Device, inode, length and the time of the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64, u64, i64, i64);

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self(
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
    }
}

impl Folder {
    /// Makes the folders that are not there yet.
    ///
    /// # Errors
    /// They cannot be made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let folder = Self(path.to_owned());
        for name in ["in", "out", "done", "failed"] {
            fs::create_dir_all(folder.0.join(name))?;
        }
        folder.remove_unfinished()?;
        Ok(folder)
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.0.join("out"))? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let old = |metadata: Metadata| {
                let age = metadata.modified().ok().and_then(|at| at.elapsed().ok());
                age.is_some_and(|age| age.as_secs() > UNFINISHED_SECONDS)
            };
            if name.starts_with('.') && name.ends_with(".part") && entry.metadata().is_ok_and(old) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The names of files that came in, in order.
    fn waiting(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0.join("in"))? {
            let entry = entry?;
            let name = entry.file_name();
            // A link may lead anywhere, and a name that is no name is somebody's unfinished work.
            if entry.file_type()?.is_file()
                && let Some(name) = name.to_str().filter(|name| is_taken(name))
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        names.truncate(FILES_MAX);
        Ok(names)
    }

    /// Reads a file; `None` if it is gone, or not the regular file that was seen.
    fn read(&self, name: &str) -> io::Result<Option<Found>> {
        let path = self.0.join("in").join(name);
        let seen = match fs::symlink_metadata(&path) {
            Ok(seen) if seen.is_file() => Identity::of(&seen),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if Identity::of(&file.metadata()?) != seen {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        // One byte more than is taken tells that there are too many.
        let limit = u64::try_from(SET_BODY_LIMIT_BYTES).unwrap_or(u64::MAX);
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        // Editors and shells end a file with a line break, which is no part of the message.
        bytes.truncate(bytes.trim_ascii_end().len());
        Ok(Some(Found {
            bytes,
            identity: seen,
        }))
    }

    /// Writes an answer whole, then puts the message away.
    fn answer(&self, name: &str, found: Identity, answer: &[u8]) -> io::Result<()> {
        self.write("out", name, answer)?;
        self.put_away(name, found, "done")
    }

    /// Puts a file away that is no message, and says why.
    fn fail(&self, name: &str, found: Identity, reason: &str) -> io::Result<()> {
        self.write("failed", &format!("{name}.txt"), reason.as_bytes())?;
        self.put_away(name, found, "failed")
    }

    /// A file that is there whole or not at all, whoever is killed.
    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.join(folder);
        let part = folder.join(format!(".{name}.{}.part", random::hex_id::<8>()));
        let mut file = File::create_new(&part)?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&part, folder.join(name))?;
        File::open(&folder)?.sync_all()
    }

    fn put_away(&self, name: &str, found: Identity, to: &str) -> io::Result<()> {
        let from = self.0.join("in").join(name);
        match fs::symlink_metadata(&from) {
            // Another message may have come under this name; it is read next.
            Ok(now) if Identity::of(&now) != found => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        match fs::rename(&from, self.0.join(to).join(name)) {
            // Another replica was as fast.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => {
                renamed?;
                File::open(self.0.join(to))?.sync_all()?;
                File::open(self.0.join("in"))?.sync_all()
            }
        }
    }
}

/// Whether a file of this name is a message: the name goes into paths and logs.
fn is_taken(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|stem| {
        (1..=NAME_CHARS_MAX).contains(&stem.len())
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    })
}

/// What is remembered of a file between two looks, and may be forgotten.
#[derive(Debug, Default)]
struct Known {
    /// A file that does not decode may still be growing: it is put away when it has not changed since.
    undecodable: Option<Identity>,
    /// Why it waits; said once.
    waits: Option<String>,
}

/// Takes what comes into the folder until `shutdown`.
pub(crate) async fn run(merchant: Arc<Merchant>, folder: Folder, shutdown: CancellationToken) {
    let endpoint = SetEndpoint(merchant);
    let mut known: HashMap<String, Known> = HashMap::new();
    let mut last_error = String::new();
    loop {
        let error = match look(&endpoint, &folder, &mut known, &shutdown).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        // Told once, not every second.
        if error != last_error && !error.is_empty() {
            tracing::error!(error, "the spool folder cannot be worked on");
        }
        last_error = error;
        let pause = tokio::time::sleep(LOOK_INTERVAL);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn look(
    endpoint: &SetEndpoint,
    folder: &Folder,
    known: &mut HashMap<String, Known>,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let listing = folder.clone();
    let names = offload(move || listing.waiting()).await?;
    known.retain(|name, _| names.contains(name));
    let mut outcome = Ok(());
    for name in names {
        if shutdown.is_cancelled() {
            break;
        }
        let of = known.entry(name.clone()).or_default();
        // What is wrong with one file is no reason to leave the others.
        let taken = Box::pin(take(endpoint, folder, name, of)).await;
        outcome = outcome.and(taken);
    }
    outcome
}

async fn take(
    endpoint: &SetEndpoint,
    folder: &Folder,
    name: String,
    known: &mut Known,
) -> io::Result<()> {
    let (reading, file) = (folder.clone(), name.clone());
    let Some(found) = offload(move || reading.read(&file)).await? else {
        return Ok(());
    };
    let identity = found.identity;
    let mailed = if found.bytes.len() > SET_BODY_LIMIT_BYTES {
        Mailed::Undecodable(format!("more than {SET_BODY_LIMIT_BYTES} bytes"))
    } else {
        endpoint.by_mail(found.bytes.into()).await
    };
    let writing = folder.clone();
    match mailed {
        Mailed::Answer { wire, outcome } => {
            let file = name.clone();
            offload(move || writing.answer(&file, identity, &wire)).await?;
            tracing::info!(file = %name, outcome, "a message from the spool folder was answered");
        }
        Mailed::Undecodable(reason) if known.undecodable == Some(identity) => {
            tracing::warn!(file = %name, error = %reason, outcome = "failed", "no message");
            offload(move || writing.fail(&name, identity, &reason)).await?;
        }
        Mailed::Undecodable(_) => known.undecodable = Some(identity),
        Mailed::Waits(why) => {
            if known.waits.as_ref() != Some(&why) {
                tracing::info!(file = %name, outcome = "waits", error = %why, "not answered yet");
            }
            known.waits = Some(why);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn put(folder: &Folder, name: &str, bytes: &[u8]) {
        fs::write(folder.0.join("in").join(name), bytes).unwrap();
    }

    fn text(folder: &Folder, path: &str) -> String {
        fs::read_to_string(folder.0.join(path)).unwrap()
    }

    #[test]
    fn spool_takes_regular_files_with_plain_names_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        for name in [
            "b.json",
            "a-1_2.x.json",
            "a b.json",
            ".json",
            "c.txt",
            "d.json.part",
            "ä.json",
        ] {
            put(&folder, name, b"{}");
        }
        put(&folder, &format!("{}.json", "n".repeat(128)), b"{}");
        put(&folder, &format!("{}.json", "m".repeat(129)), b"{}");
        fs::create_dir(place.path().join("in/folder.json")).unwrap();
        let secret = place.path().join("secret");
        fs::write(&secret, "{}").unwrap();
        std::os::unix::fs::symlink(&secret, place.path().join("in/link.json")).unwrap();
        let long = format!("{}.json", "n".repeat(128));
        assert_eq!(
            folder.waiting().unwrap(),
            ["a-1_2.x.json".to_owned(), "b.json".to_owned(), long]
        );
        assert!(folder.read("link.json").unwrap().is_none());
        assert!(folder.read("folder.json").unwrap().is_none());
        assert!(folder.read("gone.json").unwrap().is_none());
    }

    #[test]
    fn message_is_put_away_after_its_answer_is_whole_on_the_disk() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        put(&folder, "a.json", b"question");
        let found = folder.read("a.json").unwrap().unwrap();
        assert_eq!(found.bytes, b"question");
        folder.answer("a.json", found.identity, b"answer").unwrap();
        assert_eq!(text(&folder, "out/a.json"), "answer\n");
        assert_eq!(text(&folder, "done/a.json"), "question");
        assert!(folder.waiting().unwrap().is_empty());
        // Another replica, which has read it before.
        folder.answer("a.json", found.identity, b"answer").unwrap();
        assert_eq!(fs::read_dir(place.path().join("out")).unwrap().count(), 1);
    }

    #[test]
    fn message_that_came_under_the_name_of_one_being_answered_stays() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        put(&folder, "a.json", b"question");
        let found = folder.read("a.json").unwrap().unwrap();
        put(&folder, "new", b"another question");
        fs::rename(place.path().join("in/new"), place.path().join("in/a.json")).unwrap();
        folder.answer("a.json", found.identity, b"answer").unwrap();
        assert_eq!(text(&folder, "in/a.json"), "another question");
    }

    #[test]
    fn file_that_is_no_message_is_put_away_with_its_reason() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        put(&folder, "a.json", b"not JSON");
        let found = folder.read("a.json").unwrap().unwrap();
        folder.fail("a.json", found.identity, "not JSON").unwrap();
        assert_eq!(text(&folder, "failed/a.json"), "not JSON");
        assert_eq!(text(&folder, "failed/a.json.txt"), "not JSON\n");
        assert!(folder.waiting().unwrap().is_empty());
    }
}
