//! Draws what a terminal shows as SVG.

use std::fmt::Write as _;

/// Size of one character in the picture.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
/// Space around the text.
const MARGIN: f32 = 14.0;

/// Colours of one kind of terminal.
pub(super) struct Scheme {
    pub(super) name: &'static str,
    ground: &'static str,
    text: &'static str,
    /// Black, red, green, yellow, blue, magenta, cyan, white.
    colours: [&'static str; 8],
}

pub(super) const LIGHT: Scheme = Scheme {
    name: "light",
    ground: "#ffffff",
    text: "#24292f",
    colours: ["#24292f", "#b3261e", "#1a6b2f", "#8a5a00", "#0b56b3", "#7d2a8c", "#0a6a75", "#57606a"],
};

pub(super) const DARK: Scheme = Scheme {
    name: "dark",
    ground: "#14171c",
    text: "#d7dde4",
    colours: ["#5b6470", "#ff8078", "#6fd08c", "#e8c15a", "#79b8ff", "#d9a0f0", "#6fd3de", "#d7dde4"],
};

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    bold: bool,
    dim: bool,
    colour: Option<usize>,
}

impl Look {
    /// Changes as one sequence `ESC [ numbers m` says.
    fn set(&mut self, numbers: &str) {
        for number in numbers.split(';') {
            match number.parse::<usize>().unwrap_or(0) {
                0 => *self = Look::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                22 => (self.bold, self.dim) = (false, false),
                colour @ 30..=37 => self.colour = Some(colour - 30),
                colour @ 90..=97 => self.colour = Some(colour - 90),
                39 => self.colour = None,
                _ => {}
            }
        }
    }
}

/// The pieces of one line, each with its look.
fn pieces(line: &str, look: &mut Look) -> Vec<(String, Look)> {
    let mut all: Vec<(String, Look)> = Vec::new();
    let mut rest = line;
    while let Some((head, tail)) = rest.split_once('\u{1b}') {
        push(&mut all, head, *look);
        rest = tail;
        if let Some((numbers, behind)) = tail.strip_prefix('[').and_then(|tail| tail.split_once('m')) {
            look.set(numbers);
            rest = behind;
        }
    }
    push(&mut all, rest, *look);
    all
}

fn push(all: &mut Vec<(String, Look)>, text: &str, look: Look) {
    // Shifts to another set of characters, which tmux writes and nobody sees.
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if !text.is_empty() {
        all.push((text, look));
    }
}

/// The picture of what a terminal of so many columns shows, without its empty lines at the end.
pub(super) fn svg(shown: &str, columns: u16, scheme: &Scheme) -> String {
    let mut look = Look::default();
    let mut lines: Vec<Vec<(String, Look)>> = shown.lines().map(|line| pieces(line, &mut look)).collect();
    while lines.last().is_some_and(|line| line.iter().all(|(text, _)| matches!(text.trim(), "" | "#"))) {
        lines.pop();
    }
    let rows = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let (width, height) = (f32::from(columns) * WIDTH + 2.0 * MARGIN, f32::from(rows) * HEIGHT + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"DejaVu Sans Mono,Menlo,Consolas,monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n",
        scheme.ground
    );
    for (line, row) in lines.iter().zip(0_u16..) {
        let y = MARGIN + HEIGHT * (f32::from(row) + 0.75);
        let mut column = 0_u16;
        for (text, look) in line {
            let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
            if !text.trim().is_empty() {
                let x = MARGIN + WIDTH * f32::from(column);
                let colour = look.colour.and_then(|at| scheme.colours.get(at)).copied().unwrap_or(scheme.text);
                let bold = if look.bold { " font-weight=\"bold\"" } else { "" };
                let dim = if look.dim { " opacity=\"0.65\"" } else { "" };
                writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{:.1}\" fill=\"{colour}\"{bold}{dim} \
                     xml:space=\"preserve\">{}</text>",
                    WIDTH * f32::from(length),
                    escaped(text)
                )
                .ok();
            }
            column = column.saturating_add(length);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_read_and_text_is_escaped() {
        let mut look = Look::default();
        let found = pieces("a \u{1b}[1mb\u{1b}[0;33mc<\u{1b}[39m\u{f}d", &mut look);
        let words: Vec<(&str, bool, Option<usize>)> = found.iter().map(|(t, l)| (&**t, l.bold, l.colour)).collect();
        assert_eq!(words, [("a ", false, None), ("b", true, None), ("c<", false, Some(3)), ("d", false, None)]);
        let picture = svg("# x\n\u{1b}[33mc<\u{1b}[0m\n\n", 10, &DARK);
        assert!(picture.contains("c&lt;") && picture.contains(DARK.colours[3]) && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<text").count(), 2);
    }
}
