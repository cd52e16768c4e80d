//! Durations and sizes as people write them. Every document reads them here, so that they mean the same everywhere.

/// The longest duration that a document may name.
const MAX_DAYS: u64 = 366;

/// Units of a duration in nanoseconds. Longer names first, so that `ms` is not taken for `m`.
const TIME_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("w", 7 * 86_400 * 1_000_000_000),
];

/// Powers of 1024, as the engine counts them, by the first letter of the unit.
const SIZE_UNITS: &[(&[&str], u32)] = &[
    (&["", "b"], 0),
    (&["k", "kb", "kib"], 1),
    (&["m", "mb", "mib"], 2),
    (&["g", "gb", "gib"], 3),
    (&["t", "tb", "tib"], 4),
    (&["p", "pb", "pib"], 5),
];

/// A duration in milliseconds: `500ms`, `90s`, `1m30s`, `1.5h`, `12h`, `1d`, or `0`. Rounded down to a millisecond.
///
/// # Errors
/// What is wrong, as a half sentence that does not repeat the text: no unit, negative, not finite, over 366 days.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    const EXAMPLE: &str = "write it like `90s`, `1m30s`, `12h` or `1d`";
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(format!("an empty duration; {EXAMPLE}"));
    }
    if text.starts_with('-') {
        return Err(format!("a negative duration; {EXAMPLE}"));
    }
    let mut rest = text;
    let mut nanos = 0u128;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let (whole, fraction) = decimal(number).ok_or_else(|| format!("not a duration; {EXAMPLE}"))?;
        if after.is_empty() {
            return Err(format!("a number without a unit; {EXAMPLE}"));
        }
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = TIME_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, n)| u128::from(*n))
            .ok_or_else(|| "a unit that is none of ms, s, m, h, d, w".to_owned())?;
        nanos += scaled(whole, fraction, scale);
        if nanos > u128::from(MAX_DAYS) * 86_400 * 1_000_000_000 {
            return Err(format!("longer than {MAX_DAYS} days"));
        }
        rest = next;
    }
    if nanos > 0 && nanos < 1_000_000 {
        return Err("shorter than a millisecond".to_owned());
    }
    u64::try_from(nanos / 1_000_000).map_err(|_| "too long".to_owned())
}

/// A size in bytes: `512`, `64k`, `64m`, `1.5g`, `2GiB`. Units are powers of 1024, as for the engine.
///
/// # Errors
/// What is wrong, as a half sentence that does not repeat the text: an unknown unit, negative, not finite, too large.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    const EXAMPLE: &str = "write it like `64m`, `1.5g` or `512k`";
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!("a negative size; {EXAMPLE}"));
    }
    let (number, unit) = split_number(text);
    let (whole, fraction) = decimal(number).ok_or_else(|| format!("not a size; {EXAMPLE}"))?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = SIZE_UNITS
        .iter()
        .find(|(names, _)| names.contains(&unit.as_str()))
        .map(|(_, power)| *power)
        .ok_or_else(|| format!("a unit that is none of b, k, m, g, t, p; {EXAMPLE}"))?;
    let bytes = scaled(whole, fraction, 1024u128.pow(power));
    // The engine's type is a signed 64-bit number.
    if bytes > i64::MAX as u128 {
        return Err("larger than any machine".to_owned());
    }
    u64::try_from(bytes).map_err(|_| "larger than any machine".to_owned())
}

/// CPUs in billionths: `0.5`, `2`, `1.25`. Zero is refused, because it would mean "no limit".
///
/// # Errors
/// What is wrong, as a half sentence that does not repeat the text.
pub fn nano_cpus(text: &str) -> Result<u64, String> {
    const MOST: u64 = 4096;
    let (whole, billionths) =
        decimal(text.trim()).ok_or("not a number of CPUs; write it like `0.5` or `2`")?;
    if whole > MOST {
        return Err(format!("more than {MOST} CPUs"));
    }
    match whole * 1_000_000_000 + u64::from(billionths) {
        0 => Err("no CPU at all; leave the key out for no limit".to_owned()),
        nano => Ok(nano),
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Whole part, and the fraction in billionths. Digits and at most one point; no sign, exponent, NaN or infinity.
/// A whole part past 19 digits is no number that anybody means.
fn decimal(text: &str) -> Option<(u64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 19 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let billionths: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some((whole, billionths.parse().ok()?))
}

fn scaled(whole: u64, billionths: u32, scale: u128) -> u128 {
    u128::from(whole)
        .saturating_mul(scale)
        .saturating_add(u128::from(billionths).saturating_mul(scale) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_mean_what_compose_means() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("2h32m", 9_120_000),
            ("12h", 43_200_000),
            ("1d", 86_400_000),
            ("1w", 604_800_000),
            ("5000us", 5),
            (" 3s ", 3_000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "90",
            "-5m",
            "1e99s",
            "∞",
            "NaN",
            "infs",
            "1.2.3s",
            "s",
            "5 m",
            "400d",
            "10us",
            "1x",
            "1s5",
            "99999999999999999999s",
            "999999999999999999w",
        ] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("10b", 10),
            ("512k", 512 << 10),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "-1",
            "1ZB",
            "NaN",
            "inf",
            "1e9",
            "m",
            "1.2.3m",
            "9999999999999p",
            "64 m m",
            "0x10",
        ] {
            assert!(size_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_are_positive_and_finite() {
        assert_eq!(nano_cpus("0.5"), Ok(500_000_000));
        assert_eq!(nano_cpus("2"), Ok(2_000_000_000));
        assert_eq!(nano_cpus(".25"), Ok(250_000_000));
        for text in [
            "",
            "0",
            "0.0",
            "-1",
            "NaN",
            "inf",
            "1e9",
            "1000000000",
            "0.0000000001",
            "1,5",
        ] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_but_never_panics(text in ".{0,40}", digits in "[0-9.]{0,30}[a-zµ]{0,3}") {
            for t in [&text, &digits] {
                let _ = duration_ms(t);
                let _ = size_bytes(t);
                let _ = nano_cpus(t);
            }
        }

        #[test]
        fn whole_seconds_survive(n in 0u64..31_000_000) {
            prop_assert_eq!(duration_ms(&format!("{n}s")), Ok(n * 1000));
        }
    }
}
