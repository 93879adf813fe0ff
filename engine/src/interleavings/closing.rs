//! Closing beside readers, whose pages it moves and unmaps, and beside a writer, whose write is either in what is
//! closed or refused.

use std::sync::Arc;

use cidstore_core::layout::table::Space;

use crate::error::Error;
use crate::shared::Shared;
use crate::store::turns::{Leading, Turns};
use crate::sync::checked::pins::{COUNT_RELAXED, NO_WAIT};
use crate::sync::checked::{
    Kind, Plant, arm, complete_or, explore, has, is_complete, spawn, spawn_writer,
};

use super::{Little, bucket_words, look, write_page};

const EARLY_UNPIN: &str = "the reader unpins before it reads";
const CHECKED_BEFORE: &str =
    "a writer looks whether the store is open before it has the lock, and not again";
const SAVED_FIRST: &str = "the last checkpoint is made before writes are refused";

/// The page of the file, beyond what the store needs, that has the watched key.
const TAIL: u32 = 20;

/// A store whose only bucket lies at the end of the file.
fn at_the_tail() -> Little {
    let mut little = Little::new([10]);
    let shared = little.shared();
    shared.regions.buckets.page(TAIL);
    let cut = little.cut(1);
    let mut written = little.write_cut(&cut);
    assert!(little.writer.pages.files().pages_mut(Space::Buckets).take(TAIL));
    let mut words = [0; 512];
    let page = cut.bucket_pages[0];
    shared.regions.buckets.copy_out(page.page, &mut words);
    little.writer.pages.files().pages_mut(Space::Buckets).release(written.buckets[0].to);
    written.buckets[0] = write_page(&shared, Space::Buckets, page, TAIL, &words);
    shared.copy_tags(TAIL, &words);
    little.finish(&cut, &written);
    // So that the next copy goes to a page that has not had the same before.
    little.reuse();
    assert_eq!(little.writer.pages.bucket_at(0), TAIL);
    little
}

/// As `Engine::close` does: everything refused, the tail moved to the front by a checkpoint, the file cut.
fn close(little: &mut Little) {
    let shared = little.shared();
    assert!(shared.mark_closed());
    assert!(little.writer.pages.move_beyond(Space::Buckets, FRONT));
    let cut = little.cut(2);
    let written = little.write_cut(&cut);
    little.finish(&cut, &written);
    // A reader may still hold the page: what is taken is not cut off.
    little.writer.collect(true);
    let files = Arc::clone(&little.writer.pages.files);
    let mut files = files.lock().unwrap();
    files.cut_free_tail(&*shared.file, &shared.regions).unwrap();
}

/// Pages in front of this one are not moved.
const FRONT: u32 = 4;

/// One look, as `Store::get` takes it.
fn read(shared: &Shared) -> Result<Vec<u64>, Error> {
    shared.check_open()?;
    let pin = shared.pins.pin();
    if has(EARLY_UNPIN) {
        drop(pin);
    }
    Ok(look(shared, shared.view()))
}

/// `looks` looks of a reader beside one who closes.
fn close_beside_a_reader(plant: Plant, looks: usize) {
    explore(plant, None, bucket_words, move || {
        let mut little = at_the_tail();
        let shared = little.shared();
        arm();
        let closer = spawn_writer(move || close(&mut little));
        for _ in 0..looks {
            match read(&shared) {
                Ok(seen) => assert_eq!(seen, [10], "a page was cut off under its reader"),
                Err(error) => assert!(matches!(error, Error::Closed)),
            }
        }
        closer.join().unwrap();
        assert!(matches!(read(&shared), Err(Error::Closed)));
    });
}

type Lines = Turns<Vec<u64>, u64, Result<(), Error>>;

fn carry_out(shared: &Shared, list: &mut Vec<u64>, value: u64) -> Result<(), Error> {
    if !has(CHECKED_BEFORE) {
        shared.check_writable()?;
    }
    list.push(value);
    Ok(())
}

fn write(shared: &Shared, turns: &Lines, value: u64) -> Result<(), Error> {
    shared.check_writable()?;
    let alone = |mut list: Leading<'_, _, _, _>, &value: &u64| carry_out(shared, &mut list, value);
    let answer = turns.carry_out(value, 8, alone, |mut list, group| {
        for (at, &value) in group.writes().enumerate() {
            group.answer(at, carry_out(shared, &mut list, value));
        }
    });
    answer.unwrap()
}

/// Writes beside one who closes; the last checkpoint takes what is there then.
fn close_beside_writers(plant: Plant, preemptions: Option<usize>, writers: u64) {
    explore(
        plant,
        preemptions,
        |_, _| false,
        move || {
            let shared = Little::new([]).shared();
            let turns = Arc::new(Lines::new(Vec::new()));
            arm();
            let spawned: Vec<_> = (0..writers)
                .map(|value| {
                    let (shared, turns) = (Arc::clone(&shared), Arc::clone(&turns));
                    spawn(move || write(&shared, &turns, value))
                })
                .collect();
            let early = has(SAVED_FIRST).then(|| turns.lock().clone());
            {
                let _writer = turns.lock();
                assert!(shared.mark_closed());
            }
            let saved = early.unwrap_or_else(|| turns.lock().clone());
            for (value, writer) in (0..).zip(spawned) {
                let answered = writer.join().unwrap();
                assert_eq!(
                    answered.is_ok(),
                    saved.contains(&value),
                    "a write was acknowledged and lost"
                );
                assert!(matches!(answered, Ok(()) | Err(Error::Closed)));
            }
        },
    );
}

/// Complete. 640 executions; in the slow tier with two looks.
#[test]
fn a_reader_keeps_its_page_till_it_is_done() {
    close_beside_a_reader(Plant::Sound, if is_complete() { 2 } else { 1 });
}

/// At most three preemptions; complete in the slow tier, 42,000 executions, 42 s.
#[test]
fn a_write_is_in_what_is_closed_or_refused() {
    close_beside_writers(Plant::Sound, complete_or(3), 1);
}

#[test]
#[should_panic(expected = "cut off under its reader")]
fn caught_cut_without_waiting() {
    close_beside_a_reader(Plant::InModel(NO_WAIT), 1);
}

#[test]
#[should_panic(expected = "cut off under its reader")]
fn caught_unpin_before_the_read() {
    close_beside_a_reader(Plant::InModel(EARLY_UNPIN), 1);
}

#[test]
#[should_panic(expected = "cut off under its reader")]
fn caught_count_that_orders_nothing() {
    close_beside_a_reader(Plant::InModel(COUNT_RELAXED), 1);
}

#[test]
#[should_panic(expected = "cut off under its reader")]
fn caught_slot_swung_without_release() {
    close_beside_a_reader(Plant::RelaxStores(Kind::Slot), 1);
}

#[test]
#[should_panic(expected = "acknowledged and lost")]
fn caught_look_before_the_lock_only() {
    close_beside_writers(Plant::InModel(CHECKED_BEFORE), Some(3), 1);
}

#[test]
#[should_panic(expected = "acknowledged and lost")]
fn caught_save_before_the_close() {
    close_beside_writers(Plant::InModel(SAVED_FIRST), Some(3), 1);
}
