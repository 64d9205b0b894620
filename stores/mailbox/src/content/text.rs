//! The readable text of a part, for searching.

use super::Part;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

/// The text of a part whose body is `bytes`: transfer encoding and character set undone, HTML reduced to its words.
pub fn decoded(part: &Part, bytes: &[u8]) -> String {
    let plain = match part.encoding.to_ascii_lowercase().as_str() {
        // A body cut short at the reading limit may end in the middle of a group.
        "base64" => {
            let letters = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<u8>>();
            let whole = letters.len() / 4 * 4;
            base64_decode(&letters[..whole])
        }
        "quoted-printable" => quoted_printable_decode(bytes),
        _ => None,
    };
    let plain = plain.as_deref().unwrap_or(bytes);
    let charset = part.parameter("charset").unwrap_or("us-ascii");
    let text = match charset_decoder(charset.as_bytes()) {
        Some(decode) => decode(plain),
        None => String::from_utf8_lossy(plain).into_owned(),
    };
    if part.subtype.eq_ignore_ascii_case("html") { html_to_text(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::Facts;
    use super::*;

    #[test]
    fn encoded_text_is_made_readable() {
        for (header, body, text) in [
            (
                "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64",
                "R3LDvMOf\r\nZQ==\r\n",
                "Grüße",
            ),
            (
                "text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable",
                "Gr=FC=DFe",
                "Grüße",
            ),
            ("text/html; charset=utf-8", "<p>Gr&uuml;&szlig;e</p>", "Grüße"),
            ("text/plain", "as it is", "as it is"),
        ] {
            let message = format!("Content-Type: {header}\r\n\r\n{body}");
            let facts = Facts::read(message.as_bytes()).unwrap();
            assert_eq!(decoded(&facts.part, body.as_bytes()).trim(), text);
        }
    }
}
