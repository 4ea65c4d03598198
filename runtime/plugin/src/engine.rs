//! The engine: one configuration, every switch set, and the clock of deadlines.
//!
//! Owns: wasmtime's configuration, its fingerprint, the thread that counts deadline ticks.
//! Does not own: components (`admission`, `template`).
//!
//! Invariant: every switch that can change an answer is set here, whatever its default; a test reads wasmtime's source
//! and fails when a switch appears that is neither set nor known to be without influence.

use crate::limits::{FRAMES, STACK_BYTES};
use crate::parts::Parts;
use segno_core::{Code, Error, Result};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmparser::WasmFeatures;
use wasmtime::{Config, OptLevel, RegallocAlgorithm, Strategy};

/// How often deadlines are looked at: a call runs at most this much longer than its deadline.
pub const DEADLINE_TICK: Duration = Duration::from_millis(10);

/// An engine and its cache folder. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) parts: Arc<Parts>,
    _clock: Arc<Clock>,
}

struct Clock {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Every switch, in alphabetical order.
pub fn config() -> Config {
    let mut config = Config::new();
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand);
    config.compiler_inlining(wasmtime::Inlining::No);
    config.concurrency_support(false);
    config.consume_fuel(true);
    config.cranelift_debug_verifier(false);
    config.cranelift_nan_canonicalization(true);
    config.cranelift_opt_level(OptLevel::Speed);
    config.cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking);
    config.cranelift_wasmtime_debug_checks(false);
    config.debug_info(false);
    config.epoch_interruption(true);
    config.force_memory_init_memfd(false);
    config.gc_support(false);
    config.generate_address_map(true);
    config.guard_before_linear_memory(true);
    config.max_wasm_stack(STACK_BYTES);
    // The memory of an interpreter after `init` is some twenty million bytes: mapped, never copied.
    config.memory_guaranteed_dense_image_size(128 << 20);
    config.memory_guard_size(32 << 20);
    config.memory_init_cow(true);
    config.memory_may_move(false);
    config.memory_reservation(4 << 30);
    config.memory_reservation_for_growth(0);
    config.native_unwind_info(false);
    config.parallel_compilation(true);
    config.relaxed_simd_deterministic(true);
    config.shared_memory(false);
    config.signals_based_traps(true);
    config.strategy(Strategy::Cranelift);
    config.table_lazy_init(true);
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(FRAMES));
    config.wasm_branch_hinting(false);
    config.wasm_bulk_memory(true);
    config.wasm_component_model(true);
    config.wasm_component_model_error_context(false);
    config.wasm_component_model_fixed_length_lists(false);
    config.wasm_component_model_gc(false);
    config.wasm_component_model_implements(false);
    config.wasm_component_model_map(false);
    config.wasm_component_model_memory64(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_extended_const(true);
    // Proposals whose own switches are compiled out of this build.
    config.wasm_features(
        WasmFeatures::EXCEPTIONS
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::LEGACY_EXCEPTIONS)
            .union(WasmFeatures::THREADS),
        false,
    );
    config.wasm_gc(false);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_multi_value(true);
    config.wasm_relaxed_simd(false);
    config.wasm_shared_everything_threads(false);
    config.wasm_simd(true);
    config.wasm_stack_switching(false);
    config.wasm_tail_call(false);
    config.wasm_wide_arithmetic(false);
    config
}

impl Engine {
    /// `cache`: folder for compiled components; `None`: nothing is kept.
    pub fn new(cache: Option<&Path>) -> Result<Engine> {
        let parts = Arc::new(Parts::default());
        let mut config = config();
        let wasm = config
            .enable_incremental_compilation(parts.clone())
            .and_then(|config| wasmtime::Engine::new(config))
            .map_err(|error| Error::new(Code::Internal, "the engine cannot start").with_cause(error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (weak, stop) = (wasm.weak(), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("deadline".to_owned())
                .spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::park_timeout(DEADLINE_TICK);
                        match weak.upgrade() {
                            Some(engine) => engine.increment_epoch(),
                            None => return,
                        }
                    }
                })
                .map_err(|error| Error::new(Code::Internal, "the deadline thread cannot start").with_cause(error))?
        };
        let clock = Arc::new(Clock { stop, thread: Some(thread) });
        Ok(Engine { wasm, cache: cache.map(Path::to_owned), parts, _clock: clock })
    }

    /// Version, architecture and the hash of everything that decides generated code.
    pub fn fingerprint(&self) -> String {
        format!("wasmtime/{WASMTIME_VERSION} {} {}", std::env::consts::ARCH, self.compatibility())
    }

    pub(crate) fn compatibility(&self) -> String {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        self.wasm.precompile_compatibility_hash().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// The version that Cargo.lock pins; a test compares.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// FNV-1a: a hash whose value is the same in every process, which std's default hasher does not promise.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
