//! A pipeline that changes under its state: refused until it is accepted, and replayed with what was valid at the time.
//!
//! Owns: changed components, configuration, sinks, and the way back. Does not own: the rule for each field (segno-core).

use crate::lab::{Lab, files, read_folder, text, variable};
use std::io::Write;

const REFUSED: i32 = 78;

/// Later records, so that an accepted change has something to do.
fn append(lab: &Lab, from: u64) {
    let mut file = std::fs::File::options().append(true).open(&lab.inputs()[0]).expect("input");
    for id in from..from + 3 {
        writeln!(file, "{{\"id\":{id},\"key\":\"k1\",\"price\":1,\"at\":{}}}", 90_000_000 + id).expect("input");
    }
}

/// Refused with J004 and without effect; accepted when the user says so.
fn refused_then_accepted(lab: &Lab) {
    // The journal may have gained the fence of the refused process; no epoch, so no output.
    let before = (lab.output(), lab.dead_letters());
    let entries = lab.objects("journal").len();
    let refused = lab.segno(&["run", "-q"]);
    assert_eq!(refused.status.code(), Some(REFUSED), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("J004"), "{}", text(&refused.stderr));
    assert!((lab.output(), lab.dead_letters()) == before, "a refused change had an effect");
    assert!(lab.objects("journal").len() <= entries + 1, "a refused change committed more than its fence");
    let accepted = lab.segno(&["run", "-q", "--accept-change"]);
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
}

#[test]
fn a_changed_plan_is_accepted_by_name_and_so_is_the_way_back() {
    let mut lab = Lab::new(21, 2_000);
    lab.complete();
    let first = lab.step.clone();
    lab.step = format!("{first}\n    lanes: 3");
    append(&lab, 900_000);
    refused_then_accepted(&lab);
    lab.replays();
    lab.step = first;
    append(&lab, 900_010);
    refused_then_accepted(&lab);
    lab.replays();
    lab.check();
}

#[test]
fn a_changed_component_is_refused_and_its_past_replays_with_the_old_one() {
    let mut lab = Lab::new(22, 2_000);
    let component = lab.path("plugin.wasm");
    let mut bytes = std::fs::read(variable("SEGNO_COMPONENTS").join("keyed_count.wasm")).expect("a component");
    std::fs::write(&component, &bytes).expect("a component");
    lab.step = "plugin: plugin.wasm\n    key: key\n    on_error: dlq".to_owned();
    lab.complete();
    // A custom section changes the digest and nothing else.
    bytes.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    std::fs::write(&component, &bytes).expect("a component");
    append(&lab, 900_000);
    refused_then_accepted(&lab);
    lab.check();
    lab.replays();
}

#[test]
fn a_changed_configuration_takes_effect_from_the_change_on() {
    let mut lab = Lab::new(23, 2_000);
    let hostile = variable("SEGNO_COMPONENTS").join("hostile.wasm");
    let step = |price| {
        let plugin = hostile.display();
        format!("plugin: \"{plugin}\"\n    key: key\n    config: {{ mode: reject, price: {price} }}\n    on_error: dlq")
    };
    lab.columns = "[id, key, bids]";
    lab.step = step(7_777);
    lab.complete();
    let (output, dead) = (lab.output(), lab.dead_letters());
    lab.step = step(1);
    append(&lab, 900_000);
    refused_then_accepted(&lab);
    assert!(lab.output() == output, "the appended records are rejected, nothing else is written");
    let added = text(&lab.dead_letters()[dead.len()..]);
    assert_eq!(added.matches("P050").count(), 3, "{added}");
    lab.replays();
}

#[test]
fn a_sink_that_is_added_starts_at_the_change() {
    let mut lab = Lab::new(24, 2_000);
    lab.complete();
    lab.columns = "[id, key, price, bids, total_price]\n  - name: second\n    files: { path: second }\n    columns: [id]";
    append(&lab, 900_000);
    refused_then_accepted(&lab);
    assert!(!files(&lab.path("second")).is_empty());
    let ids = "{\"id\":900000}\n{\"id\":900001}\n{\"id\":900002}\n";
    assert_eq!(text(&read_folder(&lab.path("second"))), ids);
    lab.check();
    lab.replays();
}
