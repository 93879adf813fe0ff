//! Leader hand-over under every interleaving: each write is carried out once and answered, and nobody sleeps while
//! nobody leads. (loom fails a model in which all threads that are left wait.)
//!
//! What the lock guards is a list, a write is a number that comes to its end, the answer its place there.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::{Abandoned, Group, Leading, Ticket, TicketState, Turn, Turns};
use crate::sync::checked::{Plant, arm, explore, has, spawn};
use crate::sync::lock;

const WAKE_FIRST: &str = "a leader looks at the queue before it gives the lock back";
const NOBODY_WOKEN: &str = "a leader gives the lock back and wakes nobody";
const TRY_FIRST: &str = "a writer tries the lock before it queues itself";
const NOT_NOTIFIED: &str = "an answer is laid down and its thread not woken";
const LOST: &str = "a leader forgets a write that it took";

type Lines = Turns<Vec<u64>, u64, usize>;
type Lead<'a> = Leading<'a, Vec<u64>, u64, usize>;

fn carry_out(list: &mut Vec<u64>, value: u64) -> usize {
    list.push(value);
    list.len() - 1
}

fn lead_group(mut leading: Lead<'_>, group: &Group<u64, usize>) {
    for (at, &value) in group.writes().enumerate() {
        let answer = carry_out(&mut leading, value);
        if has(NOT_NOTIFIED) {
            *lock(&group.tickets[at].state) = TicketState::Answered(answer);
        } else {
            group.answer(at, answer);
        }
    }
    give_back(leading);
}

fn give_back(leading: Lead<'_>) {
    if has(WAKE_FIRST) {
        leading.queue.wake_leader();
    }
    if has(WAKE_FIRST) || has(NOBODY_WOKEN) {
        ManuallyDrop::new(leading).state = None;
    }
}

/// As the shipped one, but for the planted order.
fn carry_out_trying_first(turns: &Lines, value: u64) -> usize {
    loop {
        if let Some(mut leading) = turns.try_lock() {
            let at = carry_out(&mut leading, value);
            give_back(leading);
            return at;
        }
        let ticket = turns.queue.enter(value);
        if let Turn::Answered(at) = ticket.wait() {
            return at;
        }
        // Woken to lead: what it queued is still its own.
        lock(&turns.queue.tickets).retain(|other| !Arc::ptr_eq(other, &ticket));
    }
}

fn write(turns: &Lines, value: u64) -> usize {
    if has(TRY_FIRST) {
        return carry_out_trying_first(turns, value);
    }
    let alone = |mut leading: Lead<'_>, &value: &u64| {
        let at = carry_out(&mut leading, value);
        give_back(leading);
        at
    };
    turns.carry_out(value, 8, alone, lead_group).unwrap()
}

/// `writers` threads write beside one that does; `others` of them take the lock itself, as a snapshot does.
fn hand_over(plant: Plant, preemptions: Option<usize>, writers: u64, others: u64) {
    explore(
        plant,
        preemptions,
        |_, _| false,
        move || {
            let turns = Arc::new(Lines::new(Vec::new()));
            arm();
            let spawned: Vec<_> = (1..=writers + others)
                .map(|value| {
                    let turns = Arc::clone(&turns);
                    spawn(move || {
                        if value <= writers {
                            return Some(write(&turns, value));
                        }
                        give_back(turns.lock());
                        None
                    })
                })
                .collect();
            let mut answers = vec![(0, write(&turns, 0))];
            for (value, thread) in (1..).zip(spawned) {
                answers.extend(thread.join().unwrap().map(|at| (value, at)));
            }
            let list = turns.lock();
            assert_eq!(list.len(), answers.len(), "a write was carried out twice or never");
            for (value, at) in answers {
                assert_eq!(list[at], value, "a write has got another one's answer");
            }
        },
    );
}

/// Complete. 1,000 executions.
#[test]
fn two_writers_share_the_lead() {
    hand_over(Plant::Sound, None, 1, 0);
}

/// Complete. 400 executions.
#[test]
fn a_writer_is_woken_by_one_who_took_the_lock() {
    hand_over(Plant::Sound, None, 0, 1);
}

/// At most three preemptions, 2,700 executions; all of them did not end in half an hour.
#[test]
fn a_writer_is_woken_by_a_leader_or_by_one_who_took_the_lock() {
    hand_over(Plant::Sound, Some(3), 1, 1);
}

/// At most three preemptions, 3,000 executions; all of them did not end in half an hour.
#[test]
fn three_writers_share_the_lead() {
    hand_over(Plant::Sound, Some(3), 2, 0);
}

/// A leader that panics has taken a write and drops it. Complete. 10 executions.
#[test]
fn nobody_waits_for_a_leader_that_is_gone() {
    abandon(Plant::Sound);
}

fn abandon(plant: Plant) {
    explore(
        plant,
        None,
        |_, _| false,
        || {
            let turns = Arc::new(Lines::new(Vec::new()));
            let ticket: Arc<Ticket<_, _>> = turns.queue.enter(1);
            arm();
            let leader = {
                let turns = Arc::clone(&turns);
                spawn(move || {
                    let leading = turns.lock();
                    let group = turns.queue.take(8);
                    if has(LOST) {
                        let _ = ManuallyDrop::new(group);
                    } else {
                        drop(group);
                    }
                    give_back(leading);
                })
            };
            let outcome = loop {
                match ticket.wait() {
                    Turn::Lead => {}
                    Turn::Answered(at) => break Ok(at),
                    Turn::Abandoned => break Err(Abandoned),
                }
            };
            assert_eq!(outcome, Err(Abandoned));
            leader.join().unwrap();
        },
    );
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_look_at_the_queue_before_the_lock_is_given_back() {
    hand_over(Plant::InModel(WAKE_FIRST), None, 1, 0);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_lock_given_back_without_a_look_at_the_queue() {
    hand_over(Plant::InModel(NOBODY_WOKEN), None, 0, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_try_before_queueing() {
    hand_over(Plant::InModel(TRY_FIRST), None, 0, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_answer_without_a_wake_up() {
    hand_over(Plant::InModel(NOT_NOTIFIED), Some(3), 2, 0);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_write_that_a_leader_lost() {
    abandon(Plant::InModel(LOST));
}
