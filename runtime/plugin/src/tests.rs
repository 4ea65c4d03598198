//! The sandbox against hostile guests and damaged files.
//!
//! The guests are core modules in text, wrapped like any plugin. `process` is what each test supplies.

use crate::admission;
use crate::component::componentize;
use crate::{CallFailure, Engine, Limits};
use segno_core::Code;
use std::time::{Duration, Instant};

const DESCRIPTION: &str = r#"{"abi":1,"name":"guest","version":"0.1.0","inputs":[{"name":"in","columns":[]}],"event_time":false,"outputs":[],"tables":[],"side_tables":[]}"#;

/// A guest. `init` and `process` are bodies; `process` leaves the address of its result (0: an empty list; 64: what the
/// body wrote there).
fn guest(head: &str, init: &str, process: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
  (import "segno:stream/observe@1.0.0" "log" (func $log (param i32 i32 i32)))
  {head}
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (data (i32.const 1024) "{}")
  (data (i32.const 32) "\00\04\00\00{}")
  (data (i32.const 4096) "something broke")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))
    (local.get $at))
  (func (export "describe") (result i32) (i32.const 32))
  (func (export "init") (param i32 i32) (result i32) {init} (i32.const 0))
  (func (export "process") (param i32 i32) (result i32) {process}))"#,
        DESCRIPTION.replace('"', "\\22"),
        (DESCRIPTION.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect::<String>(),
    );
    let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    wrap(&module)
}

fn wrap(module: &[u8]) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let folder = std::path::Path::new(".").join("../../wit");
    let (package, _) = resolve.push_dir(folder).expect("the interface");
    let world = resolve.select_world(&[package], Some("transform")).expect("the world");
    let mut module = module.to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8)
        .expect("metadata");
    componentize(&module).expect("a component")
}

fn call(component: &[u8], limits: Limits) -> Result<Vec<u8>, CallFailure> {
    let engine = Engine::new(None).expect("an engine");
    let component = engine.load(component, &limits).expect("an admitted component");
    let template = engine.template(&component, b"", &limits).expect("a template");
    let mut instance = template.instantiate()?;
    instance.process(b"batch", <[u8]>::to_vec).map(|done| done.value)
}

fn failure(component: &[u8], limits: Limits) -> CallFailure {
    call(component, limits).expect_err("the call must fail")
}

#[test]
fn a_harmless_guest_answers() {
    let answer = call(&guest("", "", "(i32.const 0)"), Limits::default());
    assert_eq!(answer, Ok(Vec::new()));
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let guest = guest("", "", "(loop $l (br $l)) (i32.const 0)");
    assert!(matches!(failure(&guest, Limits::default()), CallFailure::OutOfFuel { .. }));
}

#[test]
fn a_deadline_ends_what_fuel_does_not() {
    let guest = guest("", "", "(loop $l (br $l)) (i32.const 0)");
    let limits =
        Limits { fuel_per_record: u64::MAX / 4, deadline: Duration::from_millis(50), ..Limits::default() };
    let failure = failure(&guest, limits);
    assert!(failure.is_deadline(), "{failure}");
}

#[test]
fn deep_recursion_overflows_the_guests_stack_only() {
    let guest = guest(
        "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))",
        "",
        "(call $deep (i32.const 0))",
    );
    let failure = failure(&guest, Limits::default());
    assert_eq!(failure.code(), Code::PluginStackOverflow);
    assert_eq!(failure.to_string(), "the plugin overflowed its stack in deep");
}

#[test]
fn a_trap_without_words_names_the_functions() {
    let innermost = "(func $inner (drop (i32.load (i32.const -4)))) (func $outer (call $inner)) (func $_RNvCs1234_7mycrate4deep (call $outer))";
    let guest = guest(innermost, "", "(call $_RNvCs1234_7mycrate4deep) (i32.const 0)");
    let said = failure(&guest, Limits::default()).to_string();
    assert!(said.starts_with("the plugin trapped (out of bounds") && said.ends_with(") in inner, called by outer, called by mycrate::deep"), "{said}");
    // A name is the plugin's: of any length, and never more than is shown.
    let long = "n".repeat(100_000);
    let long = self::guest(&format!("(func ${long} (unreachable))"), "", &format!("(call ${long}) (i32.const 0)"));
    let said = failure(&long, Limits::default()).to_string();
    assert!(said.contains("nnn") && said.len() < 600, "{}", said.len());
}

#[test]
fn memory_and_tables_are_bounded() {
    let memory = guest("", "", "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) (i32.const 0)");
    assert!(matches!(failure(&memory, Limits::default()), CallFailure::Memory { .. }));
    let engine = Engine::new(None).expect("an engine");
    let large = guest("(table $t 2000000 funcref)", "", "(i32.const 0)");
    let error = engine.load(&large, &Limits::default()).err().expect("a refusal");
    assert_eq!(error.code(), Code::PluginTableLimit, "{error}");
    let raised = Limits { tables: 3_000_000, ..Limits::default() };
    engine.load(&large, &raised).expect("a limit that was raised");
    // Tables that grow cannot be a part of a template: refused before anything runs.
    let growing = guest(
        "(table $t 1 funcref)",
        "",
        "(loop $l (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $l)) (i32.const 0)",
    );
    let error = engine.load(&growing, &Limits::default()).err().expect("a refusal");
    assert_eq!(error.code(), Code::PluginRefused, "{error}");
}

#[test]
fn an_answer_outside_of_memory_is_refused() {
    // result at 64: ok, address and length beyond the memory.
    let guest = guest(
        "",
        "",
        "(i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 131000))
         (i32.store (i32.const 72) (i32.const 1000000)) (i32.const 64)",
    );
    assert!(matches!(failure(&guest, Limits::default()), CallFailure::Malformed(_)));
    let wild = super::tests::guest("", "", "(i32.const 2147483640)");
    assert!(matches!(failure(&wild, Limits::default()), CallFailure::Malformed(_)));
}

#[test]
fn an_answer_beyond_every_bound_of_the_engine_is_told_by_its_size() {
    // 140 MiB of zeroes: in memory that may be so large, but more than an answer may have.
    let guest = guest(
        "",
        "",
        "(drop (memory.grow (i32.const 2400)))
         (i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 65536))
         (i32.store (i32.const 72) (i32.const 146800640)) (i32.const 64)",
    );
    let limits = Limits { memory: 256 << 20, ..Limits::default() };
    assert_eq!(failure(&guest, limits), CallFailure::OutputTooLarge { bytes: 140 << 20, limit: limits.output_bytes });
}

#[test]
fn a_trap_carries_the_last_error_that_was_logged() {
    let guest = guest("", "", "(call $log (i32.const 4) (i32.const 4096) (i32.const 15)) unreachable");
    let failure = failure(&guest, Limits::default());
    assert_eq!(failure.code(), Code::PluginTrapped);
    assert!(failure.to_string().contains("something broke"), "{failure}");
}

#[test]
fn an_error_returned_by_the_plugin_is_fatal() {
    let guest = guest(
        "",
        "",
        "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 4096))
         (i32.store (i32.const 72) (i32.const 15)) (i32.const 64)",
    );
    let failure = failure(&guest, Limits::default());
    assert_eq!(failure, CallFailure::Fatal("something broke".to_owned()));
    assert!(failure.is_fatal());
}

#[test]
fn a_flood_of_log_lines_is_counted_and_dropped() {
    let guest = guest(
        "",
        "",
        "(local $n i32)
         (loop $l (call $log (i32.const 2) (i32.const 4096) (i32.const 15))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $n) (i32.const 5000))))
         (i32.const 0)",
    );
    let engine = Engine::new(None).expect("an engine");
    let template =
        engine.template(&engine.load(&guest, &Limits::default()).expect("admitted"), b"", &Limits::default()).expect("a template");
    let mut instance = template.instantiate().expect("an instance");
    instance.process(b"", |_| ()).expect("a call");
    let observed = instance.take_observed();
    assert_eq!(observed.logs.len() as u64, crate::limits::LOG_LINES);
    assert_eq!(observed.dropped, 5_000 - crate::limits::LOG_LINES);
}

/// What `process` answers is one byte: the sum of a global and a byte of memory, each raised by `init` and by each call.
const COUNTING: &str = "
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store8 (i32.const 8192) (i32.add (i32.load8_u (i32.const 8192)) (i32.const 1)))
    (i32.store8 (i32.const 8200) (i32.add (global.get $calls) (i32.load8_u (i32.const 8192))))
    (i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 8200))
    (i32.store (i32.const 72) (i32.const 1)) (i32.const 64)";
const COUNTING_INIT: &str = "(global.set $calls (i32.const 10)) (i32.store8 (i32.const 8192) (i32.const 20))";

#[test]
fn a_fresh_instance_has_all_that_init_left_and_nothing_else() {
    let guest = guest("(global $calls (mut i32) (i32.const 0))", COUNTING_INIT, COUNTING);
    let engine = Engine::new(None).expect("an engine");
    let template =
        engine.template(&engine.load(&guest, &Limits::default()).expect("admitted"), b"", &Limits::default()).expect("a template");
    for _ in 0..3 {
        let mut instance = template.instantiate().expect("an instance");
        for calls in 1..=2 {
            let answer = instance.process(b"", <[u8]>::to_vec).expect("a call").value;
            assert_eq!(answer, [30 + 2 * calls], "global and memory start from init's values");
        }
    }
}

#[test]
fn a_thousand_instances_of_a_plugin_with_a_slow_init_take_less_than_a_second() {
    let slow = "(local $n i64)
        (loop $l (local.set $n (i64.add (local.get $n) (i64.const 1)))
          (br_if $l (i64.lt_u (local.get $n) (i64.const 100000000))))";
    let engine = Engine::new(None).expect("an engine");
    let component = engine.load(&guest("", slow, "(i32.const 0)"), &Limits::default()).expect("admitted");
    let started = Instant::now();
    let template = engine.template(&component, b"", &Limits::default()).expect("a template");
    let init = started.elapsed();
    let started = Instant::now();
    for _ in 0..1_000 {
        template.instantiate().expect("an instance").process(b"", |_| ()).expect("a call");
    }
    // Not a measurement: if `init` ran for each instance this would take a thousand times as long as one.
    assert!(started.elapsed() < init * 100, "init {init:?}, 1,000 instances {:?}", started.elapsed());
}

#[test]
fn a_plugin_that_refuses_its_configuration_is_quoted() {
    let guest = guest(
        "",
        "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 4096))
         (i32.store (i32.const 72) (i32.const 15)) (return (i32.const 64))",
        "(i32.const 0)",
    );
    let engine = Engine::new(None).expect("an engine");
    let error = engine
        .template(&engine.load(&guest, &Limits::default()).expect("admitted"), b"", &Limits::default())
        .err()
        .expect("a refusal");
    assert_eq!((error.code(), error.message()), (Code::PluginConfiguration, "something broke"));
}

#[test]
fn imports_of_the_system_are_refused_by_name_with_advice() {
    for (import, advice) in [("wasi:clocks/wall-clock@0.2.0", "event time"), ("wasi:random/random@0.2.0", "hash"), ("acme:db/query", "replays")] {
        let text = format!(r#"(component (import "{import}" (instance)))"#);
        let error = admission::admit(&wat::parse_str(text).expect("a component")).expect_err("a refusal");
        assert_eq!(error.code(), Code::PluginImport);
        assert!(error.message().contains(import), "{error}");
        assert!(error.help().is_some_and(|help| help.contains(advice)), "{:?}", error.help());
    }
}

#[test]
fn what_is_no_component_is_refused_with_its_code() {
    let module = wat::parse_str("(module)").expect("a module");
    let whole = guest("", "", "(i32.const 0)");
    for (bytes, code) in [
        (b"".to_vec(), Code::NotAComponent),
        (b"(component)".to_vec(), Code::NotAComponent),
        (b"\x7fELF\x02".to_vec(), Code::NotAComponent),
        (b"hello".to_vec(), Code::NotAComponent),
        (module, Code::NotAComponent),
        (whole[..whole.len() / 2].to_vec(), Code::PluginDamaged),
        (wat::parse_str("(component)").expect("a component"), Code::PluginExports),
        (vec![0; crate::limits::COMPONENT_BYTES + 1], Code::PluginTooLarge),
    ] {
        let error = admission::admit(&bytes).expect_err("a refusal");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.help().is_some(), "{error}");
    }
}

#[test]
fn a_component_with_changed_bytes_never_panics() {
    let whole = guest("", "", "(i32.const 0)");
    let engine = Engine::new(None).expect("an engine");
    // A small generator with a fixed seed: a failure repeats.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut bytes = whole.clone();
        for _ in 0..=next() % 4 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        refused += usize::from(engine.load(&bytes, &Limits::default()).is_err());
    }
    assert!(refused > 500, "only {refused} of 1,000 changed components were refused");
}

#[test]
fn limits_hold_for_a_plugin_out_of_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::new(Some(folder.path())).expect("an engine");
    let component = engine.load(&guest("(table 10 funcref)", "", "(i32.const 0)"), &Limits::default()).expect("admitted");
    engine.template(&component, b"", &Limits::default()).expect("a template, which is cached");
    for (limits, code) in [
        (Limits { tables: 5, ..Limits::default() }, Code::PluginTableLimit),
        (Limits { memory: 65_536, ..Limits::default() }, Code::PluginInit),
    ] {
        let error = engine.template(&component, b"", &limits).err().expect("a refusal");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.help().is_some_and(|help| help.contains("limits.")), "{error}");
    }
}

#[test]
fn a_changed_cache_entry_is_compiled_again_and_never_loaded() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = guest("(global $calls (mut i32) (i32.const 0))", COUNTING_INIT, COUNTING);
    let load = || {
        let engine = Engine::new(Some(folder.path())).expect("an engine");
        let component = engine.load(&bytes, &Limits::default()).expect("admitted");
        let template = engine.template(&component, b"", &Limits::default()).expect("a template");
        template.instantiate().expect("an instance").process(b"", <[u8]>::to_vec).expect("a call").value
    };
    let entries = || -> Vec<std::path::PathBuf> {
        std::fs::read_dir(folder.path())
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
            .collect()
    };
    assert_eq!(load(), [32]);
    assert_eq!(entries().len(), 2, "the component and its template");
    let mode = std::fs::metadata(folder.path().join("key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for entry in entries() {
        let written = std::fs::read(&entry).expect("an entry");
        let mut changed = written.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(&entry, &changed).expect("an entry");
        assert_eq!(load(), [32], "compiled again");
        assert_ne!(std::fs::read(&entry).expect("an entry"), changed, "the changed entry was replaced");
    }
    // Another installation's key makes every entry foreign.
    let before: Vec<_> = entries().iter().map(|entry| std::fs::read(entry).expect("an entry")).collect();
    std::fs::write(folder.path().join("key"), [7; 32]).expect("a key");
    assert_eq!(load(), [32]);
    let after: Vec<_> = entries().iter().map(|entry| std::fs::read(entry).expect("an entry")).collect();
    assert_ne!(before, after);
}

/// Switches of wasmtime's `Config` that are not set, and why each cannot change an answer.
const WITHOUT_INFLUENCE: &[(&str, &str)] = &[
    ("async_stack_size", "calls are synchronous"),
    ("async_stack_zeroing", "calls are synchronous"),
    ("async_support", "calls are synchronous"),
    ("cache", "Segno has a cache of its own, with a MAC"),
    ("collector", "garbage collection is compiled out"),
    ("coredump_on_trap", "compiled out; a trap discards the instance"),
    ("cranelift_pcc", "checks generated code, does not change it"),
    ("debug_adapter_modules", "adapters are compiled like modules"),
    ("emit_clif", "writes files for people"),
    ("enable_incremental_compilation", "set for each engine, with the parts that its cache has"),
    ("enable_compiler", "the compiler is compiled in"),
    ("gc_heap_guard_size", "garbage collection is compiled out"),
    ("gc_heap_initial_size", "garbage collection is compiled out"),
    ("gc_heap_may_move", "garbage collection is compiled out"),
    ("gc_heap_reservation", "garbage collection is compiled out"),
    ("gc_heap_reservation_for_growth", "garbage collection is compiled out"),
    ("gc_zeal_alloc_counter", "garbage collection is compiled out"),
    ("guest_debug", "compiled out"),
    ("debug_symbols", "names for people"),
    ("macos_use_mach_ports", "Linux only"),
    ("metadata_for_gc_heap_corruption", "garbage collection is compiled out"),
    ("metadata_for_internal_asserts", "checks of the engine itself"),
    ("module_version", "guards serialised code; the MAC and the compatibility hash do too"),
    ("operator_cost", "its default costs belong to the version, which the fingerprint names"),
    ("profiler", "for people"),
    ("rr", "recording is compiled out"),
    ("target", "the machine's own"),
    ("wasm_backtrace", "deprecated form of a switch that is set"),
    ("wasm_backtrace_details", "for people; text of traps does not reach output"),
    ("wasm_component_model_async", "compiled out"),
    ("wasm_component_model_async_stackful", "compiled out"),
    ("wasm_component_model_more_async_builtins", "compiled out"),
    ("wasm_component_model_threading", "compiled out"),
    ("wasm_exceptions", "compiled out; set by wasm_features"),
    ("wasm_function_references", "compiled out; set by wasm_features"),
    ("wasm_legacy_exceptions", "deprecated; set by wasm_features"),
    ("wasm_reference_types", "needed by components, and cannot be switched in this build"),
    ("wasm_threads", "compiled out; set by wasm_features"),
    ("with_custom_code_memory", "where compiled code is kept, not what it is"),
    ("with_host_memory", "memory comes from the engine"),
    ("with_host_stack", "calls are synchronous"),
    ("wmemcheck", "compiled out"),
];

#[test]
fn every_switch_of_the_engine_is_set_or_known_to_have_no_influence() {
    let output = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        // Packages of other platforms may not be on this machine.
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(".")
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let package = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == "wasmtime"))
        .expect("wasmtime among the packages");
    assert_eq!(package["version"], crate::engine::WASMTIME_VERSION);
    let manifest = std::path::Path::new(package["manifest_path"].as_str().expect("a path"));
    let source = std::fs::read_to_string(manifest.with_file_name("src").join("config.rs")).expect("wasmtime's config.rs");
    // Only `impl Config`: the pooling allocator's settings follow in blocks of their own.
    let start = source.find("impl Config {").expect("impl Config");
    let end = start + source[start..].find("\n}\n").expect("its end");
    let switches: Vec<&str> = source[start..end]
        .split("pub fn ")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once('(')?;
            rest.trim_start().starts_with("&mut self").then(|| name.split('<').next().unwrap_or(name).trim())
        })
        .collect();
    assert!(switches.len() > 50, "wasmtime's config.rs was not understood: {switches:?}");
    let ours = include_str!("engine.rs");
    let unknown: Vec<&&str> = switches
        .iter()
        .filter(|name| !ours.contains(&format!("config.{name}(")) && !WITHOUT_INFLUENCE.iter().any(|(known, _)| known == *name))
        .collect();
    assert!(unknown.is_empty(), "wasmtime has switches that are neither set nor judged: {unknown:?}");
    let set: Vec<&str> = ours.lines().filter_map(|line| line.trim().strip_prefix("config.")?.split('(').next()).collect();
    assert!(set.is_sorted(), "the switches are in alphabetical order: {set:?}");
}
