//! Writes the corpora of the fuzz targets: `cargo run -p outboard-tests --example record_corpus`.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = outboard_tests::fuzz::record::corpus();
    for file in &files {
        let folder = corpus.join(file.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(&file.name), &file.bytes)?;
    }
    println!("{} files", files.len());
    Ok(())
}
