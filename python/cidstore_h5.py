"""Reads a CIDStore data file, live or closed, with nothing but numpy and h5py.

    >>> import cidstore_h5
    >>> with cidstore_h5.open("mydata.h5") as view:
    ...     view.get(cidstore_h5.name("foo"))
    [123]

A view shows the store as of its last checkpoint when the view was opened; what was written since is in the log, which is
not read. The store may go on writing: a page that it has put to a new use is noticed by its generation and checksums,
and answered with `Stale`; `refresh` opens the newest checkpoint. See docs/hdf5.md for the objects of the file and
docs/format.md for the bytes of a page.

Keys and values are Python integers below 2**128; in arrays they are pairs of words, `high` and `low`.
"""

import bisect
import operator
import os
import struct
import time
import uuid

import h5py
import numpy as np

__all__ = ["Damaged", "Stale", "View", "name", "open"]

PAGE = 4096
# The HDF5 superblock: it changes with each checkpoint.
VIEW_AT, VIEW_BYTES = 8192, 48
ENTRIES = 62
BUCKETS, VALUES = 0, 1
BUCKET_KIND, EXTENTS_KIND, LEAF_KIND, INNER_KIND = 0x4243, 0x4556, 0x4C56, 0x4956
LIVE, SPILLED, IS_SECOND = 1, 2, 8
CAPACITIES = (8, 16, 32, 64, 122, 248)
MASK64 = (1 << 64) - 1
PI = (0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1, 0x082EFA98EC4E6C89)
# Pages that are checked and taken apart at once.
BLOCK = 256
# How often `refresh` looks again when checkpoints come while it reads.
REFRESHES = 20

ELEMENT = np.dtype([("high", "<u8"), ("low", "<u8")])
SLOT = np.dtype([("page", "<u4"), ("checksum", "<u4")])
ENTRY = struct.Struct("<6Q2BHI2I")


class Damaged(Exception):
    """The file contradicts itself, and no newer checkpoint explains it."""


class Stale(Exception):
    """The store has reused a page of this view since it was opened: `refresh` shows a newer checkpoint."""


def name(text):
    """The number that stands for a name: its UUID of version 5 in the DNS namespace, as `E::from_name` makes it."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, text).int


def open(path):
    """Opens a view of the data file at `path`: for use in a `with` statement, or to be closed."""
    return View(path)


def _code_words():
    """Nibble of each of the 256 bytes a mask may be, one flipped bit corrected; 255 if there are more."""
    words = [0x00, 0x87, 0x99, 0x1E, 0xAA, 0x2D, 0x33, 0xB4, 0x4B, 0xCC, 0xD2, 0x55, 0xE1, 0x66, 0x78, 0xFF]
    decoded = np.full(256, 255, np.uint8)
    for nibble, word in enumerate(words):
        for found in [word] + [word ^ 1 << bit for bit in range(8)]:
            decoded[found] = nibble
    return decoded


NIBBLE = _code_words()
NIBBLES = NIBBLE.tolist()


class Crc:
    """CRC-32C of messages of one length, as the sum of what each byte at each position contributes."""

    TABLE = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        TABLE = np.where(TABLE & 1, TABLE >> 1 ^ np.uint32(0x82F63B78), TABLE >> 1)

    def __init__(self, length):
        self.parts = np.empty((length, 256), np.uint32)
        part = self.TABLE
        for position in reversed(range(length)):
            self.parts[position] = part
            part = part >> 8 ^ self.TABLE[part & 255]
        # The register begins with all ones, which is what those ones do to zeros, and ends with all ones.
        register = 0xFFFFFFFF
        for _ in range(length):
            register = register >> 8 ^ int(self.TABLE[register & 255])
        self.zeros = np.uint32(register ^ 0xFFFFFFFF)
        self.positions = np.arange(length)

    def of(self, messages):
        """Checksums of the rows of an array of bytes."""
        return np.bitwise_xor.reduce(self.parts[self.positions, messages], axis=-1) ^ self.zeros


# The page, a byte for the space, four bytes for the page number.
PAGE_CRC = Crc(PAGE + 5)
# As the table of one byte, for two.
_one = Crc.TABLE[np.arange(1 << 16) & 255] ^ np.arange(1 << 16, dtype=np.uint32) >> 8
TABLE = (Crc.TABLE[_one & 255] ^ _one >> 8).tolist()
HALVES = struct.Struct("<28H4x2H")


def _entry_crc(entry):
    """CRC-32C of an entry without its checksum, two bytes at a time."""
    register, table = 0xFFFFFFFF, TABLE
    for half in HALVES.unpack(entry):
        register = register >> 16 ^ table[(register ^ half) & 0xFFFF]
    return register ^ 0xFFFFFFFF


class Space:
    """One space of pages: where each lies in the file."""

    def __init__(self, group, code):
        self.code = code
        parts = group["file_segments"].values() if "file_segments" in group else [group["pages"]]
        self.ends, self.offsets, end = [], [], 0
        for part in parts:
            if part.chunks is not None:
                raise ValueError(f"{part.file.filename}: compressed, so pages have no place to be read from: import it")
            # Offset of page 0, had the part begun there.
            self.offsets.append((part.id.get_offset() or 0) - end * PAGE)
            end += len(part)
            self.ends.append(end)

    def offset(self, page):
        """Where a page lies in the file."""
        part = bisect.bisect_right(self.ends, page)
        if page == 0 or part == len(self.ends):
            raise Damaged(f"page {page} is none of {self.ends[-1] if self.ends else 0}")
        return self.offsets[part] + page * PAGE


class View:
    """The store as of one checkpoint."""

    def __init__(self, path):
        self.path = path
        # Read, not mapped: a store that cuts its file would end a process that has it mapped.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Lets go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def refresh(self):
        """Shows the last checkpoint from now on. Raises `Damaged` if the file does not tell it, or is no data file."""
        for attempt in range(REFRESHES):
            # Read first: if it changes while the rest is read, the view is outdated from the start.
            self._header = self._pread(VIEW_BYTES, VIEW_AT)
            try:
                with h5py.File(self.path, "r") as file:
                    self._describe(file)
                break
            except (OSError, KeyError, RuntimeError) as error:
                # The store may have put the place of these objects to another use meanwhile.
                if self._header != self._pread(VIEW_BYTES, VIEW_AT) and attempt + 1 < REFRESHES:
                    continue
                if isinstance(error, OSError):
                    raise
                raise Damaged(f"{self.path}: {error.args[0] if error.args else error}") from error
        self._pages = self._directory["page"].tolist()
        self.opened = time.time()

    def _describe(self, file):
        kind = file.attrs.get("encoding-type", b"")
        if (kind.decode() if isinstance(kind, bytes) else kind) != "cidstore":
            raise Damaged(f"{self.path}: no CIDStore data file")
        config = file["config"].attrs
        self.checkpoint = int(config["checkpoint"])
        self.generation = int(config["generation"])
        self.lsn = int(config["lsn"])
        self.key_count = int(config["key_count"])
        self.value_count = int(config["value_count"])
        self.depth = int(config["global_depth"])
        self._seed = tuple(int(word) for word in config["hash_seed"])
        self._buckets = Space(file["buckets"], BUCKETS)
        self._values = Space(file["values"], VALUES)
        self._directory = self._slots(file, config)
        self._overflow = _table(file["buckets"], "overflow")
        self._table = _table(file["values"], "table")

    def _slots(self, file, config):
        if "dir" in config:
            return np.asarray(config["dir"])
        directory = file["dir"]
        if isinstance(directory, h5py.Group):
            return np.concatenate([directory[shard][:] for shard in sorted(directory)])
        return directory[:]

    def age(self):
        """How old the view is: seconds since it was opened, whether there is a newer checkpoint, and how many log
        records that brought into the file. What is in the log only is newer still."""
        _, lsn = max(struct.unpack_from("<Q32xQ", self._read(slot, 128), 32) for slot in (0, PAGE))
        return {
            "seconds": time.time() - self.opened,
            "outdated": self._header != self._read(VIEW_AT, VIEW_BYTES),
            "records": lsn - self.lsn,
        }

    # ---- one key ----

    def get(self, key):
        """The values of a key, in no order; an empty list if there is none.

        Checks the generation of each page on the way and the checksum of the entry; `items` and `to_arrays` check all
        of each page. Raises `Stale` if the store has reused a page that leads to them, `Damaged` if the file is.
        """
        # Of whatever kind of integer: those of numpy have too few bits for what follows.
        key = operator.index(key)
        hashed = self._hash(key)
        index = hashed & (1 << self.depth) - 1
        number = self._pages[index]
        tag = bytes([hashed >> 32 & 255 or 1])
        high, low = key >> 64, key & MASK64
        chain = 0
        while number:
            at = self._buckets.offset(number)
            page = self._bucket(at, number, index)
            found = self._find(number, page, tag, high, low)
            if found is not None:
                self._check_generation(at, number)
                return found
            overflow = struct.unpack_from("<I", page, 24)[0]
            self._check_generation(at, number)
            chain += 1
            if overflow and (overflow >= len(self._overflow) or chain > len(self._overflow)):
                raise self._stale_or_damaged(f"bucket page {number}")
            number = int(self._overflow["page"][overflow]) if overflow else 0
        return []

    def _hash(self, key):
        if not 0 <= key < 1 << 128:
            raise ValueError(f"{key} is no key: keys are integers from 0 to 2**128 - 1")
        high, low = self._seed
        product = ((key >> 64) ^ high ^ PI[0]) * ((key & MASK64) ^ low ^ PI[1])
        product = ((product & MASK64) ^ PI[2] ^ low) * ((product >> 64) ^ PI[3])
        return (product & MASK64) ^ (product >> 64)

    def _bucket(self, at, number, index):
        page = self._read(at, PAGE)
        kind, depth, generation = struct.unpack_from("<HB5xQ", page)
        prefix = struct.unpack_from("<Q", page, 40)[0]
        if kind != BUCKET_KIND or generation > self.generation or index & (1 << depth) - 1 != prefix:
            raise self._stale_or_damaged(f"bucket page {number}")
        return page

    def _check_generation(self, at, number):
        """After a page was read: it was the page of this view all the while, as only a later one replaces it."""
        if struct.unpack("<Q", self._read(at + 8, 8))[0] > self.generation:
            raise self._stale_or_damaged(f"page {number}")

    def _find(self, number, page, tag, high, low):
        position, first, values = 64, None, []
        while (position := page.find(tag, position, 64 + ENTRIES)) >= 0:
            begin = 128 + (position - 64) * 64
            entry = page[begin : begin + 64]
            position += 1
            fields = ENTRY.unpack(entry)
            if fields[0] != high or fields[1] != low:
                continue
            flags, mask = NIBBLES[fields[7]], NIBBLES[fields[6]]
            if fields[7] == 0:
                continue
            if _entry_crc(entry) != fields[10] or flags == 255 or mask == 255:
                raise self._stale_or_damaged(f"an entry of bucket page {number}")
            if not flags & LIVE:
                continue
            if flags & SPILLED:
                return _numbers(self._set_array(fields[2], high << 64 | low, False))
            if flags & IS_SECOND:
                mask >>= 2
            else:
                first = flags
            if mask & 1:
                values.append(fields[2] << 64 | fields[3])
            if mask & 2:
                values.append(fields[4] << 64 | fields[5])
        return None if first is None else values

    # ---- sets ----

    def _value_page(self, logical, thorough):
        number, checksum = self._table[logical].tolist() if logical < len(self._table) else (0, 0)
        if number == 0:
            raise self._stale_or_damaged(f"value page {logical}")
        page = self._read(self._values.offset(number), PAGE)
        sound = struct.unpack_from("<Q", page, 8)[0] <= self.generation
        if sound and thorough:
            message = np.frombuffer(page + struct.pack("<BI", VALUES, number), np.uint8)
            sound = PAGE_CRC.of(message) == checksum
        if not sound:
            raise self._stale_or_damaged(f"value page {number}")
        return page

    def _set_array(self, reference, key, thorough):
        """The values of a set, as an array of ELEMENT; `thorough` checks all of each page."""
        logical, extent = reference & 0xFFFFFFFF, reference >> 32 & 255
        page = self._value_page(logical, thorough)
        kind = struct.unpack_from("<H", page)[0]
        if extent:
            capacity = CAPACITIES[page[2]] if page[2] < len(CAPACITIES) else 0
            begin = 64 + (extent - 1) * (64 + 16 * capacity)
            if kind != EXTENTS_KIND or begin + 64 + 16 * capacity > PAGE:
                raise self._stale_or_damaged(f"logical value page {logical}")
            return self._live(page, key, (begin, begin + 20, begin + 24, begin + 64), capacity)
        seen = 0
        while kind == INNER_KIND and seen <= len(self._table):
            seen += 1
            page = self._value_page(struct.unpack_from("<I", page, 2752)[0], thorough)
            kind = struct.unpack_from("<H", page)[0]
        leaves = []
        while True:
            seen += 1
            if kind != LEAF_KIND or seen > len(self._table):
                raise self._stale_or_damaged(f"logical value page {logical}")
            leaves.append(self._live(page, key, (80, 20, 48, 96), 250))
            if page[2] != 1:
                return np.concatenate(leaves)
            logical = struct.unpack_from("<I", page, 24)[0]
            page = self._value_page(logical, thorough)
            kind = struct.unpack_from("<H", page)[0]

    def _live(self, page, key, places, capacity):
        """The values of an extent or leaf without tombstones; `places` are those of owner, count, tombstones, values."""
        owner, count, tombstones, values = places
        count = struct.unpack_from("<H", page, count)[0]
        if struct.unpack_from("<2Q", page, owner) != (key >> 64, key & MASK64) or count > capacity:
            raise self._stale_or_damaged(f"a value set of {key:#x}")
        found = np.frombuffer(page, ELEMENT, count, values)
        if not any(page[tombstones : tombstones + 32]):
            return found
        dead = np.unpackbits(np.frombuffer(page, np.uint8, 32, tombstones), bitorder="little")[:count]
        return found[dead == 0]

    def _read(self, at, size):
        found = self._pread(size, at)
        if len(found) < size:
            raise Stale(f"{self.path}: cut to {at + len(found)} bytes since checkpoint {self.checkpoint}; refresh the view")
        return found

    def _pread(self, size, at):
        if self._file is None:
            raise ValueError(f"{self.path}: the view is closed")
        return os.pread(self._file, size, at)

    def _stale_or_damaged(self, what):
        if self.age()["outdated"]:
            return Stale(f"{self.path}: {what} was reused since checkpoint {self.checkpoint}; refresh the view")
        return Damaged(f"{self.path}: {what} is not what checkpoint {self.checkpoint} wrote")

    # ---- everything ----

    def items(self):
        """All keys with their values, as `(key, [value, ...])`, in no order. Every page is checked."""
        for keys, offsets, values in self._blocks():
            keys = _numbers(keys)
            values = _numbers(values)
            for key, begin, end in zip(keys, offsets[:-1].tolist(), offsets[1:].tolist()):
                yield key, values[begin:end]

    def to_arrays(self):
        """Everything as three arrays `(keys, offsets, values)`: the values of `keys[i]` are
        `values[offsets[i]:offsets[i + 1]]`. Keys and values have the fields `high` and `low`."""
        blocks = list(self._blocks())
        if not blocks:
            return np.empty(0, ELEMENT), np.zeros(1, np.int64), np.empty(0, ELEMENT)
        counts = np.concatenate([np.diff(offsets) for _, offsets, _ in blocks])
        keys, values = (np.concatenate([block[part] for block in blocks]) for part in (0, 2))
        return keys, np.concatenate([[0], np.cumsum(counts)]), values

    def _blocks(self):
        """Keys, offsets and values of a block of pages at a time."""
        slots = np.unique(self._directory)
        slots = np.concatenate([slots, self._overflow[self._overflow["page"] != 0]])
        for begin in range(0, len(slots), BLOCK):
            block = slots[begin : begin + BLOCK]
            yield self._take_apart(block["page"], self._checked_pages(block))

    def _checked_pages(self, slots):
        raw = np.empty((len(slots), PAGE + 5), np.uint8)
        raw[:, PAGE] = BUCKETS
        raw[:, PAGE + 1 :] = slots["page"].astype("<u4").view(np.uint8).reshape(-1, 4)
        for row, number in zip(raw, slots["page"].tolist()):
            at = self._buckets.offset(number)
            row[:PAGE] = np.frombuffer(self._read(at, PAGE), np.uint8)
        wrong = PAGE_CRC.of(raw) != slots["checksum"]
        if wrong.any():
            raise self._stale_or_damaged(f"bucket page {slots['page'][wrong][0]}")
        return raw[:, :PAGE]

    def _take_apart(self, numbers, pages):
        entries = pages[:, 128:].reshape(-1, 64)
        words = np.ascontiguousarray(entries[:, :48]).view("<u8")
        flags, masks = NIBBLE[entries[:, 49]], NIBBLE[entries[:, 48]]
        if (flags == 255).any():
            raise self._stale_or_damaged(f"an entry of bucket pages {numbers[0]} to {numbers[-1]}")
        live = (flags & LIVE) != 0
        primary = np.flatnonzero(live & ((flags & IS_SECOND) == 0))
        second = np.flatnonzero(live & ((flags & IS_SECOND) != 0))
        spilled = (flags[primary] & SPILLED) != 0
        # Owner (which primary), and value, of every inline value.
        owners, found = [], []
        key_of = {(int(row) // ENTRIES, *words[row, :2].tolist()): at for at, row in enumerate(primary)} if len(second) else {}
        at_of_second = np.array(
            [key_of[(int(row) // ENTRIES, *words[row, :2].tolist())] for row in second], dtype=np.int64
        )
        inline = np.flatnonzero(~spilled)
        for rows, at, shift in ((primary[inline], inline, 0), (second, at_of_second, 2)):
            for value in (0, 1):
                valid = (masks[rows] >> (shift + value) & 1) != 0
                owners.append(at[valid])
                found.append(words[rows[valid], 2 + 2 * value : 4 + 2 * value])
        for at in np.flatnonzero(spilled):
            high, low, reference = (int(word) for word in words[primary[at], :3])
            values = self._set_array(reference, high << 64 | low, True)
            owners.append(np.full(len(values), at))
            found.append(np.ascontiguousarray(values).view("<u8").reshape(-1, 2))
        owners, found = np.concatenate(owners).astype(np.int64), np.concatenate(found)
        order = np.argsort(owners, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(primary)))])
        return _elements(words[primary, :2]), offsets, _elements(found[order])


def _table(group, table):
    """A table's slots: none if the store never had a page for it."""
    return group[table][:] if table in group else np.empty(0, SLOT)


def _elements(words):
    """Rows of two words as ELEMENT."""
    return np.ascontiguousarray(words).view(ELEMENT).reshape(-1)


def _numbers(elements):
    """ELEMENT as Python integers."""
    return [high << 64 | low for high, low in elements.tolist()]
