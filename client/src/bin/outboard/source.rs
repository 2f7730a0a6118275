//! Lines of source to show, from the file if it is there and has not changed, else from the object.

use client::linker::{Linked, Source};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of a source file that is read; of a larger one, the object's lines are shown.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the names of source files end in. An object may name any file of this machine's, and what
/// is shown of it may be read by others than its owner.
const ENDINGS: [&str; 10] = ["c", "h", "cc", "cpp", "cxx", "hh", "hpp", "inc", "rs", "S"];

/// A stretch of lines, with one of them marked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The lines.
    pub(crate) text: String,
    /// The number of the first.
    pub(crate) first: usize,
    /// What is marked of the text, in bytes.
    pub(crate) mark: Range<usize>,
}

/// The line of a place, if its text is known, with what is at the column marked.
pub(crate) fn excerpt(linked: &Linked, place: &Source, folder: &Path) -> Option<Excerpt> {
    let text = line(linked, place, folder)?;
    let text = text.replace('\r', "");
    if text.trim().is_empty() {
        return None;
    }
    let mark = mark(&text, place.column);
    Some(Excerpt {
        text,
        first: place.line as usize,
        mark,
    })
}

fn line(linked: &Linked, place: &Source, folder: &Path) -> Option<String> {
    if !place.text.trim().is_empty() {
        return Some(place.text.clone());
    }
    let known: BTreeMap<u32, &str> = linked
        .lines_of(&place.file)
        .filter(|(_, text)| !text.trim().is_empty())
        .collect();
    let path = Path::new(&place.file);
    let name = path.file_name().map(PathBuf::from);
    let candidates = [Some(folder.join(path)), name.map(|name| folder.join(name))];
    candidates
        .into_iter()
        .flatten()
        .filter_map(|path| read(&path))
        .map(|text| text.lines().map(str::to_owned).collect())
        .find(|lines: &Vec<String>| agrees(lines, &known))?
        .into_iter()
        .nth(place.line.checked_sub(1)? as usize)
}

/// A file of source, if it is one that ends.
fn read(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?;
    if !ENDINGS.contains(&ending) {
        return None;
    }
    let about = std::fs::metadata(path).ok()?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// Whether a file has the lines that the object was compiled from.
fn agrees(lines: &[String], known: &BTreeMap<u32, &str>) -> bool {
    known.iter().all(|(number, text)| {
        let line = lines.get((*number as usize).wrapping_sub(1));
        line.is_some_and(|line| line.trim_end() == text.trim_end())
    })
}

/// The word or sign at a column counted in bytes from 1; all of the line where there is none.
fn mark(line: &str, column: u32) -> Range<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let at = (column as usize).checked_sub(1);
    let rest = at.and_then(|at| Some((at, line.get(at..)?)));
    match rest {
        Some((at, rest)) if rest.starts_with(|c: char| !c.is_whitespace()) => {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let sign = rest.chars().next().map_or(0, char::len_utf8);
            at..at + word.max(sign)
        }
        _ => {
            let start = line.len() - line.trim_start().len();
            start..line.trim_end().len().max(start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_source_is_read() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(read(&here.join("src/lib.rs")).is_some());
        for other in ["Cargo.toml", "src", "src/no.rs"] {
            assert_eq!(read(&here.join(other)), None, "{other}");
        }
    }

    #[test]
    fn a_word_or_a_sign_is_marked() {
        let line = "\tout[i] = größe + 1; ";
        let marked = |column| line.get(mark(line, column)).unwrap();
        assert_eq!(marked(2), "out");
        assert_eq!(marked(5), "[");
        assert_eq!(marked(11), "größe");
        let all = line.trim();
        for column in [0, 1, 14, 99, 1023] {
            assert_eq!(marked(column), all, "{column}");
        }
        assert_eq!(mark("", 1), 0..0);
    }
}
