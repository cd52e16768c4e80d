//! Names to addresses, without the C library: glibc's own resolver needs files that a static program in an empty image
//! does not have. Reads `/etc/hosts` and `/etc/resolv.conf` (search domains and `ndots` included) at every look-up and
//! asks for A records over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long one name server may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// What `/etc/resolv.conf` says, as far as we use it.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Name servers, in order.
    servers: Vec<IpAddr>,
    /// Domains to append to short names, in order.
    search: Vec<String>,
    /// A name with at least so many dots is asked as it is first.
    ndots: usize,
}

impl Config {
    /// Reads the text of a `resolv.conf` (see `resolv.conf(5)`).
    pub fn parse(text: &str) -> Self {
        let mut config = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => config
                    .servers
                    .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("search" | "domain") => config.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words
                        .filter_map(|word| word.strip_prefix("ndots:")?.parse().ok())
                        .next_back();
                    config.ndots = ndots.unwrap_or(config.ndots).min(15);
                }
                _ => {}
            }
        }
        config
    }

    /// The full names to ask for, in order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self
            .search
            .iter()
            .map(|domain| format!("{name}.{}", domain.trim_matches('.')));
        let mut names: Vec<String> = searched.filter(|full| !full.ends_with('.')).collect();
        let first = if name.matches('.').count() >= self.ndots {
            0
        } else {
            names.len()
        };
        names.insert(first, name.to_owned());
        names
    }
}

/// The addresses of `host`: itself if it is one, else from `/etc/hosts`, else from the name servers.
pub fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok(vec![address]);
    }
    let known = in_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
    let config = Config::parse(&std::fs::read_to_string("/etc/resolv.conf")?);
    for name in config.candidates(host) {
        let found = ask_all(&config.servers, &name)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("no such name: {host}"),
    ))
}

/// The addresses that a hosts file gives to a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    });
    entries.collect()
}

/// Asks the servers one after another; the first that answers decides, also when it says that there is no such name.
fn ask_all(servers: &[IpAddr], name: &str) -> io::Result<Vec<IpAddr>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no nameserver in /etc/resolv.conf");
    for server in servers {
        match ask(SocketAddr::new(*server, 53), name, TIMEOUT) {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One question to one server; an empty answer means that there is no such name.
fn ask(server: SocketAddr, name: &str, timeout: Duration) -> io::Result<Vec<IpAddr>> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    // The kernel gives each look-up another port, and the connected socket takes answers of this server only; the id
    // tells a late answer from ours.
    let id = socket.local_addr()?.port().rotate_left(7) ^ 0x5a5a;
    socket.send(&question(id, name)?)?;
    let until = Instant::now() + timeout;
    let mut buffer = [0_u8; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer for {name} from {server}"),
            ));
        }
        socket.set_read_timeout(Some(left))?;
        let size = match socket.recv(&mut buffer) {
            Ok(size) => size,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = answer(buffer.get(..size).unwrap_or_default(), id) {
            return answer;
        }
    }
}

/// The packet that asks for the A records of `name` (RFC 1035, 4.1).
fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut packet = Vec::with_capacity(18 + name.len());
    for word in [id, 0x0100, 1, 0, 0, 0] {
        packet.extend_from_slice(&u16::to_be_bytes(word));
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length));
        let length = length.ok_or_else(|| bad(&format!("not a host name: {name}")))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&TYPE_A.to_be_bytes());
    packet.extend_from_slice(&CLASS_IN.to_be_bytes());
    Ok(packet)
}

/// What a packet answers; nothing if it is not the answer to our question.
fn answer(packet: &[u8], id: u16) -> Option<io::Result<Vec<IpAddr>>> {
    let mut reader = Packet { bytes: packet, at: 0 };
    if reader.word()? != id {
        return None;
    }
    let flags = reader.word()?;
    if flags & 0x8000 == 0 {
        return None;
    }
    match flags & 0xf {
        0 => Some(
            reader
                .addresses()
                .ok_or_else(|| bad("the name server's answer is cut short")),
        ),
        3 => Some(Ok(Vec::new())),
        code => Some(Err(io::Error::other(format!(
            "the name server answered with code {code}"
        )))),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A packet being read; every read may find that it ends.
struct Packet<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Packet<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self
            .bytes
            .get(self.at..self.at.checked_add(N)?)?
            .try_into()
            .ok()?;
        self.at += N;
        Some(taken)
    }

    fn word(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    /// Steps over a name; a pointer (two high bits) ends it.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let [length] = self.take()?;
            match length {
                0 => return Some(()),
                1..=63 => self.at += usize::from(length),
                192.. => return self.take::<1>().map(|_| ()),
                _ => return None,
            }
        }
    }

    /// The A records of the answer section; the reader stands after the flags.
    fn addresses(&mut self) -> Option<Vec<IpAddr>> {
        let (questions, answers) = (self.word()?, self.word()?);
        self.take::<4>()?;
        for _ in 0..questions {
            self.skip_name()?;
            self.take::<4>()?;
        }
        let mut found = Vec::new();
        for _ in 0..answers {
            self.skip_name()?;
            let kind = self.word()?;
            self.take::<6>()?;
            let length = self.word()?;
            if kind == TYPE_A && length == 4 {
                found.push(IpAddr::from(self.take::<4>()?));
            } else {
                self.at += usize::from(length);
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_searched_first_where_ndots_says_so() {
        let config =
            Config::parse("# x\nnameserver 127.0.0.11\nsearch acme.aither lan\noptions edns0 ndots:1\n");
        assert_eq!(config.servers, [IpAddr::from([127, 0, 0, 11])]);
        assert_eq!(config.candidates("web"), ["web.acme.aither", "web.lan", "web"]);
        assert_eq!(
            config.candidates("web.other"),
            ["web.other", "web.other.acme.aither", "web.other.lan"]
        );
        assert_eq!(config.candidates("web."), ["web"]);
        let zero = Config::parse("nameserver 127.0.0.11\nsearch acme.aither\noptions ndots:0\n");
        assert_eq!(zero.candidates("web"), ["web", "web.acme.aither"]);
    }

    #[test]
    fn hosts_are_matched_without_regard_to_case_and_comments_are_left_out() {
        let text = "127.0.0.1 localhost\n10.0.0.7 Web web.acme # web2\n";
        assert_eq!(in_hosts(text, "web"), [IpAddr::from([10, 0, 0, 7])]);
        assert!(in_hosts(text, "web2").is_empty());
    }

    #[test]
    fn an_answer_with_an_alias_before_the_address_is_read() {
        let mut packet = question(7, "web.acme").unwrap();
        packet[2] = 0x81;
        packet[7] = 2;
        packet.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12]);
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 1, 2, 3]);
        assert_eq!(
            answer(&packet, 7).unwrap().unwrap(),
            [IpAddr::from([10, 1, 2, 3])]
        );
        assert!(answer(&packet, 8).is_none(), "another question's answer");
        for cut in 12..packet.len() {
            assert!(answer(&packet[..cut], 7).unwrap().is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_name_that_does_not_exist_is_an_empty_answer_and_a_failure_is_an_error() {
        let mut packet = question(7, "web").unwrap();
        packet[2] = 0x81;
        packet[3] = 3;
        assert!(answer(&packet, 7).unwrap().unwrap().is_empty());
        packet[3] = 2;
        assert!(answer(&packet, 7).unwrap().is_err());
        assert!(question(7, "a..b").is_err());
    }

    #[test]
    fn a_server_that_answers_is_asked_over_udp() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let mut buffer = [0_u8; 512];
            let (size, peer) = server.recv_from(&mut buffer).unwrap();
            let mut reply = buffer[..size].to_vec();
            reply[2] = 0x81;
            reply[7] = 1;
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 9, 8, 7]);
            server.send_to(&[0, 0], peer).unwrap();
            server.send_to(&reply, peer).unwrap();
        });
        assert_eq!(
            ask(address, "web.acme", TIMEOUT).unwrap(),
            [IpAddr::from([10, 9, 8, 7])]
        );
        serving.join().unwrap();
    }
}
