//! The growth as a picture: time over containers, both logarithmic, so that linear growth is a straight line.

use std::fmt::Write as _;

/// A room's times: (containers, seconds).
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const COLOURS: [&str; 7] = [
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5",
];
const LEFT: f64 = 64.0;
const TOP: f64 = 24.0;
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 300.0;

/// Draws them. Decades are the grid.
pub fn draw(lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|l| l.points.iter().copied());
    let decades = |values: Vec<f64>| {
        let low = values
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
            .log10()
            .floor();
        let high = values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
            .log10()
            .ceil();
        (low, high.max(low + 1.0))
    };
    let (x0, x1) = decades(points().map(|p| p.0).collect());
    let (y0, y1) = decades(points().map(|p| p.1).collect());
    let x = |v: f64| LEFT + WIDTH * (v.log10() - x0) / (x1 - x0);
    let y = |v: f64| TOP + HEIGHT * (1.0 - (v.log10() - y0) / (y1 - y0));
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 680 380\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"680\" height=\"380\" fill=\"#fff\"/>\n",
    );
    for at in steps(x0, x1) {
        let (value, bottom) = (10_f64.powf(at), TOP + HEIGHT);
        let x = x(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            thousands(value)
        );
    }
    for at in steps(y0, y1) {
        let (value, right) = (10_f64.powf(at), LEFT + WIDTH);
        let y = y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            time(value)
        );
    }
    // Names stand at the ends of their lines, pushed apart where those lie together.
    let mut ends: Vec<(usize, f64)> = lines
        .iter()
        .enumerate()
        .filter_map(|(n, l)| Some((n, y(l.points.last()?.1))))
        .collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut lowest = f64::NEG_INFINITY;
    for (n, end) in ends {
        let (line, colour) = (&lines[n], COLOURS[n % COLOURS.len()]);
        let path: Vec<String> = line
            .points
            .iter()
            .map(|p| format!("{:.1} {:.1}", x(p.0), y(p.1)))
            .collect();
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        );
        for p in &line.points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(p.0),
                y(p.1)
            );
        }
        lowest = (end + 4.0).max(lowest + 15.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{lowest:.1}\" fill=\"{colour}\">{}</text>",
            LEFT + WIDTH + 10.0,
            line.name
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">containers</text>\n</svg>",
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 40.0
    );
    svg
}

fn steps(from: f64, to: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from), |at| Some(at + 1.0)).take_while(move |at| *at <= to + 0.01)
}

fn thousands(value: f64) -> String {
    let text = format!("{value:.0}");
    let mut out = String::new();
    for (n, digit) in text.chars().enumerate() {
        if n > 0 && (text.len() - n).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 ms`, `100 ms`, `1 s`.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 0.999e-3 => (s * 1e6, "µs"),
        s if s < 0.999 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    match value {
        v if v < 9.95 && v.fract().abs() > 0.05 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}
