//! An instance of a template: calls, fuel, limits, what it logs and counts.
//!
//! Owns: one store of the engine. Does not own: what a batch or an answer means.
//!
//! Invariants: fuel is set for each call. After a failure the instance is not called again. Nothing that the plugin
//! imports gives it anything back.

use crate::failure::{CallFailure, cut, name, within, without_memory};
use crate::limits::{COUNTER_NAME_BYTES, COUNTERS, FUEL_INSTANTIATE, INSTANCES, LOG_LINE_BYTES, Limits};
use crate::engine::DEADLINE_TICK;
use crate::start::start;
use std::collections::BTreeMap;
use wasmtime::component::{InstancePre, Linker, TypedFunc, WasmList};
use wasmtime::{ResourceLimiter, Store, Trap};

/// What a plugin said since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub logs: Vec<LogLine>,
    /// Lines beyond the limit.
    pub dropped: u64,
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error.
    pub level: u8,
    pub message: String,
}

/// A finished call.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    /// Fuel that the call used. Never part of output or digests.
    pub fuel: u64,
}

pub(crate) struct Host {
    observed: Observed,
    lines_left: u64,
    memory_left: u64,
    memory: u64,
    tables_left: u64,
    tables: u64,
    /// Which limit made the engine trap.
    hit: Option<CallFailure>,
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = (desired.saturating_sub(current)) as u64;
        if more > self.memory_left {
            self.hit = Some(CallFailure::Memory { bytes: self.memory });
            return Err(wasmtime::Error::msg("memory limit"));
        }
        self.memory_left -= more;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = (desired.saturating_sub(current)) as u64;
        if more > self.tables_left {
            self.hit = Some(CallFailure::Table { elements: self.tables });
            return Err(wasmtime::Error::msg("table limit"));
        }
        self.tables_left -= more;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        INSTANCES
    }
}

impl Host {
    /// True when a limit of memory or tables made the engine give up.
    pub(crate) fn hit_a_limit(&self) -> bool {
        self.hit.is_some()
    }

    fn log(&mut self, level: u8, message: &str) {
        if self.lines_left == 0 {
            self.observed.dropped += 1;
            return;
        }
        self.lines_left -= 1;
        let message = message[..cut(message, LOG_LINE_BYTES)].to_owned();
        self.observed.logs.push(LogLine { level: level.min(4), message });
    }

    fn count(&mut self, name: &str, delta: u64) {
        let counters = &mut self.observed.counters;
        if let Some(counter) = counters.get_mut(name) {
            *counter = counter.saturating_add(delta);
        } else if counters.len() < COUNTERS && name.len() <= COUNTER_NAME_BYTES {
            counters.insert(name.to_owned(), delta);
        } else {
            self.observed.dropped += 1;
        }
    }
}

/// The interface that plugins import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let mut observe = linker.instance(crate::admission::OBSERVE)?;
    observe.func_wrap("log", |mut store: wasmtime::StoreContextMut<'_, Host>, (level, message): (u8, String)| {
        store.data_mut().log(level, &message);
        Ok(())
    })?;
    observe.func_wrap("count", |mut store: wasmtime::StoreContextMut<'_, Host>, (name, delta): (String, u64)| {
        store.data_mut().count(&name, delta);
        Ok(())
    })?;
    Ok(linker)
}

pub(crate) fn store(engine: &wasmtime::Engine, limits: &Limits) -> Store<Host> {
    let host = Host {
        observed: Observed::default(),
        lines_left: limits.log_lines,
        memory_left: limits.memory,
        memory: limits.memory,
        tables_left: limits.tables,
        tables: limits.tables,
        hit: None,
    };
    let mut store = Store::new(engine, host);
    store.limiter(|host| host);
    // How much a call may hand over is bounded by the plugin's memory; the engine's own bound is lower than that may be,
    // and would hide that an answer is too large.
    store.set_hostcall_fuel(usize::try_from(limits.memory).unwrap_or(usize::MAX));
    store
}

/// `process` of a component, by who owns its answer after the call.
enum Process {
    /// It stays in the plugin's memory, and is read there.
    InPlace(TypedFunc<(&'static [u8],), (Result<WasmList<u8>, String>,)>),
    /// The component frees it when the call ends (a post-return function): the engine copies it before.
    Copied(TypedFunc<(&'static [u8],), (Result<Vec<u8>, String>,)>),
}

/// What `process` answered.
enum Answer {
    InPlace(WasmList<u8>),
    Copied(Vec<u8>),
}

impl Process {
    fn call(&self, store: &mut Store<Host>, batch: &'static [u8]) -> wasmtime::Result<Result<Answer, String>> {
        Ok(match self {
            Process::InPlace(function) => function.call(store, (batch,))?.0.map(Answer::InPlace),
            Process::Copied(function) => function.call(store, (batch,))?.0.map(Answer::Copied),
        })
    }
}

pub struct Instance {
    store: Store<Host>,
    process: Process,
    limits: Limits,
    deadline_ticks: u64,
}

impl Instance {
    pub(crate) fn new(pre: &InstancePre<Host>, limits: &Limits, frees_answers: bool) -> Result<Instance, CallFailure> {
        let (mut store, instance) =
            start(pre.engine(), limits, FUEL_INSTANTIATE, ticks(limits), |store| pre.instantiate(store))?;
        let process = match frees_answers {
            false => instance.get_typed_func(&mut store, "process").map(Process::InPlace),
            true => instance.get_typed_func(&mut store, "process").map(Process::Copied),
        };
        let process = process.map_err(|error| CallFailure::Engine(error.to_string()))?;
        Ok(Instance { store, process, limits: *limits, deadline_ticks: ticks(limits) })
    }

    /// Calls `process` on a batch with the fuel of the limits. `read` sees the answer in the plugin's memory; it must check it.
    pub fn process<T>(&mut self, batch: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Done<T>, CallFailure> {
        self.process_within(batch, self.limits.fuel_per_record, read)
    }

    /// The same with less fuel, where it is known that the call will be made again if that does not do.
    pub fn process_within<T>(&mut self, batch: &[u8], fuel: u64, read: impl FnOnce(&[u8]) -> T) -> Result<Done<T>, CallFailure> {
        prepare(&mut self.store, fuel, self.deadline_ticks);
        self.store.data_mut().lines_left = self.limits.log_lines;
        #[cfg(feature = "testing")]
        let leaked = crate::planted::leak(batch);
        #[cfg(feature = "testing")]
        let batch = leaked.as_deref().unwrap_or(batch);
        // SAFETY: the function lowers its parameter into the guest during the call and keeps no reference: the lifetime
        // only names the parameter's type.
        let batch: &'static [u8] = unsafe { std::mem::transmute::<&[u8], &'static [u8]>(batch) };
        match self.process.call(&mut self.store, batch) {
            Ok(Ok(answer)) => {
                let left = self.store.get_fuel().unwrap_or(0);
                let answer = match &answer {
                    Answer::InPlace(list) => list.as_le_slice(&self.store),
                    Answer::Copied(bytes) => bytes,
                };
                let bytes = answer.len() as u64;
                if bytes > self.limits.output_bytes {
                    return Err(CallFailure::OutputTooLarge { bytes, limit: self.limits.output_bytes });
                }
                let value = read(answer);
                Ok(Done { value, fuel: fuel.saturating_sub(left) })
            }
            Ok(Err(why)) => Err(CallFailure::fatal(why)),
            Err(error) => Err(failure(&mut self.store, &self.limits, fuel, error)),
        }
    }

    /// What the plugin logged and counted since the last time.
    pub fn take_observed(&mut self) -> Observed {
        std::mem::take(&mut self.store.data_mut().observed)
    }
}

fn ticks(limits: &Limits) -> u64 {
    (limits.deadline.as_millis() / DEADLINE_TICK.as_millis()) as u64 + 1
}

pub(crate) fn prepare(store: &mut Store<Host>, fuel: u64, ticks: u64) {
    // Fails only where fuel is off, and the engine has it on.
    let _ = store.set_fuel(fuel);
    store.set_epoch_deadline(ticks);
}

/// The failure that an engine's error stands for.
pub(crate) fn failure(store: &mut Store<Host>, limits: &Limits, fuel: u64, error: wasmtime::Error) -> CallFailure {
    if let Some(hit) = store.data_mut().hit.take() {
        return hit;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => CallFailure::OutOfFuel { fuel },
        Some(Trap::Interrupt) => CallFailure::Deadline { milliseconds: limits.deadline.as_millis() as u64 },
        Some(Trap::StackOverflow) => CallFailure::StackOverflow { within: within(&error) },
        Some(trap) => {
            let said = store.data().observed.logs.iter().rev().find(|line| line.level == 4);
            CallFailure::Trap {
                name: name(*trap).to_owned(),
                said: said.map(|line| line.message.clone()),
                within: within(&error),
            }
        }
        None if without_memory(&error) => CallFailure::of_engine(&error),
        // The canonical ABI refuses an answer that lies outside the plugin's memory or is not what its type says.
        None => {
            tracing::debug!("the engine refuses an answer: {error:#}");
            CallFailure::Malformed("malformed answer: it is not of the type that the interface says, or lies outside the plugin's memory".to_owned())
        }
    }
}

#[allow(dead_code, reason = "kept beside the fields that it documents")]
fn assert_send() {
    fn is_send<T: Send>() {}
    is_send::<Instance>();
}
