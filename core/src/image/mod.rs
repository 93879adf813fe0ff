//! [`ImageReader`]: reads a data file that lies in memory, with no std, no allocation and no unsafe code.
//!
//! An independent second reader of the format: it shares the structures of `layout` and the hash with the
//! store, and nothing of the lock-free protocol, so each is an oracle of the other. It trusts no byte: a
//! wrong file gives an error that names the page, never a panic, an endless loop or a wrong answer that a
//! checksum could have told. What it reads is the last checkpoint; what the log holds beyond is not seen
//! (see [`ImageReader::is_clean`]).

mod bucket;
mod error;
mod pages;
mod set;

use core::ops::ControlFlow;

pub use self::error::{ImageError, PageFault};

use self::bucket::{KeyEntries, LiveEntry};
use self::pages::{Page, Pages, Verify};
use self::set::Set;
use crate::entity::E;
use crate::layout::bucket::{BucketHeader, ENTRIES_PER_BUCKET};
use crate::layout::entry::{SetReference, SpillPointer};
use crate::layout::superblock::{Checked, SUPERBLOCK_OFFSETS, Superblock, SuperblockError};
use crate::layout::table::{SLOTS_PER_TABLE_PAGE, Space, TableKind};
use crate::layout::{NO_PAGE, PAGE_BYTES};
use crate::sethash::SetHash;

/// A data file in memory, open for reading.
///
/// ```no_run
/// use cidstore_core::{E, image::ImageReader};
///
/// fn has_foo(image: &[u8]) -> Result<bool, cidstore_core::image::ImageError> {
///     let reader = ImageReader::open(image)?;
///     reader.contains(E::from_name("foo"), E::from(123))
/// }
/// ```
#[derive(Clone)]
pub struct ImageReader<'a> {
    pages: Pages<'a>,
}

impl<'a> ImageReader<'a> {
    /// Opens the newest checkpoint of an image, which is a whole data file and may be unaligned.
    ///
    /// # Errors
    /// If neither superblock is sound, one is of another format version, or the image is too short.
    pub fn open(image: &'a [u8]) -> Result<Self, ImageError> {
        let superblock = newest_superblock(image)?;
        let (found, expected) = (image.len() as u64, superblock.file_bytes);
        if found < expected {
            return Err(ImageError::Short { found, expected });
        }
        let pages = Pages { image, superblock, verify: Verify::Yes };
        // Directory nodes are neither shared nor missing, so a directory is no larger than its nodes; with
        // this the time of every call is bounded by the length of the image.
        let slots = pages.superblock.root(TableKind::Directory).slot_count;
        let nodes = slots.div_ceil(SLOTS_PER_TABLE_PAGE as u64);
        let expected = pages.page_count(Space::Tables);
        if nodes > expected {
            return Err(ImageError::Total { name: "roots[0].slot_count", found: nodes, expected });
        }
        Ok(Self { pages })
    }

    /// The same image, read without checking page checksums: faster, for an image that was checked.
    ///
    /// Still no bytes can make it panic or run for ever.
    #[must_use]
    pub fn without_checksums(mut self) -> Self {
        self.pages.verify = Verify::No;
        self
    }

    /// The superblock of the checkpoint that is read.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.pages.superblock
    }

    /// Whether the store was closed in order. If not, the log may hold later changes, not seen here.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.superblock().is_clean()
    }

    /// Keys in the store, as the superblock says.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.superblock().key_count
    }

    /// Whether the store has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values in the store, as the superblock says.
    #[must_use]
    pub fn value_len(&self) -> u64 {
        self.superblock().value_count
    }

    /// Calls `f` with each value of a key, and tells how many there are: 0 for a missing key.
    ///
    /// # Errors
    /// If a page on the way is damaged; `f` may have been called by then.
    pub fn get(&self, key: E, mut f: impl FnMut(E)) -> Result<u64, ImageError> {
        let mut count = 0;
        let _ = self.visit(key, &mut |value| {
            count += 1;
            f(value);
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// How many values a key has.
    ///
    /// # Errors
    /// If a page on the way is damaged.
    pub fn value_count(&self, key: E) -> Result<u64, ImageError> {
        self.get(key, |_| ())
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// If a page on the way is damaged.
    pub fn contains_key(&self, key: E) -> Result<bool, ImageError> {
        Ok(self.visit(key, &mut |_| ControlFlow::Break(()))?.is_break())
    }

    /// Whether `value` is one of the values of `key`.
    ///
    /// # Errors
    /// If a page on the way is damaged.
    pub fn contains(&self, key: E, value: E) -> Result<bool, ImageError> {
        let Some((page, entries)) = self.find(key)? else {
            return Ok(false);
        };
        match entries.spill() {
            Some(pointer) => self.set(&page, key, pointer)?.contains(value),
            None => Ok(entries
                .visit_inline(&mut |found| match found == value {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
                .is_break()),
        }
    }

    /// Calls `f` with each pair of the store, the values of a key one after another.
    ///
    /// # Errors
    /// If a page is damaged; `f` may have been called by then.
    pub fn for_each(&self, mut f: impl FnMut(E, E)) -> Result<(), ImageError> {
        self.for_each_entry(&mut |page, live, entries| {
            if live.is_second() {
                return Ok(());
            }
            let _ = self.visit_values(page, entries, &mut |value| {
                f(entries.key, value);
                ControlFlow::Continue(())
            })?;
            Ok(())
        })
    }

    /// Reads every page in use, and holds the checksums of entries and sets, the counts of sets and the
    /// counts in the superblock against what is there.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ImageError> {
        let (mut key_count, mut value_count) = (0, 0);
        self.for_each_entry(&mut |page, live, entries| {
            bucket::check_sealed(page, live)?;
            if !live.is_second() {
                key_count += 1;
                value_count += self.check_key(page, entries)?;
            }
            Ok(())
        })?;
        for (name, found, expected) in
            [("key_count", key_count, self.len()), ("value_count", value_count, self.value_len())]
        {
            if found != expected {
                return Err(ImageError::Total { name, found, expected });
            }
        }
        Ok(())
    }

    /// Checks all that is written twice about the values of a key, and counts them.
    fn check_key(&self, page: &Page<'a>, entries: &KeyEntries) -> Result<u64, ImageError> {
        let (mut count, mut hash) = (0_u64, SetHash::default());
        let _ = self.visit_values(page, entries, &mut |value| {
            count += 1;
            hash.add(value);
            ControlFlow::Continue(())
        })?;
        let contradiction = |what| Err(page.fault(PageFault::Entries { key: entries.key, what }));
        if count == 0 {
            return contradiction("no value");
        }
        if let Some(pointer) = entries.spill() {
            let set = self.set(page, entries.key, pointer)?;
            set.check_paths()?;
            let stated = set.stated_count()?;
            if pointer.value_count != count as u32 || stated.is_some_and(|stated| stated != count) {
                return contradiction("the set has another number of values than is written");
            }
            if pointer.checksum() != hash.0 {
                return contradiction("the set has another hash than is written");
            }
        }
        Ok(count)
    }

    /// Calls `f` with each value of a key until it breaks.
    fn visit(
        &self,
        key: E,
        f: &mut dyn FnMut(E) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ImageError> {
        match self.find(key)? {
            Some((page, entries)) => self.visit_values(&page, &entries, f),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn visit_values(
        &self,
        page: &Page<'a>,
        entries: &KeyEntries,
        f: &mut dyn FnMut(E) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ImageError> {
        match entries.spill() {
            Some(pointer) => self.set(page, entries.key, pointer)?.visit(f),
            None => Ok(entries.visit_inline(f)),
        }
    }

    fn set(
        &self,
        page: &Page<'a>,
        key: E,
        pointer: SpillPointer,
    ) -> Result<Set<'_, 'a>, ImageError> {
        let what = "the reference to the value set is none";
        let reference = SetReference::decode(pointer.reference)
            .ok_or(page.fault(PageFault::Entries { key, what }))?;
        Ok(Set { pages: &self.pages, key, reference })
    }

    /// The entries of a key, and the page of the chain that has them.
    fn find(&self, key: E) -> Result<Option<(Page<'a>, KeyEntries)>, ImageError> {
        let hash = self.superblock().hash_seed.hash(key);
        let index = hash.directory_index(self.superblock().global_depth);
        let head = self.pages.expect(TableKind::Directory, index)?;
        let mut found = None;
        self.walk_chain(head, index, &mut |page| {
            found = bucket::find(page, key, hash.tag())?.map(|entries| (*page, entries));
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// Calls `f` with each page of the chain of directory slot `index` until it breaks.
    fn walk_chain(
        &self,
        head: Page<'a>,
        index: u32,
        f: &mut dyn FnMut(&Page<'a>) -> Result<ControlFlow<()>, ImageError>,
    ) -> Result<(), ImageError> {
        let mut page = head;
        for _ in 0..self.pages.page_count(Space::Buckets) {
            let overflow = self.header(&page, index)?.overflow;
            if f(&page)?.is_break() || overflow == NO_PAGE {
                return Ok(());
            }
            page = self.pages.expect(TableKind::Overflow, overflow)?;
        }
        Err(head.fault(PageFault::Cycle))
    }

    /// Calls `f` with each live entry, the page that has it, and all entries of its key.
    fn for_each_entry(&self, f: EntryVisitor<'_, 'a>) -> Result<(), ImageError> {
        for index in 0..1 << self.superblock().global_depth {
            if let Some(head) = self.bucket_first_named_by(index)? {
                self.walk_chain(head, index, &mut |page| {
                    for position in 0..ENTRIES_PER_BUCKET {
                        if let Some(live) = bucket::live(page, position)? {
                            let entries =
                                self.entries_where_lookups_find_them(head, page, &live)?;
                            f(page, &live, &entries)?;
                        }
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        Ok(())
    }

    /// All entries of the key of a live entry. A key in the wrong bucket or behind the wrong tag, which
    /// only a scan would see, is an error.
    fn entries_where_lookups_find_them(
        &self,
        head: Page<'a>,
        page: &Page<'a>,
        live: &LiveEntry,
    ) -> Result<KeyEntries, ImageError> {
        let key = live.entry.key();
        let hash = self.superblock().hash_seed.hash(key);
        let index = hash.directory_index(self.superblock().global_depth);
        let slot = self.pages.slot(TableKind::Directory, index, Verify::No)?;
        let entries = bucket::find(page, key, hash.tag())?;
        let what = "it lies where no lookup finds it";
        entries
            .filter(|_| slot.page == head.number)
            .ok_or(page.fault(PageFault::Entries { key, what }))
    }

    /// The bucket of directory slot `index`, if no lower slot names it too.
    ///
    /// A bucket of local depth `d` is named by all slots with its `d` lowest bits. Without its highest
    /// bit, a slot other than the first of them is another of them; the first is not.
    fn bucket_first_named_by(&self, index: u32) -> Result<Option<Page<'a>>, ImageError> {
        // Within a pass from slot 0 on, only the first slot of a node sees the node for the first time.
        let first_of_node = index.is_multiple_of(SLOTS_PER_TABLE_PAGE as u32);
        let verify = if first_of_node { self.pages.verify } else { Verify::No };
        let slot = self.pages.slot(TableKind::Directory, index, verify)?;
        if slot.page == NO_PAGE {
            return Err(ImageError::Hole { table: TableKind::Directory, number: index });
        }
        if let Some(highest) = index.checked_ilog2() {
            let lower = index & !(1 << highest);
            if self.pages.slot(TableKind::Directory, lower, Verify::No)?.page == slot.page {
                let page = self.pages.page(Space::Buckets, slot, Verify::No)?;
                return self.header(&page, index).map(|_| None);
            }
        }
        self.pages.page(Space::Buckets, slot, self.pages.verify).map(Some)
    }

    fn header(&self, page: &Page<'a>, index: u32) -> Result<BucketHeader, ImageError> {
        bucket::header(page, index, self.superblock().global_depth)
    }
}

/// Gets a page, a live entry in it, and all entries of that entry's key.
type EntryVisitor<'f, 'a> =
    &'f mut dyn FnMut(&Page<'a>, &LiveEntry, &KeyEntries) -> Result<(), ImageError>;

/// The superblock of the newest checkpoint. A newer format version in either slot is an error: that
/// program may have changed the pages under the older superblock.
fn newest_superblock(image: &[u8]) -> Result<Checked, ImageError> {
    let [first, second] = SUPERBLOCK_OFFSETS.map(|offset| {
        let page = image.get(offset as usize..).and_then(|rest| rest.first_chunk::<PAGE_BYTES>());
        match page {
            Some(page) => Superblock::read(page, (offset / PAGE_BYTES as u64) as u8),
            None => Err(SuperblockError::Empty),
        }
    });
    match (first, second) {
        (Err(SuperblockError::Version { found }), _)
        | (_, Err(SuperblockError::Version { found })) => Err(ImageError::Version { found }),
        (Ok(first), Ok(second)) if first.checkpoint_number > second.checkpoint_number => Ok(first),
        (_, Ok(second)) => Ok(second),
        (Ok(first), Err(_)) => Ok(first),
        (Err(first), Err(second)) => Err(ImageError::Superblock { first, second }),
    }
}
