//! `outboard stats`.

use crate::Agent;
use crate::drive;
use crate::failure::Failure;
use crate::output::{Output, duration_in_words, grouped};
use serde_json::{Map, Value, json};
use std::thread;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Stats {
    /// Show them again and again, with what changed in a second; every second unless said
    /// otherwise.
    #[arg(short, long, value_name = "SECONDS")]
    #[arg(num_args = 0..=1, default_missing_value = "1", require_equals = true)]
    #[arg(value_parser = period)]
    watch: Option<Duration>,
}

/// Longest time between two looks, seconds.
const WATCH_MAX: f64 = 86_400.0;

impl Stats {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let mut before: Option<client::Stats> = None;
        loop {
            let now = client.stats()?;
            if output.is_json() {
                output.json_line(&to_json(&now))?;
            } else {
                if before.is_some() {
                    // Home and clear on a terminal, else a blank line.
                    let again = if output.is_terminal() {
                        "\x1b[H\x1b[J"
                    } else {
                        "\n"
                    };
                    output.bytes(again.as_bytes())?;
                }
                print(&now, before.as_ref(), output)?;
            }
            output.finish()?;
            let Some(period) = self.watch else {
                return Ok(());
            };
            thread::sleep(period);
            before = Some(now);
        }
    }
}

fn period(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= WATCH_MAX => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("give a number of seconds above 0, at most a day's".to_owned()),
    }
}

fn print(
    now: &client::Stats,
    before: Option<&client::Stats>,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line(&format!("up {}", duration_in_words(now.uptime_us)))?;
    output.line(&drive::line(&now.drive))?;
    output.line("")?;
    let seconds = before
        .map(|before| now.uptime_us.saturating_sub(before.uptime_us) as f64 / 1e6)
        .filter(|seconds| *seconds > 0.0);
    let rows = now.counters.iter().map(|(name, value)| {
        let mut row = vec![name.clone(), grouped(*value)];
        if let Some(seconds) = seconds {
            let old = before.and_then(|b| b.counters.iter().find(|(n, _)| n == name));
            let delta = value.saturating_sub(old.map_or(0, |(_, value)| *value));
            row.push(grouped((delta as f64 / seconds).round() as u64));
        }
        row
    });
    match seconds {
        Some(_) => output.table(&["COUNTER", ">VALUE", ">PER SECOND"], rows)?,
        None => output.table(&["COUNTER", ">VALUE"], rows)?,
    }
    output.line("")?;
    let pools = now.pools.iter().map(|pool| {
        vec![
            pool.name.clone(),
            grouped(pool.used.into()),
            grouped(pool.peak.into()),
            grouped(pool.total.into()),
        ]
    });
    output.table(&["POOL", ">USED", ">PEAK", ">TOTAL"], pools)
}

fn to_json(stats: &client::Stats) -> Value {
    let counters: Map<String, Value> = stats
        .counters
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let pools: Map<String, Value> = stats
        .pools
        .iter()
        .map(|pool| {
            let value = json!({ "used": pool.used, "peak": pool.peak, "total": pool.total });
            (pool.name.clone(), value)
        })
        .collect();
    json!({
        "uptime_us": stats.uptime_us,
        "drive": drive::to_json(&stats.drive),
        "counters": counters,
        "pools": pools,
    })
}
