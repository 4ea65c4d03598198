//! Replay finds what differs, and names it.

use crate::lab::{Lab, finish, text, variable};

#[test]
fn entropy_that_leaks_into_one_call_is_found_and_named() {
    let mut lab = Lab::new(12, 3_000);
    lab.settings = "epoch: { max_records: 300 }\nreplay_detail: row\n".to_owned();
    let child = lab
        .command(&variable("SEGNO_TESTING_BIN"), &["run", "-q"])
        .env("SEGNO_PLANT_ENTROPY", "1")
        .spawn()
        .expect("segno starts");
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (code, said) = lab.replay();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("DIFFERENT") && said.contains("R001"), "{said}");
    assert!(said.contains("count") && said.contains("in-") && said.contains("offset"), "no record is named: {said}");
    assert!(said.contains("total_price") || said.contains("price"), "no field is named: {said}");
}

#[test]
fn an_untouched_history_replays_from_every_checkpoint() {
    let lab = Lab::new(13, 3_000);
    lab.complete();
    let checkpoints = lab.objects("manifest");
    assert!(checkpoints >= 2);
    for number in 1..=checkpoints {
        let output = lab.run(&["replay", "--verify", "--from", &number.to_string()]);
        assert!(output.status.success(), "from {number}: {}", text(&output.stderr));
    }
    assert_eq!(lab.replay().0, Some(0));
}

#[test]
fn a_changed_byte_of_the_input_is_found() {
    let lab = Lab::new(14, 2_000);
    lab.complete();
    let path = &lab.inputs()[1];
    let bytes = std::fs::read(path).expect("input");
    let input = String::from_utf8(bytes).expect("text");
    // Same length, another price: only digests can tell.
    let at = input.find("\"price\":1").expect("a price") + 8;
    let mut changed = input.into_bytes();
    changed[at] = b'2';
    std::fs::write(path, changed).expect("input");
    let (code, said) = lab.replay();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in-1.jsonl"), "{said}");
}
