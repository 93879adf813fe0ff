//! The image that the program in `tests/no_std` carries: built here, checked in there.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod common;

use std::path::Path;

use cidstore_core::E;
use cidstore_core::image::ImageReader;
use common::image::{Model, Options, build};
use common::sets::Fill;

/// One, four, five and three hundred values: inline, with a second entry, in an extent, in leaves.
fn content() -> Model {
    let names = [("foo", 123..124), ("four", 0..4), ("five", 0..5), ("many", 0..300)];
    names.map(|(name, values)| (E::from_name(name), values.map(E::from).collect())).into()
}

/// Set `CIDSTORE_BLESS` to write it anew after a change of the format.
#[test]
fn the_image_of_the_no_std_program_is_what_the_builder_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/no_std/image.h5");
    let image = build(&content(), Options { depth_max: 28, fill: Fill::FULL });
    ImageReader::open(&image).unwrap().check().unwrap();
    if std::env::var_os("CIDSTORE_BLESS").is_some() {
        std::fs::write(&path, &image).unwrap();
    }
    let found = std::fs::read(&path).unwrap();
    assert!(
        found == image,
        "{} is not current: run this test with CIDSTORE_BLESS=1",
        path.display()
    );
}
