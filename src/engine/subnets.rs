//! Which subnet the next network gets.

use std::io;
use std::net::Ipv4Addr;

use crate::fleet::settings::AddressPool;

/// Shorter prefixes among the host's routes are default routes in pieces (a VPN's `0.0.0.0/1`), not networks.
const SHORTEST_ROUTE: u8 = 8;

/// The first subnet of the pool that overlaps with none of `taken` (`10.201.0.0/27`; IPv6 subnets and bare words
/// cannot overlap and are passed over). None: the pool is used up.
pub fn next_free(pool: &AddressPool, taken: &[String]) -> Option<String> {
    let (first, last) = span(pool.base, pool.base_prefix)?;
    if pool.prefix < pool.base_prefix || pool.prefix > 32 {
        return None;
    }
    let size = 1u64 << (32 - pool.prefix);
    let mut spans: Vec<_> = taken.iter().filter_map(|text| parse(text)).collect();
    spans.sort_unstable();
    let mut start = first;
    for (low, high) in spans {
        if high < start {
            continue;
        }
        if low > start + size - 1 {
            break;
        }
        // The next boundary after what is in the way.
        start = (high / size + 1) * size;
    }
    (start + size - 1 <= last)
        .then(|| u32::try_from(start).ok())
        .flatten()
        .map(|start| format!("{}/{}", Ipv4Addr::from(start), pool.prefix))
}

/// The subnets that the host's own IPv4 routes use.
///
/// # Errors
/// When the route table cannot be read: what is used is then not known.
pub fn host_routes() -> io::Result<Vec<String>> {
    std::fs::read_to_string("/proc/net/route").map(|table| routes(&table))
}

/// Reads the kernel's table: name, destination and, seven columns on, the mask; hexadecimal, little-endian.
fn routes(table: &str) -> Vec<String> {
    let address = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let destination = address(columns.nth(1)?)?;
            let prefix = u8::try_from(address(columns.nth(5)?)?.leading_ones()).ok()?;
            (prefix >= SHORTEST_ROUTE).then(|| format!("{}/{prefix}", Ipv4Addr::from(destination)))
        })
        .collect()
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let (address, prefix) = text.split_once('/')?;
    span(address.parse().ok()?, prefix.parse().ok()?)
}

/// First and last address.
fn span(address: Ipv4Addr, prefix: u8) -> Option<(u64, u64)> {
    let size = 1u64 << 32u8.checked_sub(prefix)?;
    let first = u64::from(u32::from(address)) / size * size;
    Some((first, first + size - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(taken: &[&str]) -> Option<String> {
        let taken: Vec<_> = taken.iter().map(|&t| t.to_owned()).collect();
        next_free(&AddressPool::default(), &taken)
    }

    #[test]
    fn the_first_gap_is_taken() {
        assert_eq!(free(&[]).as_deref(), Some("10.201.0.0/27"));
        assert_eq!(
            free(&["10.201.0.32/27", "10.201.0.0/27"]).as_deref(),
            Some("10.201.0.64/27")
        );
        assert_eq!(
            free(&["10.201.0.0/27", "10.201.0.64/27"]).as_deref(),
            Some("10.201.0.32/27")
        );
        assert_eq!(
            free(&["172.17.0.0/16", "fd00::/64", "nonsense"]).as_deref(),
            Some("10.201.0.0/27")
        );
    }

    #[test]
    fn smaller_and_larger_neighbours_are_stepped_over() {
        assert_eq!(free(&["10.201.0.40/32"]).as_deref(), Some("10.201.0.0/27"));
        assert_eq!(
            free(&["10.201.0.0/30", "10.201.0.40/32"]).as_deref(),
            Some("10.201.0.64/27")
        );
        assert_eq!(
            free(&["10.201.0.0/24", "10.201.0.0/25"]).as_deref(),
            Some("10.201.1.0/27")
        );
        assert_eq!(
            free(&["10.201.0.0/25", "10.201.0.0/24"]).as_deref(),
            Some("10.201.1.0/27")
        );
    }

    #[test]
    fn a_pool_that_is_used_up_has_none() {
        assert_eq!(free(&["10.0.0.0/8"]), None);
        let all: Vec<_> = (0..256).map(|n| format!("10.201.{n}.0/24")).collect();
        assert_eq!(next_free(&AddressPool::default(), &all), None);
        let top = AddressPool {
            base: Ipv4Addr::new(255, 255, 255, 0),
            base_prefix: 24,
            prefix: 25,
        };
        assert_eq!(
            next_free(&top, &["255.255.255.0/25".into()]).as_deref(),
            Some("255.255.255.128/25")
        );
        assert_eq!(next_free(&top, &["255.255.255.0/24".into()]), None);
    }

    #[test]
    fn routes_are_read_and_default_routes_are_not_networks() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            tun0\t00000000\t010011AC\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
            eth0\t0000C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(routes(table), ["10.201.0.0/24"]);
        assert!(host_routes().is_ok());
    }
}
