//! In which order needles are handed to the vector search, so that it looks twice at few places.
//!
//! The search (Teddy) puts needles into 8 or 16 buckets and compares, at each place whose next bytes
//! could be those of a bucket, every needle of it. Which needles share a bucket follows from their
//! order: by turns, unless the lower halves of their first bytes are alike. A bucket of needles that
//! are unlike each other lets many places through that are none of them, so a few orders are tried on
//! a piece of the log. The order changes what a search costs, never what it finds.

use std::collections::BTreeMap;

/// Bytes that the search looks at before it compares.
const HEAD_MAX: usize = 4;
/// How many orders are tried.
const ORDERS: u32 = 24;
/// Bytes of the log that they are tried on.
const TRIAL_BYTES: usize = 8 * 1024;
/// What a place costs that has to be looked at twice; comparing one needle costs 1.
const PLACE_COST: u32 = 2;

/// The needles in the order that costs least on `sample`, of those tried. The same needles and the
/// same sample always give the same order.
pub(super) fn arranged(needles: &[Vec<u8>], sample: &[u8]) -> Vec<Vec<u8>> {
    let buckets = if needles.len() > 32 { 16 } else { 8 };
    let mut order = needles.to_vec();
    let head = needles.iter().map(Vec::len).min().unwrap_or(0).min(HEAD_MAX);
    if needles.len() <= buckets || head == 0 {
        return order;
    }
    let sample = sample.get(..TRIAL_BYTES).unwrap_or(sample);
    let mut best = (cost(&order, head, buckets, sample), order.clone());
    let mut dice = 0x9e37_79b9_u32;
    for _ in 0..ORDERS {
        for at in (1..order.len()).rev() {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            order.swap(at, (dice >> 8) as usize % (at + 1));
        }
        let cost = cost(&order, head, buckets, sample);
        if cost < best.0 {
            best = (cost, order.clone());
        }
    }
    best.1
}

/// What a search for needles in this order costs on a piece of a log, roughly.
fn cost(order: &[Vec<u8>], head: usize, buckets: usize, sample: &[u8]) -> u32 {
    let mut known: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut sizes = [0_u32; 16];
    // For each of the first bytes, by the byte's lower and upper half: the buckets that can have it.
    let mut halves = [[[0_u16; 16]; 2]; HEAD_MAX];
    for (at, needle) in order.iter().enumerate() {
        let bytes = needle.get(..head).unwrap_or(needle);
        let lower = bytes.iter().map(|byte| byte & 15).collect();
        let bucket = *known.entry(lower).or_insert(buckets - 1 - at % buckets);
        if let Some(size) = sizes.get_mut(bucket) {
            *size += 1;
        }
        for ([low, high], byte) in halves.iter_mut().zip(bytes) {
            for (half, nibble) in [(low, byte & 15), (high, byte >> 4)] {
                if let Some(set) = half.get_mut(usize::from(nibble)) {
                    *set |= 1 << bucket;
                }
            }
        }
    }
    let mut tables = [[0_u16; 256]; HEAD_MAX];
    for (table, [low, high]) in tables.iter_mut().zip(&halves) {
        for (byte, set) in table.iter_mut().enumerate() {
            let of = |half: &[u16; 16], nibble: usize| half.get(nibble).copied().unwrap_or(0);
            *set = of(low, byte & 15) & of(high, byte >> 4);
        }
    }
    let tables = tables.get(..head).unwrap_or_default();
    let mut cost = 0;
    for place in sample.windows(head) {
        let has = |(table, byte): (&[u16; 256], &u8)| table.get(usize::from(*byte)).copied().unwrap_or(0);
        let mut set = tables.iter().zip(place).map(has).fold(u16::MAX, |set, has| set & has);
        while set != 0 {
            let bucket = set.trailing_zeros();
            set &= set - 1;
            cost += PLACE_COST + sizes.get(bucket as usize).copied().unwrap_or(0);
        }
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_same_each_time_and_costs_no_more() {
        let words = "failed failure closed reset invalid illegal refused denied accepted unknown error fatal bad";
        let needles: Vec<Vec<u8>> = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let sample = "reading the feed failed again, all is closed, bread is baked in a derelict bakery\n".repeat(20);
        let one = arranged(&needles, sample.as_bytes());
        assert_eq!(one, arranged(&needles, sample.as_bytes()));
        let of = |order: &[Vec<u8>]| cost(order, 3, 8, sample.as_bytes());
        assert!(of(&one) < of(&needles), "{} and {}", of(&one), of(&needles));
        let (mut before, mut after) = (needles, one);
        before.sort();
        after.sort();
        assert_eq!(before, after);
    }
}
