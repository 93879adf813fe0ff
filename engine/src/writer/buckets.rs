//! Buckets as wholes: chains of pages, splitting, merging, doubling and halving the directory.
//!
//! All of these build fresh pages and swing slots (R7 of docs/design.md): what readers hold stays as it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cidstore_core::hash::{KeyHash, MAX_DEPTH};
use cidstore_core::layout::NO_PAGE;
use cidstore_core::layout::bucket::{self, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::layout::table::TableKind;
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::bucket_split::Halves;
use cidstore_core::protocol::bucket_write::{BucketWriter, Located};
use cidstore_core::protocol::content::Content;

use super::pages::{Pages, SPARSE_ENTRIES, bucket_place, slots_of};
use crate::error::Result;
use crate::shared::fits_directory;
use crate::space::is_pool;
use crate::sync::Page;
use cidstore_core::E;

/// How many levels the directory may be deeper than an even spread of its buckets asks for.
const DEPTH_SLACK: u32 = 8;
/// Positions that a rebuilt chain page may use: the rest is room for keys to grow in place.
const CHAIN_POSITIONS: usize = ENTRIES_PER_BUCKET - 8;
/// Two buddies merge when their entries together use at most this many positions.
pub(crate) const MERGED_POSITIONS_MAX: usize = ENTRIES_PER_BUCKET * 5 / 8;

/// One page of a bucket's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The page in the directory, by any index of the bucket.
    Head(u32),
    /// An overflow page, by number.
    Overflow(u32),
}

/// Where a key lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) link: Link,
    pub(crate) located: Located,
}

impl Pages {
    /// Number of buckets.
    pub(crate) fn bucket_count(&self) -> u64 {
        self.depth_counts.iter().sum()
    }

    /// The page of a link, for reading.
    pub(crate) fn link_page(&self, link: Link) -> u32 {
        match link {
            Link::Head(index) => self.bucket_at(index),
            Link::Overflow(number) => self.overflow_page(number),
        }
    }

    /// The page of a link, copied if it must be, for changing.
    pub(crate) fn link_for_change(&mut self, link: Link) -> u32 {
        match link {
            Link::Head(index) => self.bucket_for_change(index),
            Link::Overflow(number) => self.overflow_for_change(number),
        }
    }

    /// The chain at a directory index. Bounded, whatever the links say.
    pub(crate) fn chain(&self, index: u32) -> impl Iterator<Item = Link> {
        let bound = self.overflow_numbers.end() as usize + 1;
        std::iter::successors(Some(Link::Head(index)), |&link| {
            let page = self.bucket(self.link_page(link));
            let next = page[bucket::OVERFLOW_WORD].load(Ordering::Relaxed) as u32;
            (next != 0).then_some(Link::Overflow(next))
        })
        .take(bound)
    }

    /// Looks whether the pages at a directory index are what was written, before they are copied, taken apart or
    /// asked for their place. Pages in the pool are.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the page.
    pub(crate) fn check_chain(&self, index: u32) -> Result<()> {
        let mut page = self.bucket_at(index);
        self.check_page(page)?;
        if !is_pool(page) {
            let place = bucket_place(self.bucket(page));
            let at = (index, self.shared.tables.depth());
            if !fits_directory(place, page, at, |slot| self.bucket_at(slot)) {
                return Err(self.bucket_fault(page, "is not where the directory puts it"));
            }
        }
        for _ in 0..=self.overflow_numbers.end() {
            let next = self.bucket(page)[bucket::OVERFLOW_WORD].load(Ordering::Relaxed) as u32;
            if next == NO_PAGE {
                return Ok(());
            }
            if !self.overflow_numbers.is_in_use(next) {
                return Err(self.bucket_fault(page, format_args!("no overflow page {next}")));
            }
            page = self.overflow_page(next);
            self.check_page(page)?;
        }
        Err(self.bucket_fault(page, "its chain comes back to itself"))
    }

    fn check_page(&self, page: u32) -> Result<()> {
        self.shared.check_bucket_for_change(page)?;
        if self.has_known_generation(page, self.bucket(page)) {
            return Ok(());
        }
        Err(self.bucket_fault(page, "is of a generation to come"))
    }

    /// Finds a key in the chain at a directory index.
    pub(crate) fn find(&self, index: u32, key: E, hash: KeyHash) -> Result<Option<Place>> {
        for link in self.chain(index) {
            let page = self.link_page(link);
            let found = BucketWriter::new(self.bucket(page)).locate(key, hash);
            if let Some(located) = found.map_err(|fault| self.bucket_fault(page, fault))? {
                return Ok(Some(Place { link, located }));
            }
        }
        Ok(None)
    }

    /// The first page of the chain with this many free positions.
    pub(crate) fn link_with_room(&self, index: u32, positions: usize) -> Option<Link> {
        self.chain(index).find(|&link| self.free_positions(link) >= positions)
    }

    /// Free positions of a page.
    pub(crate) fn free_positions(&self, link: Link) -> usize {
        BucketWriter::new(self.bucket(self.link_page(link))).free_positions()
    }

    /// Names a damaged bucket page.
    pub(crate) fn bucket_fault(&self, page: u32, fault: impl std::fmt::Display) -> crate::Error {
        self.shared.corrupt(format!("bucket page {page}: {fault}"))
    }

    /// All keys of a chain.
    pub(crate) fn items(&self, index: u32) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(ENTRIES_PER_BUCKET);
        for link in self.chain(index) {
            let page = self.link_page(link);
            let seed = self.shared.seed;
            BucketWriter::new(self.bucket(page))
                .for_each(|key, content| {
                    items.push(Item { hash: seed.hash(key), key, content: *content })
                })
                .map_err(|fault| self.bucket_fault(page, fault))?;
        }
        Ok(items)
    }

    /// Makes room in the bucket at a directory index: splits it, or gives its chain slack where a split
    /// is not allowed.
    ///
    /// The depth limit keeps the directory O(pages) even for keys chosen to collide.
    pub(crate) fn make_room(&mut self, index: u32) -> Result<()> {
        let (_, local_depth) = bucket_place(self.bucket(self.bucket_at(index)));
        let limit = (self.bucket_count().max(1).ilog2() + DEPTH_SLACK).min(MAX_DEPTH);
        if local_depth < limit { self.split(index) } else { self.relay_chain(index) }
    }

    /// Splits a bucket by the next hash bit; doubles the directory first if it must.
    fn split(&mut self, index: u32) -> Result<()> {
        let (prefix, local_depth) = bucket_place(self.bucket(self.bucket_at(index)));
        let span = tracing::debug_span!("split", prefix, local_depth);
        let _entered = span.enter();
        let halves = if self.chain(index).nth(1).is_none() {
            self.halves_of_page(prefix, local_depth)?
        } else {
            self.halves_of_chain(prefix, local_depth)?
        };
        if local_depth == self.shared.tables.depth() {
            self.double_directory();
        }
        let old: Vec<Link> = self.chain(prefix).collect();
        let old_head = self.bucket_at(prefix);
        halves.into_iter().for_each(|half| self.publish_bucket(half));
        self.retire_chain(old_head, &old);
        self.depth_counts[local_depth as usize] -= 1;
        self.depth_counts[local_depth as usize + 1] += 2;
        self.shared.events.splits.add(1);
        Ok(())
    }

    /// Fresh pages for the halves of a bucket that is one page, unpublished.
    fn halves_of_page(&mut self, prefix: u32, local_depth: u32) -> Result<[u32; 2]> {
        let shared = Arc::clone(&self.shared);
        let page = self.bucket_at(prefix);
        let hash_of = |key| shared.seed.hash(key);
        let halves = Halves::of(shared.regions.buckets.page(page), 1 << local_depth, hash_of)
            .map_err(|fault| self.bucket_fault(page, fault))?;
        Ok([0, 1].map(|half: u32| {
            let fresh = self.fresh_bucket(0);
            let header = Header {
                local_depth: local_depth as u8 + 1,
                prefix: u64::from(prefix | half << local_depth),
                generation: self.current_generation(),
                overflow: 0,
            };
            halves.fill(half as usize, self.bucket(fresh), &header);
            fresh
        }))
    }

    /// Fresh chains for the halves of a bucket, unpublished.
    fn halves_of_chain(&mut self, prefix: u32, local_depth: u32) -> Result<[u32; 2]> {
        let bit = 1_u64 << local_depth;
        let items = self.items(prefix)?;
        let (low, high): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item.hash.0 & bit == 0);
        Ok([(prefix, low), (prefix | 1 << local_depth, high)].map(|(prefix, items)| {
            self.build_chain(prefix, local_depth + 1, &items, ENTRIES_PER_BUCKET)
        }))
    }

    /// Rebuilds a chain in place, with slack in each page, in hash order.
    pub(crate) fn relay_chain(&mut self, index: u32) -> Result<()> {
        let (prefix, local_depth) = bucket_place(self.bucket(self.bucket_at(index)));
        let items = self.items(index)?;
        let positions = bucket_build::needed(&items);
        let limit = if positions < CHAIN_POSITIONS { ENTRIES_PER_BUCKET } else { CHAIN_POSITIONS };
        self.replace_chain(prefix, local_depth, &items, limit);
        Ok(())
    }

    /// Rebuilds a chain in place, in hash order, in as few pages as before: sorting is no reason to begin a chain.
    pub(crate) fn sort_chain(&mut self, index: u32) -> Result<()> {
        let items = self.items(index)?;
        self.rebuild_tightly(index, &items);
        Ok(())
    }

    /// As [`sort_chain`](Self::sort_chain), with another set for one of its keys.
    pub(crate) fn rebuild_with_set(&mut self, index: u32, key: E, set: SpillPointer) -> Result<()> {
        let mut items = self.items(index)?;
        for item in items.iter_mut().filter(|item| item.key == key) {
            item.content = Content::Spilled(set);
        }
        self.rebuild_tightly(index, &items);
        Ok(())
    }

    fn rebuild_tightly(&mut self, index: u32, items: &[Item]) {
        let (prefix, local_depth) = bucket_place(self.bucket(self.bucket_at(index)));
        let fits = bucket_build::needed(items) <= ENTRIES_PER_BUCKET;
        let limit = if fits { ENTRIES_PER_BUCKET } else { CHAIN_POSITIONS };
        self.replace_chain(prefix, local_depth, items, limit);
    }

    fn replace_chain(&mut self, prefix: u32, local_depth: u32, items: &[Item], limit: usize) {
        let new = self.build_chain(prefix, local_depth, items, limit);
        let old: Vec<Link> = self.chain(prefix).collect();
        let old_head = self.bucket_at(prefix);
        self.publish_bucket(new);
        self.retire_chain(old_head, &old);
    }

    /// Retires the pages of a chain whose head was replaced.
    fn retire_chain(&mut self, head: u32, links: &[Link]) {
        self.retire_bucket_page(head);
        for link in links {
            if let Link::Overflow(number) = link {
                self.retire_overflow(*number);
            }
        }
    }

    /// Builds fresh pages for these keys, at most `positions` entries a page. Answers the head, unpublished.
    fn build_chain(
        &mut self,
        prefix: u32,
        local_depth: u32,
        items: &[Item],
        positions: usize,
    ) -> u32 {
        let ends = ends_of_pages(items, positions);
        let mut next = 0;
        let mut rest = items;
        // Back to front, so that each page can name the one after it.
        for (at, &end) in ends.iter().enumerate().rev() {
            let start = if at == 0 { 0 } else { ends[at - 1] };
            let (front, part) = rest.split_at(start);
            debug_assert_eq!(part.len(), end - start);
            let number = if at == 0 { 0 } else { self.overflow_numbers.allocate() };
            let page = self.fresh_bucket(number);
            let head = Header {
                local_depth: local_depth as u8,
                prefix: prefix as u64,
                generation: self.current_generation(),
                overflow: next,
            };
            if bucket_build::build(self.bucket(page), &head, part).is_err() {
                unreachable!("a page was given more entries than it holds");
            }
            if at == 0 {
                return page;
            }
            self.set_slot(TableKind::Overflow, number, page);
            next = number;
            rest = front;
        }
        unreachable!("a chain has at least one page")
    }

    /// Fills the upper half of a doubled directory, then publishes the depth.
    fn double_directory(&self) {
        let depth = self.shared.tables.depth();
        for index in 0..1_u32 << depth {
            self.set_slot(TableKind::Directory, index | 1 << depth, self.bucket_at(index));
        }
        self.tables.set_depth(&self.shared.tables, depth + 1);
        self.shared.events.doublings.add(1);
    }

    /// Halves the directory while no bucket needs its full depth.
    fn halve_directory(&self) {
        let mut depth = self.shared.tables.depth();
        while depth > 0 && self.depth_counts[depth as usize] == 0 {
            depth -= 1;
        }
        let halvings = self.shared.tables.depth() - depth;
        if halvings > 0 {
            self.shared.events.halvings.add(u64::from(halvings));
            self.tables.set_depth(&self.shared.tables, depth);
        }
    }

    /// Merges the bucket at a directory index with its buddy if both are sparse. Answers whether it did. A buddy that is damaged
    /// stays as it is: what concerns the one bucket must not fail for the other.
    pub(crate) fn merge_if_sparse(&mut self, index: u32) -> Result<bool> {
        let page = self.bucket_at(index);
        let (prefix, local_depth) = bucket_place(self.bucket(page));
        if local_depth == 0 {
            return Ok(false);
        }
        let buddy_prefix = prefix ^ 1 << (local_depth - 1);
        let buddy = self.bucket_at(buddy_prefix);
        let (_, buddy_depth) = bucket_place(self.bucket(buddy));
        let used = |page: &Page| {
            let overflow = page[bucket::OVERFLOW_WORD].load(Ordering::Relaxed) as u32;
            let free = BucketWriter::new(page).free_positions();
            if overflow == 0 { ENTRIES_PER_BUCKET - free } else { usize::MAX / 2 }
        };
        let positions = used(self.bucket(page)) + used(self.bucket(buddy));
        if buddy_depth != local_depth || positions > MERGED_POSITIONS_MAX {
            return Ok(false);
        }
        if self.check_chain(buddy_prefix).is_err() {
            return Ok(false);
        }
        let mut items = self.items(prefix)?;
        items.extend(self.items(buddy_prefix)?);
        let merged_prefix = prefix & !(1 << (local_depth - 1));
        let merged = self.build_chain(merged_prefix, local_depth - 1, &items, ENTRIES_PER_BUCKET);
        self.publish_bucket(merged);
        self.retire_bucket_page(page);
        self.retire_bucket_page(buddy);
        self.depth_counts[local_depth as usize] -= 2;
        self.depth_counts[local_depth as usize - 1] += 1;
        self.halve_directory();
        self.shared.events.merges.add(1);
        Ok(true)
    }

    /// True if a bucket is so empty that a merge is worth a look.
    pub(crate) fn is_sparse(&self, index: u32) -> bool {
        let head = Link::Head(index);
        self.free_positions(head) >= ENTRIES_PER_BUCKET - SPARSE_ENTRIES
    }

    /// Swings every slot that names a pool page to a file page of equal content, snapshots included.
    ///
    /// Answers whether the live tables named it.
    pub(crate) fn swing_bucket(&self, from: u32, to: u32) -> bool {
        let (prefix, local_depth) = bucket_place(self.bucket(from));
        let depth = self.shared.tables.depth().max(self.tables.snapshot_depth_max());
        let mut named = false;
        for index in slots_of(prefix, local_depth, depth) {
            named |= self.tables.swing(&self.shared.tables, TableKind::Directory, index, from, to);
        }
        named
    }
}

/// Where the items of each page of a chain end, at most `positions` entries a page.
fn ends_of_pages(items: &[Item], positions: usize) -> Vec<usize> {
    let mut ends = Vec::with_capacity(1);
    let mut used = 0;
    for (at, item) in items.iter().enumerate() {
        let needed = item.content.entries();
        if used + needed > positions {
            ends.push(at);
            used = 0;
        }
        used += needed;
    }
    ends.push(items.len());
    ends
}
