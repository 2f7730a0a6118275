//! Cases in the format of the bpf_conformance project: sections of text in one file.

use std::path::Path;

/// One case.
#[derive(Clone, Default, Debug)]
pub struct Case {
    pub name: String,
    /// Assembly.
    pub asm: Option<String>,
    /// Slots as numbers.
    pub raw: Vec<u64>,
    /// Handed over in r1, its length in r2.
    pub memory: Vec<u8>,
    /// What r0 shall be.
    pub result: Option<u64>,
    /// What shall go wrong.
    pub error: Option<String>,
}

impl Case {
    /// Reads a case.
    pub fn parse(name: &str, text: &str) -> Result<Case, String> {
        let mut case = Case {
            name: name.to_owned(),
            ..Case::default()
        };
        let mut section = "";
        for line in text.lines() {
            if let Some(header) = line.strip_prefix("-- ") {
                section = header.trim();
                continue;
            }
            match section {
                "asm" => {
                    let asm = case.asm.get_or_insert_default();
                    asm.push_str(line);
                    asm.push('\n');
                }
                "raw" => case
                    .raw
                    .extend(numbers(line, 0).map_err(|why| why.to_string())?),
                "mem" => {
                    let bytes = numbers(line, 16).map_err(|why| why.to_string())?;
                    case.memory.extend(bytes.iter().map(|&byte| byte as u8));
                }
                "result" => {
                    if let Some(number) = numbers(line, 0).map_err(|why| why.to_string())?.first() {
                        case.result = Some(*number);
                    }
                }
                "error" => case.error.get_or_insert_default().push_str(line.trim()),
                // Sources in C, and how other tools were to be called.
                _ => {}
            }
        }
        Ok(case)
    }

    /// Reads every case of a folder, by name. None if there is no such folder.
    pub fn folder(path: &Path) -> Option<Vec<Case>> {
        let mut files: Vec<_> = std::fs::read_dir(path)
            .ok()?
            .flatten()
            .map(|f| f.path())
            .collect();
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "data")
        });
        files.sort();
        let read = |file: &std::path::PathBuf| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let text = std::fs::read_to_string(file).expect("the case can be read");
            Case::parse(&name, &text).unwrap_or_else(|why| panic!("{name}: {why}"))
        };
        Some(files.iter().map(read).collect())
    }
}

/// The numbers of a line: of the given radix, or with 0 decimal and `0x` as they look.
fn numbers(line: &str, radix: u32) -> Result<Vec<u64>, std::num::ParseIntError> {
    let line = line.split('#').next().unwrap_or_default();
    let number = |word: &str| match (word.strip_prefix("0x"), radix) {
        (Some(digits), _) => u64::from_str_radix(digits, 16),
        (None, 0) if word.starts_with('-') => word.parse::<i64>().map(|value| value as u64),
        (None, 0) => word.parse(),
        (None, radix) => u64::from_str_radix(word, radix),
    };
    line.split_whitespace().map(number).collect()
}
