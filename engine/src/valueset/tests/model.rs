//! Random histories of several sets against ordered sets.

use cidstore_core::E;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Keys, scattered};

#[derive(Clone, Debug)]
enum Step {
    /// Inserts `len` values from `start` on, in this order.
    Insert {
        key: u64,
        start: u64,
        len: u64,
        order: Order,
    },
    Remove {
        key: u64,
        start: u64,
        len: u64,
        order: Order,
    },
    Compact {
        key: u64,
    },
    Move {
        key: u64,
    },
    RemoveKey {
        key: u64,
    },
    Cut,
    Freeze,
    Advance,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Ascending,
    Descending,
    Scattered,
    /// Values whose lower halves are equal.
    High,
}

impl Order {
    fn value(self, start: u64, len: u64, index: u64) -> E {
        match self {
            Self::Ascending => E::from(start + index),
            Self::Descending => E::from(start + len - 1 - index),
            Self::Scattered => scattered(start + index),
            Self::High => E::new(start + index, 7),
        }
    }
}

fn order() -> impl Strategy<Value = Order> + Clone {
    prop_oneof![
        Just(Order::Ascending),
        Just(Order::Descending),
        Just(Order::Scattered),
        Just(Order::High)
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..5_u64;
    let len = prop_oneof![4 => 1..12_u64, 2 => 12..300_u64, 1 => 300..2500_u64];
    let start = prop_oneof![0..40_u64, 0..3000_u64];
    let run = (key.clone(), start, len, order());
    let step = prop_oneof![
        8 => run.clone().prop_map(|(key, start, len, order)| Step::Insert { key, start, len, order }),
        6 => run.prop_map(|(key, start, len, order)| Step::Remove { key, start, len, order }),
        2 => key.clone().prop_map(|key| Step::Compact { key }),
        1 => key.clone().prop_map(|key| Step::Move { key }),
        1 => key.prop_map(|key| Step::RemoveKey { key }),
        2 => Just(Step::Cut),
        1 => Just(Step::Freeze),
        2 => Just(Step::Advance),
    ];
    vec(step, 1..40)
}

fn run(keys: &mut Keys, steps: Vec<Step>) {
    let mut past = None;
    for step in steps {
        match step {
            Step::Insert { key, start, len, order } => {
                for index in 0..len {
                    keys.insert(E::from(key), order.value(start, len, index));
                }
            }
            Step::Remove { key, start, len, order } => {
                for index in 0..len {
                    keys.remove(E::from(key), order.value(start, len, index));
                }
            }
            Step::Compact { key } => keys.compact(E::from(key)),
            Step::Move { key } => {
                if keys.sets.contains_key(&E::from(key)) {
                    keys.move_set(E::from(key));
                }
            }
            Step::RemoveKey { key } => keys.remove_key(E::from(key)),
            Step::Cut => keys.pages.cut(),
            Step::Freeze => {
                drop(past.take());
                keys.check();
                past = Some(keys.freeze());
            }
            Step::Advance => keys.advance(),
        }
        if let Some(past) = &past {
            past.check();
        }
    }
    drop(past);
    keys.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn sets_answer_like_ordered_sets(steps in steps()) {
        run(&mut Keys::new(4096), steps);
    }

    #[test]
    fn sets_are_created_as_they_are_given(
        sizes in vec(prop_oneof![1..20_usize, 1..1000_usize, 230..260_usize], 1..12),
        order in order(),
    ) {
        let mut keys = Keys::new(4096);
        for (key, size) in sizes.iter().enumerate() {
            let len = *size as u64;
            let values = (0..len).map(|index| order.value(3, len, index)).collect::<Vec<_>>();
            keys.create(E::from(key as u64), &values);
        }
        keys.check();
        for key in 0..sizes.len() as u64 {
            keys.remove_key(E::from(key));
        }
        keys.check();
    }
}
