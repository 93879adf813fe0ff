//! `top`: a live view of a store's metrics.
//!
//! Reading order: [`scrape`] reads the exposed text, [`figures`] makes rates and percentiles of two readings,
//! [`screen`] draws them. Here is where the text comes from, and the loop.

mod figures;
mod scrape;
mod screen;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use cidstore::Store;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};
use signal_hook::consts::{SIGINT, SIGTERM};

pub(crate) use figures::Figures;

use self::scrape::Scrape;
use self::screen::Screen;
use crate::access::open_to_read;
use crate::args::{StoreArgs, TopArgs};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Record};

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a key or a signal is noticed.
const GLANCE: Duration = Duration::from_millis(50);
/// Size of the picture that is printed instead of drawn.
const PRINTED: (u16, u16) = (80, 30);

pub(crate) fn run(args: &TopArgs, output: &mut Output) -> Outcome {
    let source = Source::open(args)?;
    if args.once {
        let figures = Figures::between(None, &source.scrape()?);
        return print(&source.name(), figures, output);
    }
    if !output.is_json() && !io::stdout().is_terminal() {
        let hint = "standard output is no terminal: use --once, or --json for a line each interval";
        return Err(Failure::Usage(hint.into()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(Failure::io(Path::new("signals"), "wait for"))?;
    }
    let name = source.name();
    let readings = watch(source, args.interval(), Arc::clone(&stop));
    if output.is_json() {
        print_each(&name, &readings, &stop, output)
    } else {
        let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
        let shown = show(&mut terminal, name, &readings, &stop);
        // The terminal first: a message into its other screen would be lost.
        ratatui::try_restore().map_err(Failure::Output)?;
        stop.store(true, Ordering::Relaxed);
        shown
    }
}

/// Where the text comes from.
enum Source {
    Server { agent: ureq::Agent, url: String },
    Store { store: Store, name: String },
}

impl Source {
    fn open(args: &TopArgs) -> Outcome<Self> {
        match (&args.store, &args.url) {
            (Some(path), _) => {
                let name = path.display().to_string();
                let files = StoreArgs { store: path.clone(), wal: args.wal.clone() };
                Ok(Self::Store { store: open_to_read(&files)?, name })
            }
            (None, url) => {
                let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT));
                Ok(Self::Server { agent: config.build().into(), url: url.clone() })
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Server { url: name, .. } | Self::Store { name, .. } => name.clone(),
        }
    }

    fn scrape(&self) -> Outcome<Scrape> {
        let (name, text) = match self {
            Self::Store { store, name } => (name, store.expose_metrics()?),
            Self::Server { agent, url } => (url, fetch(agent, url)?),
        };
        let foreign = |fault| io::Error::new(io::ErrorKind::InvalidData, fault);
        Scrape::parse(&text).map_err(foreign).map_err(Failure::io(Path::new(name), "read metrics"))
    }
}

fn fetch(agent: &ureq::Agent, url: &str) -> Outcome<String> {
    let answer = agent.get(url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    answer.map_err(io::Error::other).map_err(Failure::io(Path::new(url), "read metrics"))
}

/// Reads the metrics once every interval, on a thread of its own: a server that hangs must not make keys hang.
fn watch(source: Source, interval: Duration, stop: Arc<AtomicBool>) -> Receiver<Outcome<Figures>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut earlier: Option<(Scrape, Instant)> = None;
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            let figures = source.scrape().map(|now| {
                let then = earlier.as_ref();
                let window = then.map(|(then, at)| (then, at.elapsed().as_secs_f64()));
                let figures = Figures::between(window, &now);
                earlier = Some((now, start));
                figures
            });
            if sender.send(figures).is_err() {
                return;
            }
            while start.elapsed() < interval && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(GLANCE.min(interval));
            }
        }
    });
    receiver
}

/// Prints a line of JSON for each reading, until a signal comes or a reading fails.
fn print_each(
    name: &str,
    readings: &Receiver<Outcome<Figures>>,
    stop: &AtomicBool,
    output: &mut Output,
) -> Outcome {
    while !stop.load(Ordering::Relaxed) {
        match readings.recv_timeout(GLANCE) {
            Ok(figures) => {
                print(name, figures?, output)?;
                output.flush()?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

/// Prints figures once: as JSON, or the picture as text.
fn print(name: &str, figures: Figures, output: &mut Output) -> Outcome {
    if output.is_json() {
        return output.record(&Record::Top { source: name, figures: Box::new(figures) });
    }
    let mut screen = Screen { source: name.to_owned(), ..Screen::default() };
    screen.push(figures);
    let (columns, rows) = PRINTED;
    let Ok(mut paper) = Terminal::new(TestBackend::new(columns, rows));
    let Ok(drawn) = paper.draw(|frame| screen.draw(frame));
    for y in 0..rows {
        let line: String = (0..columns).map(|x| drawn.buffer[(x, y)].symbol()).collect();
        output.line(line.trim_end())?;
    }
    Ok(())
}

/// Draws each reading, until `q`, Esc, Ctrl-C or a signal. A reading that fails is told, and tried again.
fn show(
    terminal: &mut DefaultTerminal,
    source: String,
    readings: &Receiver<Outcome<Figures>>,
    stop: &AtomicBool,
) -> Outcome {
    let mut screen = Screen { source, ..Screen::default() };
    loop {
        match readings.try_recv() {
            Ok(Ok(figures)) => screen.push(figures),
            Ok(Err(failure)) => screen.problem = Some(failure.to_string()),
            Err(_nothing_new) => {}
        }
        terminal.draw(|frame| screen.draw(frame)).map_err(Failure::Output)?;
        let quit = event::poll(GLANCE).map_err(Failure::Output)?
            && is_quit(&event::read().map_err(Failure::Output)?);
        if quit || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
