//! Zone names and offsets as log lines and `logtimezone` spell them.
//!
//! Every name stands for one fixed offset, whatever the season.
//! Source: the zone table of fail2ban `server/strptime.py`.

/// Hours east of Greenwich, and the abbreviations that mean it.
#[rustfmt::skip]
const TABLE: &[(f32, &str)] = &[
    (-12.0, "Y"),
    (-11.0, "X NUT SST"),
    (-10.0, "W CKT HAST HST TAHT TKT"),
    (-9.5, "MART MIT"),
    (-9.0, "V AKST GAMT GIT HADT HNY"),
    (-8.0, "U AKDT CIST HAY HNP PST PT"),
    (-7.0, "T HAP HNR MST PDT"),
    (-6.0, "S CST EAST GALT HAR HNC MDT"),
    (-5.0, "R CDT COT EASST ECT EST ET HAC HNE PET"),
    (-4.5, "HLV VET"),
    (-4.0, "Q AST BOT CLT COST EDT FKT GYT HAE HNA PYT"),
    (-3.5, "HNT NST NT"),
    (-3.0, "P ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT"),
    (-2.5, "HAT NDT"),
    (-2.0, "O BRST FNT PMDT UYST WGST"),
    (-1.0, "N AZOT CVT EGT"),
    (0.0, "Z EGST GMT UTC WET WT"),
    (1.0, "A CET DFT WAT WEDT WEST"),
    (2.0, "B CAT CEDT CEST EET SAST WAST"),
    (3.0, "C EAT EEDT EEST IDT MSK"),
    (3.5, "IRST"),
    (4.0, "D AMT AZT GET GST KUYT MSD MUT RET SAMT SCT"),
    (4.5, "AFT IRDT"),
    (5.0, "E AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT"),
    (5.5, "SLT"),
    (5.75, "NPT"),
    (6.0, "F ALMT BIOT BTT IOT KGT NOVT OMST YEKST"),
    (6.5, "CCT MMT"),
    (7.0, "G CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB"),
    (8.0, "H ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST"),
    (9.0, "I AWDT IRKST JST KST PWT TLT WDT WIT YAKT"),
    (9.5, "ACST"),
    (10.0, "K AEST PGT VLAT YAKST YAPT"),
    (10.5, "ACDT LHST"),
    (11.0, "L AEDT LHDT MAGT NCT PONT SBT VLAST VUT"),
    (11.5, "NFT"),
    (12.0, "M ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT"),
    (13.0, "FJST NZDT"),
];

/// Minutes east of Greenwich of an abbreviation, upper case only.
fn named(name: &str) -> Option<i32> {
    let (hours, _) = TABLE.iter().find(|(_, names)| names.split(' ').any(|n| n == name))?;
    #[expect(clippy::cast_possible_truncation, reason = "the table holds quarters of hours below 14")]
    Some((hours * 60.0) as i32)
}

/// Minutes east of Greenwich of `UTC`, `CET+0130`, `+02`, `-04:30` and the like; empty is UTC.
///
/// `None` for everything else: `Europe/Berlin`, lower case, unknown names,
/// hours over 19.
pub(crate) fn offset_minutes(text: &str) -> Option<i32> {
    let split = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at_checked(split)?;
    let base = if name.is_empty() { 0 } else { named(name)? };
    if offset.is_empty() {
        return Some(base);
    }
    let (sign, digits) = match offset.as_bytes() {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let digit = |b: u8| b.is_ascii_digit().then(|| i32::from(b - b'0'));
    let (hours, minutes) = match digits {
        [h1 @ (b'0' | b'1'), h2] => (digit(*h1)? * 10 + digit(*h2)?, 0),
        [h1 @ (b'0' | b'1'), h2, m1, m2] | [h1 @ (b'0' | b'1'), h2, b':', m1, m2] => {
            (digit(*h1)? * 10 + digit(*h2)?, digit(*m1)? * 10 + digit(*m2)?)
        }
        _ => return None,
    };
    Some(base + sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets_add_up() {
        for (text, minutes) in [
            ("", Some(0)),
            ("UTC", Some(0)),
            ("Z", Some(0)),
            ("+0200", Some(120)),
            ("+02", Some(120)),
            ("-04:30", Some(-270)),
            ("CET+0130", Some(150)),
            ("CEST-01", Some(60)),
            ("GMT+12", Some(720)),
            ("NPT", Some(345)),
            ("NST", Some(-210)),
            ("MSK", Some(180)),
            ("PST", Some(-480)),
            ("BST", None),
            ("J", None),
            ("pst", None),
            ("+2", None),
            ("UTC+25", None),
            ("Europe/Berlin", None),
            ("UTC+0200x", None),
            ("+02:0", None),
        ] {
            assert_eq!(offset_minutes(text), minutes, "{text}");
        }
    }

    #[test]
    fn no_name_stands_in_the_table_twice() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|(_, names)| names.split(' ')).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(all > 190);
    }
}
