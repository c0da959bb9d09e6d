//! What payloads do on every store alike. Each case is given a space of its
//! own with a records and a versions bucket.
//!
//! `payload_suite!(ground)` mounts the cases, one test a case, on what the
//! async function `ground` makes.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use object_store::{ObjectStoreExt, path::Path};
use xronox_model::{Body, BucketRole, Encoding, Location, Sha256};
use xronox_store::{Blob, Codec, CompressionSettings, PayloadCache, Payloads, Space, StoreError};

/// What a case stands on.
pub(crate) struct Ground {
    pub(crate) payloads: Payloads,
    /// Whether the store gives out URLs.
    pub(crate) presigns: bool,
    /// What must stay as long as the case runs.
    pub(crate) _directory: Option<tempfile::TempDir>,
}

impl Ground {
    pub(crate) fn new(space: Space, presigns: bool) -> Self {
        let home = Some(space.name().to_owned());
        Self {
            payloads: Payloads::new([space], home, PayloadCache::off()).unwrap(),
            presigns,
            _directory: None,
        }
    }

    fn space(&self) -> &Space {
        self.payloads.home().unwrap()
    }

    /// Does behind the payloads' back what they never do.
    async fn overwrite(&self, key: &str, bytes: impl Into<Bytes>) {
        let bucket = self.space().bucket(BucketRole::Records).unwrap();
        let path = Path::parse(key).unwrap();
        bucket.put(&path, bytes.into().into()).await.unwrap();
    }

    async fn keys(&self, role: BucketRole, prefix: &str) -> Vec<String> {
        let listed = self.payloads.list(self.space().name(), role, prefix);
        let listed = listed.unwrap().map_ok(|entry| entry.key);
        let mut keys: Vec<_> = listed.try_collect().await.unwrap();
        keys.sort();
        keys
    }
}

pub(crate) fn packing() -> Codec {
    Codec {
        compression: Some(CompressionSettings {
            min_bytes: 16,
            level: 3,
        }),
    }
}

pub(crate) fn text(seed: u32, len: usize) -> Bytes {
    (0..)
        .flat_map(|i: u32| format!("{} ", seed + i).into_bytes())
        .take(len)
        .collect()
}

/// Bytes that do not compress and tell where they stand.
pub(crate) fn noise(len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 32);
    let mut block = Sha256::of(b"noise");
    while bytes.len() < len {
        bytes.extend_from_slice(block.as_bytes());
        block = Sha256::of(block.as_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// What a version row says of a body.
pub(crate) fn described(canonical: &Bytes, encoding: Encoding, location: Location) -> Body {
    Body {
        sha256: Sha256::of(canonical),
        size: canonical.len() as u64,
        encoding,
        location,
        inline: None,
        files: Vec::new(),
    }
}

pub(crate) async fn stored(
    payloads: &Payloads,
    codec: Codec,
    key: &str,
    canonical: &Bytes,
) -> Body {
    let (encoding, bytes) = codec.encode(canonical.clone());
    let location = payloads.put(key, bytes, BucketRole::Records).await.unwrap();
    described(canonical, encoding, location)
}

#[track_caller]
pub(crate) fn assert_corrupt(read: Result<Bytes, StoreError>, what: &str) {
    match read {
        Err(StoreError::Corrupt(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("expected damage, got {other:?}"),
    }
}

const KEY: &str = "shop.0f0e0d/orders/o-1/v0/0123456789abcdef/item.json";

pub(crate) async fn bodies_come_back(ground: Ground) {
    let payloads = &ground.payloads;
    let mut bodies = Vec::new();
    for i in 0..20 {
        let canonical = text(i, 40 * i as usize);
        let codec = [packing(), Codec::default()][i as usize % 2];
        let key = format!("shop.0f/orders/o-{i}/v0/aa/item.json");
        let body = stored(payloads, codec, &key, &canonical).await;
        // The same put again, as after a lost answer.
        assert_eq!(stored(payloads, codec, &key, &canonical).await, body);
        bodies.push((body, canonical));
    }
    for (body, canonical) in &bodies {
        assert_eq!(payloads.read(body).await.unwrap(), canonical);
        assert!(payloads.exists(&body.location).await.unwrap());
    }
    let (asked, expected): (Vec<_>, Vec<_>) = bodies.into_iter().unzip();
    let read: Vec<_> = payloads.read_many(asked).try_collect().await.unwrap();
    assert_eq!(read, expected);
}

/// In pieces of no particular length.
fn pieces(bytes: &Bytes) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let length = 1_000_003;
    let starts = (0..bytes.len()).step_by(length);
    let pieces: Vec<_> = starts
        .map(|start| Ok(bytes.slice(start..bytes.len().min(start + length))))
        .collect();
    stream::iter(pieces).boxed()
}

pub(crate) async fn objects_are_streamed(ground: Ground) {
    let payloads = &ground.payloads;
    let role = BucketRole::Records;
    for (n, length) in [0, 5, (8 << 20) - 1, 8 << 20, (16 << 20) + 1]
        .into_iter()
        .enumerate()
    {
        let bytes = noise(length);
        let key = format!("shop.0f/orders/o-1/v0/{n}/files/a/blob.bin");
        let blob = payloads
            .put_stream(&key, role, pieces(&bytes))
            .await
            .unwrap();
        assert_eq!(
            (blob.size, blob.sha256),
            (length as u64, Sha256::of(&bytes))
        );
        let read: Vec<Bytes> = payloads.stream(&blob).unwrap().try_collect().await.unwrap();
        assert!(read.concat() == bytes, "{length} bytes");
        // What is not what was written says so at its end.
        let other = Blob {
            sha256: Sha256::of(b"other"),
            ..blob.clone()
        };
        let longer = Blob {
            size: blob.size + 1,
            ..blob.clone()
        };
        for wrong in [other, longer] {
            let read: Result<Vec<Bytes>, _> = payloads.stream(&wrong).unwrap().try_collect().await;
            assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
        }
        payloads.delete(&blob.location).await.unwrap();
        let read: Result<Vec<Bytes>, _> = payloads.stream(&blob).unwrap().try_collect().await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
    // One that breaks off leaves nothing under its key.
    for length in [10, 9 << 20] {
        let dead = StoreError::Unavailable {
            message: "the line is dead".to_owned(),
            source: None,
        };
        let broken = pieces(&noise(length)).chain(stream::iter([Err(dead)]));
        let put = payloads
            .put_stream("shop.0f/broken", role, broken.boxed())
            .await;
        assert!(
            matches!(put, Err(StoreError::Unavailable { .. })),
            "{put:?}"
        );
        let listed = payloads
            .list(ground.space().name(), role, "shop.0f")
            .unwrap();
        let left: Vec<_> = listed.try_collect().await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) async fn buckets_are_apart(ground: Ground) {
    ground.space().check().await.unwrap();
    let payloads = &ground.payloads;
    let (one, other) = (text(1, 500), text(2, 500));
    let record = payloads.put(KEY, one.clone(), BucketRole::Records);
    let version = payloads.put(KEY, other.clone(), BucketRole::Versions);
    let (record, version) = (record.await.unwrap(), version.await.unwrap());
    let record = described(&one, Encoding::Plain, record);
    let version = described(&other, Encoding::Plain, version);
    assert_eq!(payloads.read(&record).await.unwrap(), one);
    assert_eq!(payloads.read(&version).await.unwrap(), other);
    payloads.delete(&version.location).await.unwrap();
    assert_eq!(payloads.read(&record).await.unwrap(), one);
}

pub(crate) async fn what_is_missing_is_damage_and_a_repeated_delete_is_not(ground: Ground) {
    let payloads = &ground.payloads;
    let body = stored(payloads, Codec::default(), KEY, &text(1, 500)).await;
    for _ in 0..2 {
        payloads.delete(&body.location).await.unwrap();
        assert!(!payloads.exists(&body.location).await.unwrap());
        assert_corrupt(payloads.read(&body).await, "missing");
    }
    // It can come back under its key.
    stored(payloads, Codec::default(), KEY, &text(1, 500)).await;
    assert!(payloads.exists(&body.location).await.unwrap());
}

pub(crate) async fn what_changed_behind_our_back_is_damage(ground: Ground) {
    let payloads = &ground.payloads;
    let canonical = text(1, 500);
    for codec in [Codec::default(), packing()] {
        let body = stored(payloads, codec, KEY, &canonical).await;
        let good = codec.encode(canonical.clone()).1;
        let mut flipped = good.to_vec();
        flipped[good.len() / 2] ^= 0x10;
        for bad in [
            flipped.into(),
            good.slice(..good.len() - 1),
            [&good[..], &[0]].concat().into(),
            Bytes::new(),
            vec![0; 100_000].into(),
        ] {
            ground.overwrite(KEY, bad).await;
            assert_corrupt(payloads.read(&body).await, KEY);
        }
        ground.overwrite(KEY, good).await;
        assert_eq!(payloads.read(&body).await.unwrap(), canonical);
    }
}

pub(crate) async fn a_large_body_comes_back(ground: Ground) {
    let payloads = &ground.payloads;
    // One request, in parts, and with a last part of one byte.
    for (i, length) in [16 << 20, (16 << 20) + 1, 25 << 20].into_iter().enumerate() {
        let canonical = noise(length);
        let key = format!("large/{i}");
        let body = stored(payloads, Codec::default(), &key, &canonical).await;
        assert_eq!(payloads.read(&body).await.unwrap(), canonical);
        payloads.delete(&body.location).await.unwrap();
        assert!(!payloads.exists(&body.location).await.unwrap());
    }
}

pub(crate) async fn odd_keys_are_kept_apart(ground: Ground) {
    let payloads = &ground.payloads;
    let long = "l".repeat(200);
    let keys = [
        "a".to_owned(),
        "A/b".to_owned(),
        "a.b/c..d/...e/-/_/~".replace('~', "_7e"),
        "_2e/_2e_2e/_2f".to_owned(),
        format!("{long}/{long}/{long}/{long}/x"),
        "0/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18".to_owned(),
        "dots./in./front.of/.a/.b".to_owned(),
    ];
    let mut bodies = Vec::new();
    for (i, key) in (0..).zip(&keys) {
        let canonical = text(i, 100);
        bodies.push((
            stored(payloads, Codec::default(), key, &canonical).await,
            canonical,
        ));
    }
    for (body, canonical) in &bodies {
        assert_eq!(payloads.read(body).await.unwrap(), canonical);
        assert!(payloads.exists(&body.location).await.unwrap());
    }
    let listed: BTreeSet<_> = ground
        .keys(BucketRole::Records, "")
        .await
        .into_iter()
        .collect();
    assert_eq!(listed, keys.iter().cloned().collect());
    for (body, _) in &bodies {
        payloads.delete(&body.location).await.unwrap();
        assert!(!payloads.exists(&body.location).await.unwrap());
    }
    for key in [
        "", "/a", "a/", "a//b", "../a", "a/./b", "a b", "a%2f", "é", "a#1",
    ] {
        let put = payloads.put(key, text(1, 5), BucketRole::Records).await;
        assert!(
            matches!(put, Err(StoreError::Refused(_))),
            "{key:?}: {put:?}"
        );
    }
}

pub(crate) async fn listskeep_to_whole_segments(ground: Ground) {
    let payloads = &ground.payloads;
    for key in ["a.1/x/1", "a.1/y", "a.12/x", "b.1/x"] {
        stored(payloads, Codec::default(), key, &text(1, 77)).await;
    }
    let records = BucketRole::Records;
    assert_eq!(ground.keys(records, "a.1").await, ["a.1/x/1", "a.1/y"]);
    assert_eq!(ground.keys(records, "").await.len(), 4);
    assert_eq!(ground.keys(records, "c").await, [""; 0]);
    assert_eq!(ground.keys(BucketRole::Versions, "").await, [""; 0]);
    let listed = payloads
        .list(ground.space().name(), records, "b.1")
        .unwrap();
    let [entry] = &listed.try_collect::<Vec<_>>().await.unwrap()[..] else {
        panic!("not one entry");
    };
    assert_eq!(entry.size, 77);
    assert!(
        entry.last_modified.to_string().starts_with("20"),
        "{entry:?}"
    );
}

pub(crate) async fn a_list_goes_over_pages(ground: Ground) {
    let payloads = &ground.payloads;
    // S3 lists a thousand at a time.
    let keys: Vec<_> = (0..1050).map(|i| format!("many/{i:04}/x")).collect();
    for some in keys.chunks(64) {
        let puts = some
            .iter()
            .map(|key| payloads.put(key, text(1, 5), BucketRole::Records));
        assert!(join_all(puts).await.iter().all(Result::is_ok));
    }
    assert_eq!(ground.keys(BucketRole::Records, "many").await, keys);
}

pub(crate) async fn urls_fetch_one_object_for_a_while(ground: Ground) {
    let payloads = &ground.payloads;
    let canonical = text(1, 500);
    let body = stored(payloads, Codec::default(), KEY, &canonical).await;
    let other = stored(payloads, Codec::default(), "other", &canonical).await;
    let hour = Duration::from_hours(1);
    if !ground.presigns {
        let refused = payloads.presign(&body.location, hour).await;
        assert!(
            matches!(refused, Err(StoreError::Unsupported(_))),
            "{refused:?}"
        );
        return;
    }
    for wrong in [Duration::ZERO, Duration::from_millis(999), hour * 169] {
        let refused = payloads.presign(&body.location, wrong).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{refused:?}"
        );
    }
    let inline = payloads.presign(&Location::Inline, hour).await;
    assert!(
        matches!(inline, Err(StoreError::Unsupported(_))),
        "{inline:?}"
    );

    drop(rustls::crypto::ring::default_provider().install_default());
    let fetch = async |url: &str| {
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().is_success(), answer.bytes().await.unwrap())
    };
    let week = payloads.presign(&other.location, hour * 168).await.unwrap();
    assert_eq!(fetch(&week).await, (true, canonical.clone()));
    let url = payloads.presign(&body.location, hour).await.unwrap();
    assert_eq!(fetch(&url).await, (true, canonical.clone()));
    let elsewhere = url.replace(KEY, "other");
    assert_ne!(elsewhere, url);
    assert!(!fetch(&elsewhere).await.0, "another object");
    assert!(!fetch(url.split_once('?').unwrap().0).await.0, "unsigned");
    let client = reqwest::Client::new();
    let put = client.put(&url).body("x").send().await.unwrap();
    assert!(!put.status().is_success(), "written");
    let deleted = client.delete(&url).send().await.unwrap();
    assert!(!deleted.status().is_success(), "deleted");

    let short = payloads
        .presign(&body.location, Duration::from_secs(1))
        .await;
    let short = short.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!fetch(&short).await.0, "expired");
    assert_eq!(payloads.read(&body).await.unwrap(), canonical);
}

/// Mounts the cases on what a function makes.
#[macro_export]
macro_rules! payload_suite {
    ($ground:path $(, $ignored:meta)?) => {
        $crate::payload_suite! { @ $ground, [$($ignored)?]:
            bodies_come_back
            objects_are_streamed
            buckets_are_apart
            what_is_missing_is_damage_and_a_repeated_delete_is_not
            what_changed_behind_our_back_is_damage
            a_large_body_comes_back
            odd_keys_are_kept_apart
            listskeep_to_whole_segments
            a_list_goes_over_pages
            urls_fetch_one_object_for_a_while
        }
    };
    (@ $ground:path, $ignored:tt: $($case:ident)*) => {
        $($crate::payload_suite! { # $ground, $ignored, $case })*
    };
    (# $ground:path, [$($ignored:meta)?], $case:ident) => {
        #[tokio::test]
        $(#[$ignored])?
        async fn $case() {
            $crate::payloads_suite::$case($ground().await).await;
        }
    };
}
