//! Where figures go: between two marks of `docs/performance.md`, so that text and figures stay together.

use std::fs;
use std::path::PathBuf;

/// `docs/` of this checkout.
pub fn docs(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(file)
}

/// Puts a text between `<!-- name -->` and `<!-- /name -->`.
pub fn write_section(name: &str, text: &str) {
    let path = docs("performance.md");
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no mark {name} in {}", path.display()));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("no end of {name} in {}", path.display()));
    fs::write(
        &path,
        format!("{before}{begin}\n{}\n\n{end}{after}", text.trim_end()),
    )
    .unwrap();
}

/// What it was measured on, and when.
pub fn machine() -> String {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find_map(|l| l.strip_prefix(key)?.split_once(':'));
        found
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib: u64 = line("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    format!(
        "{today}, {} ({cores} cores), {} GiB, Linux {}",
        line("/proc/cpuinfo", "model name"),
        (kib + (1 << 19)) >> 20,
        kernel.trim()
    )
}

/// The load of the last minute.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
