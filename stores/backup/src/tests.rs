//! Copies of real logs in real folders.

mod bucket;

use crate::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stores_log::{
    Appended, Body, Draft, Erasure, FaultDisk, FileDisk, KeyRing, Log, LogOptions, Reader, Record, TestClock,
    fault_world,
};
use tempfile::TempDir;
use tokio::sync::watch;
use words_mail::Time;
use words_world::World;

const KEY: [u8; 32] = [7; 32];

struct House {
    temporary: TempDir,
    world: World,
}

impl House {
    fn new() -> House {
        let clock = Arc::new(TestClock::new(Time::from_seconds(1_000_000)));
        let nowhere = fault_world(&FaultDisk::new(1), &clock, 1);
        let world = World { disk: Arc::new(FileDisk), ..nowhere };
        let house = House { temporary: tempfile::tempdir().unwrap(), world };
        std::fs::create_dir_all(house.data().join("directory")).unwrap();
        std::fs::write(house.data().join("trace.key"), [3; 32]).unwrap();
        std::fs::write(house.data().join("directory/accounts.json"), "{\"anna\":1}").unwrap();
        house
    }

    fn data(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    fn place(&self) -> Folder {
        Folder::new(&self.temporary.path().join("elsewhere"))
    }

    fn backup(&self) -> Backup {
        Backup {
            world: self.world.clone(),
            keys: keys(),
            data: self.data(),
            node: "mx.example".to_owned(),
            program: "test".to_owned(),
            extras: Vec::new(),
            left_out: Vec::new(),
            keep: 3,
            copied: HashMap::new(),
        }
    }

    /// Runs `act` with an open log of a kind, whose long bodies have files of their own.
    async fn with<T>(&self, at: usize, act: impl AsyncFnOnce(&Log) -> T) -> T {
        let (name, kind) = LOGS[at];
        let mut options = LogOptions::new(self.data().join(name), kind, "mx.example");
        options.reserve_bytes = 0;
        options.seal_bytes = 2_000;
        options.inline_max = 1_000;
        let (log, writer, _) = Log::open(&self.world, keys(), options).unwrap();
        let (stop, shutdown) = watch::channel(false);
        let work = async {
            let result = act(&log).await;
            stop.send_replace(true);
            result
        };
        tokio::join!(work, writer.run(shutdown)).0
    }

    async fn write(&self, texts: impl IntoIterator<Item = String>) -> Vec<Appended> {
        for at in [0, 1] {
            self.with(at, async |log| log.append(draft("x")).await.unwrap()).await;
        }
        self.with(2, async |log| {
            let mut all = Vec::new();
            for text in texts {
                all.push(log.append(draft(&text)).await.unwrap());
            }
            log.seal_pending().unwrap();
            all
        })
        .await
    }

    async fn restored(&self, manifest: &Manifest) -> Result<Vec<String>, BackupError> {
        let into = tempfile::tempdir_in(self.temporary.path()).unwrap();
        fetch(&self.place(), manifest, &keys(), &self.world, into.path(), &mut |_, _| {}).await?;
        assert_eq!(std::fs::read(into.path().join("trace.key")).unwrap(), [3; 32]);
        assert!(into.path().join("directory/accounts.json").is_file());
        for (name, kind) in LOGS {
            let reader = Reader::open(&self.world, keys(), &into.path().join(name), kind).unwrap();
            let verified = reader.verify(&mut |_| {}).unwrap();
            assert!(verified.is_clean(), "{name}: {:?}", verified.problems);
        }
        Ok(self.texts(into.path()))
    }

    fn texts(&self, data: &Path) -> Vec<String> {
        let (name, kind) = LOGS[2];
        let reader = Reader::open(&self.world, keys(), &data.join(name), kind).unwrap();
        let text = |record: Record| match record.erased {
            Some(_) => "erased".to_owned(),
            None => String::from_utf8(record.meta).unwrap(),
        };
        reader.scan(None).map(|record| text(record.unwrap())).collect()
    }
}

fn keys() -> KeyRing {
    KeyRing::new(KEY, &[])
}

fn draft(text: &str) -> Draft {
    Draft { kind: 1, meta: text.as_bytes().to_vec(), body: Body::Inline(vec![b'.'; 700]) }
}

fn named(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

/// A copy as it stands there now: later runs take out of it what was sealed or erased since.
async fn now(house: &House, copied: &Copied) -> Manifest {
    let name = format!("{}/{}", copied.root, copied.manifest.sequence);
    find(&house.place(), Some(&name)).await.unwrap().manifest
}

async fn run(house: &House) -> Copied {
    house.backup().run(&house.place(), Depth::Full, &mut |_, _| {}).await.unwrap()
}

#[tokio::test]
async fn what_was_copied_comes_back_and_only_what_is_new_is_copied_again() {
    let house = House::new();
    house.write(named("first", 9)).await;
    let first = run(&house).await;
    let again = run(&house).await;
    assert_eq!(again.bytes, 0, "nothing was new: {again:?}");
    house.write(named("second", 4)).await;
    let second = run(&house).await;
    assert!(second.bytes > 0 && second.bytes < first.bytes, "{second:?}");
    for copied in [&first, &second] {
        let checked = check(&house.place(), &now(&house, copied).await, &mut |_, _| {}).await.unwrap();
        assert_eq!(checked.problems, []);
    }
    let all: Vec<String> = named("first", 9).into_iter().chain(named("second", 4)).collect();
    assert_eq!(house.restored(&second.manifest).await.unwrap(), all);
    assert_eq!(
        house.restored(&now(&house, &again).await).await.unwrap(),
        named("first", 9),
        "as it was then"
    );
    let found = find(&house.place(), None).await.unwrap();
    assert_eq!(found.manifest.sequence, 3);
}

#[tokio::test]
async fn an_open_segment_is_copied_up_to_its_last_whole_record_while_it_is_written() {
    let house = House::new();
    house.write([]).await;
    let (copied, later) = house
        .with(2, async |log| {
            log.append(draft("a")).await.unwrap();
            let copied = run(&house).await;
            log.append(draft("b")).await.unwrap();
            (copied, run(&house).await)
        })
        .await;
    let torn = std::fs::read_dir(house.data().join("journal")).unwrap().flatten().map(|e| e.path());
    for path in torn.filter(|path| path.extension().is_some_and(|end| end == "seg")) {
        use std::io::Write;
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"torn").unwrap();
    }
    let torn = run(&house).await;
    assert_eq!(house.restored(&now(&house, &copied).await).await.unwrap(), ["a"]);
    assert_eq!(house.restored(&now(&house, &later).await).await.unwrap(), ["a", "b"]);
    assert_eq!(house.restored(&now(&house, &torn).await).await.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn what_is_erased_goes_from_every_copy_at_the_next_run() {
    let house = House::new();
    let all = house.write(named("mail", 6)).await;
    let (long, first) = house
        .with(2, async |log| {
            let mut body = log.begin_body().await.unwrap();
            body.write(&vec![b'l'; 200_000]).await.unwrap();
            let body = Body::File(body.finish().await.unwrap());
            let long = log.append(Draft { kind: 1, meta: b"long".to_vec(), body }).await.unwrap();
            (long, run(&house).await)
        })
        .await;
    assert_eq!(first.manifest.logs["journal"].bodies, 1);
    let erased = [all[2].position, long.position];
    house
        .with(2, async |log| {
            let erasure = Erasure { who: "anna".into(), why: "asked".into(), keep_meta: false };
            log.erase(&erased, &erasure).await.unwrap();
        })
        .await;
    let second = run(&house).await;
    assert!(second.amended == 1 && second.removed >= 2, "{second:?}");
    let names: Vec<String> =
        house.place().list("").await.unwrap().into_iter().map(|object| object.name).collect();
    assert!(!names.iter().any(|name| name.contains("/bodies/")), "{names:?}");
    let expected = ["mail 0", "mail 1", "erased", "mail 3", "mail 4", "mail 5", "erased"];
    let then = find(&house.place(), Some(&format!("{}/1", second.root))).await.unwrap();
    for manifest in [&then.manifest, &second.manifest] {
        assert_eq!(house.restored(manifest).await.unwrap(), expected);
        let checked = check(&house.place(), manifest, &mut |_, _| {}).await.unwrap();
        assert_eq!(checked.problems, []);
    }
}

#[tokio::test]
async fn a_run_that_broke_off_leaves_the_one_before_and_is_swept_up() {
    let house = House::new();
    house.write(named("first", 5)).await;
    let first = run(&house).await;
    house.write(named("second", 5)).await;
    let breaks = Breaks { place: house.place(), after: std::sync::atomic::AtomicUsize::new(2) };
    let mut backup = house.backup();
    backup.run(&breaks, Depth::Full, &mut |_, _| {}).await.unwrap_err();
    let last = find(&house.place(), None).await.unwrap();
    assert_eq!(last.manifest, first.manifest);
    assert_eq!(house.restored(&last.manifest).await.unwrap(), named("first", 5));
    let stray = format!("{}/journal/00000000000000ff-stray.seg", first.root);
    house.place().put(&stray, &b"left over".to_vec(), 9, false).await.unwrap();
    let done = run(&house).await;
    assert!(done.removed >= 1);
    assert!(house.place().get(&stray, 0, 9).await.is_err());
    assert_eq!(house.restored(&done.manifest).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_run_that_dies_around_its_manifest_leaves_a_whole_copy_and_the_next_is_whole() {
    for (name, whole) in [("backup.before_manifest", 5), ("backup.after_manifest", 10)] {
        let house = House::new();
        house.write(named("first", 5)).await;
        run(&house).await;
        house.write(named("second", 5)).await;
        words_world::on_crash_point(false, move |at| assert_ne!(at, name, "it dies here"));
        let (mut backup, place) = (house.backup(), house.place());
        let life = async move { backup.run(&place, Depth::Full, &mut |_, _| {}).await.map(drop) };
        let died = tokio::spawn(life).await;
        words_world::on_crash_point(false, |_| {});
        assert!(died.unwrap_err().is_panic(), "{name} was not passed");
        let last = find(&house.place(), None).await.unwrap();
        assert_eq!(house.restored(&last.manifest).await.unwrap().len(), whole, "{name}");
        let done = run(&house).await;
        assert_eq!(house.restored(&done.manifest).await.unwrap().len(), 10, "{name}");
        assert_eq!(check(&house.place(), &done.manifest, &mut |_, _| {}).await.unwrap().problems, []);
    }
}

/// A place that says no after some objects.
struct Breaks {
    place: Folder,
    after: std::sync::atomic::AtomicUsize,
}

impl Place for Breaks {
    fn put<'a>(
        &'a self,
        name: &'a str,
        source: &'a dyn ReadAt,
        len: u64,
        new: bool,
    ) -> words_world::Boxed<'a, Result<(), PlaceError>> {
        use std::sync::atomic::Ordering;
        let left = self.after.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        match left {
            Ok(_) => self.place.put(name, source, len, new),
            Err(_) => Box::pin(async { Err(PlaceError::Full("no room".into())) }),
        }
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        offset: u64,
        most: usize,
    ) -> words_world::Boxed<'a, Result<Vec<u8>, PlaceError>> {
        self.place.get(name, offset, most)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> words_world::Boxed<'a, Result<Vec<Object>, PlaceError>> {
        self.place.list(prefix)
    }

    fn remove<'a>(&'a self, name: &'a str) -> words_world::Boxed<'a, Result<(), PlaceError>> {
        self.place.remove(name)
    }

    fn shown(&self) -> String {
        self.place.shown()
    }
}

#[tokio::test]
async fn every_flipped_byte_in_a_copy_is_found_and_nothing_is_restored_from_it() {
    let house = House::new();
    house.write(named("mail", 3)).await;
    let copied = run(&house).await;
    let place = house.place();
    let objects = place.list(&copied.root).await.unwrap();
    for object in objects.iter().filter(|object| !object.name.contains("/manifests/")) {
        let path = house.temporary.path().join("elsewhere").join(&object.name);
        let whole = std::fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let checked = check(&place, &copied.manifest, &mut |_, _| {}).await.unwrap();
            assert!(checked.problem_count > 0, "{} at {at}", object.name);
            assert!(house.restored(&copied.manifest).await.is_err(), "{} at {at}", object.name);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(check(&place, &copied.manifest, &mut |_, _| {}).await.unwrap().problem_count > 0);
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(check(&place, &copied.manifest, &mut |_, _| {}).await.unwrap().problem_count, 0);
}

#[tokio::test]
async fn without_the_key_or_with_a_later_format_nothing_is_written() {
    let house = House::new();
    house.write(named("mail", 3)).await;
    let mut manifest = run(&house).await.manifest;
    let into = house.temporary.path().join("new");
    let other = KeyRing::new([8; 32], &[]);
    let refused = fetch(&house.place(), &manifest, &other, &house.world, &into, &mut |_, _| {}).await;
    assert!(refused.unwrap_err().to_string().contains("is not in the key file"));
    assert!(!into.exists());
    manifest.format = FORMAT + 1;
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let name = format!("mx.example-{}/manifests/{:016}.json", manifest.line, 2);
    house.place().put(&name, &bytes, bytes.len() as u64, true).await.unwrap();
    let later = find(&house.place(), None).await.unwrap_err().to_string();
    assert!(later.contains("later version"), "{later}");
}

#[tokio::test]
async fn only_so_many_are_kept_and_those_made_in_passing_go_first() {
    let house = House::new();
    house.write(named("mail", 3)).await;
    for _ in 0..5 {
        run(&house).await;
    }
    let mut backup = house.backup();
    for n in 0..3 {
        house.write([format!("more {n}")]).await;
        backup.run(&house.place(), Depth::Quick, &mut |_, _| {}).await.unwrap();
    }
    let lines = lines(&house.place()).await.unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].sequences, [4, 5, 8], "two full ones and the newest");
    let newest = find(&house.place(), None).await.unwrap();
    assert_eq!(house.restored(&newest.manifest).await.unwrap().len(), 6);
    let copied = run(&house).await;
    let checked = check(&house.place(), &copied.manifest, &mut |_, _| {}).await.unwrap();
    assert_eq!(checked.problems, []);
}
