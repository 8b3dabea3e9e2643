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
//! get the same answer, however often they are read. So do two replicas on one folder. Folders that this makes are its
//! owner's alone; who makes them before says who may hand in and fetch.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openset_service::CancellationToken;
use openset_service::clock;
use openset_service::offload::offload;
use openset_service::random;
use openset_service::server::SET_BODY_LIMIT_BYTES;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::Merchant;
use crate::set::{Mailed, SetEndpoint};

/// Between two looks into the folder.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest name of a file, without `.json`.
const NAME_CHARS_MAX: usize = 128;
/// Files that one look takes at most; the next goes on behind them.
const FILES_MAX: usize = 1000;
/// Between two looks for what somebody left behind who was killed.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
/// What was being written when somebody was killed is removed after this.
const UNFINISHED_SECONDS: i64 = 60 * 60;
/// What was being put away when somebody was killed is handed in again after this.
const TAKEN_SECONDS: i64 = 60;
/// The ends of names that files have while they are written, and while they are put away.
const PART: &str = "part";
const TAKEN: &str = "taken";

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
            // What lies there says who buys what, and is told to nobody.
            let mut builder = DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(folder.0.join(name))?;
        }
        folder.tidy(clock::now_seconds())?;
        Ok(folder)
    }

    /// Removes what somebody wrote who was killed, and hands in again what somebody was putting away.
    fn tidy(&self, now_s: i64) -> io::Result<()> {
        // Renaming changes a file's status, so this is how long it has had its name.
        let older = |found: &Metadata, seconds: i64| found.ctime() < now_s.saturating_sub(seconds);
        for folder in ["out", "failed"] {
            for (path, _, found) in self.halfway(folder, PART)? {
                if older(&found, UNFINISHED_SECONDS) {
                    remove(&path)?;
                }
            }
        }
        for (path, name, found) in self.halfway("in", TAKEN)? {
            if older(&found, TAKEN_SECONDS) {
                self.hand_back(&path, &name)?;
            }
        }
        Ok(())
    }

    /// Files of a folder that have a name for the meantime: `.<name>.<random>.<end>`.
    fn halfway(&self, folder: &str, end: &str) -> io::Result<Vec<(PathBuf, String, Metadata)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.0.join(folder))? {
            let entry = entry?;
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|file| named_in(file, end)) else {
                continue;
            };
            match fs::symlink_metadata(entry.path()) {
                Ok(metadata) => found.push((entry.path(), name.to_owned(), metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Gives a message its name again, unless another has come under it by now, as if it had come later.
    fn hand_back(&self, taken: &Path, name: &str) -> io::Result<()> {
        // Unlike rename, a link does not replace what is there.
        match fs::hard_link(taken, self.0.join("in").join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        remove(taken)
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
        Ok(names)
    }

    /// Reads a file; `None` if it is gone, or not the regular file that was seen.
    fn read(&self, name: &str) -> io::Result<Option<Found>> {
        let path = self.0.join("in").join(name);
        // Whatever has come under this name by now: no link is followed, and no pipe or device is waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Ok(None);
        }
        let seen = Identity::of(&found);
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
        let part = folder.join(meantime(name, PART));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&part)?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&part, folder.join(name))?;
        File::open(&folder)?.sync_all()
    }

    fn put_away(&self, name: &str, found: Identity, to: &str) -> io::Result<()> {
        let folder = self.0.join("in");
        // Under a name that nobody else gives it stays what it is.
        let taken = folder.join(meantime(name, TAKEN));
        match fs::rename(folder.join(name), &taken) {
            // Another replica was as fast.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        if Identity::of(&fs::symlink_metadata(&taken)?) != found {
            // Another message has come under this name; it is read next.
            return self.hand_back(&taken, name);
        }
        fs::rename(&taken, self.0.join(to).join(name))?;
        File::open(self.0.join(to))?.sync_all()?;
        File::open(folder)?.sync_all()
    }
}

/// A name for the meantime, which is no message's.
fn meantime(name: &str, end: &str) -> String {
    format!(".{name}.{}.{end}", random::hex_id::<8>())
}

/// What a file is called once it no longer has this name for the meantime.
fn named_in<'a>(file: &'a str, end: &str) -> Option<&'a str> {
    let rest = file.strip_prefix('.')?.strip_suffix(end)?;
    let (name, _) = rest.strip_suffix('.')?.rsplit_once('.')?;
    let message = name.strip_suffix(".txt").unwrap_or(name);
    is_taken(message).then_some(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
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

/// What is remembered between two looks, and may be forgotten.
#[derive(Debug, Default)]
struct Memory {
    known: HashMap<String, Known>,
    /// The file that was looked at last.
    last: String,
}

impl Memory {
    /// The files that are looked at now, behind the last one and around again: whatever waits, none is passed over.
    fn turn<'a>(&self, names: &'a [String]) -> Vec<&'a String> {
        let behind = names.partition_point(|name| *name <= self.last);
        let (before, behind) = names.split_at(behind);
        behind.iter().chain(before).take(FILES_MAX).collect()
    }
}

/// Takes what comes into the folder until `shutdown`.
pub(crate) async fn run(merchant: Arc<Merchant>, folder: Folder, shutdown: CancellationToken) {
    let endpoint = SetEndpoint(merchant);
    let mut memory = Memory::default();
    let (mut last_error, mut tidied) = (String::new(), Instant::now());
    loop {
        let mut outcome = look(&endpoint, &folder, &mut memory, &shutdown).await;
        if tidied.elapsed() >= TIDY_INTERVAL {
            tidied = Instant::now();
            let tidying = folder.clone();
            outcome = outcome.and(offload(move || tidying.tidy(clock::now_seconds())).await);
        }
        let error = match outcome {
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
    memory: &mut Memory,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let listing = folder.clone();
    let names = offload(move || listing.waiting()).await?;
    memory
        .known
        .retain(|name, _| names.binary_search(name).is_ok());
    let mut outcome = Ok(());
    for name in memory.turn(&names) {
        if shutdown.is_cancelled() {
            break;
        }
        memory.last.clone_from(name);
        let of = memory.known.entry(name.clone()).or_default();
        // What is wrong with one file is no reason to leave the others.
        let taken = Box::pin(take(endpoint, folder, name.clone(), of)).await;
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
        assert!(!place.path().join("done/a.json").exists());
        assert_eq!(fs::read_dir(place.path().join("in")).unwrap().count(), 1);
    }

    #[test]
    fn every_file_has_its_turn_however_many_wait_before_it() {
        let names: Vec<String> = (0..FILES_MAX + 2).map(|n| format!("{n:05}.json")).collect();
        let mut memory = Memory::default();
        let first = memory.turn(&names);
        assert_eq!(first.len(), FILES_MAX);
        assert_eq!(first.first(), Some(&&names[0]));
        memory.last.clone_from(first[FILES_MAX - 1]);
        let next = memory.turn(&names);
        assert_eq!(
            next[..3],
            [&names[FILES_MAX], &names[FILES_MAX + 1], &names[0]]
        );
        assert_eq!(next.len(), FILES_MAX);
        // Behind the last of all it begins again.
        memory.last = "9".to_owned();
        assert_eq!(memory.turn(&names[..2]), [&names[0], &names[1]]);
    }

    #[test]
    fn what_somebody_left_behind_is_removed_or_handed_in_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let write = |path: &str| fs::write(place.path().join(path), path).unwrap();
        for path in [
            "out/.a.json.00.part",
            "failed/.a.json.txt.00.part",
            "out/.profile",
            "in/.b.json.00.taken",
            "in/.c.json.00.taken",
            "in/c.json",
        ] {
            write(path);
        }
        let there = |path: &str| place.path().join(path).exists();
        folder.tidy(clock::now_seconds()).unwrap();
        assert!(there("out/.a.json.00.part") && there("in/.b.json.00.taken"));
        folder
            .tidy(clock::now_seconds() + 2 * TAKEN_SECONDS)
            .unwrap();
        assert!(there("out/.a.json.00.part") && !there("in/.b.json.00.taken"));
        assert_eq!(text(&folder, "in/b.json"), "in/.b.json.00.taken");
        assert_eq!(text(&folder, "in/c.json"), "in/c.json");
        folder
            .tidy(clock::now_seconds() + 2 * UNFINISHED_SECONDS)
            .unwrap();
        assert!(!there("out/.a.json.00.part") && !there("failed/.a.json.txt.00.part"));
        assert!(there("out/.profile"));
        assert_eq!(folder.waiting().unwrap(), ["b.json", "c.json"]);
    }

    #[test]
    fn what_lies_in_the_folder_is_its_owners_alone_and_a_pipe_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, mknodat};
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("spool")).unwrap();
        put(&folder, "a.json", b"question");
        let found = folder.read("a.json").unwrap().unwrap();
        folder.answer("a.json", found.identity, b"answer").unwrap();
        let mode = |path: &str| fs::metadata(folder.0.join(path)).unwrap().mode() & 0o777;
        assert_eq!(mode("."), 0o700);
        assert_eq!(mode("out"), 0o700);
        assert_eq!(mode("out/a.json") & 0o137, 0);
        let pipe = folder.0.join("in/pipe.json");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(folder.read("pipe.json").unwrap().is_none());
        assert!(folder.waiting().unwrap().is_empty());
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
