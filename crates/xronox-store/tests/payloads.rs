//! Bodies in spaces: what comes back, what is refused, what is asked of the
//! store.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::join_all};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use xronox_model::{Body, BucketRole, Encoding, Location, Sha256};
use xronox_store::{
    Codec, CompressionSettings, Gate, GateLimits, PayloadCache, Payloads, Space, StoreError,
    fault::{Call, Fault, FaultyStore},
};

const KEY: &str = "shop.0f0e0d/orders/o-1/v0/0123456789abcdef/item.json";

fn packing() -> Codec {
    Codec {
        compression: Some(CompressionSettings {
            min_bytes: 16,
            level: 3,
        }),
    }
}

fn text(seed: u32, len: usize) -> Bytes {
    (0..)
        .flat_map(|i: u32| format!("{} ", seed + i).into_bytes())
        .take(len)
        .collect()
}

/// What a version row says of a body that a codec has encoded.
fn described(canonical: &Bytes, encoding: Encoding, location: Location) -> Body {
    Body {
        sha256: Sha256::of(canonical),
        size: canonical.len() as u64,
        encoding,
        location,
        inline: None,
        files: Vec::new(),
    }
}

async fn stored(payloads: &Payloads, codec: Codec, key: &str, canonical: &Bytes) -> Body {
    let (encoding, bytes) = codec.encode(canonical.clone());
    let location = payloads.put(key, bytes, BucketRole::Records).await.unwrap();
    described(canonical, encoding, location)
}

fn in_space(space: Space, cache: PayloadCache) -> Payloads {
    let home = space.name().to_owned();
    Payloads::new([space], Some(home), cache).unwrap()
}

fn in_memory() -> Payloads {
    in_space(Space::memory("main"), PayloadCache::off())
}

fn hasty() -> GateLimits {
    GateLimits {
        backoff: Duration::from_millis(1),
        ..GateLimits::default()
    }
}

/// Bodies behind a store that can fail.
fn faulty(limits: GateLimits, cache: PayloadCache) -> (Payloads, Arc<FaultyStore>) {
    let store = FaultyStore::new(Arc::new(InMemory::new()), 7);
    let bucket: Arc<dyn ObjectStore> = store.clone();
    let space = Space::new(
        "main",
        [(BucketRole::Records, bucket)].into(),
        Gate::seeded(limits, 7),
    );
    (in_space(space, cache), store)
}

fn in_files(base: &Path) -> Payloads {
    let buckets = BTreeMap::from([
        (BucketRole::Records, "shop-records".to_owned()),
        (BucketRole::Versions, "shop-versions".to_owned()),
    ]);
    let space = Space::files("main", base, &buckets, Gate::default()).unwrap();
    in_space(space, PayloadCache::off())
}

/// The store of a bucket, to do behind the payloads' back what they never do.
fn bucket(payloads: &Payloads) -> &Arc<dyn ObjectStore> {
    payloads
        .home()
        .unwrap()
        .bucket(BucketRole::Records)
        .unwrap()
}

async fn overwrite(payloads: &Payloads, bytes: impl Into<Bytes>) {
    let path = object_store::path::Path::parse(KEY).unwrap();
    bucket(payloads)
        .put(&path, bytes.into().into())
        .await
        .unwrap();
}

async fn keys(payloads: &Payloads, prefix: &str) -> Vec<String> {
    let listed = payloads.list("main", BucketRole::Records, prefix).unwrap();
    let mut keys: Vec<_> = listed
        .map_ok(|entry| entry.key)
        .try_collect()
        .await
        .unwrap();
    keys.sort();
    keys
}

#[track_caller]
fn assert_corrupt(read: Result<Bytes, StoreError>, what: &str) {
    match read {
        Err(StoreError::Corrupt(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("expected damage, got {other:?}"),
    }
}

#[tokio::test]
async fn a_large_body_comes_back() {
    let payloads = in_memory();
    let canonical = text(1, 3 << 20);
    let body = stored(&payloads, packing(), KEY, &canonical).await;
    assert_eq!(payloads.read(&body).await.unwrap(), canonical);
}

#[tokio::test]
async fn inline_bodies_are_checked_too() {
    let payloads = Payloads::inline_only();
    let canonical = text(1, 500);
    let (encoding, bytes) = packing().encode(canonical.clone());
    let mut body = described(&canonical, encoding, Location::Inline);
    let missing = payloads.read(&body).await;
    assert!(
        matches!(missing, Err(StoreError::Refused(_))),
        "{missing:?}"
    );
    body.inline = Some(bytes);
    assert_eq!(payloads.read(&body).await.unwrap(), canonical);
    body.sha256 = Sha256::of(b"another");
    assert_corrupt(payloads.read(&body).await, "hash");
    assert!(payloads.exists(&Location::Inline).await.unwrap());
    payloads.delete(&Location::Inline).await.unwrap();
}

#[tokio::test]
async fn damage_is_named_and_never_returned() {
    let payloads = in_memory();
    let canonical = text(1, 500);
    for codec in [Codec::default(), packing()] {
        let body = stored(&payloads, codec, KEY, &canonical).await;
        let good = codec.encode(canonical.clone()).1;
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            overwrite(&payloads, bad).await;
            match payloads.read(&body).await {
                // A bit of the frame's header that stands for nothing.
                Ok(read) if (body.encoding, at) == (Encoding::Zstd, 4) => {
                    assert_eq!(read, canonical);
                }
                read => assert_corrupt(read, KEY),
            }
        }
        for (bad, what) in [
            (good.slice(..good.len() - 1), KEY),
            ([&good[..], &[0]].concat().into(), KEY),
            (Bytes::new(), KEY),
            (vec![0; 100_000].into(), "too long"),
        ] {
            overwrite(&payloads, bad).await;
            assert_corrupt(payloads.read(&body).await, what);
        }
    }
    // Whole, but not what this row names.
    overwrite(&payloads, text(2, 500)).await;
    let location = Location::Object {
        space: "main".to_owned(),
        role: BucketRole::Records,
        key: KEY.to_owned(),
    };
    let body = described(&canonical, Encoding::Plain, location);
    let error = payloads.read(&body).await.unwrap_err().to_string();
    assert!(!error.contains("2 3 4"), "{error}");
    assert_corrupt(payloads.read(&body).await, "hash");
}

#[tokio::test]
async fn a_bomb_is_refused() {
    let payloads = in_memory();
    let bomb = packing().encode(vec![0; 32 << 20].into()).1;
    let location = payloads.put(KEY, bomb, BucketRole::Records).await.unwrap();
    let mut body = described(&text(1, 4000), Encoding::Zstd, location);
    assert_corrupt(payloads.read(&body).await, "decompress");
    body.size = u64::MAX;
    assert_corrupt(payloads.read(&body).await, "decompress");
}

#[tokio::test]
async fn keys_that_not_every_store_holds_as_they_are_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(&base.path().join("objects"));
    for key in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a b",
        "a%2e%2e/b",
        "a\\..\\b",
        "é",
        "a\nb",
        "item.json#1",
    ] {
        let put = payloads.put(key, text(1, 5), BucketRole::Records).await;
        assert!(
            matches!(put, Err(StoreError::Refused(_))),
            "{key:?}: {put:?}"
        );
    }
    let location = |key: &str| Location::Object {
        space: "main".to_owned(),
        role: BucketRole::Records,
        key: key.to_owned(),
    };
    fs::write(base.path().join("secret"), "secret").unwrap();
    let body = described(&text(1, 5), Encoding::Plain, location("../../secret"));
    assert!(matches!(
        payloads.read(&body).await,
        Err(StoreError::Refused(_))
    ));
    assert!(matches!(
        payloads.delete(&body.location).await,
        Err(StoreError::Refused(_))
    ));
    assert!(matches!(
        payloads.exists(&body.location).await,
        Err(StoreError::Refused(_))
    ));
    assert!(payloads.list("main", BucketRole::Records, "../..").is_err());
    assert!(base.path().join("secret").exists());
    for name in ["", ".", "..", "a/b", "../b", "a\\b"] {
        let buckets = [(BucketRole::Records, name.to_owned())].into();
        let space = Space::files("main", base.path(), &buckets, Gate::default());
        assert!(matches!(space, Err(StoreError::Refused(_))), "{name:?}");
    }
}

#[tokio::test]
async fn what_is_not_configured_is_refused() {
    let twins = [Space::memory("a"), Space::memory("a")];
    assert!(matches!(
        Payloads::new(twins, None, PayloadCache::off()),
        Err(StoreError::Refused(_))
    ));
    let homeless = Payloads::new(
        [Space::memory("a")],
        Some("b".to_owned()),
        PayloadCache::off(),
    );
    assert!(matches!(homeless, Err(StoreError::Refused(_))));
    let no_home = Payloads::new([Space::memory("a")], None, PayloadCache::off()).unwrap();
    let put = no_home.put(KEY, text(1, 5), BucketRole::Records).await;
    assert!(matches!(put, Err(StoreError::Refused(_))));
    let location = no_home
        .put_in("a", KEY, text(1, 5), BucketRole::Versions)
        .await
        .unwrap();
    assert!(no_home.exists(&location).await.unwrap());
    assert!(matches!(
        in_memory().exists(&location).await,
        Err(StoreError::Refused(_))
    ));
    let (one_bucket, _) = faulty(hasty(), PayloadCache::off());
    let put = one_bucket.put(KEY, text(1, 5), BucketRole::Versions).await;
    assert!(matches!(put, Err(StoreError::Refused(text)) if text.contains("versions")));
}

#[tokio::test]
async fn files_lie_at_base_bucket_key() {
    let base = tempfile::tempdir().unwrap();
    let objects = base.path().join("not/yet/there");
    let payloads = in_files(&objects);
    let canonical = text(1, 500);
    let body = stored(&payloads, Codec::default(), KEY, &canonical).await;
    assert_eq!(
        fs::read(objects.join("shop-records").join(KEY)).unwrap(),
        canonical
    );
    payloads
        .put(KEY, canonical.clone(), BucketRole::Versions)
        .await
        .unwrap();
    assert!(objects.join("shop-versions").join(KEY).exists());
    // The same put again is harmless, and a later process reads what is there.
    stored(&payloads, Codec::default(), KEY, &canonical).await;
    assert_eq!(in_files(&objects).read(&body).await.unwrap(), canonical);
}

#[tokio::test]
async fn a_deleted_file_leaves_no_directories() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(base.path());
    let collection = base.path().join("shop-records/shop.0f0e0d/orders");
    let [first, second] = ["o-1/v0/aa/item.json", "o-1/v1/bb/item.json"]
        .map(|end| format!("shop.0f0e0d/orders/{end}"));
    let canonical = text(1, 50);
    let first = stored(&payloads, Codec::default(), &first, &canonical).await;
    let second = stored(&payloads, Codec::default(), &second, &canonical).await;
    payloads.delete(&first.location).await.unwrap();
    assert!(!collection.join("o-1/v0").exists());
    assert_eq!(payloads.read(&second).await.unwrap(), canonical);
    payloads.delete(&second.location).await.unwrap();
    payloads.delete(&second.location).await.unwrap();
    assert!(base.path().join("shop-records").exists());
    assert!(!base.path().join("shop-records/shop.0f0e0d").exists());
    stored(&payloads, Codec::default(), KEY, &canonical).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn puts_and_deletes_share_directories_in_peace() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(base.path());
    let canonical = text(1, 50);
    let tasks = (0..8).map(|task| {
        let (payloads, canonical) = (payloads.clone(), canonical.clone());
        tokio::spawn(async move {
            for round in 0..25 {
                let key = format!("shop.0f/orders/o-{}/v0/{task}/item.json", round % 2);
                let body = stored(&payloads, Codec::default(), &key, &canonical).await;
                assert_eq!(payloads.read(&body).await.unwrap(), canonical);
                payloads.delete(&body.location).await.unwrap();
            }
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
    assert_eq!(
        fs::read_dir(base.path().join("shop-records"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn what_an_interrupted_put_left_is_listed_and_deleted() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(base.path());
    stored(&payloads, Codec::default(), KEY, &text(1, 50)).await;
    let left = format!("{KEY}#1");
    fs::write(base.path().join("shop-records").join(&left), "half").unwrap();
    assert_eq!(
        keys(&payloads, "shop.0f0e0d").await,
        [KEY.to_owned(), left.clone()]
    );
    let location = Location::Object {
        space: "main".to_owned(),
        role: BucketRole::Records,
        key: left,
    };
    payloads.delete(&location).await.unwrap();
    assert_eq!(keys(&payloads, "").await, [KEY]);
}

#[tokio::test]
async fn a_list_is_longer_than_one_chunk() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(base.path());
    for directory in 0..50 {
        let directory = base.path().join(format!("shop-records/a/{directory}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..50 {
            fs::write(directory.join(file.to_string()), "x").unwrap();
        }
    }
    assert_eq!(keys(&payloads, "a").await.len(), 2500);
}

#[tokio::test]
async fn a_bucket_that_has_gone_is_not_an_empty_one() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(base.path());
    let body = stored(&payloads, Codec::default(), KEY, &text(1, 50)).await;
    fs::remove_dir_all(base.path().join("shop-records")).unwrap();
    let unavailable =
        |error: StoreError| assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    unavailable(payloads.read(&body).await.unwrap_err());
    unavailable(payloads.exists(&body.location).await.unwrap_err());
    unavailable(payloads.delete(&body.location).await.unwrap_err());
    unavailable(
        payloads
            .put(KEY, text(1, 50), BucketRole::Records)
            .await
            .unwrap_err(),
    );
    let listed = payloads.list("main", BucketRole::Records, "").unwrap();
    unavailable(listed.try_collect::<Vec<_>>().await.unwrap_err());
    assert!(!base.path().join("shop-records").exists());
}

#[tokio::test]
async fn a_key_below_another_key_is_refused_by_files() {
    let base = tempfile::tempdir().unwrap();
    let payloads = in_files(base.path());
    stored(&payloads, Codec::default(), "a/b", &text(1, 50)).await;
    for key in ["a/b/c", "a"] {
        let put = payloads.put(key, text(1, 50), BucketRole::Records).await;
        assert!(matches!(put, Err(StoreError::Refused(_))), "{put:?}");
    }
}

#[tokio::test]
async fn a_body_is_fetched_once_and_forgotten_when_deleted() {
    let (payloads, store) = faulty(hasty(), PayloadCache::default());
    let canonical = text(1, 5000);
    let body = stored(&payloads, packing(), KEY, &canonical).await;
    for _ in 0..5 {
        assert_eq!(payloads.read(&body).await.unwrap(), canonical);
    }
    assert_eq!(store.calls(Call::Get), 1);
    // Another row that claims the key for another body gets nothing of it.
    let liar = Body {
        sha256: Sha256::of(b"other"),
        ..body.clone()
    };
    assert_corrupt(payloads.read(&liar).await, "hash");
    payloads.delete(&body.location).await.unwrap();
    assert_corrupt(payloads.read(&body).await, "missing");
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_body_share_a_request() {
    let (payloads, store) = faulty(hasty(), PayloadCache::default());
    store.set_chance(Fault::Stall, 1.0);
    let canonical = text(1, 5000);
    let body = stored(&payloads, packing(), KEY, &canonical).await;
    for read in join_all((0..50).map(|_| payloads.read(&body))).await {
        assert_eq!(read.unwrap(), canonical);
    }
    assert_eq!(store.calls(Call::Get), 1);
    // A reader who gives up leaves the others their answer.
    payloads.delete(&body.location).await.unwrap();
    let body = stored(&payloads, packing(), KEY, &canonical).await;
    let impatient = tokio::time::timeout(Duration::from_millis(10), payloads.read(&body));
    let (given_up, read) = tokio::join!(impatient, payloads.read(&body));
    assert!(given_up.is_err());
    assert_eq!(read.unwrap(), canonical);
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_body_share_its_failure() {
    let limits = GateLimits {
        max_retries: 0,
        ..hasty()
    };
    let (payloads, store) = faulty(limits, PayloadCache::default());
    let body = stored(&payloads, packing(), KEY, &text(1, 5000)).await;
    store.set_chance(Fault::Stall, 1.0);
    store.set_next(Fault::Refuse, 1);
    for read in join_all((0..5).map(|_| payloads.read(&body))).await {
        match read {
            Err(StoreError::Unavailable {
                message,
                source: Some(source),
            }) => {
                assert!(message.contains(KEY), "{message}");
                assert!(source.to_string().contains("refused"), "{source}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.calls(Call::Get), 1);
    assert!(payloads.read(&body).await.is_ok());
}

#[tokio::test]
async fn the_cache_keeps_its_bound() {
    let cache = PayloadCache::new(100_000);
    let (payloads, store) = faulty(hasty(), cache.clone());
    let mut bodies = Vec::new();
    for i in 0..60 {
        bodies.push(
            stored(
                &payloads,
                Codec::default(),
                &format!("a/{i}"),
                &text(i, 5000),
            )
            .await,
        );
    }
    for body in &bodies {
        payloads.read(body).await.unwrap();
        assert!(cache.bytes().await <= 100_000);
    }
    assert!(cache.bytes().await > 50_000);
    store.reset_counts();
    for body in &bodies {
        payloads.read(body).await.unwrap();
    }
    assert!(
        (20..60).contains(&store.calls(Call::Get)),
        "{}",
        store.calls(Call::Get)
    );
}

#[tokio::test]
async fn databases_share_a_cache_without_seeing_each_other() {
    let cache = PayloadCache::default();
    let (ours, store) = faulty(hasty(), cache.clone());
    let (theirs, _) = faulty(hasty(), cache);
    let (one, other) = (text(1, 500), text(2, 500));
    let our_body = stored(&ours, Codec::default(), KEY, &one).await;
    let their_body = stored(&theirs, Codec::default(), KEY, &other).await;
    assert_eq!(ours.read(&our_body).await.unwrap(), one);
    assert_eq!(theirs.read(&their_body).await.unwrap(), other);
    assert_eq!(ours.read(&our_body).await.unwrap(), one);
    assert_eq!(store.calls(Call::Get), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_their_turn() {
    let limits = GateLimits {
        max_concurrency: 3,
        ..hasty()
    };
    let (payloads, store) = faulty(limits, PayloadCache::off());
    store.set_chance(Fault::Stall, 1.0);
    let canonical = text(1, 500);
    let keys: Vec<_> = (0..20).map(|i| format!("a/{i}")).collect();
    let bodies = join_all(
        keys.iter()
            .map(|key| stored(&payloads, Codec::default(), key, &canonical)),
    )
    .await;
    assert_eq!(store.busiest(), 3);
    store.reset_counts();
    let read: Vec<_> = payloads.read_many(bodies).collect().await;
    assert!(read.iter().all(Result::is_ok));
    assert_eq!((read.len(), store.busiest()), (20, 3));
}

#[tokio::test]
async fn a_list_leaves_turns_for_what_is_done_with_it() {
    let limits = GateLimits {
        max_concurrency: 1,
        ..hasty()
    };
    let (payloads, _) = faulty(limits, PayloadCache::off());
    for i in 0..10 {
        stored(&payloads, Codec::default(), &format!("a/{i}"), &text(1, 50)).await;
    }
    let mut listed = payloads.list("main", BucketRole::Records, "a").unwrap();
    while let Some(entry) = listed.next().await {
        let location = Location::Object {
            space: "main".to_owned(),
            role: BucketRole::Records,
            key: entry.unwrap().key,
        };
        payloads.delete(&location).await.unwrap();
    }
    assert_eq!(keys(&payloads, "").await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn faults_that_pass_are_outlasted() {
    let limits = GateLimits {
        max_retries: 20,
        ..hasty()
    };
    let (payloads, store) = faulty(limits, PayloadCache::off());
    for fault in [Fault::Refuse, Fault::Lose, Fault::Cut, Fault::Stall] {
        store.set_chance(fault, 0.2);
    }
    for i in 0..100 {
        let canonical = text(i, 500);
        let body = stored(&payloads, packing(), &format!("a/{i}"), &canonical).await;
        assert_eq!(payloads.read(&body).await.unwrap(), canonical);
        assert!(payloads.exists(&body.location).await.unwrap());
        if i % 2 == 0 {
            payloads.delete(&body.location).await.unwrap();
        }
    }
    assert!(store.calls(Call::Put) > 110);
    store.calm();
    assert_eq!(keys(&payloads, "a").await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn faults_that_last_are_reported_within_bounds() {
    let (payloads, store) = faulty(GateLimits::default(), PayloadCache::off());
    let canonical = text(1, 500);
    let body = stored(&payloads, Codec::default(), KEY, &canonical).await;

    store.reset_counts();
    store.set_chance(Fault::Refuse, 1.0);
    let error = payloads
        .put("b", canonical.clone(), BucketRole::Records)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "storage is unavailable: could not write main/records/b: the store failed"
    );
    assert_eq!(store.calls(Call::Put), 6);

    store.calm();
    store.set_chance(Fault::Stall, 1.0);
    store.set_stall(Duration::from_hours(1));
    let began = tokio::time::Instant::now();
    let error = payloads.read(&body).await.unwrap_err();
    assert!(
        error.to_string().contains("no answer within 30 s"),
        "{error}"
    );
    assert!(began.elapsed() <= Duration::from_secs(121));

    // Waiting for a turn is bounded too.
    let limits = GateLimits {
        max_concurrency: 1,
        ..GateLimits::default()
    };
    let (payloads, store) = faulty(limits, PayloadCache::off());
    store.set_chance(Fault::Stall, 1.0);
    store.set_stall(Duration::from_hours(1));
    let began = tokio::time::Instant::now();
    let puts = ["a", "b", "c"].map(|key| payloads.put(key, canonical.clone(), BucketRole::Records));
    assert!(join_all(puts).await.iter().all(Result::is_err));
    assert!(began.elapsed() <= Duration::from_secs(121));
}

#[tokio::test]
async fn a_broken_list_says_so() {
    let (payloads, store) = faulty(hasty(), PayloadCache::off());
    for i in 0..20 {
        stored(&payloads, Codec::default(), &format!("a/{i}"), &text(1, 50)).await;
    }
    store.set_next(Fault::Cut, 1);
    let listed: Vec<_> = payloads
        .list("main", BucketRole::Records, "a")
        .unwrap()
        .collect()
        .await;
    assert!(listed.len() < 20);
    let (last, before) = listed.split_last().unwrap();
    assert!(matches!(last, Err(StoreError::Unavailable { .. })));
    assert!(before.iter().all(Result::is_ok));
}

#[tokio::test]
async fn bits_that_flip_on_the_way_are_noticed() {
    let (payloads, store) = faulty(hasty(), PayloadCache::default());
    let canonical = text(1, 500);
    let body = stored(&payloads, packing(), KEY, &canonical).await;
    store.set_next(Fault::Damage, 1);
    assert_corrupt(payloads.read(&body).await, KEY);
    // And are not kept.
    assert_eq!(payloads.read(&body).await.unwrap(), canonical);
}
