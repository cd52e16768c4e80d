//! Aligned columns.

use crate::text::Safe;

/// Rows as columns, two spaces apart; the first row is the header. Cells are cleaned for the terminal.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|r| r.iter().map(|c| Safe::new(c).into()).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| {
        rows.iter()
            .filter_map(|r| r.get(i))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A time as people say it, relative to now: `12 s ago`, `3 min ago`.
pub(crate) fn ago(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..=89 => format!("{seconds} s ago"),
        90..=5399 => format!("{} min ago", (seconds + 30) / 60),
        5400..=172_799 => format!("{} h ago", (seconds + 1800) / 3600),
        _ => format!("{} d ago", (seconds + 43_200) / 86_400),
    }
}

/// A time to come as people say it: `in 12 s`, `in 3 min`; one that is over: `now`.
pub(crate) fn ahead(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    match seconds {
        ..=0 => "now".to_owned(),
        1..=89 => format!("in {seconds} s"),
        90..=5399 => format!("in {} min", (seconds + 30) / 60),
        5400..=172_799 => format!("in {} h", (seconds + 1800) / 3600),
        _ => format!("in {} d", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative() {
        let now: jiff::Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(ahead(at("2026-11-24T10:00:12Z"), now), "in 12 s");
        assert_eq!(ahead(at("2026-11-24T10:57:00Z"), now), "in 57 min");
        assert_eq!(ahead(at("2026-11-25T09:00:00Z"), now), "in 23 h");
        assert_eq!(ahead(at("2026-11-24T09:00:00Z"), now), "now");
        assert_eq!(ago(at("2026-11-24T09:57:00Z"), now), "3 min ago");
    }

    #[test]
    fn columns_are_aligned_and_cells_are_safe() {
        let rows = vec![
            vec!["NAME".into(), "PHASE".into()],
            vec!["a\u{1b}".into(), "synced".into()],
        ];
        assert_eq!(table(&rows), "NAME     PHASE\na\\u{1b}  synced\n");
    }
}
