//! Progress bars: on standard error, and only if that is a terminal (indicatif sees to both).

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Frames a second at most: more would only cost time.
const FRAMES_PER_SECOND: u8 = 10;

/// A bar over bytes, or a spinner if nobody knows how many there are.
pub(crate) fn of_bytes(what: &str, total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => {
            bar(what, Some(total), "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {eta}")
        }
        None => bar(what, None, "{msg} {spinner} {binary_bytes}"),
    }
}

/// A bar over things that are counted.
pub(crate) fn of_count(what: &str, total: u64) -> ProgressBar {
    bar(what, Some(total), "{msg} [{bar:30}] {human_pos}/{human_len} {eta}")
}

/// A bar over what has a size in units of its own.
#[cfg(feature = "libhdf5")]
fn of_part(what: &str, total: u64) -> ProgressBar {
    bar(what, Some(total), "{msg} [{bar:30}] {percent}% {eta}")
}

/// A spinner for what has no measure.
pub(crate) fn of_steps() -> ProgressBar {
    let spinner = bar("", None, "{spinner} {msg}");
    if io::stderr().is_terminal() {
        spinner.enable_steady_tick(Duration::from_millis(100));
    }
    spinner
}

fn bar(what: &str, total: Option<u64>, template: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SECOND);
    let bar = ProgressBar::with_draw_target(total, target).with_message(what.to_owned());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        // Only a wrong template could fail, and a test draws each. A plain bar does as well.
        Err(_) => bar,
    }
}

/// A bar for each stage of an export or import, one after another.
#[cfg(feature = "libhdf5")]
#[derive(Default)]
pub(crate) struct StageBars {
    shown: Option<(cidstore::exchange::Stage, ProgressBar)>,
}

#[cfg(feature = "libhdf5")]
impl StageBars {
    /// Moves the bar of the stage that is told of, and begins it if it is the next one.
    pub(crate) fn show(&mut self, progress: cidstore::exchange::Progress) {
        use cidstore::exchange::Stage;
        let cidstore::exchange::Progress { stage, done, total } = progress;
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            self.finish();
            let what = match stage {
                Stage::Plan => "planning",
                Stage::Write => "writing",
                Stage::Compress => "compressing",
                Stage::Expand => "expanding",
                Stage::Read => "reading",
                _ => "storing",
            };
            self.shown = Some((stage, of_part(what, total)));
        }
        if let Some((_, bar)) = &self.shown {
            bar.set_position(done);
        }
    }

    /// Takes the last bar away.
    pub(crate) fn finish(&mut self) {
        if let Some((_, bar)) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_well_formed() {
        for template in [
            "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {eta}",
            "{msg} {spinner} {binary_bytes}",
            "{msg} [{bar:30}] {human_pos}/{human_len} {eta}",
            "{spinner} {msg}",
            "{msg} [{bar:30}] {percent}% {eta}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
