//! Draws the pictures of `docs/plots` and writes the table in `docs/performance.md` from all records. Started in the
//! package's folder, as `cargo xtask bench` does.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use cidstore_peers::{Result, kept, report};

const RECORDS: &str = "../record/compare.jsonl";
const PLOTS: &str = "../../docs/plots";
const DOCUMENT: &str = "../../docs/performance.md";
/// What the table stands between.
const MARKS: [&str; 2] =
    ["<!-- figures: written by cargo xtask bench -->\n", "<!-- end of figures -->"];

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<()> {
    let records = kept::read(&fs::read_to_string(RECORDS)?)?;
    fs::create_dir_all(PLOTS)?;
    let mut pictures = String::new();
    for (name, plot) in kept::plots(&records) {
        if let Some(svg) = plot.to_svg() {
            fs::write(Path::new(PLOTS).join(name), svg)?;
            pictures += &format!("![{}](plots/{name})\n\n", plot.title);
            println!("docs/plots/{name}");
        }
    }
    let Some(main) = kept::main_record(&records, &["get_chained", "bulk_load"]) else {
        return Ok(());
    };
    let text = fs::read_to_string(DOCUMENT)?;
    let parts = text.split_once(MARKS[0]).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(MARKS[1])?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| format!("{DOCUMENT} has no place for the table"))?;
    let table = report::table(&main.figures, main.pairs);
    let pairs = report::grouped(main.pairs);
    let heading = format!("{pairs} pairs. {}.\n\n", main.heading);
    fs::write(
        DOCUMENT,
        [before, MARKS[0], "\n", &pictures, &heading, &table, "\n", MARKS[1], after].concat(),
    )?;
    println!("docs/performance.md");
    Ok(())
}
