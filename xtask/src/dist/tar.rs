//! Archives in the ustar format, the same bytes for the same input.

use anyhow::{Result, ensure};

use super::tree::{Item, folders};

/// An archive of files, their folders before them, everything owned by root and of one time.
///
/// `prefix` stands before every path; Debian wants `./`.
///
/// # Errors
/// When a path is too long for the format.
pub(super) fn archive(items: &[Item], prefix: &str, time: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if prefix == "./" {
        header(&mut out, prefix, 0o755, 0, b'5', time)?;
    }
    for folder in folders(items.iter().map(|item| item.path.as_str())) {
        header(&mut out, &format!("{prefix}{folder}/"), 0o755, 0, b'5', time)?;
    }
    for item in items {
        header(&mut out, &format!("{prefix}{}", item.path), item.mode, item.bytes.len(), b'0', time)?;
        out.extend_from_slice(&item.bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    Ok(out)
}

fn header(out: &mut Vec<u8>, path: &str, mode: u32, size: usize, kind: u8, time: u64) -> Result<()> {
    ensure!(path.len() <= 100, "the path {path} is too long for an archive");
    let mut fields = vec![
        padded(path.as_bytes(), 100),
        octal(u64::from(mode), 8),
        octal(0, 8),
        octal(0, 8),
        octal(size as u64, 12),
        octal(time, 12),
        b"        ".to_vec(),
        vec![kind],
        vec![0; 100],
        b"ustar\x0000".to_vec(),
        padded(b"root", 32),
        padded(b"root", 32),
        octal(0, 8),
        octal(0, 8),
        vec![0; 167],
    ];
    // The sum is taken with blanks in its own field.
    let sum: u64 = fields.iter().flatten().map(|byte| u64::from(*byte)).sum();
    if let Some(field) = fields.get_mut(6) {
        *field = format!("{sum:06o}\0 ").into_bytes();
    }
    out.extend(fields.concat());
    Ok(())
}

fn padded(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut field = bytes.to_vec();
    field.resize(width, 0);
    field
}

fn octal(value: u64, width: usize) -> Vec<u8> {
    format!("{value:0digits$o}\0", digits = width - 1).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_block_and_its_sum_is_right() {
        let bytes = archive(&[Item::new("usr/bin/x", 0o755, b"abc".to_vec())], "./", 0).unwrap();
        // The top, two folders, a file with one block, and the end.
        assert_eq!(bytes.len(), 512 * (3 + 2 + 2));
        let last = &bytes[512 * 3..512 * 4];
        assert_eq!(&last[..11], b"./usr/bin/x");
        let told = u64::from_str_radix(std::str::from_utf8(&last[148..154]).unwrap(), 8).unwrap();
        let sum: u64 =
            last.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u64::from(*b) }).sum();
        assert_eq!(told, sum);
    }
}
