//! A name server that knows no name: the demonstration must not depend on the DNS of the machine it runs on.

use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// RFC 1035 §4.1.1: the header's length, and the longest question worth an answer.
const HEADER: usize = 12;
const QUESTION_MAX: usize = 512;

/// Answers every question with "no such name" until it is dropped.
///
/// # Errors
/// When the address is taken.
pub(super) async fn serve(at: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(at).await?;
    let mut packet = [0u8; QUESTION_MAX];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut packet).await else { continue };
        if let Some(answer) = no_such_name(&packet[..len]) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The question back, with QR, RA and NXDOMAIN set and no records.
fn no_such_name(question: &[u8]) -> Option<Vec<u8>> {
    let end = HEADER + question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 5;
    let mut answer = question.get(..end)?.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x83;
    answer[6..HEADER].fill(0);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_back_as_no_such_name() {
        let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        question.extend(b"\x01a\x07example\0\0\x10\0\x01rest of it");
        let answer = no_such_name(&question).unwrap();
        assert_eq!(&answer[..8], &[0x12, 0x34, 0x81, 0x83, 0, 1, 0, 0]);
        assert!(answer.ends_with(b"\0\0\x10\0\x01"));
        assert_eq!(no_such_name(b"short"), None);
    }
}
