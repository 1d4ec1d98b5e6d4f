//! Rows of a file whose table of contents is lost, read from its pages directly.
//!
//! Source: "Database File Format" of SQLite, sections 1.5 to 2.1: leaf pages of
//! tables (type 13) hold cells with payload size, row number and a record, whose
//! rest may lie on a chain of overflow pages.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most of a file that is searched.
const FILE_MAX: u64 = 4 << 30;

/// The largest record that is believed.
const RECORD_MAX: usize = 1 << 24;

/// The most columns that a row of interest has.
const COLUMNS_MAX: usize = 20;

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// Hands each row found to `each`: its number and its columns as stored (a
/// column that is the row's number itself is null).
pub(crate) fn rows(path: &Path, each: &mut dyn FnMut(i64, &[Value])) -> std::io::Result<()> {
    let mut content = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut content)?;
    let size = match content.get(16..18) {
        Some([0, 1]) => 65_536,
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let size = if size.is_power_of_two() && size >= 512 { size } else { 4_096 };
    let file = Pages { content: &content, size };
    for (number, page) in content.chunks(size).enumerate() {
        file.leaf(page, if number == 0 { 100 } else { 0 }, each);
    }
    Ok(())
}

struct Pages<'a> {
    content: &'a [u8],
    size: usize,
}

impl Pages<'_> {
    /// All rows of a page, if it is a leaf of a table.
    fn leaf(&self, page: &[u8], header: usize, each: &mut dyn FnMut(i64, &[Value])) {
        if page.get(header) != Some(&13) {
            return;
        }
        let Some(count) = be16(page, header + 3) else { return };
        for index in 0..count {
            let found = be16(page, header + 8 + 2 * index).and_then(|place| self.cell(page, place));
            if let Some((number, values)) = found {
                each(number, &values);
            }
        }
    }

    fn cell(&self, page: &[u8], place: usize) -> Option<(i64, Vec<Value>)> {
        let mut rest = page.get(place..)?;
        let length = usize::try_from(varint(&mut rest)?).ok().filter(|length| *length <= RECORD_MAX)?;
        let number = varint(&mut rest)?;
        // How much of a record stays in the page; our files have no reserved bytes.
        let most = self.size - 35;
        let local = if length <= most {
            length
        } else {
            let least = (self.size - 12) * 32 / 255 - 23;
            let fit = least + (length - least) % (self.size - 4);
            if fit <= most { fit } else { least }
        };
        let mut record = rest.get(..local)?.to_vec();
        let mut next = rest.get(local..).and_then(be32);
        while record.len() < length {
            let start = usize::try_from(next?).ok()?.checked_sub(1)?.checked_mul(self.size)?;
            let page = self.content.get(start..start.checked_add(self.size)?)?;
            let take = (length - record.len()).min(self.size - 4);
            record.extend_from_slice(page.get(4..4 + take)?);
            next = be32(page);
        }
        Some((number, columns(&record)?))
    }
}

/// The columns of a record.
fn columns(record: &[u8]) -> Option<Vec<Value>> {
    let mut header = record;
    let length = usize::try_from(varint(&mut header)?).ok()?;
    let mut body = record.get(length..)?;
    let mut types = record.get(record.len() - header.len()..length)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        if values.len() >= COLUMNS_MAX {
            return None;
        }
        let kind = varint(&mut types)?;
        values.push(match kind {
            0 => Value::Null,
            1..=6 => {
                let width = [1, 2, 3, 4, 6, 8].into_iter().nth(usize::try_from(kind - 1).ok()?)?;
                Value::Int(integer(take(&mut body, width)?))
            }
            7 => Value::Real(f64::from_bits(integer(take(&mut body, 8)?).cast_unsigned())),
            8 => Value::Int(0),
            9 => Value::Int(1),
            12.. => {
                let bytes = take(&mut body, usize::try_from((kind - 12) / 2).ok()?)?.to_vec();
                if kind % 2 == 0 { Value::Blob(bytes) } else { Value::Text(bytes) }
            }
            _ => return None,
        });
    }
    Some(values)
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

/// A signed number of 1 to 8 bytes, highest first.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    bytes.iter().fold(if negative { -1 } else { 0 }, |number: i64, byte| (number << 8) | i64::from(*byte))
}

/// A number of 1 to 9 bytes, seven bits each, in the ninth all eight.
fn varint(from: &mut &[u8]) -> Option<i64> {
    let mut number: u64 = 0;
    for count in 1..=9 {
        let [byte] = take(from, 1)? else { return None };
        if count == 9 {
            return Some(((number << 8) | u64::from(*byte)).cast_signed());
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            break;
        }
    }
    Some(number.cast_signed())
}

fn be16(page: &[u8], place: usize) -> Option<usize> {
    let [high, low] = page.get(place..place + 2)? else { return None };
    Some(usize::from(u16::from_be_bytes([*high, *low])))
}

fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_in_the_pages() {
        let path = std::env::temp_dir().join(format!("stockade-salvage-{}", std::process::id()));
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b, c, d, e); BEGIN").unwrap();
        for n in 0..500_i64 {
            let long = "x".repeat(usize::try_from(n * 37).unwrap());
            db.execute(
                "INSERT INTO t VALUES(?1, ?2, ?3, ?4, ?5)",
                (n - 250, n * n * 1_000_003 - 9, long, 0.5, [1_u8, 2]),
            )
            .unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        let mut found = 0;
        rows(&path, &mut |number, values| {
            if let [Value::Null, Value::Int(b), Value::Text(c), Value::Real(0.5), Value::Blob(e)] = values {
                let n = number + 250;
                assert_eq!(
                    (*b, c.len(), &e[..]),
                    (n * n * 1_000_003 - 9, usize::try_from(n * 37).unwrap(), &[1, 2][..])
                );
                found += 1;
            }
        })
        .unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found, 500);
    }
}
