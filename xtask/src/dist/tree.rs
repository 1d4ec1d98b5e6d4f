//! What a package installs: every file with its place, its rights and its bytes.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::steps;

/// The most bytes of one file.
const BYTES_MAX: u64 = 256 << 20;

/// One file of a package.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Where it goes, without a leading slash.
    pub(super) path: String,
    /// Its rights.
    pub(super) mode: u32,
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// An operator's changes to it survive an upgrade.
    pub(super) configuration: bool,
}

impl Item {
    pub(super) fn new(path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode, bytes: bytes.into(), configuration: false }
    }

    fn configuration(mut self) -> Self {
        self.configuration = true;
        self
    }
}

/// Files of `dist/` and where they go.
const PLACES: [(&str, &str); 5] = [
    ("dist/systemd/stockade.service", "usr/lib/systemd/system/stockade.service"),
    ("dist/systemd/stockade-takeover.service", "usr/lib/systemd/system/stockade-takeover.service"),
    ("dist/tmpfiles/stockade.conf", "usr/lib/tmpfiles.d/stockade.conf"),
    ("dist/sysusers/stockade.conf", "usr/lib/sysusers.d/stockade.conf"),
    ("dist/man/stockade.conf.5", "usr/share/man/man5/stockade.conf.5"),
];

/// The same for files that the operator may change.
const CONFIGURATION: [(&str, &str); 2] =
    [("dist/etc/jail.local", "etc/stockade/jail.local"), ("dist/logrotate/stockade", "etc/logrotate.d/stockade")];

/// Shells, the word that asks for their script, and where that goes.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/stockade"),
    ("zsh", "usr/share/zsh/vendor-completions/_stockade"),
    ("fish", "usr/share/fish/vendor_completions.d/stockade.fish"),
];

/// All files that every kind of package installs, sorted by their places.
///
/// # Errors
/// When one is missing, or the program does not answer.
pub(super) fn items(program: &Path) -> Result<Vec<Item>> {
    let mut items = vec![Item::new("usr/bin/stockade", 0o755, read(program)?)];
    let top = steps::top();
    for (from, to) in PLACES {
        items.push(Item::new(to, 0o644, read(&top.join(from))?));
    }
    for (from, to) in CONFIGURATION {
        items.push(Item::new(to, 0o644, read(&top.join(from))?).configuration());
    }
    for (shell, to) in COMPLETIONS {
        let script = steps::output(std::process::Command::new(program).args(["completion", shell]))?;
        items.push(Item::new(to, 0o644, script));
    }
    items.push(Item::new("usr/share/man/man1/stockade.1", 0o644, super::manual::page(program)?));
    for name in ["README.md", "CHANGELOG.md", "docs/operating.md", "docs/configuration.md", "docs/errors.md"] {
        let short = name.rsplit('/').next().unwrap_or(name);
        items.push(Item::new(format!("usr/share/doc/stockade/{short}"), 0o644, read(&top.join(name))?));
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

/// The bytes of a file.
///
/// # Errors
/// When it cannot be read or is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    ensure!(bytes.len() as u64 <= BYTES_MAX, "{} is larger than {BYTES_MAX} bytes", path.display());
    Ok(bytes)
}

/// Bytes as gzip has them, without name and time, so that the same input gives the same output.
///
/// # Errors
/// None in practice: it writes to memory.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes)?;
    Ok(out.finish()?)
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every folder above some files, from the top down, each once.
pub(super) fn folders<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut folders = std::collections::BTreeSet::new();
    for path in paths {
        let above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        folders.extend(above.map(str::to_owned));
    }
    folders.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::folders;

    #[test]
    fn folders_come_before_what_is_in_them() {
        assert_eq!(folders(["a/b/c", "a/d"].into_iter()), ["a", "a/b"]);
    }
}
