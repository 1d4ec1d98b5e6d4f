//! Lists the files of `etc/` so that the program carries them all.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let etc = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("../../etc").canonicalize()?;
    println!("cargo:rerun-if-changed={}", etc.display());
    let mut files = Vec::new();
    collect(&etc, &etc, &mut files)?;
    files.sort();
    let mut code = String::from("/// Path below `etc/` and text of every embedded file.\n");
    code.push_str("pub(crate) static FILES: &[(&str, &str)] = &[\n");
    for (name, path) in &files {
        println!("cargo:rerun-if-changed={}", path.display());
        writeln!(code, "    ({name:?}, include_str!({:?})),", path.display().to_string()).map_err(io::Error::other)?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("embedded_files.rs"), code)
}

/// All `.conf` files below `folder`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo:rerun-if-changed={}", path.display());
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|e| e == "conf") {
            let name = path.strip_prefix(root).map_err(io::Error::other)?;
            files.push((name.to_string_lossy().into_owned(), path.clone()));
        }
    }
    Ok(())
}
