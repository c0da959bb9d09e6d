//! An object store that fails on demand, for tests.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    path::Path,
};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::Barrier;

/// A way for a request to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and does nothing.
    Refuse,
    /// It is carried out, but the answer is an error. Puts, copies and
    /// deletes.
    Lose,
    /// It takes [as long as set](FaultyStore::set_stall) longer.
    Stall,
    /// The answer breaks off with an error. Gets and lists.
    Cut,
    /// The answer has a wrong bit. Gets.
    Damage,
}

const FAULTS: usize = 5;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Objects put, copied or begun to be put in parts.
    Put,
    /// Objects or ranges of them fetched.
    Get,
    /// Objects asked about.
    Head,
    /// Objects deleted.
    Delete,
    /// Lists begun.
    List,
}

const CALLS: usize = 5;

/// A store around another that fails with given probabilities, by a seeded
/// random sequence, and counts its requests. Everything can be changed while
/// it is in use.
#[derive(Debug)]
pub struct FaultyStore {
    store: Arc<dyn ObjectStore>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// In millionths.
    chances: [AtomicU32; FAULTS],
    /// Requests still to fail for certain.
    due: [AtomicU32; FAULTS],
    stall_ms: AtomicU64,
    random: Mutex<StdRng>,
    calls: [AtomicU64; CALLS],
    /// Where puts that are done wait for each other.
    together: Mutex<Option<Arc<Barrier>>>,
    under_way: AtomicUsize,
    busiest: AtomicUsize,
}

impl FaultyStore {
    /// A store that does not fail yet.
    pub fn new(store: Arc<dyn ObjectStore>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: Arc::new(State {
                chances: Default::default(),
                due: Default::default(),
                stall_ms: AtomicU64::new(100),
                random: Mutex::new(StdRng::seed_from_u64(seed)),
                calls: Default::default(),
                together: Mutex::default(),
                under_way: AtomicUsize::new(0),
                busiest: AtomicUsize::new(0),
            }),
        })
    }

    /// From now on a request meets this fault with this probability.
    pub fn set_chance(&self, fault: Fault, chance: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to a million"
        )]
        let millionths = (chance.clamp(0.0, 1.0) * 1e6) as u32;
        self.state.chances[fault as usize].store(millionths, Relaxed);
    }

    /// The next `count` requests that can meet this fault do.
    pub fn set_next(&self, fault: Fault, count: u32) {
        self.state.due[fault as usize].store(count, Relaxed);
    }

    /// How long a stalled request waits; 100 ms unless set.
    pub fn set_stall(&self, wait: Duration) {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.state.stall_ms.store(ms, Relaxed);
    }

    /// From now on puts are answered so many at a time, once all of these are
    /// done.
    pub fn answer_together(&self, puts: usize) {
        *self.state.together.lock() = Some(Arc::new(Barrier::new(puts)));
    }

    /// Ends all faults.
    pub fn calm(&self) {
        for number in self.state.chances.iter().chain(&self.state.due) {
            number.store(0, Relaxed);
        }
    }

    /// How many requests of this kind were made, failed ones included.
    pub fn calls(&self, call: Call) -> u64 {
        self.state.calls[call as usize].load(Relaxed)
    }

    /// The most requests that were under way at one time.
    pub fn busiest(&self) -> usize {
        self.state.busiest.load(Relaxed)
    }

    /// Starts counting anew.
    pub fn reset_counts(&self) {
        for count in &self.state.calls {
            count.store(0, Relaxed);
        }
        self.state.busiest.store(0, Relaxed);
    }
}

impl State {
    /// Whether this request meets this fault.
    fn strikes(&self, fault: Fault) -> bool {
        let due = &self.due[fault as usize];
        if due
            .fetch_update(Relaxed, Relaxed, |due| due.checked_sub(1))
            .is_ok()
        {
            return true;
        }
        let chance = self.chances[fault as usize].load(Relaxed);
        chance > 0 && self.random.lock().random_range(0..1_000_000) < chance
    }

    fn below(&self, bound: usize) -> usize {
        self.random.lock().random_range(0..bound.max(1))
    }

    /// Counts a request and lets it wait or fail.
    async fn begin(self: &Arc<Self>, call: Call) -> Result<UnderWay> {
        self.calls[call as usize].fetch_add(1, Relaxed);
        let now = self.under_way.fetch_add(1, Relaxed) + 1;
        let under_way = UnderWay(self.clone());
        self.busiest.fetch_max(now, Relaxed);
        if self.strikes(Fault::Stall) {
            tokio::time::sleep(Duration::from_millis(self.stall_ms.load(Relaxed))).await;
        }
        if self.strikes(Fault::Refuse) {
            return Err(failed("refused"));
        }
        Ok(under_way)
    }

    /// The answer of a request that has been carried out.
    fn answer<T>(&self, answer: Result<T>) -> Result<T> {
        let answer = answer?;
        if self.strikes(Fault::Lose) {
            return Err(failed("the answer was lost"));
        }
        Ok(answer)
    }
}

struct UnderWay(Arc<State>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let _under_way = self.state.begin(Call::Put).await?;
        let put = self.store.put_opts(location, payload, opts).await;
        let together = self.state.together.lock().clone();
        if let Some(together) = together {
            together.wait().await;
        }
        self.state.answer(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let _under_way = self.state.begin(Call::Put).await?;
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let call = if options.head { Call::Head } else { Call::Get };
        let _under_way = self.state.begin(call).await?;
        let found = self.store.get_opts(location, options).await?;
        if call == Call::Head {
            return Ok(found);
        }
        let (cut, damage) = (
            self.state.strikes(Fault::Cut),
            self.state.strikes(Fault::Damage),
        );
        if !cut && !damage {
            return Ok(found);
        }
        let (meta, range, attributes) = (
            found.meta.clone(),
            found.range.clone(),
            found.attributes.clone(),
        );
        let extensions = found.extensions.clone();
        let mut bytes = found.bytes().await?.to_vec();
        if damage && !bytes.is_empty() {
            let at = self.state.below(bytes.len());
            bytes[at] ^= 1 << self.state.below(8);
        }
        let mut parts = vec![];
        if cut {
            bytes.truncate(self.state.below(bytes.len()));
            parts.push(Ok(Bytes::from(bytes)));
            parts.push(Err(failed("cut off")));
        } else {
            parts.push(Ok(Bytes::from(bytes)));
        }
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(parts).boxed()),
            meta,
            range,
            attributes,
            extensions,
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (store, state) = (self.store.clone(), self.state.clone());
        locations
            .then(move |location| {
                let (store, state) = (store.clone(), state.clone());
                async move {
                    let location = location?;
                    let _under_way = state.begin(Call::Delete).await?;
                    let one = stream::once(async { Ok(location) }).boxed();
                    let deleted = store.delete_stream(one).next().await;
                    state.answer(deleted.unwrap_or_else(|| Err(failed("no answer"))))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.store.list(prefix);
        let state = self.state.clone();
        let begun = async move {
            let _under_way = match state.begin(Call::List).await {
                Ok(under_way) => under_way,
                Err(error) => return stream::once(async { Err(error) }).boxed(),
            };
            if state.strikes(Fault::Cut) {
                let cut = stream::once(async { Err(failed("cut off")) });
                return listed.take(state.below(10)).chain(cut).boxed();
            }
            listed
        };
        begun.into_stream().flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let _under_way = self.state.begin(Call::List).await?;
        if self.state.strikes(Fault::Cut) {
            return Err(failed("cut off"));
        }
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _under_way = self.state.begin(Call::Put).await?;
        self.state
            .answer(self.store.copy_opts(from, to, options).await)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.store)
    }
}

fn failed(how: &str) -> Error {
    Error::Generic {
        store: "FaultyStore",
        source: how.into(),
    }
}
