//! MD5, only to recognise first lines in databases of fail2ban under Python 2. Not for security.
//!
//! Source: RFC 1321.

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The digest in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    let bits = u64::try_from(bytes.len()).unwrap_or(0).wrapping_mul(8);
    // Room for the length: eight bytes of zeros, else one more block.
    if bytes.len() % 64 > 55 {
        padded.resize(padded.len() + 64, 0);
    }
    padded.truncate(padded.len() - 8);
    padded.extend_from_slice(&bits.to_le_bytes());
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.as_chunks::<64>().0 {
        state = step(state, block);
    }
    state.iter().flat_map(|word: &u32| word.to_le_bytes()).map(|b| format!("{b:02x}")).collect()
}

fn step(state: [u32; 4], block: &[u8; 64]) -> [u32; 4] {
    let words: Vec<u32> = block.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
    let [mut a, mut b, mut c, mut d] = state;
    for i in 0..64_u32 {
        let (mix, at) = match i / 16 {
            0 => ((b & c) | (!b & d), i),
            1 => ((d & b) | (!d & c), 5 * i + 1),
            2 => (b ^ c ^ d, 3 * i + 5),
            _ => (c ^ (b | !d), 7 * i),
        };
        let pick = |list: &[u32], at: u32| usize::try_from(at).ok().and_then(|at| list.get(at)).copied().unwrap_or(0);
        let word = pick(&words, at % 16);
        let shifts = usize::try_from(i / 16).ok().and_then(|round| SHIFTS.get(round)).copied().unwrap_or_default();
        let sum = a.wrapping_add(mix).wrapping_add(sine(i)).wrapping_add(word);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(pick(&shifts, i % 4))));
    }
    [a, b, c, d].iter().zip(state).map(|(x, y)| x.wrapping_add(y)).collect::<Vec<_>>().try_into().unwrap_or(state)
}

/// `floor(2^32 * abs(sin(i + 1)))`, the table of the RFC.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 2^32 by definition")]
fn sine(i: u32) -> u32 {
    (f64::from(i + 1).sin().abs() * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn digests_are_those_of_the_rfc() {
        for (text, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(text.as_bytes()), digest, "{text}");
        }
        // Lengths around the block, from md5sum(1).
        assert_eq!(hex(&[b'a'; 55]), "ef1772b6dff9a122358552954ad0df65");
        assert_eq!(hex(&[b'a'; 56]), "3b0c8ac703f828b04c6c197006d17218");
        assert_eq!(hex(&[b'a'; 64]), "014842d480b571495a4a0363793f7367");
    }
}
