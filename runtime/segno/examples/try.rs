use segno::worker::{load, open::RunOptions, replay, run};
use segno_core::pipeline::Pipeline;
use std::sync::atomic::AtomicBool;
fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "wrap" {
        for file in &args[2..] {
            let out = segno_plugin::component::componentize(&std::fs::read(file).unwrap()).unwrap();
            std::fs::write(file.replace(".wasm", ".component.wasm"), out).unwrap();
        }
        return;
    }
    let text = std::fs::read_to_string(&args[2]).unwrap();
    let pipeline = match Pipeline::parse(args[2].as_ref(), &text, &|name| std::env::var(name).ok()) {
        Ok(p) => p,
        Err(errors) => { for e in errors { eprintln!("{e} / {:?}", e.help()); } std::process::exit(78) }
    };
    let options = RunOptions { threads: std::env::var("T").ok().map(|t| t.parse().unwrap()), take_over: false, accept_change: false };
    if args[1] == "replay" {
        println!("{:#?}", replay::replay(&pipeline, replay::From::Start, &options, &mut |_, _| {}));
        return;
    }
    let loaded = match load::load(pipeline) {
        Ok(p) => p,
        Err(errors) => { for e in errors { eprintln!("{e} / {:?}", e.help()); } std::process::exit(78) }
    };
    let stop = AtomicBool::new(false);
    match run::run(&loaded, &options, &stop, &mut |_| {}) {
        Ok(s) => println!("{s:#?}"),
        Err(e) => { eprintln!("{e} / {:?}", e.help()); std::process::exit(1) }
    }
}
