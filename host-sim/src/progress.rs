//! How far long work has got: a bar on a terminal, otherwise a plain line now and then.
//!
//! Everything goes to standard error, so that standard output holds the result alone.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines.
const PLAIN_PERIOD: Duration = Duration::from_secs(2);

/// A bar over `{pos}` of `{len}`.
const BAR: &str = "{msg:24} {wide_bar} {pos}/{len} {eta}";

/// Shows the progress of one task after the other.
pub struct Progress {
    face: Face,
}

enum Face {
    Hidden,
    Bar(ProgressBar),
    Plain(Plain<Box<dyn Write>>),
}

impl Progress {
    /// A bar if standard error is a terminal, otherwise plain lines; nothing at all if `quiet`.
    pub fn new(quiet: bool) -> Progress {
        let face = if quiet {
            Face::Hidden
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            // The template is a constant; were it wrong, indicatif's own bar would do.
            let style = ProgressStyle::with_template(BAR);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            Face::Bar(bar)
        } else {
            Face::Plain(Plain::new(Box::new(io::stderr())))
        };
        Progress { face }
    }

    /// Starts a task of `total` steps; `what` names it ("looking up").
    pub fn start(&mut self, what: &str, total: u64) {
        match &mut self.face {
            Face::Hidden => {}
            Face::Bar(bar) => {
                bar.reset();
                bar.set_length(total);
                bar.set_message(what.to_string());
            }
            Face::Plain(plain) => plain.start(what, total, Instant::now()),
        }
    }

    /// `done` steps of the task are done. Cheap enough to be called for each.
    pub fn at(&mut self, done: u64) {
        match &mut self.face {
            Face::Hidden => {}
            Face::Bar(bar) => bar.set_position(done),
            Face::Plain(plain) => plain.at(done, Instant::now()),
        }
    }

    /// The task is over: takes the bar off the screen.
    pub fn finish(&mut self) {
        match &mut self.face {
            Face::Hidden => {}
            Face::Bar(bar) => bar.finish_and_clear(),
            Face::Plain(plain) => plain.finish(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Lines for a log file: one when a task starts to take time, then every [`PLAIN_PERIOD`].
struct Plain<W> {
    out: W,
    what: String,
    total: u64,
    due: Option<Instant>,
    said: bool,
    done: u64,
}

impl<W: Write> Plain<W> {
    fn new(out: W) -> Plain<W> {
        Plain {
            out,
            what: String::new(),
            total: 0,
            due: None,
            said: false,
            done: 0,
        }
    }

    fn start(&mut self, what: &str, total: u64, now: Instant) {
        self.finish();
        self.what = what.to_string();
        self.total = total;
        self.done = 0;
        self.due = now.checked_add(PLAIN_PERIOD);
        self.said = false;
    }

    fn at(&mut self, done: u64, now: Instant) {
        self.done = done;
        if self.due.is_some_and(|due| now >= due) {
            self.due = now.checked_add(PLAIN_PERIOD);
            self.said = true;
            self.report();
        }
    }

    /// A task that had lines gets a last one.
    fn finish(&mut self) {
        if self.said {
            self.said = false;
            self.report();
        }
        self.due = None;
    }

    fn report(&mut self) {
        let line = match self.total {
            0 => format!("{}: {}", self.what, self.done),
            total => {
                let percent = self.done.saturating_mul(100) / total;
                format!("{}: {} of {total} ({percent} %)", self.what, self.done)
            }
        };
        // Progress that cannot be shown is not worth failing for.
        let _ = writeln!(self.out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_few_and_end_with_the_end() {
        let mut plain = Plain::new(Vec::new());
        let start = Instant::now();
        plain.start("looking up", 200, start);
        plain.at(10, start + Duration::from_millis(1999));
        plain.at(20, start + Duration::from_millis(2000));
        plain.at(30, start + Duration::from_millis(2001));
        plain.at(200, start + Duration::from_millis(2002));
        plain.finish();
        plain.start("quick", 5, start);
        plain.at(5, start);
        plain.finish();
        let text = String::from_utf8(plain.out).unwrap();
        assert_eq!(
            text,
            "looking up: 20 of 200 (10 %)\nlooking up: 200 of 200 (100 %)\n"
        );
    }

    #[test]
    fn a_task_of_unknown_length_has_no_percentage() {
        let mut plain = Plain::new(Vec::new());
        let start = Instant::now();
        plain.start("counting", 0, start);
        plain.at(7, start + Duration::from_secs(3));
        assert_eq!(String::from_utf8(plain.out).unwrap(), "counting: 7\n");
    }
}
