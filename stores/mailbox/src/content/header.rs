//! Header fields as they stand in the bytes (RFC 5322 §2.2).

use std::borrow::Cow;

/// One field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, without the colon.
    pub name: &'a str,
    /// What follows the colon, with its folds and its line end.
    pub value: &'a [u8],
    /// The whole field, with its line end.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether it is called `name`; letter case does not matter.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The fields of a header block, in order, up to the empty line. Lines that are no field are passed over: they must
/// not be taken for one (a name with a space in it is none).
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `block`, which begins at the first of them.
    pub fn of(block: &'a [u8]) -> Fields<'a> {
        Fields { rest: block }
    }

    /// The first field called `name`.
    pub fn first(block: &'a [u8], name: &str) -> Option<Field<'a>> {
        Fields::of(block).find(|field| field.is(name))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let line = line_end(self.rest);
            if line == 0 || matches!(&self.rest[..line], b"\r\n" | b"\n") {
                return None;
            }
            let mut end = line;
            while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                end += line_end(&self.rest[end..]);
            }
            let (raw, rest) = self.rest.split_at(end);
            self.rest = rest;
            if let Some(field) = field(raw) {
                return Some(field);
            }
        }
    }
}

fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1)
}

fn field(raw: &[u8]) -> Option<Field<'_>> {
    let colon = raw.iter().position(|b| *b == b':')?;
    let name = raw[..colon].trim_ascii_end();
    // RFC 5322 §2.2: printable ASCII but the colon.
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(Field { name: std::str::from_utf8(name).ok()?, value: &raw[colon + 1..], raw })
}

/// A value in one line: folds removed, white space at both ends cut, bytes that are no UTF-8 replaced.
pub fn unfolded(value: &[u8]) -> Cow<'_, str> {
    let value = value.trim_ascii();
    if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        let kept = value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect::<Vec<u8>>();
        return Cow::Owned(String::from_utf8_lossy(&kept).into_owned());
    }
    String::from_utf8_lossy(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_with_their_folds() {
        let block =
            b"From: a\r\nSubject: one\r\n two\r\nnonsense\r\nFr om: forged\r\nTo : b\nX:\r\n\r\nBody: no\r\n";
        let fields = Fields::of(block).map(|f| (f.name, unfolded(f.value).into_owned())).collect::<Vec<_>>();
        let expected = [("From", "a"), ("Subject", "one two"), ("To", "b"), ("X", "")];
        assert_eq!(fields, expected.map(|(n, v)| (n, v.to_owned())));
        assert_eq!(Fields::first(block, "subject").map(|f| f.raw), Some(&b"Subject: one\r\n two\r\n"[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_end(block in prop::collection::vec(prop::sample::select(b"a: \r\n\t\xff".to_vec()), 0..80)) {
            let total: usize = Fields::of(&block).map(|f| f.raw.len()).sum();
            prop_assert!(total <= block.len());
        }
    }
}
