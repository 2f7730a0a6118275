//! The form in which every bench reports.
//!
//! With `--json` one object a line, as soon as it is known:
//!
//! ```text
//! {"bench":"wire","case":"4 KiB, 32 in flight","who":"us","metric":"ops_per_s","value":1200000.0}
//! {"bench":"blocks","case":"randread","who":"qemu-nbd","skipped":"qemu-nbd is not installed"}
//! ```
//!
//! Otherwise one table at the end, a row for each case and who, and below it why some were skipped.

use std::io::{self, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::{Map, Value, json};

use super::number;

/// One figure of a bench, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchLine {
    /// The bench: `wire`.
    pub bench: String,
    /// What was measured: `4 KiB, 32 in flight`.
    pub case: String,
    /// Whose figure it is: `us`, or a rival's name.
    pub who: String,
    /// The figure.
    pub figure: Figure,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A value.
    Measured {
        /// What it is, its unit at the end: `ops_per_s`, `ns_per_run`, `p99_us`, `bytes_per_op`.
        metric: String,
        /// The value, in that unit.
        value: f64,
    },
    /// It could not be run.
    Skipped {
        /// Why, in a sentence.
        why: String,
    },
}

impl BenchLine {
    /// A measured value.
    pub fn measured(bench: &str, case: &str, who: &str, metric: &str, value: f64) -> BenchLine {
        let figure = Figure::Measured {
            metric: metric.to_string(),
            value,
        };
        BenchLine {
            bench: bench.into(),
            case: case.into(),
            who: who.into(),
            figure,
        }
    }

    /// Something that could not be run.
    pub fn skipped(bench: &str, case: &str, who: &str, why: &str) -> BenchLine {
        let figure = Figure::Skipped {
            why: why.to_string(),
        };
        BenchLine {
            bench: bench.into(),
            case: case.into(),
            who: who.into(),
            figure,
        }
    }

    /// The line as a JSON object. A value that is no number (0/0) is a line with `skipped`.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("bench".into(), json!(self.bench));
        object.insert("case".into(), json!(self.case));
        object.insert("who".into(), json!(self.who));
        match &self.figure {
            Figure::Measured { metric, value } if value.is_finite() => {
                object.insert("metric".into(), json!(metric));
                object.insert("value".into(), json!(value));
            }
            Figure::Measured { metric, .. } => {
                object.insert("skipped".into(), json!(format!("{metric} is not a number")));
            }
            Figure::Skipped { why } => {
                object.insert("skipped".into(), json!(why));
            }
        }
        Value::Object(object)
    }
}

/// Takes a bench's lines: prints them as JSON at once, or as a table at the end.
pub struct BenchReport<W> {
    out: W,
    json: bool,
    lines: Vec<BenchLine>,
}

impl<W: Write> BenchReport<W> {
    /// A report to `out`, as JSON lines or as a table.
    pub fn new(out: W, json: bool) -> BenchReport<W> {
        BenchReport {
            out,
            json,
            lines: Vec::new(),
        }
    }

    /// Adds a line.
    pub fn add(&mut self, line: BenchLine) -> io::Result<()> {
        if self.json {
            writeln!(self.out, "{}", line.to_json())?;
            self.out.flush()?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// The lines so far.
    pub fn lines(&self) -> &[BenchLine] {
        &self.lines
    }

    /// Ends the report: prints the table, unless it was JSON.
    pub fn finish(mut self) -> io::Result<Vec<BenchLine>> {
        if !self.json && !self.lines.is_empty() {
            writeln!(self.out, "{}", table(&self.lines))?;
            for line in &self.lines {
                if let Figure::Skipped { why } = &line.figure {
                    writeln!(self.out, "{} of {} skipped: {why}", line.who, line.case)?;
                }
            }
        }
        self.out.flush()?;
        Ok(self.lines)
    }
}

/// The lines as a table for people.
pub fn table(lines: &[BenchLine]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["bench", "case", "who", "metric", "value"]);
    for line in lines {
        let (metric, value) = match &line.figure {
            Figure::Measured { metric, value } => (metric.as_str(), number::plain(*value)),
            // The reason stands below: it may be long.
            Figure::Skipped { .. } => ("skipped", "–".to_string()),
        };
        table.add_row([
            Cell::new(&line.bench),
            Cell::new(&line.case),
            Cell::new(&line.who),
            Cell::new(metric),
            Cell::new(value).set_alignment(CellAlignment::Right),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> [BenchLine; 2] {
        [
            BenchLine::measured("wire", "64 B", "us", "ops_per_s", 1_250_000.0),
            BenchLine::skipped("wire", "64 B", "qemu-nbd", "it is not installed"),
        ]
    }

    fn printed(json: bool) -> String {
        let mut out = Vec::new();
        let mut report = BenchReport::new(&mut out, json);
        for line in lines() {
            report.add(line).unwrap();
        }
        assert_eq!(report.finish().unwrap(), lines());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line() {
        assert_eq!(
            printed(true),
            "{\"bench\":\"wire\",\"case\":\"64 B\",\"who\":\"us\",\"metric\":\"ops_per_s\",\
             \"value\":1250000.0}\n\
             {\"bench\":\"wire\",\"case\":\"64 B\",\"who\":\"qemu-nbd\",\
             \"skipped\":\"it is not installed\"}\n"
        );
    }

    #[test]
    fn what_is_no_number_is_no_value() {
        let line = BenchLine::measured("wire", "none", "us", "ops_per_s", f64::NAN).to_json();
        assert!(line.get("value").is_none());
        assert_eq!(line["skipped"], "ops_per_s is not a number");
    }

    #[test]
    fn the_table_shows_every_line() {
        let table = printed(false);
        assert!(
            table.contains("1 250 000") && table.contains("it is not installed"),
            "{table}"
        );
    }
}
