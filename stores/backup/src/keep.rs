//! After a run: what was erased goes from the copies before as well, old copies go, and what nothing refers to.

use crate::BackupError;
use crate::copy::{Depth, Replaced};
use crate::manifest::{
    LogPart, Manifest, Page, manifest_name, read_manifest, read_page, sequence_of, write_manifest, write_page,
};
use crate::place::Place;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What was tidied.
#[derive(Default)]
pub(crate) struct Tidied {
    pub(crate) amended: u64,
    pub(crate) removed: u64,
    pub(crate) former: Vec<String>,
}

/// Tidies behind the run that wrote `newest`. `earlier` are the numbers of the copies before it, ascending.
pub(crate) async fn tidy(
    place: &dyn Place,
    root: &str,
    newest: &Manifest,
    earlier: &[u64],
    replaced: &[Replaced],
    keep: usize,
    depth: Depth,
) -> Result<Tidied, BackupError> {
    let mut tidied = Tidied::default();
    let touched: BTreeSet<(&str, u64)> = replaced.iter().map(|one| (one.log, one.page)).collect();
    let mut pages = Pages::default();
    let (mut kept, mut full) = (Vec::new(), 1);
    for sequence in earlier.iter().rev() {
        let object = manifest_name(root, *sequence);
        let mut manifest = read_manifest(place, &object).await?;
        // One that was made in passing is of no use once there is a later one.
        if !manifest.full || full >= keep.max(1) {
            place.remove(&object).await?;
            continue;
        }
        full += 1;
        let mut changed = false;
        for (log, part) in &mut manifest.logs {
            let Some(now) = newest.logs.get(log) else { continue };
            changed |= pages
                .amend(place, (root, log), part, now, |page| {
                    depth == Depth::Full || touched.contains(&(log.as_str(), page))
                })
                .await?;
        }
        if changed {
            write_manifest(place, root, &manifest, false).await?;
            tidied.amended += 1;
        }
        kept.push(manifest);
    }
    for one in replaced {
        place.remove(&one.object).await?;
        tidied.removed += 1;
    }
    if depth == Depth::Full {
        kept.push(newest.clone());
        sweep(place, root, &kept, &mut pages, &mut tidied).await?;
    }
    Ok(tidied)
}

/// Pages of the newest copy, read once.
#[derive(Default)]
struct Pages(HashMap<String, Page>);

impl Pages {
    /// Points a copy's parts to what the newest has in their places: the same records, without what was erased.
    async fn amend(
        &mut self,
        place: &dyn Place,
        (root, log): (&str, &str),
        part: &mut LogPart,
        now: &LogPart,
        is_meant: impl Fn(u64) -> bool,
    ) -> Result<bool, BackupError> {
        let mut changed = false;
        for of in &mut part.pages {
            let Some(newest) = now.page(of.number).filter(|newest| *newest != of && is_meant(of.number))
            else {
                continue;
            };
            if !self.0.contains_key(&newest.object) {
                // One at a time: they are long.
                self.0.clear();
                self.0.insert(newest.object.clone(), read_page(place, newest).await?);
            }
            let Some(newest) = self.0.get(&newest.object) else { continue };
            let old = read_page(place, of).await?;
            let by_number: BTreeMap<u64, _> =
                newest.segments.iter().map(|part| (part.extent.segment, part)).collect();
            let bodies: HashSet<&str> = newest.bodies.iter().map(|part| part.object.as_str()).collect();
            let page = Page {
                segments: old
                    .segments
                    .iter()
                    .filter_map(|part| by_number.get(&part.extent.segment).map(|part| (*part).clone()))
                    .collect(),
                bodies: old
                    .bodies
                    .iter()
                    .filter(|part| bodies.contains(part.object.as_str()))
                    .cloned()
                    .collect(),
            };
            if page != old {
                *of = write_page(place, (root, log, of.number), &page, &[]).await?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// Removes what no copy refers to: left by runs that broke off, and by copies that went.
async fn sweep(
    place: &dyn Place,
    root: &str,
    kept: &[Manifest],
    pages: &mut Pages,
    tidied: &mut Tidied,
) -> Result<(), BackupError> {
    pages.0.clear();
    // Of each name only a hash: there may be a million.
    let name = |object: &str| u64::from_le_bytes(first_eight(object));
    let mut needed: HashSet<u64> = HashSet::new();
    let mut read: HashSet<u64> = HashSet::new();
    for manifest in kept {
        needed.insert(name(&manifest_name(root, manifest.sequence)));
        needed.extend(manifest.files.iter().map(|part| name(&part.object)));
        for page in manifest.logs.values().flat_map(|log| &log.pages) {
            needed.insert(name(&page.object));
            if read.insert(name(&page.object)) {
                needed.extend(read_page(place, page).await?.objects().map(|object| name(object)));
            }
        }
    }
    let own = format!("{root}/");
    let node = root.rsplit_once('-').map_or(root, |(node, _)| node);
    let mut former = BTreeSet::new();
    for object in place.list(&format!("{node}-")).await? {
        if !object.name.starts_with(&own) {
            if sequence_of(&object.name).is_some()
                && let Some((line, _)) = object.name.split_once('/')
            {
                former.insert(line.to_owned());
            }
        } else if !needed.contains(&name(&object.name)) && !object.young {
            place.remove(&object.name).await?;
            tidied.removed += 1;
        }
    }
    // Another node whose name begins with ours is none of our lives.
    let of_ours = |line: &String| line.rsplit_once('-').is_some_and(|(of, _)| of == node);
    tidied.former = former.into_iter().filter(of_ours).collect();
    Ok(())
}

fn first_eight(object: &str) -> [u8; 8] {
    let hash = blake3::hash(object.as_bytes());
    let mut eight = [0; 8];
    eight.copy_from_slice(&hash.as_bytes()[..8]);
    eight
}
