//! Very many connections that cost their owner nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Open connections, from many loopback addresses, so that no limit for one address ends the story early.
pub struct Crowd {
    /// The connections.
    pub streams: Vec<TcpStream>,
    /// How many were refused or cut at once.
    pub refused: usize,
}

impl Crowd {
    /// Opens `count` connections to a loopback port, 200 from each address, and reads each greeting.
    pub fn gather(port: u16, count: usize) -> Crowd {
        let mut crowd = Crowd { streams: Vec::with_capacity(count), refused: 0 };
        for number in 0..count {
            let host = u8::try_from(number / 200 % 250 + 1).unwrap_or(1);
            match connect_from(Ipv4Addr::new(127, 0, 7, host), port) {
                Ok(stream) => crowd.streams.push(stream),
                Err(_) => crowd.refused += 1,
            }
        }
        for stream in &mut crowd.streams {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
            let mut greeting = [0; 256];
            let greeted =
                matches!(stream.read(&mut greeting), Ok(n) if n > 0 && greeting.starts_with(b"220"));
            crowd.refused += usize::from(!greeted);
        }
        crowd
    }

    /// Everybody sends these bytes.
    pub fn say(&mut self, bytes: &[u8]) {
        for stream in &mut self.streams {
            let _ = stream.write_all(bytes);
        }
    }
}

/// Connects to a loopback port from a loopback address of one's choice.
///
/// # Errors
/// The system's.
pub fn connect_from(source: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let from = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&from, &SocketAddr::V4(SocketAddrV4::new(source, 0)))?;
    connect(&from, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(TcpStream::from(from))
}
