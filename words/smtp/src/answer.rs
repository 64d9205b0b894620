//! Writing replies (RFC 5321 §4.2, RFC 2034).

use words_mail::Reply;

/// RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets with its CRLF. What is longer is wrapped.
const LINE_OCTETS_MAX: usize = 512 - 2;

/// Writes `reply` as one or more reply lines. `\n` in its text begins a new line; anything else that could not
/// stand in a reply line becomes `?`, so that no text from outside can forge a second reply.
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    write_lines(out, reply.code, reply.enhanced, &reply.text);
}

/// As [`write_reply`], without an owned [`Reply`].
pub(crate) fn write_lines(out: &mut Vec<u8>, code: u16, enhanced: Option<(u8, u16, u16)>, text: &str) {
    let status = match enhanced {
        Some((class, subject, detail)) => format!("{class}.{subject}.{detail} "),
        None => String::new(),
    };
    let room = LINE_OCTETS_MAX - 4 - status.len();
    let mut lines = text.split('\n').flat_map(|line| wrap(line, room)).peekable();
    while let Some(line) = lines.next() {
        let mark = if lines.peek().is_some() { '-' } else { ' ' };
        out.extend_from_slice(format!("{code:03}{mark}{status}").as_bytes());
        out.extend(line.iter().map(|b| if (b' '..0x7f).contains(b) { *b } else { b'?' }));
        out.extend_from_slice(b"\r\n");
    }
}

/// Pieces of at most `room` octets; an empty line is one empty piece.
fn wrap(line: &str, room: usize) -> impl Iterator<Item = &[u8]> {
    let bytes = line.as_bytes();
    let pieces = bytes.len().div_ceil(room).max(1);
    (0..pieces).map(move |n| &bytes[n * room..bytes.len().min((n + 1) * room)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        write_reply(&mut out, reply);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_carries_both_codes() {
        assert_eq!(written(&Reply::new(250, (2, 1, 5), "ok")), "250 2.1.5 ok\r\n");
        assert_eq!(
            written(&Reply::new(214, (2, 0, 0), "a\nb\nc")),
            "214-2.0.0 a\r\n214-2.0.0 b\r\n214 2.0.0 c\r\n"
        );
        assert_eq!(written(&Reply { code: 354, enhanced: None, text: "go".into() }), "354 go\r\n");
    }

    #[test]
    fn foreign_text_cannot_forge_a_reply() {
        let text = "no\r\r250 ok\u{e9}\0";
        assert_eq!(written(&Reply::new(550, (5, 1, 1), text)), "550 5.1.1 no??250 ok???\r\n");
    }

    #[test]
    fn a_long_text_is_wrapped_not_cut() {
        let text = written(&Reply::new(550, (5, 1, 1), "x".repeat(2_000)));
        assert!(text.lines().all(|l| l.len() <= LINE_OCTETS_MAX));
        assert_eq!(text.matches('x').count(), 2_000);
        assert_eq!(text.lines().filter(|l| l.starts_with("550 ")).count(), 1);
    }
}
