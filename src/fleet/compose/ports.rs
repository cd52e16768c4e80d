//! Published ports, in their short and long form.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::super::read::Reader;
use super::super::yaml::{Kind, Node};
use super::service::{Port, Protocol};
use super::top::note;
use crate::diagnostic::At;
use crate::text::Safe;

/// The most ports that one range may name.
const MAX_RANGE: usize = 1024;

const FORMS: &str = "write `8080:80`, `127.0.0.1:8080:80/tcp`, `8000-8010:8000-8010` or `80`";

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("sctp", Protocol::Sctp),
];

/// One entry before its ranges are written out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    ip: Option<String>,
    host: Option<RangeInclusive<u16>>,
    container: RangeInclusive<u16>,
    protocol: Protocol,
}

/// Reads `ports:`.
pub fn read(reader: &Reader, node: &Node, key: &At) -> Vec<Port> {
    let mut out: Vec<Port> = Vec::new();
    let mut unbound = false;
    for item in reader.list(node).unwrap_or_default() {
        let entry = match &item.kind {
            Kind::Map(_) => long(reader, item),
            _ => reader.string(item).and_then(|text| match short(&text.value) {
                Ok(entry) => Some(entry),
                Err(why) => {
                    wrong(reader, &item.at, &text.value, &why);
                    None
                }
            }),
        };
        let Some(entry) = entry else { continue };
        unbound |= entry.ip.is_none();
        let Some(ip) = address(reader, &item.at, entry.ip.as_deref()) else {
            continue;
        };
        match written_out(&entry, &ip) {
            Ok(ports) => {
                for port in ports {
                    add(reader, &item.at, &mut out, port);
                }
            }
            Err(why) => reader.error("port", &item.at, why, FORMS),
        }
    }
    if unbound {
        note(
            reader,
            key,
            "`ports` without a host address are published on 127.0.0.1 only",
        );
    }
    out
}

fn wrong(reader: &Reader, at: &At, text: &str, why: &str) {
    let shown: String = text.chars().take(80).collect();
    reader.error("port", at, format!("`{}`: {why}", Safe::new(&shown)), FORMS);
}

fn add(reader: &Reader, at: &At, out: &mut Vec<Port>, port: Port) {
    let clash = port.host.is_some()
        && out
            .iter()
            .any(|p| p.host == port.host && p.ip == port.ip && p.protocol == port.protocol);
    if clash {
        reader.error(
            "duplicate-port",
            at,
            format!(
                "the host port {} is published twice",
                port.host.unwrap_or_default()
            ),
            "keep one of them",
        );
    } else if !out.contains(&port) {
        out.push(port);
    }
}

/// Checks `expose:`, which means nothing more here: neighbours reach every port.
pub fn check_expose(reader: &Reader, node: &Node) {
    for item in reader.list(node).unwrap_or_default() {
        let Some(text) = reader.string(item) else { continue };
        let (ports, protocol) = with_protocol(&text.value);
        if let Err(why) = protocol.and_then(|_| range(ports)) {
            reader.error(
                "port",
                &item.at,
                format!("`{}`: {why}", Safe::new(&text.value)),
                "write `80`, `80/udp` or `8000-8010`",
            );
        }
    }
}

/// `[[ip:][host]:]container[/protocol]`, where ports may be ranges and an IPv6 address stands in brackets.
fn short(text: &str) -> Result<Entry, String> {
    let (rest, protocol) = with_protocol(text.trim());
    let protocol = protocol?;
    let (rest, container) = match rest.rsplit_once(':') {
        Some((before, container)) => (Some(before), container),
        None => (None, rest),
    };
    let container = range(container)?;
    let (ip, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, host)) => (Some(ip), host),
            None => (None, rest),
        },
    };
    let host = if host.is_empty() { None } else { Some(range(host)?) };
    Ok(Entry {
        ip: ip.filter(|ip| !ip.is_empty()).map(str::to_owned),
        host,
        container,
        protocol,
    })
}

fn long(reader: &Reader, node: &Node) -> Option<Entry> {
    let fields = reader.fields(node, "the port")?;
    let number = |node: &Node| {
        let text = reader.string(node)?;
        range(&text.value)
            .map_err(|why| wrong(reader, &node.at, &text.value, &why))
            .ok()
    };
    let host = fields.get("published").map(number);
    let ip = fields.get("host_ip").map(|n| reader.string(n).map(|t| t.value));
    let protocol = fields.get("protocol").map_or(Some(Protocol::Tcp), |n| {
        let word = n.scalar().unwrap_or_default();
        let known = PROTOCOLS.iter().find(|(w, _)| w.eq_ignore_ascii_case(word));
        known.map_or_else(|| reader.one_of(n, PROTOCOLS), |(_, p)| Some(*p))
    });
    // Names for people change nothing that is published.
    for key in ["name", "app_protocol"] {
        let _ = fields.get(key);
    }
    if fields.get("mode").is_some() {
        note(
            reader,
            &fields.key_at("mode"),
            "`mode` of a port means nothing on one engine",
        );
    }
    let container = fields.require("target").map(number);
    fields.finish();
    Some(Entry {
        ip: match ip {
            Some(ip) => Some(ip?).filter(|ip| !ip.is_empty()),
            None => None,
        },
        host: match host {
            Some(host) => Some(host?),
            None => None,
        },
        container: container??,
        protocol: protocol?,
    })
}

fn with_protocol(text: &str) -> (&str, Result<Protocol, String>) {
    match text.split_once('/') {
        None => (text, Ok(Protocol::Tcp)),
        Some((ports, word)) => {
            let found = PROTOCOLS.iter().find(|(w, _)| w.eq_ignore_ascii_case(word));
            (
                ports,
                found
                    .map(|(_, p)| *p)
                    .ok_or_else(|| "the protocol is none of tcp, udp, sctp".to_owned()),
            )
        }
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let one = |text: &str| -> Result<u16, String> {
        match text.parse::<u16>() {
            Ok(0) => Err("there is no port 0".to_owned()),
            Ok(port) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err("a port is a number from 1 to 65535".to_owned()),
        }
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    if last < first {
        return Err("the range ends before it begins".to_owned());
    }
    Ok(first..=last)
}

/// The address to bind to: the loopback one unless the file names another loopback one.
fn address(reader: &Reader, at: &At, ip: Option<&str>) -> Option<String> {
    let Some(text) = ip else {
        return Some("127.0.0.1".to_owned());
    };
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Some(ip.to_string()),
        Ok(_) => {
            reader.error(
                "not-carried-out",
                at,
                format!("publishing on {bare} is not carried out: ports are published on the host's own address 127.0.0.1"),
                "leave the address out and put a reverse proxy of the host in front, or wait for the policy that opens it",
            );
            None
        }
        Err(_) => {
            reader.error(
                "port",
                at,
                format!(
                    "`{}` is no IP address",
                    Safe::new(&bare.chars().take(60).collect::<String>())
                ),
                FORMS,
            );
            None
        }
    }
}

fn written_out(entry: &Entry, ip: &str) -> Result<Vec<Port>, &'static str> {
    let count = entry.container.len();
    if count > MAX_RANGE {
        return Err("a range of more than 1024 ports");
    }
    let hosts: Vec<Option<u16>> = match &entry.host {
        None => vec![None; count],
        Some(range) if range.len() == count => range.clone().map(Some).collect(),
        Some(_) => return Err("the ranges of host and container have different lengths"),
    };
    Ok(entry
        .container
        .clone()
        .zip(hosts)
        .map(|(container, host)| Port {
            container,
            host,
            ip: ip.to_owned(),
            protocol: entry.protocol,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Result<(Option<String>, Option<u16>, u16, Protocol), String> {
        short(text).map(|e| (e.ip, e.host.map(|h| *h.start()), *e.container.start(), e.protocol))
    }

    #[test]
    fn short_forms_are_read_as_compose_reads_them() {
        let ip = |t: &str| Some(t.to_owned());
        for (text, want) in [
            ("80", (None, None, 80, Protocol::Tcp)),
            ("8080:80", (None, Some(8080), 80, Protocol::Tcp)),
            ("53:53/udp", (None, Some(53), 53, Protocol::Udp)),
            (
                "127.0.0.1:8080:80",
                (ip("127.0.0.1"), Some(8080), 80, Protocol::Tcp),
            ),
            ("127.0.0.1::80", (ip("127.0.0.1"), None, 80, Protocol::Tcp)),
            (":8080:80", (None, Some(8080), 80, Protocol::Tcp)),
            ("[::1]:8080:80", (ip("[::1]"), Some(8080), 80, Protocol::Tcp)),
            ("3306:3306", (None, Some(3306), 3306, Protocol::Tcp)),
            ("8000-8002:9000-9002/tcp", (None, Some(8000), 9000, Protocol::Tcp)),
        ] {
            assert_eq!(one(text), Ok(want), "{text}");
        }
        for text in [
            "",
            ":",
            "127.0.0.1:80",
            "0:80",
            "70000:80",
            "80:0",
            "a:80",
            "80/xtp",
            "9-8:1-2",
            "1:+2",
            "80:80:80:x",
            "-1",
        ] {
            assert!(one(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_written_out_one_each() {
        let ports = written_out(&short("8000-8002:9000-9002").unwrap(), "127.0.0.1").unwrap();
        assert_eq!(
            ports.iter().map(|p| (p.host, p.container)).collect::<Vec<_>>(),
            [(Some(8000), 9000), (Some(8001), 9001), (Some(8002), 9002)]
        );
        assert!(written_out(&short("8000-8002:80").unwrap(), "127.0.0.1").is_err());
        assert!(written_out(&short("1-65535").unwrap(), "127.0.0.1").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_port_or_refused_but_never_panics(text in "\\PC{0,40}", dense in "[0-9:./\\[\\]tcpud-]{0,30}") {
            for t in [&text, &dense] {
                if let Ok(entry) = short(t) {
                    let _ = written_out(&entry, "127.0.0.1");
                }
            }
        }
    }
}
