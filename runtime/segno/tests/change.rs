//! A changed plugin or graph under an existing state: refused, or accepted by name and recorded.

use crate::lab::{Lab, text};
use std::io::Write;

#[test]
fn a_changed_pipeline_is_refused_until_it_is_accepted() {
    let mut lab = Lab::new(11, 2_000);
    lab.complete();
    lab.settings = "epoch: { max_records: 300 }\nbatch_rows: 512\n".to_owned();
    lab.complete();
    // More lanes are another order of hidden memory: a change of the plan.
    let mut file = std::fs::File::options().append(true).open(&lab.inputs()[0]).expect("input");
    writeln!(file, "{{\"id\":1,\"key\":\"k1\",\"price\":1,\"at\":99999999}}").expect("input");
    let pipeline = lab.path("pipeline.yaml");
    let changed = std::fs::read_to_string(&pipeline).expect("the pipeline file").replace("key: key", "key: key\n    lanes: 3");
    let run = |flags: &[&str]| {
        std::fs::write(lab.path("changed.yaml"), &changed).expect("the pipeline file");
        let mut command = std::process::Command::new(crate::lab::plain());
        command.args(["run", "-q"]).args(flags).arg(lab.path("changed.yaml"));
        command.output().expect("segno starts")
    };
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("J004"), "{}", text(&refused.stderr));
    let accepted = run(&["--accept-change"]);
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    lab.check();
    let (code, said) = lab.replay();
    assert_eq!(code, Some(0), "{said}");
}
