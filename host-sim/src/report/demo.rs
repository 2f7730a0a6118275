//! The end of `host-sim demo`: a table for people, one JSON object for programs.

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::{Map, Value, json};

use super::number::{bytes, microseconds, plain, whole};
use crate::demo::calibration::{Bound, Cost, EngineCost};
use crate::demo::run::{Outcome, WayOutcome};

/// What there is to say of figures of an emulated machine.
const EMULATED: &str =
    "on bare metal in QEMU, whose processor is emulated: the answers count, not the figures";

/// The part of the expected ratio that pushdown is meant to reach.
pub const SHARE_WANTED: f64 = 0.85;

/// What was done, and what came of it.
#[derive(Clone, Debug)]
pub struct DemoReport {
    /// The database, as the user knows it.
    pub database: String,
    /// The table.
    pub table: String,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Keys looked up by each way.
    pub keys: usize,
    /// Lookups in flight.
    pub concurrency: usize,
    /// Network delay added to each round trip.
    pub rtt: Duration,
    /// Time added to each read of the drive.
    pub drive_latency: Duration,
    /// What ran the programs.
    pub engine: &'static str,
    /// It ran on an emulated processor: times say nothing.
    pub emulated: bool,
    /// What was measured.
    pub outcome: Outcome,
}

/// One way's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WayReport {
    /// Lookups a second.
    pub ops_per_s: f64,
    /// Round trips for each lookup.
    pub round_trips_per_op: f64,
    /// Bytes on the wire for each lookup.
    pub bytes_per_op: f64,
    /// Median latency, in microseconds.
    pub p50_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
    /// Answers that SQLite disagrees with.
    pub mismatches: u64,
}

impl WayReport {
    /// The figures of `way`.
    pub fn of(way: &WayOutcome) -> WayReport {
        WayReport {
            ops_per_s: way.sample.ops_per_s(),
            round_trips_per_op: way.sample.round_trips_per_op(),
            bytes_per_op: way.sample.bytes_per_op(),
            p50_us: way.latencies.p50_us(),
            p99_us: way.latencies.p99_us(),
            mismatches: way.mismatches,
        }
    }

    /// The figures with their names, in the order in which they are shown.
    fn named(&self) -> [(&'static str, f64); 5] {
        [
            ("ops_per_s", self.ops_per_s),
            ("round_trips_per_op", self.round_trips_per_op),
            ("bytes_per_op", self.bytes_per_op),
            ("p50_us", self.p50_us),
            ("p99_us", self.p99_us),
        ]
    }
}

impl DemoReport {
    /// Whether every answer was SQLite's.
    pub fn is_correct(&self) -> bool {
        self.outcome.mismatches == 0
    }

    /// The measured ratio over the expected one.
    pub fn share(&self) -> f64 {
        self.outcome.ratio() / self.outcome.calibration.expected_ratio()
    }

    /// One JSON object with flat keys (`pushdown.ops_per_s`).
    pub fn to_json(&self) -> Value {
        let Outcome {
            calibration,
            mismatches,
            depth,
            ..
        } = &self.outcome;
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_string(), value);
        put("database", json!(self.database));
        put("table", json!(self.table));
        put("page_bytes", json!(self.page_bytes));
        put("keys", json!(self.keys));
        put("concurrency", json!(self.concurrency));
        put("rtt_us", json!(self.rtt.as_nanos() as f64 / 1e3));
        put(
            "drive_latency_us",
            json!(self.drive_latency.as_nanos() as f64 / 1e3),
        );
        put("mismatches", json!(mismatches));
        for (name, way) in [
            ("pushdown", &self.outcome.pushdown),
            ("remote", &self.outcome.remote),
        ] {
            let figures = WayReport::of(way);
            for (figure, value) in figures.named() {
                put(&format!("{name}.{figure}"), json!(value));
            }
            put(&format!("{name}.mismatches"), json!(figures.mismatches));
        }
        for (name, bound) in [
            ("pushdown", calibration.pushdown()),
            ("remote", calibration.remote()),
        ] {
            let most = bound.ops_per_s(calibration.lanes);
            put(&format!("{name}.bound_ops_per_s"), json!(most));
        }
        put("depth", json!(depth));
        put("ratio", json!(self.outcome.ratio()));
        put("emulated", json!(self.emulated));
        if !self.emulated {
            put("expected_ratio", json!(calibration.expected_ratio()));
            put("share_of_expected", json!(self.share()));
        }
        put("reads_per_lookup", json!(calibration.reads));
        for (place, cost) in [
            ("alone", calibration.alone),
            ("processor", calibration.processor),
        ] {
            let us = |ns: f64| json!(ns / 1e3);
            put(&format!("{place}.remote_read_us"), us(cost.remote_read_ns));
            put(&format!("{place}.round_trip_us"), us(cost.round_trip_ns));
            put(&format!("{place}.read_us"), us(cost.read_ns));
        }
        put("engine", json!(self.engine));
        for (suffix, cost) in [("", calibration.engine), ("_checked", calibration.checked)] {
            let us = |ns: f64| json!(ns / 1e3);
            put(&format!("pushdown.cpu_us{suffix}"), us(cost.lookup_ns));
            put(&format!("execute_us{suffix}"), us(cost.execute_ns));
        }
        let instructions = self.outcome.pushdown.sample.instructions_per_op();
        put("instructions_per_lookup", json!(instructions));
        Value::Object(object)
    }

    /// The table, what the ratio means, and what was wrong, as text of several lines.
    pub fn to_text(&self) -> String {
        let pushdown = WayReport::of(&self.outcome.pushdown);
        let remote = WayReport::of(&self.outcome.remote);
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["each lookup", "pushdown", "remote reads", "ratio"]);
        let mut row = |name: &str, form: fn(f64) -> String, pushed: f64, read: f64, ratio: f64| {
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            let ratio = format!("{} ×", plain(ratio));
            table.add_row([
                Cell::new(name),
                right(form(pushed)),
                right(form(read)),
                right(ratio),
            ]);
        };
        let (p, r) = (pushdown, remote);
        row(
            "lookups/s",
            plain,
            p.ops_per_s,
            r.ops_per_s,
            p.ops_per_s / r.ops_per_s,
        );
        let fewer = |pushed: f64, read: f64| read / pushed;
        let trips = fewer(p.round_trips_per_op, r.round_trips_per_op);
        row(
            "round trips",
            plain,
            p.round_trips_per_op,
            r.round_trips_per_op,
            trips,
        );
        let saved = fewer(p.bytes_per_op, r.bytes_per_op);
        row("on the wire", bytes, p.bytes_per_op, r.bytes_per_op, saved);
        row(
            "latency p50",
            microseconds,
            p.p50_us,
            r.p50_us,
            fewer(p.p50_us, r.p50_us),
        );
        row(
            "latency p99",
            microseconds,
            p.p99_us,
            r.p99_us,
            fewer(p.p99_us, r.p99_us),
        );
        let cost = if self.emulated {
            EMULATED.to_owned()
        } else {
            format!("{}\n{}", self.engines(), self.expectation())
        };
        format!("{}\n{table}\n{cost}\n{}", self.heading(), self.verdict())
    }

    fn heading(&self) -> String {
        let mut heading = format!(
            "{} keys of table {} in {} ({}-byte pages, depth {}), {} in flight",
            whole(self.keys as u64),
            self.table,
            self.database,
            self.page_bytes,
            self.outcome.depth,
            self.concurrency
        );
        let added = [
            ("to each round trip", self.rtt),
            ("to each drive read", self.drive_latency),
        ];
        for (what, delay) in added.into_iter().filter(|(_, delay)| !delay.is_zero()) {
            let delay = microseconds(delay.as_nanos() as f64 / 1e3);
            heading.push_str(&format!(", {delay} added {what}"));
        }
        heading
    }

    /// What pushdown takes of the processor, by engine.
    fn engines(&self) -> String {
        let parts = &self.outcome.calibration;
        let cost = |cost: &EngineCost| {
            let us = |ns: f64| microseconds(ns / 1e3);
            let (lookup, program) = (us(cost.lookup_ns), us(cost.execute_ns));
            format!("{lookup}, {program} of it in the program")
        };
        format!(
            "processor time of a lookup by pushdown: {} ({})\n  {} (interpreter-checked)",
            cost(&parts.engine),
            self.engine,
            cost(&parts.checked),
        )
    }

    /// The measured parts and the ratio that follows from them.
    fn expectation(&self) -> String {
        let parts = &self.outcome.calibration;
        let us = |ns: f64| microseconds(ns / 1e3);
        let cost = |cost: &Cost| {
            let (n, r) = (us(cost.round_trip_ns), us(cost.read_ns));
            let both = us(cost.remote_read_ns);
            format!("n = {n} a round trip, r = {r} a drive read, {both} a remote read")
        };
        let reached = |bound: Bound, way: &WayOutcome| {
            let by = if bound.alone_ns >= bound.processor_ns {
                "delay"
            } else {
                "the processor"
            };
            let most = bound.ops_per_s(parts.lanes);
            let share = percent(way.sample.ops_per_s() / most);
            format!("{}/s, bound by {by}; {share} of that reached", plain(most))
        };
        format!(
            "expected ratio {}: d(n + r)/(n + d·r + e) with d = {} reads, e = {} in the program\n  \
             alone {}\n  of the processor {}\n  \
             so pushdown can do {}\n  and remote reads {}\n\
             reached {} of the expected ratio; {} are wanted",
            plain(parts.expected_ratio()),
            plain(parts.reads),
            us(parts.engine.execute_ns),
            cost(&parts.alone),
            cost(&parts.processor),
            reached(parts.pushdown(), &self.outcome.pushdown),
            reached(parts.remote(), &self.outcome.remote),
            percent(self.share()),
            percent(SHARE_WANTED),
        )
    }

    /// Whether the answers were right, and the first that were not.
    fn verdict(&self) -> String {
        let keys = whole(self.keys as u64);
        if self.is_correct() {
            return format!("all {keys} records of both ways are what SQLite says they are");
        }
        let wrong = whole(self.outcome.mismatches);
        let mut verdict = format!("WRONG: {wrong} of {keys} keys differ from SQLite:");
        for example in &self.outcome.examples {
            verdict.push_str(&format!(
                "\n  {} {}: {}",
                example.way, example.rowid, example.why
            ));
        }
        verdict
    }
}

fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.0} %", share * 100.0)
    } else {
        "–".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Calibration;
    use crate::demo::drive::Sample;
    use crate::demo::run::{Example, Way};

    fn way(elapsed_ns: u64, round_trips: u64, wire_bytes: u64) -> WayOutcome {
        let sample = Sample {
            operations: 1000,
            elapsed_ns,
            round_trips,
            wire_bytes,
            instructions: 0,
        };
        let mut way = WayOutcome {
            sample,
            ..WayOutcome::default()
        };
        way.latencies.record(20_000);
        way
    }

    fn report() -> DemoReport {
        let calibration = Calibration {
            lanes: 8,
            reads: 3.0,
            engine: EngineCost {
                lookup_ns: 4_000.0,
                execute_ns: 2_000.0,
            },
            checked: EngineCost {
                lookup_ns: 5_000.0,
                execute_ns: 3_000.0,
            },
            alone: Cost {
                remote_read_ns: 18_000.0,
                round_trip_ns: 16_000.0,
                read_ns: 2_000.0,
            },
            processor: Cost {
                remote_read_ns: 600.0,
                round_trip_ns: 500.0,
                read_ns: 100.0,
            },
        };
        DemoReport {
            database: "orders.sqlite".into(),
            table: "orders".into(),
            page_bytes: 4096,
            keys: 1000,
            concurrency: 8,
            rtt: Duration::from_micros(100),
            drive_latency: Duration::ZERO,
            engine: "interpreter",
            emulated: false,
            outcome: Outcome {
                pushdown: way(1_000_000, 1000, 250_000),
                remote: way(2_000_000, 3000, 12_600_000),
                mismatches: 0,
                examples: Vec::new(),
                depth: 3,
                calibration,
            },
        }
    }

    #[test]
    fn json_has_every_key_with_its_value() {
        let json = report().to_json();
        assert_eq!(json["mismatches"], 0);
        assert_eq!(json["pushdown.ops_per_s"], 1_000_000.0);
        assert_eq!(json["remote.ops_per_s"], 500_000.0);
        assert_eq!(json["pushdown.round_trips_per_op"], 1.0);
        assert_eq!(json["remote.round_trips_per_op"], 3.0);
        assert_eq!(json["pushdown.bytes_per_op"], 250.0);
        assert_eq!(json["remote.bytes_per_op"], 12_600.0);
        assert_eq!(json["depth"], 3);
        assert_eq!(json["ratio"], 2.0);
        assert_eq!(json["rtt_us"], 100.0);
        let expected = 3.0 * 18.0 / 24.0;
        assert!((json["expected_ratio"].as_f64().unwrap() - expected).abs() < 1e-9);
        assert!((json["share_of_expected"].as_f64().unwrap() - 2.0 / expected).abs() < 1e-9);
    }

    #[test]
    fn text_says_what_was_done_and_that_it_is_right() {
        let text = report().to_text();
        for part in [
            "1 000 000",
            "500 000",
            "2.00 ×",
            "12.3 KiB",
            "expected ratio 2.25",
            "89 %",
            "100 µs",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(text.ends_with("all 1000 records of both ways are what SQLite says they are"));
    }

    #[test]
    fn figures_of_an_emulated_machine_are_no_verdict() {
        let report = DemoReport {
            emulated: true,
            ..report()
        };
        let text = report.to_text();
        assert!(text.contains("is emulated: the answers count"), "{text}");
        assert!(!text.contains("expected ratio"), "{text}");
        let json = report.to_json();
        assert_eq!(json["emulated"], true);
        assert!(json.get("expected_ratio").is_none(), "{json}");
    }

    #[test]
    fn wrong_answers_are_shown() {
        let mut report = report();
        report.outcome.mismatches = 1;
        let (way, why) = (Way::Remote, "no answer came".to_string());
        report.outcome.examples.push(Example {
            rowid: -7,
            way,
            why,
        });
        assert!(!report.is_correct());
        let text = report.to_text();
        assert!(text.contains("WRONG: 1 of 1000 keys"), "{text}");
        assert!(text.ends_with("remote reads -7: no answer came"), "{text}");
    }
}
