//! The agent's log on a laptop, in lines like those of a board: time since the start, level, module.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use log::LevelFilter;

/// Takes to the terminal's line, where a LED may be, what is written next.
const LINE_OVER: &str = "\r\x1b[K";

/// From now on, what is logged at `level` or above goes to standard error. The first call counts; others
/// change nothing.
pub fn show(level: LevelFilter) {
    let start = Instant::now();
    let over = if std::io::stderr().is_terminal() {
        LINE_OVER
    } else {
        ""
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).format(move |out, record| {
        writeln!(
            out,
            "{over}[{:>12.6}] {:<5} {}: {}",
            start.elapsed().as_secs_f64(),
            record.level(),
            record.target(),
            record.args()
        )
    });
    // Fails where there is a log already.
    let _ = builder.try_init();
}
