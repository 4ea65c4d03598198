//! The state of a shard in RocksDB: (step, table, key) to value, with a mark that names the epoch it is the state of.
//!
//! Owns: the layout of keys, options, the mark, scans in byte order, the digest of all state, removing what has ended.
//! Does not own: what a value means (the plugin's table), when changes are applied (after the commit only), when a value ends.
//!
//! Invariants: changes and mark are written in one batch. A store whose mark does not match the journal is discarded. A
//! store that showed damage once is never opened again, whichever process finds it: its other blocks may look sound.
//!
//! **What has ended** (`segno_core::persisted`, values with an end) is hidden from scans and digests by the watermark of the mark,
//! and dropped when RocksDB compacts. It may be dropped once the watermark has reached its end in an epoch that no failure takes
//! back: one that the store held when it was opened, or of which an image was made. Records that are executed again after such a
//! failure see the watermark as it was then, or a later one, and would not find it either.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, CompactionDecision, DB, DEFAULT_COLUMN_FAMILY_NAME, Direction, ErrorKind, IteratorMode,
    Options, ReadOptions, WriteBatch, WriteOptions,
};
use segno_core::persisted::{BEFORE_TTL, TIMERS_TABLE, has_end, has_ended, read_living, with_end};
use segno_core::pipeline::STATE_MEMORY_DEFAULT;
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Values that are read at once: the blocks of all of them stay in memory until all are read.
const READ_AT_ONCE: usize = 1024;
const MARK: &[u8] = b"\0mark";
/// A file in the store's folder that says that damage was seen.
const DAMAGE_SEEN: &str = "DAMAGED";

/// What the store says it is the state of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub epoch: u64,
    /// Digest of the journal entry of that epoch.
    pub chain: String,
    /// The watermark behind that epoch.
    pub watermark: Option<i64>,
}

impl Mark {
    fn read(bytes: &[u8]) -> Option<Mark> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split(' ');
        let (epoch, chain) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
        let watermark = parts.next().map(str::parse).transpose().ok()?;
        parts.next().is_none().then_some(Mark { epoch, chain, watermark })
    }

    fn write(&self) -> String {
        let watermark = self.watermark.map_or_else(String::new, |watermark| format!(" {watermark}"));
        format!("{} {}{watermark}", self.epoch, self.chain)
    }
}

/// Which values have ended.
struct Ended {
    /// Of what is hidden.
    watermark: AtomicI64,
    /// Of what may be dropped.
    lasting: AtomicI64,
    /// By the id of a step, the end of values that it kept before it had a time to live.
    before: RwLock<BTreeMap<Vec<u8>, i64>>,
    /// There is one.
    has_before: AtomicBool,
}

impl Ended {
    fn end(&self, step: &[u8], table: u16, value: &[u8]) -> Option<i64> {
        match table {
            TIMERS_TABLE => None,
            _ if has_end(table) => Some(read_living(value)?.0.end),
            _ if !self.has_before.load(Ordering::Relaxed) => None,
            _ => self.before.read().unwrap_or_else(PoisonError::into_inner).get(step).copied(),
        }
    }

    fn is_hidden(&self, step: &[u8], table: u16, value: &[u8]) -> bool {
        self.end(step, table, value).is_some_and(|end| has_ended(end, self.watermark.load(Ordering::Relaxed)))
    }

    fn may_be_dropped(&self, full_key: &[u8], value: &[u8]) -> bool {
        let Some((step, table)) = step_and_table(full_key) else { return false };
        self.end(step, table, value).is_some_and(|end| has_ended(end, self.lasting.load(Ordering::Relaxed)))
    }

    fn keep_before(&self, step: &[u8], value: &[u8]) {
        if let Some((lease, _)) = read_living(value) {
            self.before.write().unwrap_or_else(PoisonError::into_inner).insert(step.to_vec(), lease.end);
            self.has_before.store(true, Ordering::Relaxed);
        }
    }
}

pub struct StateStore {
    db: DB,
    path: PathBuf,
    ended: Arc<Ended>,
    /// By the prefix of a table that is read from its front: no key of it lies before this one; `None`: it has no key.
    /// Behind a queue whose first entries were deleted, a scan would walk over all that were, until they are compacted.
    fronts: Mutex<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

/// Half of the memory is for blocks of files, half for two buffers of changes that are not in a file yet.
fn options(memory: u64) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size((memory / 4) as usize);
    options.set_max_write_buffer_number(2);
    // Most keys of an epoch are not among the newest changes: a filter says so sooner than a search.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.05);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_keep_log_file_num(2);
    options.set_paranoid_checks(true);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache((memory / 2) as usize));
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    // In parts of 4 KiB. The filter of a whole file is larger than a shard of the cache, so that it would be read from
    // the disk for each value that is looked up.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(4 << 10);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_format_version(6);
    options.set_block_based_table_factory(&blocks);
    options
}

/// `\x01`, step id, `\0`, table (2 bytes, big-endian), key bytes. Step ids hold no zero byte.
fn full_key(into: &mut Vec<u8>, step: &str, table: u16, key: &[u8]) {
    into.clear();
    into.push(1);
    into.extend_from_slice(step.as_bytes());
    into.push(0);
    into.extend_from_slice(&table.to_be_bytes());
    into.extend_from_slice(key);
}

/// The step and the table of a key, if it is one of a step.
fn step_and_table(full_key: &[u8]) -> Option<(&[u8], u16)> {
    let rest = full_key.strip_prefix(&[1])?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    let (table, _) = rest[end + 1..].split_first_chunk::<2>()?;
    Some((&rest[..end], u16::from_be_bytes(*table)))
}

/// A row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl StateStore {
    /// With the memory of a pipeline that says nothing about it.
    pub fn open(path: &Path) -> Result<StateStore> {
        StateStore::open_within(path, STATE_MEMORY_DEFAULT)
    }

    /// With so much memory, bytes.
    pub fn open_within(path: &Path, memory: u64) -> Result<StateStore> {
        if path.join(DAMAGE_SEEN).exists() {
            return Err(damaged(path, "damage was seen in it before"));
        }
        let mut options = options(memory);
        let ended = Arc::new(Ended {
            watermark: AtomicI64::new(i64::MIN),
            lasting: AtomicI64::new(i64::MIN),
            before: RwLock::default(),
            has_before: AtomicBool::new(false),
        });
        let known = Arc::clone(&ended);
        options.set_compaction_filter("ended", move |_, key, value| match known.may_be_dropped(key, value) {
            true => CompactionDecision::Remove,
            false => CompactionDecision::Keep,
        });
        // Named, so that there is a handle of it.
        let family = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let db = DB::open_cf_with_opts(&options, path, family).map_err(|error| unreadable(path, error))?;
        let store = StateStore { db, path: path.to_owned(), ended, fronts: Mutex::default() };
        store.scan_kept(BEFORE_TTL, 0, b"", |step, value| {
            store.ended.keep_before(step, value);
            true
        })?;
        if let Some(watermark) = store.mark()?.and_then(|mark| mark.watermark) {
            store.ended.watermark.store(watermark, Ordering::Relaxed);
            // What the log held is in a file now.
            store.ended.lasting.store(watermark, Ordering::Relaxed);
        }
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None`: an empty store.
    pub fn mark(&self) -> Result<Option<Mark>> {
        let Some(bytes) = self.db.get(MARK).map_err(|error| unreadable(&self.path, error))? else { return Ok(None) };
        Mark::read(&bytes).map(Some).ok_or_else(|| damaged(&self.path, "its mark is unreadable"))
    }

    /// The values of keys, in their order; also those that have ended.
    pub fn get_many<'k>(&self, step: &str, table: u16, keys: impl Iterator<Item = &'k [u8]>) -> Result<Vec<Option<Vec<u8>>>> {
        // One buffer for all: an allocation for each key costs as much as a part of its reading.
        let (mut bytes, mut ends, mut full) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            full_key(&mut full, step, table, key);
            bytes.extend_from_slice(&full);
            ends.push(bytes.len());
        }
        let key = |at: usize| &bytes[at.checked_sub(1).map_or(0, |before| ends[before])..ends[at]];
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
        let Some(family) = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME) else {
            return Err(Error::new(Code::Internal, "the store has no column family"));
        };
        let mut values = vec![None; ends.len()];
        for part in order.chunks(READ_AT_ONCE) {
            let found = self.db.batched_multi_get_cf(family, part.iter().map(|&at| key(at)), true);
            for (&at, value) in part.iter().zip(found) {
                values[at] = value.map_err(|error| unreadable(&self.path, error))?.map(|bytes| bytes.to_vec());
            }
        }
        Ok(values)
    }

    /// Applies an epoch's changes (step, table, key, new value) and the mark, atomically.
    pub fn apply<'c>(
        &self,
        mark: &Mark,
        changes: impl Iterator<Item = (&'c str, u16, &'c [u8], Option<&'c [u8]>)>,
    ) -> Result<()> {
        let mut batch = WriteBatch::default();
        let mut full = Vec::new();
        let mut before = Vec::new();
        let mut fronts = self.fronts();
        for (step, table, key, value) in changes {
            if let (BEFORE_TTL, Some(value)) = (step, value) {
                before.push((key.to_vec(), value.to_vec()));
            }
            full_key(&mut full, step, table, key);
            match value {
                Some(value) => {
                    // Written or not: too early a front is no mistake.
                    if let Some(front) = fronts.get_mut(&full[..full.len() - key.len()])
                        && front.as_ref().is_none_or(|front| key < front.as_slice())
                    {
                        *front = Some(key.to_vec());
                    }
                    batch.put(&full, value)
                }
                None => batch.delete(&full),
            }
        }
        batch.put(MARK, mark.write());
        // The log survives kill -9 without fsync; after a power failure the mark decides and the state is restored.
        self.db.write_opt(batch, &WriteOptions::default()).map_err(|error| {
            Error::new(Code::StateUnwritable, format!("state in {} cannot be written", self.path.display()))
                .with_cause(error)
                .with_help("the epoch is committed and will be applied at recovery; look at the disk's space")
        })?;
        before.iter().for_each(|(step, value)| self.ended.keep_before(step, value));
        self.compact_for_tests();
        if let Some(watermark) = mark.watermark {
            self.ended.watermark.store(watermark, Ordering::Relaxed);
        }
        Ok(())
    }

    fn fronts(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Option<Vec<u8>>>> {
        self.fronts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A scan of a table from which the first entries are deleted again and again, as from a queue.
    pub fn scan_queue(&self, step: &str, table: u16, mut visit: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let mut prefix = Vec::new();
        full_key(&mut prefix, step, table, b"");
        let mut fronts = self.fronts();
        let front = fronts.entry(prefix).or_insert_with(|| Some(Vec::new()));
        let Some(low) = front.take() else { return Ok(()) };
        let mut first = None;
        let scanned = self.scan(step, table, &low, |key, _| {
            first.get_or_insert_with(|| key.to_vec());
            visit(key)
        });
        *front = if scanned.is_ok() { first } else { Some(low) };
        scanned
    }

    /// Entries of a table in key order, from `low` on, without those that have ended; stops when `visit` says false.
    pub fn scan(&self, step: &str, table: u16, low: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        if table == TIMERS_TABLE {
            return self.scan_kept(step, table, low, visit);
        }
        // Values with an end and values without one, each key once: they are looked at in turn.
        let mut living = self.entries(step, with_end(table), low)?;
        let mut others = self.entries(step, table, low)?;
        loop {
            let is_living = match (&living.next, &others.next) {
                (None, None) => return Ok(()),
                (Some(one), Some(other)) => one.key <= other.key,
                (one, _) => one.is_some(),
            };
            let Some(entry) = (if is_living { living.take()? } else { others.take()? }) else { return Ok(()) };
            let hidden = self.ended.is_hidden(step.as_bytes(), if is_living { with_end(table) } else { table }, &entry.value);
            if hidden {
                continue;
            }
            let value = if is_living { read_living(&entry.value).map_or(&[][..], |(_, value)| value) } else { &entry.value };
            if !visit(&entry.key, value) {
                return Ok(());
            }
        }
    }

    /// The value of a key, unless it has ended.
    pub fn get(&self, step: &str, table: u16, key: &[u8]) -> Result<Option<Vec<u8>>> {
        for (table, is_living) in [(with_end(table), true), (table, false)] {
            let found = self.get_many(step, table, std::iter::once(key))?.pop().flatten();
            let Some(value) = found.filter(|value| !self.ended.is_hidden(step.as_bytes(), table, value)) else { continue };
            return Ok(Some(if is_living { read_living(&value).map_or_else(Vec::new, |(_, value)| value.to_vec()) } else { value }));
        }
        Ok(None)
    }

    fn entries(&self, step: &str, table: u16, low: &[u8]) -> Result<Entries<'_>> {
        let (mut from, mut prefix) = (Vec::new(), Vec::new());
        full_key(&mut from, step, table, low);
        full_key(&mut prefix, step, table, b"");
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound(behind(&prefix));
        let inner = self.db.iterator_opt(IteratorMode::From(&from, Direction::Forward), read);
        let mut entries = Entries { inner, prefix, path: &self.path, next: None };
        entries.take()?;
        Ok(entries)
    }

    /// Every entry of a table as it is kept, in key order over one snapshot, from `low` on; stops when `visit` says false.
    pub fn scan_kept(&self, step: &str, table: u16, low: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut from = Vec::new();
        full_key(&mut from, step, table, low);
        let mut prefix = Vec::new();
        full_key(&mut prefix, step, table, b"");
        let snapshot = self.db.snapshot();
        let mut read = ReadOptions::default();
        read.set_snapshot(&snapshot);
        // Else it would walk on over what was deleted behind the table.
        read.set_iterate_upper_bound(behind(&prefix));
        for item in self.db.iterator_opt(IteratorMode::From(&from, Direction::Forward), read) {
            let (key, value) = item.map_err(|error| unreadable(&self.path, error))?;
            let Some(key) = key.strip_prefix(prefix.as_slice()) else { break };
            if !visit(key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// BLAKE3 over every entry but the mark and what has ended, in key order: lengths (u32, little-endian) and bytes of key and value.
    pub fn digest(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for item in self.db.iterator(IteratorMode::From(&[1], Direction::Forward)) {
            let (key, value) = item.map_err(|error| unreadable(&self.path, error))?;
            if step_and_table(&key).is_some_and(|(step, table)| self.ended.is_hidden(step, table, &value)) {
                continue;
            }
            for part in [&key, &value] {
                hasher.update(&(part.len() as u32).to_le_bytes());
                hasher.update(part);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Size of all files, bytes; for people.
    pub fn bytes(&self) -> u64 {
        let property = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        property("rocksdb.total-sst-files-size") + property("rocksdb.cur-size-all-mem-tables")
    }

    /// Hard-links a consistent image of the store into `target`, which must not exist.
    pub fn checkpoint(&self, target: &Path) -> Result<()> {
        let failed = |error: rocksdb::Error| {
            Error::new(Code::StateUnwritable, format!("no image of the state could be made in {}", target.display()))
                .with_cause(error)
        };
        let watermark = self.ended.watermark.load(Ordering::Relaxed);
        let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).map_err(failed)?;
        checkpoint.create_checkpoint_with_log_size(target, 0).map_err(failed)?;
        // What it holds is in files that are synced.
        self.ended.lasting.store(watermark, Ordering::Relaxed);
        self.compact_for_tests();
        Ok(())
    }

    /// Compacts all files now, which drops what may be dropped.
    pub fn compact(&self) {
        self.db.compact_range::<&[u8], &[u8]>(None, None);
    }

    /// As early as it can happen, which is not when RocksDB would do it.
    fn compact_for_tests(&self) {
        #[cfg(feature = "testing")]
        if std::env::var_os("SEGNO_TESTING_COMPACT").is_some() {
            self.compact();
        }
    }
}

/// Entries of a table, one read ahead.
struct Entries<'s> {
    inner: rocksdb::DBIteratorWithThreadMode<'s, DB>,
    prefix: Vec<u8>,
    path: &'s Path,
    next: Option<Entry>,
}

impl Entries<'_> {
    /// Gives the entry that was read ahead, and reads the next one.
    fn take(&mut self) -> Result<Option<Entry>> {
        let next = self.inner.next().transpose().map_err(|error| unreadable(self.path, error))?;
        let next = next.and_then(|(key, value)| {
            key.strip_prefix(self.prefix.as_slice()).map(|key| Entry { key: key.to_vec(), value: value.to_vec() })
        });
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// The first key behind all that begin with these bytes, of which the first is no 0xFF.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while next.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = next.last_mut() {
        *last += 1;
    }
    next
}

/// What RocksDB says of its files; damage is remembered.
fn unreadable(path: &Path, error: rocksdb::Error) -> Error {
    if error.kind() == ErrorKind::Corruption {
        // Where this cannot be written, nothing else can be either: the next start fails, too, and says so.
        let _ = std::fs::write(path.join(DAMAGE_SEEN), error.to_string());
    }
    damaged(path, error)
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Code::StateDamaged, format!("the state store {} cannot be read", path.display()))
        .with_cause(why)
        .with_help("it is only a copy: it is discarded and restored from the newest checkpoint at the next start")
}
