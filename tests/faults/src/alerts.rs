//! The alert rules fire where they must, says Prometheus' own tool.

use crate::lab::{repository, text, variable};
use std::path::PathBuf;
use std::process::Command;

fn promtool(arguments: &[&str]) {
    let installed = variable("SEGNO_SERVERS").join("bin/promtool");
    let program = if installed.exists() { installed } else { PathBuf::from("promtool") };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository().join("deploy/prometheus"))
        .output()
        .expect("promtool, which scripts/servers/install.sh installs");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn alert_rules_fire_where_they_must_and_not_below() {
    promtool(&["check", "rules", "alerts.yaml"]);
    promtool(&["test", "rules", "alerts.test.yaml"]);
}

#[test]
fn every_series_of_a_rule_exists() {
    let rules = std::fs::read_to_string(repository().join("deploy/prometheus/alerts.yaml")).expect("the rules");
    let listed = std::fs::read_to_string(repository().join("docs/metrics.md")).expect("the list of metrics");
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let mut seen = 0;
    for name in rules.split(word).filter(|name| name.starts_with("segno_")) {
        assert!(listed.contains(&format!("`{name}`")), "{name} is in no list of metrics");
        seen += 1;
    }
    assert!(seen >= 8, "the rules were not understood");
}
