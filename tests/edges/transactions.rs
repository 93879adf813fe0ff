//! What a transaction's own methods answer, and what that costs.

use std::time::{Duration, Instant};

use cidstore::{E, Error, Store, Transaction};
use cidstore_testkit::Model;
use cidstore_testkit::content::assert_store;
use cidstore_testkit::model::{element, number};
use cidstore_testkit::random::Random;

use crate::empty;

/// One call of each kind now and then, with the model's answer.
fn step(transaction: &mut Transaction<'_>, model: &mut Model, random: &mut Random) {
    // Sets of none to some dozens of values: inline ones and others, and both kinds of way between them.
    let key = u128::from(random.below(4));
    let value = u128::from(random.below(4 << (3 * key as u32)));
    let (of, is) = (element(key), element(value));
    match random.below(40) {
        0 => assert_eq!(transaction.delete(of).unwrap(), model.delete(key)),
        1..18 => {
            assert_eq!(transaction.insert(of, is).unwrap(), model.insert(key, value));
        }
        _ => {
            assert_eq!(transaction.delete_value(of, is).unwrap(), model.delete_value(key, value));
        }
    }
    assert_eq!(transaction.contains_key(of).unwrap(), model.contains_key(key));
    assert_eq!(transaction.contains(of, is).unwrap(), model.contains(key, value));
    let values = transaction.get(of).unwrap().sorted();
    assert!(values.iter().map(number).eq(model.get(key)), "key {key}: {values:?}");
}

#[test]
fn a_transaction_answers_as_the_model_does() {
    let (_scratch, store) = empty();
    let mut random = Random::new(17);
    let mut model = Model::new();
    for round in 0..200 {
        let mut changed = model.clone();
        let is_kept = !random.one_in(3);
        let outcome = store.write(|transaction| {
            for _ in 0..random.below(60) {
                step(transaction, &mut changed, &mut random);
            }
            if is_kept { Ok(()) } else { Err(Error::RolledBack("as planned".to_owned())) }
        });
        assert_eq!(outcome.is_ok(), is_kept, "round {round}: {outcome:?}");
        if is_kept {
            model = changed;
        }
        assert_store(&store, &model);
    }
    assert!(model.value_len() > 0);
}

/// The shortest time of a call in a transaction that is then rolled back, and has or has not changed the key before.
fn shortest(
    store: &Store,
    is_changed: bool,
    call: impl Fn(&mut Transaction<'_>) -> Result<(), Error>,
) -> Duration {
    let times = (0..20).map(|_| {
        let mut time = Duration::MAX;
        let outcome: Result<(), _> = store.write(|transaction| {
            if is_changed {
                assert!(transaction.delete_value(1, 1)?);
            }
            let start = Instant::now();
            call(transaction)?;
            time = start.elapsed();
            Err(Error::RolledBack("measured".to_owned()))
        });
        assert!(matches!(outcome, Err(Error::RolledBack(_))), "{outcome:?}");
        time
    });
    times.min().unwrap()
}

/// Hundreds of times faster, in fact.
#[test]
fn to_ask_for_a_key_or_delete_it_reads_no_values() {
    let (_scratch, store) = empty();
    store.bulk_load((0..100_000).map(|value| (E::from(1), E::from(value)))).unwrap();
    let all = shortest(&store, true, |transaction| {
        assert_eq!(transaction.get(1)?.len(), 99_999);
        Ok(())
    });
    let asked = shortest(&store, true, |transaction| {
        assert!(transaction.contains_key(1)?);
        Ok(())
    });
    assert!(asked * 10 < all, "contains_key takes {asked:?}, get {all:?}");
    for (is_changed, count) in [(false, 100_000), (true, 99_999)] {
        let deleted = shortest(&store, is_changed, |transaction| {
            assert_eq!(transaction.delete(1)?, count);
            assert!(!transaction.contains_key(1)?);
            Ok(())
        });
        assert!(deleted * 10 < all, "delete takes {deleted:?}, get {all:?}");
    }
}
