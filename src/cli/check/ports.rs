//! Whether an address can be listened on, and whose it is where that is not free. Nothing is listened on, so no connection is taken.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A listening socket of this machine.
struct Listening {
    uid: u32,
    inode: u64,
}

/// What there is to say of an address that is not free.
pub(super) enum Said {
    Problem(String),
    Note(String),
}

/// Looks at an address of the configuration. `daemon` is the process that has the store, where one has it.
pub(super) fn look(what: &str, address: SocketAddr, daemon: Option<&Holder>) -> Option<Said> {
    let said = format!("{what} = \"{address}\"");
    let cant = |error| Some(Said::Problem(format!("{said}: can't be listened on: {error}")));
    if let Err(error) = bound(SocketAddr::new(address.ip(), 0)) {
        return cant(error);
    }
    match bound(address) {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::AddrInUse => taken(&said, address, daemon),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(Said::Note(format!(
            "{said}: this user may not listen on a port below 1024; a socket unit of systemd may"
        ))),
        Err(error) => cant(error),
    }
}

/// The process that has the store, in its own words: `pid 7 (ringhookd)`.
#[derive(Debug)]
pub(super) struct Holder(pub(super) String);

impl Holder {
    fn pid(&self) -> Option<u32> {
        self.0.strip_prefix("pid ")?.split(' ').next()?.parse().ok()
    }
}

fn bound(address: SocketAddr) -> std::io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn taken(said: &str, address: SocketAddr, daemon: Option<&Holder>) -> Option<Said> {
    let listening = listening_on(address);
    let owner = listening.iter().find_map(|socket| owner(socket.inode));
    Some(match (owner, daemon) {
        (Some((pid, _)), Some(holder)) if holder.pid() == Some(pid) => return None,
        // Where a unit brings it, it is handed over.
        (Some((1, _)), _) => Said::Note(format!("{said}: systemd listens there, for a socket unit")),
        (Some((pid, name)), _) => Said::Problem(format!("{said}: is in use by {name} (pid {pid})")),
        (None, Some(Holder(holder))) => Said::Note(format!(
            "{said}: is in use by a program that this user may not see, which is well if it is {holder}, which has the store"
        )),
        (None, None) if listening.iter().all(|socket| socket.uid == 0) => Said::Note(format!(
            "{said}: is in use by a program of root, which is well if it is systemd, for a socket unit"
        )),
        (None, None) => Said::Problem(format!("{said}: is in use by another program")),
    })
}

/// Everything that listens on the address, or on all addresses at its port.
fn listening_on(address: SocketAddr) -> Vec<Listening> {
    let mut all = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        all.extend(text.lines().skip(1).filter_map(|line| listening(line, address)));
    }
    all
}

/// A line of those tables: number, local address, remote address, state, …, uid, time-out, inode.
fn listening(line: &str, address: SocketAddr) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = columns.get(1)?.split_once(':')?;
    let (ip, port) = (ip_of(ip)?, u16::from_str_radix(port, 16).ok()?);
    let same = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let matches = columns.get(3) == Some(&LISTEN) && port == address.port() && same;
    let (uid, inode) = (columns.get(7)?.parse().ok()?, columns.get(9)?.parse().ok()?);
    matches.then_some(Listening { uid, inode })
}

/// Words of four bytes as this machine has them in memory, in hexadecimal.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(Ipv6Addr::from(sixteen).to_canonical())
}

/// The process that has a socket, and its name; none where this user may not see it.
fn owner(inode: u64) -> Option<(u32, String)> {
    let mut processes: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // The service is asked before systemd, which keeps a copy of what it hands over.
    processes.sort_unstable_by(|a, b| b.cmp(a));
    let link = format!("socket:[{inode}]");
    let has_it = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        files
            .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
            .any(|to| to.as_os_str() == link.as_str())
    };
    let pid = processes.into_iter().find(has_it)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        for address in ["127.0.0.1", "10.1.2.3"] {
            let ip: Ipv4Addr = address.parse().unwrap();
            let hex = format!("{:08X}", u32::from_ne_bytes(ip.octets()));
            assert_eq!(ip_of(&hex), Some(ip.into()));
        }
        assert_eq!(
            ip_of("0000000000000000FFFF00000100007F").map(|ip| ip.is_loopback()),
            Some(cfg!(target_endian = "little"))
        );
        assert_eq!((ip_of("xyz"), ip_of("")), (None, None));
    }
}
