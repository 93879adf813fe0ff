//! Where the bytes of an input come from: a file or standard input, plain or compressed with gzip.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::delimited::Format;
use crate::failure::{Failure, Outcome};

/// Read-ahead of an input, before and after decompression.
const BUFFER_BYTES: usize = 1 << 16;
/// What a gzip stream starts with. No UTF-8 text does.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An input that is open, with nothing read yet beyond what told whether it is compressed.
pub(crate) struct Source {
    /// What the user called it; `standard input` for `-`.
    pub(crate) name: String,
    /// How its columns are told apart.
    pub(crate) format: Format,
    /// Size of the file as it lies there, if it is one.
    pub(crate) bytes_total: Option<u64>,
    /// Bytes taken so far, as they lie there.
    pub(crate) bytes_read: Rc<Cell<u64>>,
    /// The text, decompressed.
    pub(crate) reader: Box<dyn BufRead>,
}

impl Source {
    /// Opens an input: `-` is standard input. The format is told by the name (`.tsv`, `.csv`, with or
    /// without `.gz`) unless given; that of standard input is TSV unless given.
    pub(crate) fn open(path: &Path, format: Option<Format>) -> Outcome<Self> {
        if is_standard_input(path) {
            let stdin: Box<dyn Read> = Box::new(io::stdin());
            let name = PathBuf::from("standard input");
            return Self::new(&name, stdin, None, format.unwrap_or(Format::Tsv), false);
        }
        let gz = has_extension(path, "gz");
        let stem = if gz { path.with_extension("") } else { path.to_owned() };
        let format = match format {
            Some(format) => format,
            None if has_extension(&stem, "tsv") => Format::Tsv,
            None if has_extension(&stem, "csv") => Format::Csv,
            None => {
                let path = path.display();
                let message = format!("{path}: neither .tsv nor .csv: say which with --format");
                return Err(Failure::Usage(message));
            }
        };
        let file = File::open(path).map_err(Failure::io(path, "open"))?;
        let metadata = file.metadata().map_err(Failure::io(path, "open"))?;
        let total = metadata.is_file().then_some(metadata.len());
        Self::new(path, Box::new(file), total, format, gz)
    }

    fn new(
        path: &Path,
        input: Box<dyn Read>,
        bytes_total: Option<u64>,
        format: Format,
        must_be_gzip: bool,
    ) -> Outcome<Self> {
        let bytes_read = Rc::new(Cell::new(0));
        let mut counted = Counted { input, bytes: Rc::clone(&bytes_read) };
        let mut start = Vec::with_capacity(GZIP_MAGIC.len());
        // Not a look into a buffer: a pipe may have given only one byte so far.
        let magic_bytes = GZIP_MAGIC.len() as u64;
        let taken = (&mut counted).take(magic_bytes).read_to_end(&mut start);
        taken.map_err(Failure::io(path, "read"))?;
        let is_gzip = must_be_gzip || start == GZIP_MAGIC;
        let raw = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(start).chain(counted));
        let reader: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        Ok(Self { name: path.display().to_string(), format, bytes_total, bytes_read, reader })
    }
}

/// True if this is no file but the name of standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// True if this error of a reader says that the compressed bytes are no gzip, or end too early.
pub(crate) fn is_damaged_gzip(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Counts what is read through it, for a progress bar.
struct Counted {
    input: Box<dyn Read>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}
