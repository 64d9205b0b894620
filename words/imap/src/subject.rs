//! What a subject is about, without what replying and forwarding add to it (RFC 5256 §2.1).

/// The base subject of a decoded subject, and whether it says that the message answers or forwards another.
pub fn base_subject(subject: &str) -> (String, bool) {
    let mut plain = String::with_capacity(subject.len());
    for word in subject.split(|c: char| c.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
    }
    let (mut rest, mut answers) = (plain.as_str(), false);
    loop {
        rest = rest.trim_end_matches(' ');
        while let Some(before) = without_end(rest, "(fwd)") {
            rest = before.trim_end_matches(' ');
            answers = true;
        }
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(after) = answer(rest) {
                rest = after;
                answers = true;
            } else if let Some(after) = blob(rest).filter(|after| !after.is_empty()) {
                rest = after;
            } else {
                break;
            }
        }
        match without_start(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => rest = inner,
            None => return (rest.to_owned(), answers),
        }
        answers = true;
    }
}

fn without_start<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

fn without_end<'a>(text: &'a str, end: &str) -> Option<&'a str> {
    let (rest, tail) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
    tail.eq_ignore_ascii_case(end).then_some(rest)
}

/// `subj-blob`: what follows `[...]` and its spaces.
fn blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    Some(inside[end..].strip_prefix(']')?.trim_start_matches(' '))
}

/// `subj-leader`: what follows any blobs, then Re, Fw or Fwd, perhaps one more blob, and a colon.
fn answer(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(after) = blob(rest) {
        rest = after;
    }
    let rest = without_start(rest, "re").or_else(|| {
        let after = without_start(rest, "fw")?;
        Some(without_start(after, "d").unwrap_or(after))
    })?;
    let rest = rest.trim_start_matches(' ');
    blob(rest).unwrap_or(rest).strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_answering_adds_is_taken_away() {
        for (subject, base, answers) in [
            ("plain", "plain", false),
            ("", "", false),
            ("  two \t words ", "two words", false),
            ("Re: plain", "plain", true),
            ("RE : FWD:  fw: plain", "plain", true),
            ("Re[2]: plain", "plain", true),
            ("re [list] : plain", "plain", true),
            ("[list] Re: plain", "plain", true),
            ("[list] [other] re: [list] plain", "plain", true),
            ("[list] plain", "plain", false),
            ("[only a blob]", "[only a blob]", false),
            ("Re: [only a blob]", "[only a blob]", true),
            ("plain (fwd)", "plain", true),
            ("plain (FWD) (fwd)  ", "plain", true),
            ("[Fwd: Re: plain]", "plain", true),
            ("[Fwd: [Fwd: plain (fwd)]]", "plain", true),
            ("regarding: no", "regarding: no", false),
            ("Re", "Re", false),
            ("Re:", "", true),
            ("fwdx: no", "fwdx: no", false),
            ("Ré: no", "Ré: no", false),
            ("[open", "[open", false),
        ] {
            assert_eq!(base_subject(subject), (base.to_owned(), answers), "{subject:?}");
        }
    }

    proptest! {
        #[test]
        fn the_base_of_a_base_is_itself(words in prop::collection::vec(prop::sample::select(vec!["re", ":", "[", "]", "fwd", " ", "(fwd)", "[fwd:", "x", "é", "fw"]), 0..20)) {
            let (base, _) = base_subject(&words.concat());
            prop_assert_eq!(base_subject(&base), (base.clone(), false));
            let (again, answers) = base_subject(&format!("Re: {base}"));
            prop_assert_eq!((again, answers), (base, true));
        }
    }
}
