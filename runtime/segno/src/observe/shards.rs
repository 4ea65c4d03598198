//! The shards of this process, as they are seen from outside.
//!
//! Owns: which there are now, and one text of metrics for all. Does not own: what each shows (`Observed`).
//!
//! Invariant: a shard that went to another process is not shown here any more: two processes never show one shard for
//! longer than it takes to notice.

use super::{Health, Observed, Refreshes, Status};
use crate::shard::tap::Passed;
use segno_core::Result;
use segno_core::shard::ShardId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

pub struct Shards {
    tenant: String,
    pub refreshes: Refreshes,
    /// By the name of the pipeline or of its stage.
    observed: Mutex<BTreeMap<(String, ShardId), Arc<Observed>>>,
}

impl Shards {
    pub fn new(tenant: &str) -> Arc<Shards> {
        Arc::new(Shards { tenant: tenant.to_owned(), refreshes: Refreshes::default(), observed: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, ShardId), Arc<Observed>>> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard of a pipeline, or of a stage of it, begins to run here.
    pub fn begin(&self, pipeline: &str, shard: ShardId) -> Arc<Observed> {
        let observed = Observed::new(&self.tenant, pipeline, &shard.name(), &self.refreshes);
        self.lock().insert((pipeline.to_owned(), shard), Arc::clone(&observed));
        observed
    }

    /// A shard does not run here any more.
    pub fn end(&self, pipeline: &str, shard: ShardId) {
        self.lock().remove(&(pipeline.to_owned(), shard));
    }

    pub fn statuses(&self) -> Vec<Status> {
        self.lock().values().map(|observed| observed.status()).collect()
    }

    /// Asks for records on their way past a step, in one shard or in all that run here. False: none of them runs here.
    pub fn tap(&self, pipeline: &str, shard: Option<&str>, step: &str, records: usize, answer: &UnboundedSender<Vec<Passed>>) -> bool {
        let observed = self.lock();
        let wanted = observed.iter().filter(|((name, id), _)| name == pipeline && shard.is_none_or(|shard| id.name() == shard));
        let mut found = false;
        for (_, observed) in wanted {
            observed.taps.ask(step, records, answer.clone());
            found = true;
        }
        found
    }

    /// The worst health of a shard and why; live without shards, since then others run them.
    pub fn health(&self) -> (Health, Option<String>) {
        let worst = self.statuses().into_iter().find(|status| status.health != Health::Live);
        worst.map_or((Health::Live, None), |status| (status.health, status.problem))
    }

    /// The text that Prometheus reads.
    pub fn metrics(&self) -> Result<String> {
        let observed: Vec<Arc<Observed>> = self.lock().values().cloned().collect();
        let texts = observed.iter().map(|observed| observed.metrics.text()).collect::<Result<Vec<_>>>()?;
        Ok(merge(&texts))
    }
}

/// Puts the samples of several texts under one description of each metric, since a text may describe it once only.
fn merge(texts: &[String]) -> String {
    const DESCRIPTION: &str = "# HELP ";
    const END: &str = "# EOF\n";
    let mut metrics: Vec<(&str, String)> = Vec::new();
    for text in texts {
        let body = text.strip_suffix(END).unwrap_or(text);
        for metric in body.split(DESCRIPTION).skip(1) {
            // Lines of the description begin like comments, samples do not.
            let sample = metric.match_indices('\n').map(|(at, _)| at + 1).find(|&at| !metric[at..].starts_with('#'));
            let (description, samples) = metric.split_at(sample.unwrap_or(metric.len()));
            match metrics.iter_mut().find(|(known, _)| *known == description) {
                Some((_, all)) => all.push_str(samples),
                None => metrics.push((description, samples.to_owned())),
            }
        }
    }
    let whole = |(description, samples): (&str, String)| format!("{DESCRIPTION}{description}{samples}");
    metrics.into_iter().map(whole).collect::<String>() + END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_several_shards_are_described_once_and_carry_their_shard() {
        let shards = Shards::new("t");
        for number in 0..3 {
            shards.begin("p", ShardId::Partition { number, of: 3 });
        }
        shards.end("p", ShardId::Partition { number: 1, of: 3 });
        let text = shards.metrics().unwrap();
        assert_eq!(text.matches("# TYPE segno_records counter").count(), 1, "{text}");
        let samples: Vec<&str> = text.lines().filter(|line| line.starts_with("segno_records_total{")).collect();
        assert_eq!(samples.len(), 2, "{text}");
        assert!(samples[0].contains("shard=\"0\"") && samples[1].contains("shard=\"2\""), "{samples:?}");
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    }

    #[test]
    fn refreshes_that_fail_show_with_every_shard_until_one_succeeds() {
        let shards = Shards::new("t");
        shards.begin("p", ShardId::Partition { number: 0, of: 2 });
        shards.refreshes.failed("no table".to_owned());
        shards.refreshes.failed("no database".to_owned());
        shards.begin("p", ShardId::Partition { number: 1, of: 2 });
        let seen = |shards: &Shards| {
            let text = shards.metrics().unwrap();
            let values = text.lines().filter(|line| line.starts_with("segno_failed_refreshes{"));
            let values: Vec<String> = values.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
            let shown = shards.statuses().into_iter().map(|status| (status.failed_refreshes, status.refresh_problem));
            (values, shown.collect::<Vec<_>>())
        };
        let both = (2, Some("no database".to_owned()));
        assert_eq!(seen(&shards), (vec!["2".to_owned(); 2], vec![both; 2]));
        shards.refreshes.succeeded();
        assert_eq!(seen(&shards), (vec!["0".to_owned(); 2], vec![(0, None); 2]));
    }

    #[test]
    fn the_metrics_of_one_shard_are_its_own() {
        let shards = Shards::new("t");
        let one = shards.begin("p", ShardId::Single);
        assert_eq!(shards.metrics().unwrap(), one.metrics.text().unwrap());
    }

    #[test]
    fn the_health_of_a_process_is_that_of_its_worst_shard_and_a_process_without_shards_is_well() {
        let shards = Shards::new("t");
        assert_eq!(shards.health(), (Health::Live, None));
        let [first, second] = [0, 1].map(|number| shards.begin("p", ShardId::Partition { number, of: 2 }));
        first.set_health(Health::Live, None);
        second.set_health(Health::Failed, Some("why".to_owned()));
        assert_eq!(shards.health(), (Health::Failed, Some("why".to_owned())));
    }
}
