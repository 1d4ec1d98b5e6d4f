//! The table of `fail2ban-client stats`.
//!
//! DIVERGENCE: stats-frame. The newest version's layout: a blank at the left,
//! plain characters where the output can't be anything else, and words where
//! there are no jails. 1.1.0 has no blank, and fails without jails.

use stockade_wire::Value;

use super::words::{Odd, item, shown};

/// Columns are at least this wide.
const WIDTHS: [usize; 6] = [8, 8, 3, 3, 3, 3];

/// The lines of the frame.
struct Frame {
    bar: &'static str,
    thin: &'static str,
    light: char,
    light_cross: char,
    light_left: char,
    heavy: char,
    heavy_cross: char,
    heavy_end: char,
}

const DRAWN: Frame = Frame {
    bar: " ║ ",
    thin: " │ ",
    light: '─',
    light_cross: '╫',
    light_left: '╟',
    heavy: '═',
    heavy_cross: '╬',
    heavy_end: '╩',
};

const TYPED: Frame = Frame {
    bar: " | ",
    thin: " | ",
    light: '-',
    light_cross: 'x',
    light_left: '|',
    heavy: '-',
    heavy_cross: 'x',
    heavy_end: '-',
};

/// The table for `{jail: [backend, (failed now, failed), (banned now, banned)]}`.
pub(super) fn stats(result: &Value) -> Result<String, Odd> {
    draw(result, if is_plain() { &TYPED } else { &DRAWN })
}

/// Can the output hold nothing but ASCII?
fn is_plain() -> bool {
    std::env::var("PYTHONIOENCODING").is_ok_and(|name| name.to_ascii_lowercase().starts_with("ascii"))
}

fn draw(result: &Value, frame: &Frame) -> Result<String, Odd> {
    let Value::Dict(jails) = result else { return Err(Odd) };
    if jails.is_empty() {
        return Ok("No jails found.".to_owned());
    }
    let mut rows: Vec<[String; 6]> = Vec::new();
    for (name, jail) in jails {
        let (failed, banned) = (item(jail, 1)?, item(jail, 2)?);
        let cells =
            [name.clone(), item(jail, 0)?, item(&failed, 0)?, item(&failed, 1)?, item(&banned, 0)?, item(&banned, 1)?];
        rows.push(cells.map(|cell| shown(&cell)));
    }
    let mut widths = WIDTHS;
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [jail, backend, failed, failed_total, banned, banned_total] = widths;
    let line = |cells: [&str; 6]| {
        let [name, kind, a, b, c, d] = cells;
        format!(
            " {name:<jail$}{bar}{kind:<backend$}{bar}{a:>failed$}{thin}{b:>failed_total$}{bar}{c:>banned$}{thin}{d:>banned_total$}",
            bar = frame.bar,
            thin = frame.thin,
        )
    };
    let of = |c: char, n: usize| c.to_string().repeat(n);
    let (left, right) = (failed + 3 + failed_total, banned + 3 + banned_total);
    let heavy =
        |cross: char| [jail, backend, left, right].map(|width| of(frame.heavy, width + 2)).join(&cross.to_string());
    let mut lines = vec![
        format!(
            " {:<jail$}{bar}{:<backend$}{bar}{:<left$}{bar}{:<right$}",
            "",
            "",
            "Filter",
            "Actions",
            bar = frame.bar
        ),
        format!(
            " {:<jail$}{bar}{:<backend$} {}{}{}{}",
            "Jail",
            "Backend",
            frame.light_left,
            of(frame.light, left + 2),
            frame.light_cross,
            of(frame.light, right + 2),
            bar = frame.bar
        ),
        line(["", "", "cur", "tot", "cur", "tot"]),
        heavy(frame.heavy_cross),
    ];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.push(heavy(frame.heavy_end));
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_newest_version() {
        let pair = |a: i64, b: i64| Value::Tuple(vec![a.into(), b.into()]);
        let jail = Value::List(vec!["polling".into(), pair(2, 5), pair(1, 1)]);
        let jails = Value::Dict(vec![("api".into(), jail)]);
        let drawn = "          ║          ║ Filter    ║ Actions  \n\
             \x20Jail     ║ Backend  ╟───────────╫───────────\n\
             \x20         ║          ║ cur │ tot ║ cur │ tot\n\
             ══════════╬══════════╬═══════════╬═══════════\n\
             \x20api      ║ polling  ║   2 │   5 ║   1 │   1\n\
             ══════════╩══════════╩═══════════╩═══════════";
        assert_eq!(draw(&jails, &DRAWN).unwrap_or_default(), drawn);
        let typed = "          |          | Filter    | Actions  \n\
             \x20Jail     | Backend  |-----------x-----------\n\
             \x20         |          | cur | tot | cur | tot\n\
             ----------x----------x-----------x-----------\n\
             \x20api      | polling  |   2 |   5 |   1 |   1\n\
             ---------------------------------------------";
        assert_eq!(draw(&jails, &TYPED).unwrap_or_default(), typed);
        assert_eq!(draw(&Value::Dict(Vec::new()), &DRAWN).unwrap_or_default(), "No jails found.");
    }
}
