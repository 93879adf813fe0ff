//! The dictionary beside a store: which name an id stands for. For display only.
//!
//! `STORE.names` is text, one name a line: 32 hex digits, a tab, the name with `\\`, `\t`, `\n` and
//! `\r` escaped. Lines are only ever appended, and each line proves itself: its digits are the UUIDv5
//! of its name. A line that does not (torn by a crash in the middle of an append, or damaged) is no
//! entry, so the dictionary can lack a name but never tell a wrong one. Losing the file loses no data.
//!
//! Appends happen under the store's own lock, before the pairs that use the names are published.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cidstore::E;

use crate::failure::{Failure, Outcome};

/// Names by id.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<E, String>);

impl Names {
    /// The name of an id, if it is known.
    pub(crate) fn get(&self, id: E) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }

    /// How many names are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a name and the id that it stands for.
    pub(crate) fn learn(&mut self, id: E, name: &str) {
        self.0.entry(id).or_insert_with(|| name.to_owned());
    }
}

/// Names that are to be appended, each once.
#[derive(Debug, Default)]
pub(crate) struct NewNames {
    known: HashSet<E>,
    lines: Vec<u8>,
}

impl NewNames {
    /// Notes that `id` is what `name` stands for.
    pub(crate) fn note(&mut self, id: E, name: &str) {
        if self.known.insert(id) {
            push_line(&mut self.lines, id, name);
        }
    }
}

/// The dictionary file of one store.
#[derive(Debug)]
pub(crate) struct Dictionary {
    path: PathBuf,
}

impl Dictionary {
    /// The dictionary beside a store; the file need not exist.
    pub(crate) fn beside(store: &Path) -> Self {
        let mut path = OsString::from(store);
        path.push(".names");
        Self { path: PathBuf::from(path) }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn taken(&self) -> Failure {
        Failure::Usage(format!("{}: exists already", self.path.display()))
    }

    /// All names.
    pub(crate) fn all(&self) -> Outcome<Names> {
        let mut names = Names::default();
        self.each(|id, name| {
            names.0.insert(id, name);
        })?;
        Ok(names)
    }

    /// The names of these ids, in memory for them alone.
    pub(crate) fn of(&self, ids: &HashSet<E>) -> Outcome<Names> {
        let mut names = Names::default();
        self.each(|id, name| {
            if ids.contains(&id) {
                names.0.insert(id, name);
            }
        })?;
        Ok(names)
    }

    /// A collection of new names that leaves out what the file has.
    pub(crate) fn collect(&self) -> Outcome<NewNames> {
        let mut new = NewNames::default();
        self.each(|id, _| {
            new.known.insert(id);
        })?;
        Ok(new)
    }

    /// Appends new names and syncs them; creates the file if there is something to say. If it can't say all, it says
    /// nothing: what a full disk took of them is given back.
    pub(crate) fn append(&self, new: &NewNames) -> Outcome {
        if new.lines.is_empty() {
            return Ok(());
        }
        let creates = !self.path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(Failure::io(&self.path, "open"))?;
        let before = file.metadata().map_err(Failure::io(&self.path, "read"))?.len();
        let appended = self.append_to(&mut file, new);
        if appended.is_err() {
            // The failure is the error to tell. Lines that stay are names too many, which is harmless.
            let _ = if creates { fs::remove_file(&self.path) } else { file.set_len(before) };
        }
        appended
    }

    fn append_to(&self, file: &mut File, new: &NewNames) -> Outcome {
        let torn = ends_torn(file).map_err(Failure::io(&self.path, "read"))?;
        if torn {
            // Ends the line that a crash cut short. It stays what it is: no entry.
            file.write_all(b"\n").map_err(Failure::io(&self.path, "write"))?;
        }
        file.write_all(&new.lines).map_err(Failure::io(&self.path, "write"))?;
        file.sync_data()
            .and_then(|()| sync_folder(&self.path))
            .map_err(Failure::io(&self.path, "sync"))
    }

    /// Calls `each` for every entry that proves itself. A missing file has none.
    fn each(&self, mut each: impl FnMut(E, String)) -> Outcome {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Failure::io(&self.path, "open")(error)),
        };
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            if read.map_err(Failure::io(&self.path, "read"))? == 0 {
                return Ok(());
            }
            if let Some((id, name)) = parse_line(&line) {
                each(id, name);
            }
        }
    }
}

/// Refuses to copy the dictionary of a store to where another one is: that is somebody's.
pub(crate) fn check_copy(from: &Path, to: &Path) -> Outcome {
    let (from, to) = (Dictionary::beside(from), Dictionary::beside(to));
    if from.path.exists() && to.path.symlink_metadata().is_ok() {
        return Err(to.taken());
    }
    Ok(())
}

/// Copies the dictionary of a store to that of another, if there is one; what is there is replaced or stays. A line that a
/// crash cuts short is no entry there either.
pub(crate) fn copy(from: &Path, to: &Path, replace: bool) -> Outcome {
    let (from, to) = (Dictionary::beside(from), Dictionary::beside(to));
    let mut source = match File::open(&from.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(Failure::io(&from.path, "open"))?,
    };
    if replace && to.path.symlink_metadata().is_ok() {
        fs::remove_file(&to.path).map_err(Failure::io(&to.path, "remove"))?;
    }
    let mut copy = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to.path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(to.taken()),
        created => created.map_err(Failure::io(&to.path, "create"))?,
    };
    let copied = io::copy(&mut source, &mut copy)
        .and_then(|_| copy.sync_data())
        .and_then(|()| sync_folder(&to.path));
    copied.map_err(Failure::io(&to.path, "write"))
}

/// True if the file has bytes and the last one is no line end.
fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn push_line(lines: &mut Vec<u8>, id: E, name: &str) {
    lines.extend_from_slice(id.to_string().as_bytes());
    lines.push(b'\t');
    for byte in name.bytes() {
        match byte {
            b'\\' => lines.extend_from_slice(b"\\\\"),
            b'\t' => lines.extend_from_slice(b"\\t"),
            b'\n' => lines.extend_from_slice(b"\\n"),
            b'\r' => lines.extend_from_slice(b"\\r"),
            _ => lines.push(byte),
        }
    }
    lines.push(b'\n');
}

/// Makes the name of a file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn parse_line(line: &[u8]) -> Option<(E, String)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (digits, escaped) = line.split_once('\t')?;
    let id = digits.parse::<E>().ok()?;
    let name = unescape(escaped)?;
    (E::from_name(&name) == id).then_some((id, name))
}

fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut characters = escaped.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '\\' => match characters.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(folder: &tempfile::TempDir) -> Dictionary {
        Dictionary::beside(&folder.path().join("s.h5"))
    }

    fn append(dictionary: &Dictionary, names: &[&str]) {
        let mut new = dictionary.collect().unwrap();
        for name in names {
            new.note(E::from_name(name), name);
        }
        dictionary.append(&new).unwrap();
    }

    #[test]
    fn names_come_back_whatever_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = dictionary(&folder);
        let names = ["libc6", "tab\there", "line\nend\r", "back\\slash\\t", "é", "\\"];
        append(&dictionary, &names);
        append(&dictionary, &["libc6", "more"]);
        let all = dictionary.all().unwrap();
        assert_eq!(all.len(), names.len() + 1);
        for name in names {
            assert_eq!(all.get(E::from_name(name)), Some(name));
        }
        let lines = std::fs::read(dictionary.path()).unwrap();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), names.len() + 1);
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = dictionary(&folder);
        append(&dictionary, &["a", "b"]);
        let names = dictionary.of(&HashSet::from([E::from_name("b"), E::from_name("c")])).unwrap();
        assert_eq!(names.len(), 1);
        assert_eq!(names.get(E::from_name("b")), Some("b"));
    }

    #[test]
    fn a_missing_file_has_no_names_and_nothing_new_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = dictionary(&folder);
        assert_eq!(dictionary.all().unwrap().len(), 0);
        dictionary.append(&NewNames::default()).unwrap();
        assert!(!dictionary.path().exists());
    }

    #[test]
    fn an_append_cut_short_at_any_byte_tells_nothing_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = dictionary(&folder);
        append(&dictionary, &["libc6", "libc6-dev"]);
        let whole = std::fs::read(dictionary.path()).unwrap();
        for length in 0..whole.len() {
            std::fs::write(dictionary.path(), &whole[..length]).unwrap();
            append(&dictionary, &["perl"]);
            let names = dictionary.all().unwrap();
            let wanted = 1 + whole[..length].iter().filter(|byte| **byte == b'\n').count();
            // A name whose line lacks nothing but its end is whole once the next append ends it.
            let healed = usize::from(whole[length] == b'\n');
            assert_eq!(names.len(), wanted + healed, "cut at {length}");
            assert_eq!(names.get(E::from_name("perl")), Some("perl"));
        }
    }

    #[test]
    fn damage_loses_a_name_and_tells_no_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = dictionary(&folder);
        append(&dictionary, &["libc6"]);
        let whole = std::fs::read(dictionary.path()).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(dictionary.path(), &damaged).unwrap();
            assert_eq!(dictionary.all().unwrap().len(), 0, "byte {at}");
        }
    }
}
