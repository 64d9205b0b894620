//! Transfer encodings undone as bytes come (RFC 2045 §6), in bounded memory. What is not quite right is read as well as
//! it can be, as people's programs do.

/// How many blanks are kept until it is known whether they end a line.
const BLANKS_MAX: usize = 1_024;

/// Undoes one transfer encoding.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// `7bit`, `8bit`, `binary`: as it stands.
    Plain,
    /// `base64`.
    Base64 {
        /// Bits not yet given on, and how many letters they are of.
        bits: u32,
        /// Letters of the present group.
        letters: u8,
    },
    /// `quoted-printable`.
    Quoted {
        /// What stands open.
        open: Open,
        /// Blanks that may end a line.
        blanks: Vec<u8>,
    },
}

/// What stands open in quoted-printable text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Nothing.
    Nothing,
    /// An equals sign.
    Equals,
    /// An equals sign and a hexadecimal digit.
    Digit(u8),
    /// An equals sign and blanks.
    Soft,
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn letter(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

impl Transfer {
    /// For an encoding as `Content-Transfer-Encoding:` names it; `None` for one that nobody here can undo.
    pub fn of(encoding: &str) -> Option<Transfer> {
        Some(match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "7bit" | "8bit" | "binary" => Transfer::Plain,
            "base64" => Transfer::Base64 { bits: 0, letters: 0 },
            "quoted-printable" => Transfer::Quoted { open: Open::Nothing, blanks: Vec::new() },
            _ => return None,
        })
    }

    /// Takes the next bytes and adds what they mean to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Transfer::Plain => out.extend_from_slice(bytes),
            Transfer::Base64 { bits, letters } => {
                for byte in bytes {
                    match letter(*byte) {
                        Some(value) => {
                            *bits = *bits << 6 | value;
                            *letters += 1;
                            if *letters == 4 {
                                group(bits, letters, out);
                            }
                        }
                        None if *byte == b'=' => group(bits, letters, out),
                        // Line ends, and what does not belong there (RFC 2045 §6.8).
                        None => {}
                    }
                }
            }
            Transfer::Quoted { open, blanks } => {
                for byte in bytes {
                    quoted(open, blanks, *byte, out);
                }
            }
        }
    }

    /// What still stands open at the end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Transfer::Plain => {}
            Transfer::Base64 { bits, letters } => group(bits, letters, out),
            // Blanks at the end of a line, and so of a text, are none of it (RFC 2045 §6.7).
            Transfer::Quoted { open: Open::Digit(digit), .. } => out.extend([b'=', *digit]),
            Transfer::Quoted { .. } => {}
        }
    }
}

/// Gives on the whole bytes of a group of letters.
fn group(bits: &mut u32, letters: &mut u8, out: &mut Vec<u8>) {
    let [_, a, b, c] = match letters {
        2 => *bits << 12,
        3 => *bits << 6,
        _ => *bits,
    }
    .to_be_bytes();
    out.extend_from_slice(&[a, b, c][..usize::from(letters.saturating_sub(1))]);
    (*bits, *letters) = (0, 0);
}

fn quoted(open: &mut Open, blanks: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    match (*open, byte) {
        (Open::Equals, b'\n') => *open = Open::Nothing,
        (Open::Equals, b' ' | b'\t' | b'\r') => {
            blanks.push(byte);
            *open = Open::Soft;
        }
        (Open::Equals, _) if hex(byte).is_some() => *open = Open::Digit(byte),
        (Open::Digit(first), _) => match (hex(first), hex(byte)) {
            (Some(high), Some(low)) => {
                out.push(high << 4 | low);
                *open = Open::Nothing;
            }
            _ => {
                out.extend([b'=', first]);
                *open = Open::Nothing;
                quoted(open, blanks, byte, out);
            }
        },
        (Open::Soft, b'\n') => {
            blanks.clear();
            *open = Open::Nothing;
        }
        (Open::Soft, b' ' | b'\t' | b'\r') if blanks.len() < BLANKS_MAX => blanks.push(byte),
        (Open::Equals | Open::Soft, _) => {
            out.push(b'=');
            out.append(blanks);
            *open = Open::Nothing;
            quoted(open, blanks, byte, out);
        }
        (Open::Nothing, b' ' | b'\t') if blanks.len() < BLANKS_MAX => blanks.push(byte),
        (Open::Nothing, b'\r' | b'\n') => {
            blanks.clear();
            out.push(byte);
        }
        (Open::Nothing, _) => {
            out.append(blanks);
            if byte == b'=' { *open = Open::Equals } else { out.push(byte) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn undone(encoding: &str, text: &[u8]) -> Vec<u8> {
        let (mut transfer, mut out) = (Transfer::of(encoding).unwrap(), Vec::new());
        transfer.feed(text, &mut out);
        transfer.finish(&mut out);
        out
    }

    #[test]
    fn encodings_are_undone_as_well_as_they_can_be() {
        for (encoding, text, plain) in [
            ("7BIT", "as = it=20is", "as = it=20is"),
            ("base64", "R3LDvMOfZQ==", "Grüße"),
            ("BASE64", "R3LD\r\nvM OfZQ\r\n==\r\n", "Grüße"),
            ("base64", "R3LDvMOfZQ", "Grüße"),
            ("base64", "YQ==Yg==", "ab"),
            ("base64", "!!", ""),
            ("quoted-printable", "Gr=C3=BC=c3=9Fe", "Grüße"),
            ("quoted-printable", "soft=\r\n break= \t\r\nand=\nbare", "soft breakandbare"),
            ("quoted-printable", "blanks  \t\r\ngo=20\r\n", "blanks\r\ngo \r\n"),
            ("quoted-printable", "a =b= c=4 =", "a =b= c=4 "),
            ("quoted-printable", "end=", "end"),
            ("quoted-printable", "end=4", "end=4"),
            ("quoted-printable", "==41", "=A"),
        ] {
            assert_eq!(String::from_utf8(undone(encoding, text.as_bytes())).unwrap(), plain, "{text:?}");
        }
        assert!(Transfer::of("x-uuencode").is_none());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(bytes in prop::collection::vec(prop::sample::select(b"=4aF \t\r\nz/".to_vec()), 0..60), cut in 0usize..60, encoding in prop::sample::select(vec!["base64", "quoted-printable", "8bit"])) {
            let whole = undone(encoding, &bytes);
            let (mut transfer, mut out) = (Transfer::of(encoding).unwrap(), Vec::new());
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            transfer.feed(a, &mut out);
            transfer.feed(b, &mut out);
            transfer.finish(&mut out);
            prop_assert_eq!(out, whole);
        }

        #[test]
        fn what_was_encoded_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut base64 = String::new();
            let mut printable = String::new();
            for three in bytes.chunks(3) {
                let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                let mut group = [0u8; 4];
                group[1..=three.len()].copy_from_slice(three);
                let bits = u32::from_be_bytes(group);
                for at in 0..4 {
                    let letter = letters[(bits >> (18 - 6 * at) & 63) as usize];
                    base64.push(if at as usize <= three.len() { char::from(letter) } else { '=' });
                }
                base64.push_str(if bits % 5 == 0 { "\r\n" } else { "" });
            }
            for byte in &bytes {
                printable.push_str(&format!("={byte:02X}"));
                printable.push_str(if byte % 7 == 0 { "=\r\n" } else { "" });
            }
            prop_assert_eq!(undone("base64", base64.as_bytes()), bytes.clone());
            prop_assert_eq!(undone("quoted-printable", printable.as_bytes()), bytes);
        }
    }
}
