//! Which format a data folder is in. A folder of a later program is refused before anything in it is touched.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The format that this program writes. It reads this one and the one before. Raised with every change that an older
/// program would misread; a kind of record that it would only pass over is none. See docs/formats.md.
pub const FORMAT: u32 = 1;

/// The file's name in the data folder.
pub const NAME: &str = "format";
/// More than this is no such file.
const BYTES_MAX: u64 = 4_096;
/// How much of the beginning of a file is looked at.
const HEAD: usize = 64;
/// What a segment begins with; its format's number follows (docs/formats.md).
const SEGMENT_MARK: &[u8] = b"STORMLOG";
/// The version of segments and of the directory's files that goes with [`FORMAT`].
const PART_FORMAT: u32 = 1;

/// Looks whether this program may work on a data folder, and changes nothing.
///
/// # Errors
/// When a later program has written there, or the folder cannot be read; the words say what to do.
pub fn check(data: &Path) -> Result<()> {
    let path = data.join(NAME);
    if let Some(text) = small(&path).with_context(|| format!("reading {}", path.display()))? {
        let (number, writer) = text.split_once('\n').unwrap_or((&text, ""));
        match number.trim().parse::<u32>() {
            Ok(format) if format > FORMAT => bail!(later(&path, format, writer.trim())),
            Ok(_) => {}
            Err(_) => bail!("{} does not begin with a number; restore it from a copy", path.display()),
        }
    }
    // Whoever lost that file, or copied one log alone, is to be held back as well.
    for log in ["journal", "mailbox", "ledger"] {
        if let Some(newest) = newest_segment(&data.join(log))?
            && let Some(format) = segment_format(&newest)?
            && format > PART_FORMAT
        {
            bail!(later(&newest, format, ""));
        }
    }
    for (path, head) in heads(&data.join("directory"), "json")? {
        let text = String::from_utf8_lossy(&head);
        let number = text.split_once("\"format\":").map(|(_, rest)| rest.trim_start());
        let digits: String = number.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        if let Ok(format) = digits.parse::<u32>()
            && format > PART_FORMAT
        {
            bail!(later(&path, format, ""));
        }
    }
    Ok(())
}

/// Writes down the format of a data folder that this program is about to work on; after [`check`], under the folder's
/// lock.
///
/// # Errors
/// When it cannot be written.
pub fn note(data: &Path) -> Result<()> {
    let path = data.join(NAME);
    let wanted = format!("{FORMAT}\nstormpost {}\n", env!("CARGO_PKG_VERSION"));
    let noting = || -> io::Result<()> {
        if small(&path)?.as_deref() == Some(wanted.as_str()) {
            return Ok(());
        }
        let new = data.join("format.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(wanted.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(data)?.sync_all()
    };
    noting().with_context(|| format!("writing {}", path.display()))
}

fn later(path: &Path, format: u32, writer: &str) -> String {
    let by = if writer.is_empty() { String::new() } else { format!(" ({writer})") };
    format!(
        "{}: a later version of Stormpost{by} has worked here, in format {format}; this is version {}, which reads up to \
         format {FORMAT}. Nothing was touched. Install the later version again, or restore a copy from before the upgrade",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )
}

/// A small file's text; `None` when there is none.
fn small(path: &Path) -> io::Result<Option<String>> {
    match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(BYTES_MAX).read_to_string(&mut text)?;
            Ok(Some(text))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The segment with the highest number: whoever worked here last has begun it.
fn newest_segment(log: &Path) -> Result<Option<PathBuf>> {
    Ok(named(log, "seg")?.into_iter().max())
}

fn segment_format(path: &Path) -> Result<Option<u32>> {
    let head = head(path).with_context(|| format!("reading {}", path.display()))?;
    let version = head.strip_prefix(SEGMENT_MARK).and_then(<[u8]>::first_chunk::<2>);
    Ok(version.map(|bytes| u32::from(u16::from_le_bytes(*bytes))))
}

fn heads(folder: &Path, extension: &str) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut heads = Vec::new();
    for path in named(folder, extension)? {
        let head = head(&path).with_context(|| format!("reading {}", path.display()))?;
        heads.push((path, head));
    }
    Ok(heads)
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The files of a folder with this extension; none when there is no such folder.
fn named(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("reading {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(format: u16) -> Vec<u8> {
        [SEGMENT_MARK, &format.to_le_bytes(), &[0; 1_014]].concat()
    }

    #[test]
    fn an_empty_folder_and_one_of_ours_are_worked_on() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        check(data).unwrap();
        check(&data.join("not there")).unwrap();
        note(data).unwrap();
        note(data).unwrap();
        check(data).unwrap();
        assert!(fs::read_to_string(data.join(NAME)).unwrap().starts_with("1\nstormpost "));
        fs::write(data.join(NAME), "0\n").unwrap();
        check(data).expect("the format before is read");
    }

    #[test]
    fn whatever_a_later_program_left_is_refused_with_its_place() {
        let place = |name: &str, content: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let words = check(folder.path()).map_err(|why| why.to_string());
            (words, path.display().to_string())
        };
        for (name, content) in [
            ("format", &b"2\nstormpost 0.9.0\n"[..]),
            ("journal/0000000000000003.seg", &segment(2)),
            ("ledger/0000000000000003.seg", &segment(9)),
            ("mailbox/0000000000000003.seg", &segment(2)),
            ("directory/credentials.json", b"{\"format\":2,\"generation\":1}"),
        ] {
            let (words, path) = place(name, content);
            let words = words.unwrap_err();
            assert!(words.starts_with(&format!("{path}: a later version of Stormpost")), "{words}");
            assert!(words.contains("Nothing was touched."), "{words}");
        }
        assert!(place("format", b"2\nstormpost 0.9.0\n").0.unwrap_err().contains("(stormpost 0.9.0)"));
        assert!(place("format", b"new\n").0.is_err());
        for (name, content) in [
            ("journal/0000000000000003.seg", &segment(1)[..]),
            ("journal/0000000000000003.seg", b"STORM"),
            ("directory/directory.json", b"{\"format\":1,\"generation\":1}"),
            ("directory/readme.txt", b"{\"format\":2}"),
        ] {
            place(name, content).0.unwrap();
        }
    }

    #[test]
    fn the_newest_segment_tells_and_an_older_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        fs::create_dir_all(&journal).unwrap();
        fs::write(journal.join("0000000000000002.seg"), segment(1)).unwrap();
        fs::write(journal.join("000000000000000a.seg"), segment(2)).unwrap();
        assert!(check(folder.path()).is_err());
    }
}
