//! A bucket behind a small object store in memory that has moods.

use super::*;
use crate::bucket::{Bucket, BucketOptions, Dial};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use words_world::{Boxed, Stream};

/// What the next requests meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It answers with this status, code and message.
    Says(u16, &'static str),
    /// The connection breaks before anything was done.
    Breaks,
    /// It is done, and the connection breaks before the answer.
    DoneAndBreaks,
    /// It does not know conditions.
    Old,
    /// None at all.
    Well,
}

#[derive(Default)]
struct Inside {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, Vec<Vec<u8>>>,
    moods: Vec<Mood>,
    asked: Vec<String>,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Inside>>);

impl Store {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    fn place(&self) -> Bucket {
        let options = BucketOptions {
            endpoint: "https://store.example".to_owned(),
            region: "eu".to_owned(),
            path_style: true,
            name: "mail".to_owned(),
            prefix: "mx1".to_owned(),
            key_id: "key".to_owned(),
            secret: "a very secret secret".to_owned(),
        };
        let clock = Arc::new(TestClock::new(Time::from_seconds(1_795_343_827)));
        let world = fault_world(&FaultDisk::new(1), &clock, 1);
        Bucket::new(options, Arc::new(self.clone()), clock, world.random).unwrap()
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        let end = loop {
            if let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => seen.extend_from_slice(&piece[..read]),
            }
        };
        let head = String::from_utf8(seen[..end].to_vec()).unwrap();
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (of, value) = line.split_once(": ")?;
                of.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let len: usize = field("content-length").unwrap().parse().unwrap();
        while seen.len() < end + len {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => seen.extend_from_slice(&piece[..read]),
            }
        }
        let line = head.lines().next().unwrap().to_owned();
        assert!(line.contains("X-Amz-Signature=") && !head.contains("very secret"), "{head}");
        let mood = {
            let mut inside = self.inside();
            inside.asked.push(line.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" "));
            if inside.moods.is_empty() { None } else { Some(inside.moods.remove(0)) }
        };
        let conditional = field("if-none-match").is_some();
        let answer = match mood {
            Some(Mood::Breaks) => return,
            Some(Mood::Says(status, code)) => {
                (status, String::new(), format!("<Error><Code>{code}</Code></Error>").into())
            }
            Some(Mood::Old) if conditional => {
                (501, String::new(), b"<Error><Code>NotImplemented</Code></Error>".to_vec())
            }
            Some(Mood::DoneAndBreaks) => {
                self.act(&line, &field("range"), conditional, &seen[end..]);
                return;
            }
            _ => self.act(&line, &field("range"), conditional, &seen[end..]),
        };
        let (status, fields, body) = answer;
        let text = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.write_all(&body).await;
    }

    #[allow(clippy::too_many_lines)]
    fn act(
        &self,
        line: &str,
        range: &Option<String>,
        conditional: bool,
        body: &[u8],
    ) -> (u16, String, Vec<u8>) {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap();
        let name = path.strip_prefix("/mail/").unwrap_or_default().to_owned();
        let asked = |name: &str| {
            query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let no = |status, code: &str| {
            (status, String::new(), format!("<Error><Code>{code}</Code></Error>").into_bytes())
        };
        let mut inside = self.inside();
        match (method, asked("uploadId")) {
            ("POST", None) => {
                let id = format!("u{}", inside.uploads.len());
                inside.uploads.insert(id.clone(), Vec::new());
                let text = format!(
                    "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>mail</Bucket>\
                     <Key>k</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                (200, String::new(), text.into_bytes())
            }
            ("PUT", Some(id)) => {
                let number: usize = asked("partNumber").unwrap().parse().unwrap();
                let Some(parts) = inside.uploads.get_mut(&id) else { return no(404, "NoSuchUpload") };
                parts.truncate(number - 1);
                parts.push(body.to_vec());
                (200, format!("ETag: \"{number}\"\r\n"), Vec::new())
            }
            ("POST", Some(id)) => {
                let Some(parts) = inside.uploads.remove(&id) else { return no(404, "NoSuchUpload") };
                inside.objects.insert(name, parts.concat());
                (200, String::new(), b"<CompleteMultipartUploadResult/>".to_vec())
            }
            ("DELETE", Some(id)) => {
                inside.uploads.remove(&id);
                (204, String::new(), Vec::new())
            }
            ("PUT", None) if conditional && inside.objects.contains_key(&name) => {
                no(412, "PreconditionFailed")
            }
            ("PUT", None) => {
                inside.objects.insert(name, body.to_vec());
                (200, String::new(), Vec::new())
            }
            ("DELETE", None) => {
                inside.objects.remove(&name);
                (204, String::new(), Vec::new())
            }
            _ if name.is_empty() => {
                let prefix = asked("prefix").unwrap().replace("%2F", "/");
                let found = inside.objects.iter().filter(|(name, _)| name.starts_with(&prefix));
                let text: String = found
                    .map(|(name, bytes)| {
                        format!(
                            "<Contents><Key>{name}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified><Size>{}</Size>\
                             </Contents>",
                            bytes.len()
                        )
                    })
                    .collect();
                let text = format!(
                    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>false</IsTruncated>{text}\
                     </ListBucketResult>"
                );
                (200, String::new(), text.into_bytes())
            }
            _ => {
                let Some(bytes) = inside.objects.get(&name) else { return no(404, "NoSuchKey") };
                let range = range.as_ref().unwrap().strip_prefix("bytes=").unwrap();
                let (from, to) = range.split_once('-').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                if from >= bytes.len() {
                    return no(416, "InvalidRange");
                }
                (206, String::new(), bytes[from..bytes.len().min(to + 1)].to_vec())
            }
        }
    }
}

impl Dial for Store {
    fn dial<'a>(&'a self, host: &'a str, port: u16, tls: bool) -> Boxed<'a, Result<Box<dyn Stream>, String>> {
        assert_eq!((host, port, tls), ("store.example", 443, true));
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(self.clone().serve(theirs));
        Box::pin(async { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_a_place_like_a_folder() {
    let (store, house) = (Store::default(), House::new());
    house.write(named("mail", 5)).await;
    let place = store.place();
    let copied = house.backup().run(&place, Depth::Full, &mut |_, _| {}).await.unwrap();
    assert!(store.inside().objects.keys().all(|name| name.starts_with("mx1/mx.example-")));
    let found = find(&place, None).await.unwrap();
    assert_eq!(found.manifest, copied.manifest);
    let into = tempfile::tempdir().unwrap();
    fetch(&place, &found.manifest, &keys(), &house.world, into.path(), &mut |_, _| {}).await.unwrap();
    assert_eq!(house.texts(into.path()), named("mail", 5));
    let stray = format!("{}/journal/stray", copied.root);
    place.put(&stray, &b"x".to_vec(), 1, false).await.unwrap();
    let again = house.backup().run(&place, Depth::Full, &mut |_, _| {}).await.unwrap();
    assert!(again.removed >= 1 && place.get(&stray, 0, 1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_long_object_goes_in_parts_and_every_part_is_tried_again() {
    let store = Store::default();
    let place = store.place();
    let long: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    store.inside().moods = vec![
        Mood::Says(503, "SlowDown"),
        Mood::Well,
        Mood::Breaks,
        Mood::Well,
        Mood::DoneAndBreaks,
        Mood::Well,
        Mood::Says(500, "InternalError"),
        Mood::Well,
        Mood::DoneAndBreaks,
    ];
    place.put("long", &long, long.len() as u64, false).await.unwrap();
    assert_eq!(store.inside().objects["mx1/long"], long);
    assert_eq!(place.get("long", 19_999_990, 100).await.unwrap(), long[19_999_990..]);
    assert_eq!(place.get("long", 20_000_000, 100).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn whether_it_is_new_is_told_truly_however_the_line_breaks() {
    for old in [false, true] {
        let store = Store::default();
        let place = store.place();
        store.inside().moods = if old { vec![Mood::Old] } else { vec![Mood::DoneAndBreaks] };
        place.put("m", &b"one".to_vec(), 3, true).await.unwrap();
        store.inside().moods = if old { vec![Mood::Old] } else { vec![Mood::Breaks] };
        let refused = place.put("m", &b"two".to_vec(), 3, true).await.unwrap_err();
        assert_eq!(refused, PlaceError::Exists("m".into()));
        assert_eq!(store.inside().objects["mx1/m"], b"one");
    }
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again_and_is_said_in_words() {
    let cases = [
        (Mood::Says(403, "SignatureDoesNotMatch"), "secret_file", 1),
        (Mood::Says(404, "NoSuchBucket"), "no such bucket", 1),
        (Mood::Says(507, "XMinioStorageFull"), "full", 1),
        (Mood::Says(403, "QuotaExceeded"), "rights", 1),
        (Mood::Says(503, "SlowDown"), "503 SlowDown", 5),
        (Mood::Breaks, "closed the connection", 5),
    ];
    for (mood, words, tries) in cases {
        let store = Store::default();
        store.inside().moods = vec![mood; 9];
        let refused = store.place().put("m", &b"one".to_vec(), 3, false).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{mood:?}: {refused}");
        assert_eq!(store.inside().asked.len(), tries, "{mood:?}");
    }
}
