//! The journal's file: `<digest> <entry as JSON>` on each line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use openset_jose::{Thumbprint, sha256};
use serde::{Deserialize, Serialize};

use super::Event;

/// Why a journal is not written or not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path} cannot be used; check that its disk has room and the file is ours")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    /// A line is not what was written.
    #[error(
        "the journal {path} is damaged at line {line}; keep it, make a back-up of the database, and begin a \
         new journal by moving the file away"
    )]
    Damaged { path: String, line: u64 },
    /// The file lacks lines that the database has seen.
    #[error(
        "the journal {path} ends before line {number}, which the database has seen; bring the right file \
         back, or begin a new one by moving it away"
    )]
    Short { path: String, number: u64 },
    /// The file belongs to another data folder.
    #[error("the journal {path} is that of another data folder; bring the right file back")]
    Foreign { path: String },
}

/// A place in a journal: the number of its line, and the digest of all up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) digest: Thumbprint,
}

/// One line: what one transaction changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Which data folder's journal this is.
    pub(crate) journal: String,
    /// Counts from 1.
    pub(crate) number: u64,
    pub(crate) events: Vec<Event>,
}

/// How far this process has read a journal.
#[derive(Debug, Default)]
pub(super) struct Tail {
    head: Option<Head>,
    offset: u64,
}

/// What the last line of a journal may be beside whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastLine {
    /// Without its end.
    MayBeCutOff,
    /// With its end, and something else in it than was written.
    MayBeBroken,
}

/// What follows the last good line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    CutOff,
    Broken,
}

/// A journal, read whole: its lines, and after each how far it had come.
///
/// # Errors
/// When a line but the last is damaged. A last line that was cut off was never committed.
pub(crate) fn read(path: &Path) -> Result<Vec<(Entry, Head)>, JournalError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|source| unusable(path, source))?;
    let mut tail = Tail::default();
    let mut entries = Vec::new();
    let each = |entry, head| entries.push((entry, head));
    tail.read(path, &bytes, LastLine::MayBeCutOff, each)?;
    Ok(entries)
}

impl Tail {
    /// Reads what there is, and checks that it is ours and goes as far as the database has seen.
    pub(super) fn catch_up(
        &mut self,
        path: &Path,
        id: &str,
        seen: Option<&Head>,
    ) -> Result<(), JournalError> {
        *self = Self::default();
        let mut file = open(path)?;
        file.lock().map_err(|source| unusable(path, source))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|source| unusable(path, source))?;
        let (mut foreign, mut found) = (false, false);
        let each = |entry: Entry, head| {
            foreign |= entry.journal != id;
            found |= seen == Some(&head);
        };
        // A crash may leave a last line of the right length with zeros in it. Whether all that was committed is there,
        // the database knows.
        let rest = self.read(path, &bytes, LastLine::MayBeBroken, each)?;
        if foreign {
            return Err(JournalError::Foreign {
                path: path.display().to_string(),
            });
        }
        match seen {
            // A journal that is not there at all was moved away on purpose.
            Some(seen) if !found && !bytes.is_empty() => {
                return Err(JournalError::Short {
                    path: path.display().to_string(),
                    number: seen.number,
                });
            }
            Some(seen) if bytes.is_empty() => {
                tracing::warn!(
                    "the journal is gone; a back-up from before now cannot be restored without the old one: make a new back-up"
                );
                // Numbers go on, so that the database takes the new journal's.
                self.head = Some(*seen);
            }
            _ => {}
        }
        if rest == Rest::Broken {
            // Whoever writes next shall not meet it.
            tracing::warn!("the journal's last line was not written whole, and is taken away");
            file.set_len(self.offset)
                .and_then(|()| file.sync_data())
                .map_err(|source| unusable(path, source))?;
        }
        Ok(())
    }

    /// Appends a line and waits until it is on the disk.
    pub(super) fn append(
        &mut self,
        path: &Path,
        id: &str,
        events: Vec<Event>,
    ) -> Result<Head, JournalError> {
        let failed = |source| unusable(path, source);
        let mut file = open(path)?;
        file.lock().map_err(failed)?;
        self.read_new(path, &mut file)?;
        let entry = Entry {
            journal: id.to_owned(),
            number: self.head.map_or(0, |head| head.number).saturating_add(1),
            events,
        };
        let json = serde_json::to_string(&entry).map_err(|error| failed(error.into()))?;
        let head = Head {
            number: entry.number,
            digest: digest(self.head.as_ref(), &json),
        };
        let line = format!("{} {json}\n", head.digest);
        if self.offset == 0 {
            sync_folder(path).map_err(failed)?;
        }
        let written = file
            .set_len(self.offset)
            .and_then(|()| file.seek(SeekFrom::Start(self.offset)))
            .and_then(|_| file.write_all(line.as_bytes()))
            .and_then(|()| file.sync_data());
        if let Err(source) = written {
            // Best effort: a line that stays cut off is taken away before the next one.
            let _ = file.set_len(self.offset);
            return Err(failed(source));
        }
        self.offset = self.offset.saturating_add(line.len() as u64);
        self.head = Some(head);
        Ok(head)
    }

    /// Reads what another process has appended since.
    fn read_new(&mut self, path: &Path, file: &mut File) -> Result<(), JournalError> {
        let failed = |source| unusable(path, source);
        let len = file.metadata().map_err(failed)?.len();
        if len < self.offset {
            return Err(JournalError::Short {
                path: path.display().to_string(),
                number: self.head.map_or(0, |head| head.number),
            });
        }
        if len == self.offset {
            return Ok(());
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(failed)?;
        self.read(path, &bytes, LastLine::MayBeCutOff, |_, _| {})?;
        Ok(())
    }

    /// Takes whole lines; what follows the last good one was cut off, unless more lines come after it.
    fn read(
        &mut self,
        path: &Path,
        bytes: &[u8],
        last: LastLine,
        mut each: impl FnMut(Entry, Head),
    ) -> Result<Rest, JournalError> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            match self.parse(line) {
                Some((entry, head)) => {
                    self.head = Some(head);
                    self.offset = self.offset.saturating_add(line.len() as u64);
                    each(entry, head);
                }
                None if lines.peek().is_none() && line.last() != Some(&b'\n') => {
                    return Ok(Rest::CutOff);
                }
                None if lines.peek().is_none() && last == LastLine::MayBeBroken => {
                    return Ok(Rest::Broken);
                }
                None => {
                    return Err(JournalError::Damaged {
                        path: path.display().to_string(),
                        line: self.head.map_or(0, |head| head.number).saturating_add(1),
                    });
                }
            }
        }
        Ok(Rest::Nothing)
    }

    fn parse(&self, line: &[u8]) -> Option<(Entry, Head)> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let (given, json) = line.split_once(' ')?;
        let entry: Entry = serde_json::from_str(json).ok()?;
        let given: Thumbprint = given.parse().ok()?;
        // A journal that was begun anew goes on counting, from a digest that it does not have.
        let begins = self.head.is_none() && self.offset == 0 && entry.number > 1;
        let follows = given == digest(self.head.as_ref(), json)
            && entry.number == self.head.map_or(0, |head| head.number).saturating_add(1);
        let head = Head {
            number: entry.number,
            digest: given,
        };
        (follows || begins).then_some((entry, head))
    }
}

fn digest(before: Option<&Head>, json: &str) -> Thumbprint {
    let before = before.map_or([0; 32], |head| *head.digest.as_bytes());
    Thumbprint::from_bytes(sha256(&[before.as_slice(), json.as_bytes()].concat()))
}

fn open(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options
        .mode(0o600)
        .open(path)
        .map_err(|source| unusable(path, source))?;
    Ok(file)
}

/// A new file is there after a crash only if its folder was written, too.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn unusable(path: &Path, source: io::Error) -> JournalError {
    JournalError::Io {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn event(id: &str) -> Vec<Event> {
        vec![Event::Retired {
            id: id.to_owned(),
            at_s: 1,
        }]
    }

    fn of(entries: &[(Entry, Head)]) -> Vec<u64> {
        entries.iter().map(|(entry, _)| entry.number).collect()
    }

    #[test]
    fn lines_of_two_writers_stand_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.log");
        let (mut one, mut other) = (Tail::default(), Tail::default());
        one.append(&path, "a", event("1")).unwrap();
        other.append(&path, "a", event("2")).unwrap();
        let last = one.append(&path, "a", event("3")).unwrap();
        let entries = read(&path).unwrap();
        assert_eq!((of(&entries), entries[2].1), (vec![1, 2, 3], last));
        assert_eq!(entries[1].0.events, event("2"));
        other.catch_up(&path, "a", Some(&last)).unwrap();
        let foreign = Tail::default().catch_up(&path, "b", None);
        assert!(matches!(foreign, Err(JournalError::Foreign { .. })));
    }

    #[test]
    fn a_line_that_was_cut_off_is_taken_away_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.log");
        Tail::default().append(&path, "a", event("1")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [1, 10, whole.len() - 1] {
            std::fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
            assert_eq!(of(&read(&path).unwrap()), [1]);
            Tail::default().append(&path, "a", event("2")).unwrap();
            assert_eq!(of(&read(&path).unwrap()), [1, 2]);
        }
    }

    #[test]
    fn a_last_line_with_zeros_is_taken_away_where_the_database_knows_how_far_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.log");
        let mut tail = Tail::default();
        let [first, second] = ["1", "2"].map(|id| tail.append(&path, "a", event(id)).unwrap());
        let whole = std::fs::read(&path).unwrap();
        let mut zeros = whole.clone();
        let (middle, end) = (whole.len() - 30, whole.len() - 1);
        zeros[middle..end].fill(0);
        std::fs::write(&path, &zeros).unwrap();
        // What a back-up is restored with has to be whole.
        assert!(matches!(read(&path), Err(JournalError::Damaged { .. })));
        // That line was committed: the file is not what it was.
        let short = Tail::default().catch_up(&path, "a", Some(&second));
        assert!(matches!(short, Err(JournalError::Short { number: 2, .. })));
        // It was not: it goes on from the one before.
        std::fs::write(&path, &zeros).unwrap();
        let mut tail = Tail::default();
        tail.catch_up(&path, "a", Some(&first)).unwrap();
        tail.append(&path, "a", event("3")).unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(of(&entries), [1, 2]);
        assert_eq!(entries[1].0.events, event("3"));
        // In the middle it is damage.
        let mut middle = whole;
        middle[5..20].fill(0);
        std::fs::write(&path, &middle).unwrap();
        let damaged = Tail::default().catch_up(&path, "a", None);
        assert!(matches!(
            damaged,
            Err(JournalError::Damaged { line: 1, .. })
        ));
    }

    #[test]
    fn a_journal_that_was_altered_or_has_lost_lines_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.log");
        let mut tail = Tail::default();
        let heads: Vec<Head> = ["1", "2", "3"]
            .map(|id| tail.append(&path, "a", event(id)).unwrap())
            .into();
        let whole = std::fs::read_to_string(&path).unwrap();
        let damaged = |text: &str| {
            std::fs::write(&path, text).unwrap();
            matches!(read(&path), Err(JournalError::Damaged { .. }))
        };
        assert!(damaged(&whole.replace("\"id\":\"1\"", "\"id\":\"7\"")));
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        assert!(damaged(&[lines[0], lines[2]].concat()));
        assert!(damaged(&[lines[1], lines[0], lines[2]].concat()));
        std::fs::write(&path, lines[0]).unwrap();
        let short = Tail::default().catch_up(&path, "a", Some(&heads[2]));
        assert!(matches!(short, Err(JournalError::Short { number: 3, .. })));
        // Moved away on purpose: it goes on counting.
        std::fs::write(&path, "").unwrap();
        let mut anew = Tail::default();
        anew.catch_up(&path, "a", Some(&heads[2])).unwrap();
        assert_eq!(anew.append(&path, "a", event("4")).unwrap().number, 4);
        assert_eq!(of(&read(&path).unwrap()), [4]);
    }
}
