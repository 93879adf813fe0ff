//! The objects of a file: which there are, what they are called, where their bytes lie.
//!
//! The root group comes first, so that the address in the HDF5 superblock is that of the body; all others are
//! placed before the objects that refer to them.

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::{FORMAT_VERSION, Segment};
use cidstore_core::layout::table::{SLOTS_PER_TABLE_PAGE, Space, TableKind, TableSlot};
use cidstore_core::layout::view::FileDescription;

use crate::Emitter;
use crate::datatype::{U8, U32, U64};
use crate::date::iso_date;
use crate::mapping::{heap, mapping};
use crate::object::{Address, Object, UNDEFINED, chunk_index};
use crate::pages;

/// Version of the conventions by which objects are named.
const ENCODING_VERSION: &str = "1.0.0";

/// Group of the parts of `pages`. Its name comes before that one in the alphabet: h5repack copies in this order, and
/// copies a virtual dataset through parts that must be there by then.
const SEGMENTS: &str = "file_segments";

/// Links of a group, in the order in which they are written.
type Links = Vec<(String, Address)>;

/// The body in the making.
pub(crate) struct Tree<'a> {
    file: &'a FileDescription<'a>,
    emitter: &'a Emitter,
    /// Offset of the body in the file.
    offset: u64,
    body: Vec<u8>,
    /// Each segment of the tables space after its first page number.
    table_segments: Vec<(u32, Segment)>,
    types: Vec<(&'static str, Address)>,
}

/// The three page spaces: their group, and what their pages are.
const SPACES: [(Space, &str, &str); 3] = [
    (Space::Buckets, "buckets", "BucketPage"),
    (Space::Values, "values", "ValuePage"),
    (Space::Tables, "tables", "TablePage"),
];

impl<'a> Tree<'a> {
    /// The body of a file, to be placed at `offset`.
    pub(crate) fn body(
        emitter: &'a Emitter,
        file: &'a FileDescription<'a>,
        offset: u64,
    ) -> Vec<u8> {
        let mut first = 0;
        let table_segments = file.segments[Space::Tables as usize].iter().map(|&segment| {
            let placed = (first, segment);
            first += segment.page_count;
            placed
        });
        let table_segments = table_segments.collect();
        let (body, types) = (Vec::new(), Vec::new());
        let mut tree = Self { file, emitter, offset, body, table_segments, types };
        // Links have a fixed length, so this root is as long as the real one.
        let names = ["config", "dir", "buckets", "values", "tables", "types"];
        let names: &[&str] = if tree.has_dir() {
            &names
        } else {
            &["config", "buckets", "values", "tables", "types"]
        };
        let links = names.iter().map(|name| ((*name).to_owned(), UNDEFINED)).collect();
        let root_bytes = tree.root(&links).len();
        tree.body.resize(root_bytes, 0);

        let types = tree.place_types();
        let spaces = tree.place_spaces();
        let mut links: Links = vec![("config".to_owned(), tree.place_config())];
        if tree.has_dir() {
            links.push(("dir".to_owned(), tree.place_dir()));
        }
        links.extend(spaces);
        links.push(("types".to_owned(), types));
        let root = tree.root(&links);
        debug_assert_eq!(root.len(), root_bytes);
        tree.body.splice(..root.len(), root);
        tree.body
    }

    /// True if the directory is a dataset or a group of them, not an attribute.
    fn has_dir(&self) -> bool {
        self.file.directory.len() > self.emitter.attribute_slots_max
    }

    /// Where the next object goes.
    fn next_address(&mut self) -> Address {
        self.body.resize(self.body.len().next_multiple_of(8), 0);
        Address::of(self.offset + self.body.len() as u64)
    }

    fn place(&mut self, bytes: &[u8]) -> Address {
        let at = self.next_address();
        self.body.extend(bytes);
        at
    }

    fn type_at(&self, name: &str) -> Address {
        let found = self.types.iter().find(|(found, _)| *found == name);
        found.map_or(UNDEFINED, |&(_, at)| at)
    }

    fn root(&self, links: &Links) -> Vec<u8> {
        let superblock = self.file.superblock;
        let created = iso_date(superblock.created_nanos);
        let mut root = Object::group();
        encoding(&mut root, "cidstore");
        root.text("Conventions", "CIDStore-1.0");
        root.text("title", "CIDStore: a map from 128-bit keys to sets of 128-bit values");
        root.text("source", SOURCE);
        root.text("date_created", &created);
        root.text("history", &format!("{created} created; described by {SOURCE}"));
        root.text("byte_order", "little");
        for (name, to) in links {
            root.link(name, *to);
        }
        root.finish()
    }

    fn place_types(&mut self) -> Address {
        let mut group = Object::group();
        encoding(&mut group, "types");
        for (name, datatype) in pages::all() {
            let references = 1 + self.references_to(name);
            let at = self.place(&Object::datatype(&datatype, references).finish());
            self.types.push((name, at));
            group.link(name, at);
        }
        self.place(&group.finish())
    }

    /// Datasets of this type.
    fn references_to(&self, name: &str) -> u32 {
        if name == "TableSlot" {
            let dir = if self.has_dir() { self.shards().max(1) } else { 0 };
            return 2 + dir as u32;
        }
        let space = SPACES.iter().find(|(_, _, page)| *page == name);
        space.map_or(0, |&(space, ..)| match self.file.segments[space as usize].len() {
            1 => 1,
            segments => 1 + segments as u32,
        })
    }

    /// The groups of the three spaces.
    fn place_spaces(&mut self) -> Links {
        // The heap tells parts by name, so it comes before what it names.
        let mappings = SPACES.map(|(space, group, _)| space_mapping(group, self.segments(space)));
        let heap = match SPACES.iter().any(|&(space, ..)| self.segments(space).len() > 1) {
            true => self.place(&heap(&mappings)),
            false => UNDEFINED,
        };
        let mut links = Vec::new();
        for (index, (space, name, page)) in SPACES.into_iter().enumerate() {
            let mut group = Object::group();
            encoding(&mut group, "page-space");
            let page = self.type_at(page);
            let segments = self.segments(space);
            let elements = segments.iter().map(|segment| u64::from(segment.page_count)).sum();
            let mut pages = if let &[segment] = segments {
                contiguous(segment, page).expecting_attributes()
            } else {
                let segments = self.place_segments(segments, page);
                group.link(SEGMENTS, segments);
                Object::dataset(elements, page).virtual_dataset(heap, index as u32 + 1)
            };
            encoding(&mut pages, "pages");
            let pages = self.place(&pages.finish());
            group.link("pages", pages);
            match space {
                Space::Buckets => {
                    let at = self.place_table(TableKind::Overflow);
                    group.link("overflow", at);
                }
                Space::Values => {
                    let at = self.place_table(TableKind::Values);
                    group.link("table", at);
                }
                Space::Tables => {}
            }
            links.push((name.to_owned(), self.place(&group.finish())));
        }
        links
    }

    fn segments(&self, space: Space) -> &'a [Segment] {
        self.file.segments[space as usize]
    }

    /// The datasets that a virtual one is made of.
    fn place_segments(&mut self, segments: &[Segment], page: Address) -> Address {
        let mut group = Object::group();
        encoding(&mut group, "file-segments");
        for (index, &segment) in segments.iter().enumerate() {
            let at = self.place(&contiguous(segment, page).finish());
            group.link(&segment_name(index), at);
        }
        self.place(&group.finish())
    }

    /// A whole table other than the directory.
    fn place_table(&mut self, kind: TableKind) -> Address {
        let slots = self.file.superblock.root(kind).slot_count;
        let leaves = self.file.leaves[kind as usize];
        self.place_slots(slots, leaves, "table")
    }

    fn shards(&self) -> usize {
        let slots = self.file.directory.len();
        if slots > self.emitter.shard_slots { slots.div_ceil(self.emitter.shard_slots) } else { 0 }
    }

    fn place_dir(&mut self) -> Address {
        let slots = self.file.directory.len();
        let leaves = self.file.leaves[TableKind::Directory as usize];
        if self.shards() == 0 {
            return self.place_slots(slots as u64, leaves, "directory");
        }
        let mut group = Object::group();
        encoding(&mut group, "directory-shards");
        let shard_slots = self.emitter.shard_slots;
        for (index, leaves) in leaves.chunks(shard_slots / SLOTS_PER_TABLE_PAGE).enumerate() {
            let slots = (slots - index * shard_slots).min(shard_slots);
            let shard = self.place_slots(slots as u64, leaves, "directory");
            group.link(&format!("shard_{index:04x}"), shard);
        }
        self.place(&group.finish())
    }

    /// A dataset whose chunks are the leaves of a table, where they lie.
    fn place_slots(&mut self, slots: u64, leaves: &[TableSlot], encoding_type: &str) -> Address {
        let slot = self.type_at("TableSlot");
        let mut dataset = match leaves {
            [] => Object::dataset(slots, slot).contiguous(UNDEFINED, 0).expecting_attributes(),
            // HDF5 wants no chunk that is longer than the dataset.
            &[leaf] => Object::dataset(slots, slot)
                .contiguous(self.table_page(leaf.page), slots * 8)
                .expecting_attributes(),
            leaves => {
                let chunks: Vec<_> = leaves.iter().map(|leaf| self.table_page(leaf.page)).collect();
                let at = self.next_address();
                let index = self.place(&chunk_index(at, &chunks));
                Object::dataset(slots, slot).chunked(SLOTS_PER_TABLE_PAGE as u16, 8, index)
            }
        };
        encoding(&mut dataset, encoding_type);
        self.place(&dataset.finish())
    }

    /// Where a page of the tables space lies.
    fn table_page(&self, page: u32) -> Address {
        let after = self.table_segments.partition_point(|(first, _)| *first <= page);
        let Some((first, segment)) = after.checked_sub(1).map(|at| self.table_segments[at]) else {
            return UNDEFINED;
        };
        Address::of(segment.offset() + u64::from(page - first) * PAGE_BYTES as u64)
    }

    fn place_config(&mut self) -> Address {
        let superblock = self.file.superblock;
        let mut config = Object::group();
        encoding(&mut config, "config");
        let u32 = |config: &mut Object, name, number: u32| {
            config.attribute(name, &U32, None, &number.to_le_bytes());
        };
        let u64 = |config: &mut Object, name, number: u64| {
            config.attribute(name, &U64, None, &number.to_le_bytes());
        };
        u32(&mut config, "format_version", FORMAT_VERSION);
        config.text("version_string", SOURCE);
        u64(&mut config, "created", superblock.created_nanos);
        config.attribute("file_id", &U8, Some(16), &superblock.file_id);
        u64(&mut config, "checkpoint", superblock.checkpoint_number);
        u64(&mut config, "generation", superblock.generation);
        u64(&mut config, "lsn", superblock.lsn);
        let seed = [superblock.hash_seed.high, superblock.hash_seed.low].map(u64::to_le_bytes);
        config.attribute("hash_seed", &U64, Some(2), seed.as_flattened());
        u32(&mut config, "global_depth", superblock.global_depth);
        u64(&mut config, "num_buckets", self.file.bucket_count);
        u64(&mut config, "key_count", superblock.key_count);
        u64(&mut config, "value_count", superblock.value_count);
        if !self.has_dir() {
            let slots = self.file.directory;
            let content: Vec<u8> = slots
                .iter()
                .flat_map(|slot| [slot.page, slot.checksum])
                .flat_map(u32::to_le_bytes)
                .collect();
            config.attribute("dir", &pages::table_slot(), Some(slots.len() as u64), &content);
        }
        self.place(&config.finish())
    }
}

/// What writes this.
const SOURCE: &str = concat!("cidstore ", env!("CARGO_PKG_VERSION"));

/// The attributes by which programs recognise what an object is.
fn encoding(object: &mut Object, encoding_type: &str) {
    object.text("encoding-type", encoding_type);
    object.text("encoding-version", ENCODING_VERSION);
}

fn contiguous(segment: Segment, page: Address) -> Object {
    let at = Address::of(segment.offset());
    let pages = u64::from(segment.page_count);
    Object::dataset(pages, page).contiguous(at, pages * PAGE_BYTES as u64)
}

fn segment_name(index: usize) -> String {
    format!("{index:04}")
}

/// The list of what a space's virtual dataset is made of.
fn space_mapping(group: &str, segments: &[Segment]) -> Vec<u8> {
    let parts: Vec<u64> = segments.iter().map(|segment| segment.page_count.into()).collect();
    let folder = format!("/{group}/{SEGMENTS}/");
    mapping(&parts, |index, out| {
        out.extend(folder.bytes());
        out.extend(segment_name(index).bytes());
    })
}
