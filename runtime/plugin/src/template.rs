//! Templates: a plugin after `init`, ready to be instantiated thousands of times.
//!
//! Owns: loading a component, its description, running `init` once, the snapshot, the compiled code.
//! Does not own: the cache's files (`cache`), calls (`instance`).
//!
//! Invariant: an instance begins with the whole of memory and globals as `init` left them, and with nothing else.

use crate::admission::{self, Inspection};
use crate::cache::Cache;
use crate::engine::Engine;
use crate::failure::{CallFailure, without_memory};
use crate::instance::{Host, Instance, failure, linker, prepare};
use crate::limits::{FUEL_DESCRIBE, Limits};
use crate::parts::interpreter;
use crate::start::start;
use segno_core::{Code, Error, Result};
use segno_wire::Description;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasmtime::Store;
use wasmtime::component::{Instance as WasmInstance, InstancePre, WasmList};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

/// A component that was admitted and has described itself.
pub struct Component {
    pub inspection: Inspection,
    pub description: Description,
    bytes: Vec<u8>,
}

/// A component after `init`.
pub struct Template {
    pub description: Description,
    pub limits: Limits,
    pre: InstancePre<Host>,
    frees_answers: bool,
}

impl Template {
    pub fn instantiate(&self) -> Result<Instance, CallFailure> {
        Instance::new(&self.pre, &self.limits, self.frees_answers)
    }
}

fn refused(error: &wasmtime::Error) -> Error {
    if without_memory(error) {
        return failed_in("the start", &CallFailure::NoMemory(format!("{error:#}")));
    }
    Error::new(Code::PluginRefused, "the engine refuses the component").with_cause(format!("{error:#}"))
        .with_help("build it again with `segno build`; it uses features of WebAssembly that Segno leaves out")
}

fn failed_in(function: &str, failure: &CallFailure) -> Error {
    // Tables cannot grow after `init`: a plugin that wants too many of their elements always fails here.
    let (code, help) = match failure {
        CallFailure::Table { .. } => (failure.code(), "raise limits.tables of the step, if so many are meant"),
        CallFailure::Memory { .. } => (Code::PluginInit, "raise limits.memory of the step, if so much is meant"),
        CallFailure::OutOfFuel { .. } => (Code::PluginInit, "raise limits.fuel_init of the step, if so much is meant"),
        CallFailure::NoMemory(_) => (failure.code(), "allow the process more memory and addresses (ulimit -v), or use fewer threads"),
        _ => (Code::PluginInit, "mend the plugin, or what it was given under config and tables of the step"),
    };
    Error::new(code, format!("{function} of the plugin failed: {failure}")).with_help(help)
}

impl Engine {
    /// Admits a component, compiles it (or takes it from the cache) and asks it what it is, within the limits of memory
    /// and tables.
    pub fn load(&self, bytes: &[u8], limits: &Limits) -> Result<Component> {
        let inspection = admission::admit(bytes)?;
        let component = self.instrumented(&inspection.sha256, bytes)?.1;
        let (mut store, instance) = self.start(&component, limits)?;
        let describe = instance
            .get_typed_func::<(), (Vec<u8>,)>(&mut store, "describe")
            .map_err(|error| wrong_type("describe", &error))?;
        prepare(&mut store, FUEL_DESCRIBE, u64::MAX / 2);
        let (text,) = describe
            .call(&mut store, ())
            .map_err(|error| failed_in("describe()", &failure(&mut store, limits, FUEL_DESCRIBE, error)))?;
        let description = Description::parse(&text).map_err(|error| {
            Error::new(Code::PluginDescription, format!("the plugin's description is not valid: {error}"))
                .with_help("the SDK writes it; a plugin in another language follows wit/frame.md")
        })?;
        Ok(Component { inspection, description, bytes: bytes.to_vec() })
    }

    /// Runs `init` on a component and keeps what it left behind.
    pub fn template(&self, component: &Component, init: &[u8], limits: &Limits) -> Result<Arc<Template>> {
        let name = format!("{}-{}", component.inspection.sha256, &admission::sha256(init)[..32]);
        let compiled = self.compiled(&name, || self.initialised(component, init, limits))?;
        let linker = linker(&self.wasm).map_err(|error| refused(&error))?;
        let pre = linker.instantiate_pre(&compiled).map_err(|error| refused(&error))?;
        let template = Template { description: component.description.clone(), limits: *limits, pre, frees_answers: component.inspection.frees_answers };
        // What the cache gave may have been initialised under other limits: that it fits is never left to the first call.
        template.instantiate().map_err(|failure| failed_in("the start", &failure))?;
        Ok(Arc::new(template))
    }

    fn compiled(
        &self,
        name: &str,
        bytes: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<wasmtime::component::Component> {
        let cache = self.cache.as_deref().map(Cache::open).transpose()?;
        let name = format!("{name}-{}", self.compatibility());
        if let Some(cache) = &cache
            && let Some(code) = cache.load(&name)
        {
            // SAFETY: the MAC shows that this installation compiled it with this engine.
            let loaded = unsafe { wasmtime::component::Component::deserialize(&self.wasm, &code) };
            if let Ok(component) = loaded {
                return Ok(component);
            }
        }
        let component = self.compile(&bytes()?)?;
        if let Some(cache) = &cache
            && let Ok(code) = component.serialize()
        {
            cache.store(&name, &code);
        }
        Ok(component)
    }

    fn compile(&self, bytes: &[u8]) -> Result<wasmtime::component::Component> {
        let cache = self.cache.as_deref().map(Cache::open).transpose()?;
        if let Some(cache) = &cache {
            let name = interpreter(bytes).map(|interpreter| format!("parts-{interpreter}-{}", self.compatibility()));
            self.parts.load(cache, name.as_deref());
        }
        let component = wasmtime::component::Component::new(&self.wasm, bytes).map_err(|error| refused(&error))?;
        if let Some(cache) = &cache {
            self.parts.save(cache);
        }
        Ok(component)
    }

    fn start(
        &self,
        component: &wasmtime::component::Component,
        limits: &Limits,
    ) -> Result<(Store<Host>, WasmInstance)> {
        let linker = linker(&self.wasm).map_err(|error| refused(&error))?;
        start(&self.wasm, limits, limits.fuel_init, u64::MAX / 2, |store| linker.instantiate(store, component)).map_err(
            |failure| match failure {
                CallFailure::Engine(why) => refused(&wasmtime::Error::msg(why)),
                CallFailure::NoMemory(_) => failed_in("the start", &failure),
                failure => failed_in("the start function", &failure),
            },
        )
    }

    /// The component with functions that show its memories and globals; `describe` and `init` are asked of it.
    fn instrumented<'b>(
        &self,
        sha256: &str,
        bytes: &'b [u8],
    ) -> Result<((Wizer, ComponentContext<'b>), wasmtime::component::Component)> {
        let wizer = Wizer::new();
        let (context, instrumented) = wizer.instrument_component(bytes).map_err(|error| refused(&error))?;
        let compiled = self.compiled(&format!("{sha256}-instrumented"), || Ok(instrumented))?;
        Ok(((wizer, context), compiled))
    }

    /// The component with memories and globals as `init` left them.
    fn initialised(&self, component: &Component, init: &[u8], limits: &Limits) -> Result<Vec<u8>> {
        let ((wizer, context), compiled) = self.instrumented(&component.inspection.sha256, &component.bytes)?;
        let (mut store, instance) = self.start(&compiled, limits)?;
        let function = instance
            .get_typed_func::<(&[u8],), (Result<(), String>,)>(&mut store, "init")
            .map_err(|error| wrong_type("init", &error))?;
        prepare(&mut store, limits.fuel_init, u64::MAX / 2);
        match function.call(&mut store, (init,)) {
            Ok((Ok(()),)) => {}
            Ok((Err(why),)) => {
                return Err(Error::new(Code::PluginConfiguration, why)
                    .with_help("the plugin refused its configuration or its side tables: look at config and tables of the step"));
            }
            Err(error) => {
                return Err(failed_in("init()", &failure(&mut store, limits, limits.fuel_init, error)));
            }
        }
        let mut state = Snapshot { store, instance };
        let mut snapshot = pin!(wizer.snapshot_component(&context, &mut state));
        // Every future below is ready at once: nothing in it waits.
        match snapshot.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.map_err(|error| refused(&error)),
            Poll::Pending => Err(Error::new(Code::Internal, "the snapshot of a plugin waits for something")),
        }
    }
}

fn wrong_type(function: &str, error: &wasmtime::Error) -> Error {
    Error::new(Code::PluginExports, format!("the component's {function} does not have the type of segno:stream@1.0.0"))
        .with_cause(error)
        .with_help("build it with this version's SDK")
}

/// Reads an instrumented instance's memories and globals.
struct Snapshot {
    store: Store<Host>,
    instance: WasmInstance,
}

impl Snapshot {
    fn call<R>(&mut self, instance: &str, function: &str) -> R
    where
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + 'static,
        (R,): Sized,
    {
        let found = self
            .instance
            .get_export_index(&mut self.store, None, instance)
            .and_then(|parent| self.instance.get_export_index(&mut self.store, Some(&parent), function))
            .expect("the instrumentation exports its accessors");
        let function =
            self.instance.get_typed_func::<(), R>(&mut self.store, found).expect("accessors have their types");
        prepare(&mut self.store, u64::MAX, u64::MAX / 2);
        function.call(&mut self.store, ()).expect("accessors do not trap")
    }
}

impl ComponentInstanceState for Snapshot {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        self.store.set_hostcall_fuel(usize::MAX);
        let (list,): (WasmList<u8>,) = self.call(instance, func);
        contents(list.as_le_slice(&self.store));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call::<(i32,)>(instance, func).0
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call::<(i64,)>(instance, func).0
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.call::<(f32,)>(instance, func).0.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.call::<(f64,)>(instance, func).0.to_bits()
    }
}
