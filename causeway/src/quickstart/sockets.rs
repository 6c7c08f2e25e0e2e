//! The sockets of a process, as the kernel tells them: `/proc/<pid>/fd` says which are its own,
//! `/proc/<pid>/net/{tcp,tcp6,udp,udp6}` where they are (proc_pid_fd(5), proc_pid_net(5)).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: u8 = 10;

/// Where the kernel says which ports it gives to sockets that ask for any.
const EPHEMERAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What a process can be reached at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sockets {
    /// TCP sockets that take connections.
    pub(super) tcp_listeners: BTreeSet<SocketAddr>,
    /// All UDP sockets.
    pub(super) udp: BTreeSet<SocketAddr>,
    /// The ports that the kernel gives to sockets that ask for none.
    pub(super) ephemeral: RangeInclusive<u16>,
}

/// The sockets of a process of this user.
///
/// # Errors
/// If the process is gone, or the system has no `/proc` as Linux has it.
pub(super) fn of(pid: u32) -> io::Result<Sockets> {
    let own = socket_inodes(pid)?;
    let table = |name: &str| match fs::read_to_string(format!("/proc/{pid}/net/{name}")) {
        Ok(text) => Ok(text),
        // A kernel without IPv6 has no tables for it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {
            Ok(String::new())
        }
        Err(error) => Err(error),
    };
    let tcp = table("tcp")? + &table("tcp6")?;
    let udp = table("udp")? + &table("udp6")?;
    let range = fs::read_to_string(EPHEMERAL_PORTS)?;
    Ok(Sockets {
        tcp_listeners: rows(&tcp)
            .filter(|row| row.state == LISTEN && own.contains(&row.inode))
            .map(|row| row.local)
            .collect(),
        udp: rows(&udp)
            .filter(|row| own.contains(&row.inode))
            .map(|row| row.local)
            .collect(),
        ephemeral: parse_range(&range)
            .ok_or_else(|| io::Error::other(format!("{EPHEMERAL_PORTS} is not two ports")))?,
    })
}

fn socket_inodes(pid: u32) -> io::Result<BTreeSet<u64>> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed while the directory is read.
        let Ok(link) = fs::read_link(entry?.path()) else {
            continue;
        };
        let inode = link
            .to_str()
            .and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(inodes)
}

/// One socket of a table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    state: u8,
    inode: u64,
}

/// The rows of a table; its headings are no row.
fn rows(table: &str) -> impl Iterator<Item = Row> {
    table.lines().filter_map(parse_row)
}

fn parse_row(line: &str) -> Option<Row> {
    let mut fields = line.split_whitespace();
    let local = parse_address(fields.nth(1)?)?;
    let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Row {
        local,
        state,
        inode,
    })
}

/// `0100007F:1F90`: 32-bit words as this machine stores them, in hexadecimal; the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_are_read() {
        let tcp = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1D42 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:9C41 0100007F:1D42 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
";
        let found: Vec<Row> = rows(tcp).collect();
        assert_eq!(
            found,
            [
                Row {
                    local: "127.0.0.1:7490".parse().unwrap(),
                    state: LISTEN,
                    inode: 4711
                },
                Row {
                    local: "127.0.0.1:40001".parse().unwrap(),
                    state: 1,
                    inode: 4712
                },
            ]
        );
        let udp6 = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1026: 00000000000000000000000001000000:CBE1 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0000000000000000 0
";
        let local: Vec<_> = rows(udp6).map(|row| row.local).collect();
        assert_eq!(local, ["[::1]:52193".parse().unwrap()]);
    }

    #[test]
    fn what_is_no_row_is_left_out() {
        for line in [
            "",
            "garbage",
            "0: 0100007F 0 0A",
            "0: 0100:1 0:0 0A a b c d e 5",
            "0: é00000é:1 0 0A",
        ] {
            assert_eq!(parse_row(line), None, "{line}");
        }
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_range("32768"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_sockets_of_this_process_are_found() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp6 = std::net::TcpListener::bind("[::1]:0");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let sockets = of(std::process::id()).unwrap();
        assert!(sockets.tcp_listeners.contains(&tcp.local_addr().unwrap()));
        if let Ok(tcp6) = tcp6 {
            assert!(sockets.tcp_listeners.contains(&tcp6.local_addr().unwrap()));
        }
        let local = connected.local_addr().unwrap();
        assert!(!sockets.tcp_listeners.contains(&local));
        let local = udp.local_addr().unwrap();
        assert!(sockets.udp.contains(&local));
        assert!(sockets.ephemeral.contains(&local.port()));
    }
}
