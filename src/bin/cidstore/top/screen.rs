//! The picture that `top` draws. No input or output is done here: figures in, a frame out.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};

use super::figures::{Figures, Latency};
use crate::units::{bytes, count, nanoseconds, scaled};

/// Windows that the graph remembers: more than the widest terminal has columns.
const HISTORY: usize = 512;

/// Everything that is on the screen.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// What is looked at.
    pub(crate) source: String,
    /// The last figures; `None` before the first have come.
    pub(crate) figures: Option<Figures>,
    /// Why there are no newer ones.
    pub(crate) problem: Option<String>,
    /// Operations a second, the latest first.
    pub(super) history: Vec<u64>,
}

impl Screen {
    /// Takes in the figures of a window.
    pub(crate) fn push(&mut self, figures: Figures) {
        let operations =
            figures.reads_per_second + figures.inserts_per_second + figures.deletes_per_second;
        self.history.insert(0, operations as u64);
        self.history.truncate(HISTORY);
        self.figures = Some(figures);
        self.problem = None;
    }

    /// Draws all of it.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [
            Constraint::Length(2),
            Constraint::Length(7),
            Constraint::Length(7),
            Constraint::Length(6),
            Constraint::Min(0),
        ];
        let [head, operations, latencies, log, space] = Layout::vertical(rows).areas(frame.area());
        self.draw_head(frame, head);
        let Some(figures) = &self.figures else { return };
        self.draw_operations(frame, operations, figures);
        draw_latencies(frame, latencies, figures);
        draw_log(frame, log, figures);
        draw_space(frame, space, figures);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let state = match (&self.problem, &self.figures) {
            (Some(problem), _) => Line::styled(problem.clone(), alarm()),
            (None, None) => Line::raw("waiting for the first figures"),
            (None, Some(figures)) if figures.failed => {
                Line::styled("the store has failed: it refuses writes, see /health", alarm())
            }
            (None, Some(figures)) => {
                let mode = if figures.read_only { ", read-only" } else { "" };
                let open = nanoseconds(figures.open_seconds * 1e9);
                Line::raw(format!("open for {open}{mode}; q quits"))
            }
        };
        let title = Line::styled(
            format!("cidstore top  {}", self.source),
            Style::new().add_modifier(Modifier::BOLD),
        );
        frame.render_widget(Paragraph::new(vec![title, state]), area);
    }

    fn draw_operations(&self, frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
        let block = Block::bordered().title(" operations ");
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let [words, graph] =
            Layout::horizontal([Constraint::Length(40), Constraint::Min(0)]).areas(inner);
        let rate = |figure: f64| format!("{}/s", scaled(figure));
        let lines = vec![
            pair("reads (if counted)", rate(figures.reads_per_second)),
            pair("inserts", rate(figures.inserts_per_second)),
            pair("deletes", rate(figures.deletes_per_second)),
            pair("commits", rate(figures.commits_per_second)),
            pair("writes in a group", format!("{:.1}", figures.group_writes)),
        ];
        frame.render_widget(Paragraph::new(lines), words);
        frame.render_widget(Sparkline::default().data(&self.history), graph);
    }
}

fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

/// A name and a figure, in columns.
fn pair(name: &str, figure: impl std::fmt::Display) -> Line<'static> {
    Line::raw(format!("{name:<20}{figure:>16}"))
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let shown = |seconds: Option<f64>| seconds.map_or("-".into(), |s| nanoseconds(s * 1e9));
    let row = |name: &'static str, latency: &Latency| {
        let Latency { p50, p99, p999 } = latency;
        Row::new([name.to_owned(), shown(*p50), shown(*p99), shown(*p999)])
    };
    let rows = [
        row("commit, immediate", &figures.commit_immediate),
        row("commit, interval", &figures.commit_interval),
        row("commit, buffered", &figures.commit_buffered),
        row("fdatasync of the log", &figures.log_sync),
    ];
    let head =
        Row::new(["", "p50", "p99", "p99.9"]).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = [
        Constraint::Length(22),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    let block = Block::bordered().title(" latency, at most ");
    frame.render_widget(Table::new(rows, widths).header(head).block(block), area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let block = Block::bordered().title(" log and checkpoints ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [gauge, words] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(inner);
    let (used, most) = (whole(figures.log_used_bytes), whole(figures.log_max_bytes));
    let fill = figures.log_fill();
    let colour = if fill > 0.9 { Color::Red } else { Color::Green };
    let label = format!("log {} of {}", bytes(used), bytes(most));
    let bar = Gauge::default().ratio(fill).label(label).gauge_style(Style::new().fg(colour));
    frame.render_widget(bar, gauge);
    let written = format!("{}/s", bytes(whole(figures.log_bytes_per_second)));
    let lasted = figures.checkpoint.p50.map_or("-".into(), |s| nanoseconds(s * 1e9));
    let brought = format!("{}/s", bytes(whole(figures.checkpoint_bytes_per_second)));
    let lines = vec![
        two(("log written", written), ("fdatasyncs", per_second(figures.log_syncs_per_second))),
        two(("checkpoints", count(whole(figures.checkpoints))), ("each took at most", lasted)),
        two(("pages written", brought), ("not yet durable", count(whole(figures.not_durable)))),
    ];
    frame.render_widget(Paragraph::new(lines), words);
}

fn draw_space(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let pin = nanoseconds(figures.oldest_pin_seconds * 1e9);
    let lines = vec![
        two(("keys", count(whole(figures.keys))), ("pairs", count(whole(figures.pairs)))),
        two(
            ("data file", bytes(whole(figures.file_bytes))),
            ("live pages", bytes(whole(figures.live_bytes))),
        ),
        two(
            ("bucket pages", count(whole(figures.bucket_pages))),
            ("value pages", count(whole(figures.value_pages))),
        ),
        two(
            ("free pages", count(whole(figures.free_pages))),
            ("memory of changes", bytes(whole(figures.pool_bytes))),
        ),
        two(("waiting for readers", count(whole(figures.retired))), ("oldest pin", pin)),
        two(
            ("splits", count(whole(figures.splits))),
            ("snapshots", count(whole(figures.snapshots))),
        ),
    ];
    let block = Block::bordered().title(" space ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn two(left: (&str, String), right: (&str, String)) -> Line<'static> {
    let ((name, figure), (second, other)) = (left, right);
    Line::raw(format!("{name:<20}{figure:>16}    {second:<20}{other:>14}"))
}

fn per_second(figure: f64) -> String {
    format!("{}/s", scaled(figure))
}

/// Counts come as floats in the text.
fn whole(figure: f64) -> u64 {
    figure.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(screen: &Screen, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..rows).map(row).collect()
    }

    fn sample() -> Figures {
        Figures {
            seconds: 1.0,
            open_seconds: 42.0,
            inserts_per_second: 2_710_000.0,
            commits_per_second: 1500.0,
            group_writes: 7.5,
            commit_immediate: Latency { p50: Some(0.0012), p99: Some(0.0048), p999: None },
            log_used_bytes: (64 << 20) as f64,
            log_max_bytes: (256 << 20) as f64,
            keys: 1_234_567.0,
            file_bytes: (3_u64 << 30) as f64,
            ..Figures::default()
        }
    }

    #[track_caller]
    fn has(lines: &[String], words: &[&str]) {
        let found = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "{words:?} not in one line of\n{}", lines.join("\n"));
    }

    #[test]
    fn the_figures_are_where_they_belong() {
        let mut screen = Screen { source: "s.h5".into(), ..Screen::default() };
        has(&drawn(&screen, 80, 30), &["waiting"]);
        screen.push(sample());
        let lines = drawn(&screen, 80, 30);
        has(&lines, &["cidstore top", "s.h5"]);
        has(&lines, &["open for 42.0 s"]);
        has(&lines, &["inserts", "2.71 M/s"]);
        has(&lines, &["writes in a group", "7.5"]);
        has(&lines, &["commit, immediate", "1.20 ms", "4.80 ms", "-"]);
        has(&lines, &["log 64.0 MiB of 256 MiB"]);
        has(&lines, &["keys", "1,234,567"]);
        has(&lines, &["data file", "3.00 GiB"]);
        // A full bar for the busiest window.
        has(&lines, &["█"]);
    }

    #[test]
    fn problems_are_told_and_old_figures_stay() {
        let mut screen = Screen::default();
        screen.push(sample());
        screen.problem = Some("no answer".into());
        let lines = drawn(&screen, 80, 30);
        has(&lines, &["no answer"]);
        has(&lines, &["keys", "1,234,567"]);
        screen.push(Figures { failed: true, ..sample() });
        has(&drawn(&screen, 80, 30), &["the store has failed"]);
    }

    /// Whatever the size of the terminal, drawing does not fail.
    #[test]
    fn small_terminals_are_endured() {
        let mut screen = Screen::default();
        (0..600).for_each(|_| screen.push(sample()));
        for (columns, rows) in [(1, 1), (20, 5), (40, 12), (300, 100)] {
            assert_eq!(drawn(&screen, columns, rows).len(), rows as usize);
        }
    }
}
