//! A header of an rpm package: an index of tags and the values that they point at.

use std::collections::BTreeMap;

use anyhow::Result;

/// What a tag holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Shorts(Vec<u16>),
    Numbers(Vec<u32>),
    Text(String),
    Texts(Vec<String>),
    /// A text that could have translations; here it has none.
    Translated(String),
    Bytes(Vec<u8>),
}

/// Tags and values; they are written in the order of the tags.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    values: BTreeMap<u32, Value>,
}

impl Header {
    pub(super) fn add(&mut self, tag: u32, value: Value) {
        self.values.insert(tag, value);
    }

    /// The header as it is written; `region` is the tag of the entry that spans all others.
    ///
    /// # Errors
    /// When it grows beyond what its fields can hold.
    pub(super) fn bytes(&self, region: u32) -> Result<Vec<u8>> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, value) in &self.values {
            let (kind, count) = kind_and_count(value);
            let step = match kind {
                3 => 2,
                4 => 4,
                _ => 1,
            };
            data.resize(data.len().next_multiple_of(step), 0);
            entry(&mut index, *tag, kind, u32::try_from(data.len())?, u32::try_from(count)?);
            write(&mut data, value);
        }
        let count = u32::try_from(self.values.len() + 1)?;
        let mut first = Vec::new();
        entry(&mut first, region, 7, u32::try_from(data.len())?, 16);
        // The end of the region points back over the whole index.
        entry(&mut data, region, 7, (count * 16).wrapping_neg(), 16);
        let mut out = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        out.extend(count.to_be_bytes());
        out.extend(u32::try_from(data.len())?.to_be_bytes());
        out.extend(first);
        out.extend(index);
        out.extend(data);
        Ok(out)
    }
}

fn entry(out: &mut Vec<u8>, tag: u32, kind: u32, offset: u32, count: u32) {
    for field in [tag, kind, offset, count] {
        out.extend(field.to_be_bytes());
    }
}

fn kind_and_count(value: &Value) -> (u32, usize) {
    match value {
        Value::Shorts(list) => (3, list.len()),
        Value::Numbers(list) => (4, list.len()),
        Value::Text(_) => (6, 1),
        Value::Bytes(bytes) => (7, bytes.len()),
        Value::Texts(list) => (8, list.len()),
        Value::Translated(_) => (9, 1),
    }
}

fn write(data: &mut Vec<u8>, value: &Value) {
    let mut text = |text: &str| {
        data.extend_from_slice(text.as_bytes());
        data.push(0);
    };
    match value {
        Value::Text(one) | Value::Translated(one) => text(one),
        Value::Texts(list) => list.iter().for_each(|one| text(one)),
        Value::Bytes(bytes) => data.extend_from_slice(bytes),
        Value::Shorts(list) => data.extend(list.iter().flat_map(|n| n.to_be_bytes())),
        Value::Numbers(list) => data.extend(list.iter().flat_map(|n| n.to_be_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_even_places_and_the_region_spans_the_index() {
        let mut header = Header::default();
        header.add(1000, Value::Text("ab".to_owned()));
        header.add(1009, Value::Numbers(vec![7]));
        let bytes = header.bytes(63).unwrap();
        // Preamble, three entries, `ab\0`, one byte of room, the number, the end of the region.
        assert_eq!(bytes.len(), 16 + 3 * 16 + 4 + 4 + 16);
        assert_eq!(&bytes[16..32], [0, 0, 0, 63, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 16]);
        assert_eq!(&bytes[bytes.len() - 8..], [255, 255, 255, 208, 0, 0, 0, 16]);
    }
}
