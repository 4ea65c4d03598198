//! The watermark of a partition that several shards write: that of a repartition topic.
//!
//! Owns: what a writer announces, and what follows from what all of them announced. Does not own: the bytes of an announcement
//! (`columns::carried`), writing and reading it, the watermark of a source (`time`).
//!
//! Invariants: a function of the announcements that lie before a record in the partition's log, so a replay agrees. It is never
//! ahead of a writer that is not idle: what such a writer still writes was not late where it came from, or is late here, too.
//!
//! A writer announces its watermark behind the rows of each epoch that moved it, in the same transaction. As long as one of the
//! writers was not heard there is no watermark. Then it is the least of what the writers announced that are not idle. An idle
//! writer holds nobody up, as an idle partition holds no merge; when all are idle, time is as far as the one that is furthest. A
//! writer that has ended says no more in this run, and may go on in the next: so it counts, unless it never read a time.

use serde::{Deserialize, Serialize};

/// What a writer reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It has something, or waits for something.
    #[default]
    Active,
    /// All of its partitions are idle; some may have ended.
    Idle,
    /// All of its partitions have ended.
    Ended,
}

impl Activity {
    pub fn is_active(&self) -> bool {
        *self == Activity::Active
    }
}

/// What a writer says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its watermark, µs since 1970 UTC; `None`: it never read a record with a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    #[serde(default, skip_serializing_if = "Activity::is_active")]
    pub activity: Activity,
}

impl Told {
    /// Whether the others wait for it.
    fn counts(&self) -> bool {
        match self.activity {
            Activity::Active => true,
            Activity::Idle => false,
            Activity::Ended => self.watermark.is_some(),
        }
    }
}

/// What lies between the rows of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Number of the writer, and of how many.
    pub writer: u32,
    pub writers: u32,
    pub told: Told,
}

/// The writers of a partition, as far as they were heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Writers {
    /// By number; `None`: not heard yet.
    told: Vec<Option<Told>>,
}

impl Writers {
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    pub fn hear(&mut self, announcement: Announcement) {
        let Announcement { writer, writers, told } = announcement;
        let known = self.told.len().max(writers as usize).max(writer as usize + 1);
        self.told.resize(known, None);
        self.told[writer as usize] = Some(told);
    }

    /// Whether every writer said that it has ended.
    pub fn have_ended(&self) -> bool {
        !self.is_empty() && self.told.iter().all(|told| matches!(told, Some(Told { activity: Activity::Ended, .. })))
    }

    /// The watermark behind this announcement.
    pub fn watermark_after(&self, announcement: Announcement) -> Option<i64> {
        let mut after = self.clone();
        after.hear(announcement);
        after.watermark()
    }

    /// It may go back, where an idle writer has something again; whoever follows it does not.
    pub fn watermark(&self) -> Option<i64> {
        if self.told.iter().any(Option::is_none) {
            return None;
        }
        let told = || self.told.iter().flatten();
        // `None` is less than every time.
        match told().filter(|told| told.counts()).map(|told| told.watermark).min() {
            Some(least) => least,
            None => told().filter_map(|told| told.watermark).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(watermark: i64) -> Told {
        Told { watermark: Some(watermark), activity: Activity::Active }
    }

    fn idle(watermark: Option<i64>) -> Told {
        Told { watermark, activity: Activity::Idle }
    }

    fn ended(watermark: Option<i64>) -> Told {
        Told { watermark, activity: Activity::Ended }
    }

    fn heard(announcements: &[(u32, Told)], writers: u32) -> Option<i64> {
        let mut all = Writers::default();
        for &(writer, told) in announcements {
            let announcement = Announcement { writer, writers, told };
            let after = all.watermark_after(announcement);
            all.hear(announcement);
            assert_eq!(after, all.watermark());
        }
        all.watermark()
    }

    #[test]
    fn there_is_no_watermark_before_all_writers_were_heard() {
        assert_eq!(heard(&[], 2), None);
        assert_eq!(heard(&[(1, told(5))], 2), None);
        assert_eq!(heard(&[(1, told(5)), (0, told(7))], 2), Some(5));
        assert_eq!(heard(&[(0, told(5))], 1), Some(5));
    }

    #[test]
    fn the_slowest_writer_holds_all_others() {
        assert_eq!(heard(&[(0, told(1)), (1, told(2)), (0, told(9))], 2), Some(2));
        assert_eq!(heard(&[(0, told(1)), (1, told(2)), (0, told(9)), (1, told(8))], 2), Some(8));
        // It reads, and no record of it had a time.
        assert_eq!(heard(&[(0, told(1)), (1, Told::default())], 2), None);
    }

    #[test]
    fn an_idle_writer_holds_nobody_up() {
        assert_eq!(heard(&[(0, idle(None)), (1, told(2))], 2), Some(2));
        assert_eq!(heard(&[(0, idle(Some(1))), (1, told(2))], 2), Some(2));
        assert_eq!(heard(&[(0, idle(Some(1))), (1, told(2)), (0, told(1))], 2), Some(1), "it is back");
    }

    #[test]
    fn when_all_are_idle_time_is_where_the_furthest_is() {
        assert_eq!(heard(&[(0, idle(None)), (1, idle(None))], 2), None);
        assert_eq!(heard(&[(0, idle(Some(3))), (1, idle(Some(7))), (2, idle(None))], 3), Some(7));
    }

    /// In the next run it may have what others were ahead of in this one.
    #[test]
    fn a_writer_that_has_ended_holds_the_others_where_it_is() {
        assert_eq!(heard(&[(0, ended(Some(3))), (1, told(7))], 2), Some(3));
        assert_eq!(heard(&[(0, ended(Some(3))), (1, ended(Some(7)))], 2), Some(3));
        assert_eq!(heard(&[(0, ended(None)), (1, ended(Some(7)))], 2), Some(7), "it never had anything");
        assert_eq!(heard(&[(0, ended(None)), (1, ended(None))], 2), None);
    }

    #[test]
    fn all_have_ended_when_each_said_so() {
        let mut all = Writers::default();
        assert!(!all.have_ended());
        for (writer, told, expected) in [(0, ended(None), false), (1, told(1), false), (1, ended(Some(1)), true), (0, told(2), false)] {
            all.hear(Announcement { writer, writers: 2, told });
            assert_eq!(all.have_ended(), expected);
        }
    }

    #[test]
    fn a_writer_that_joins_is_waited_for() {
        let mut all = Writers::default();
        all.hear(Announcement { writer: 0, writers: 1, told: told(5) });
        assert_eq!(all.watermark(), Some(5));
        all.hear(Announcement { writer: 0, writers: 2, told: told(6) });
        assert_eq!(all.watermark(), None);
        all.hear(Announcement { writer: 1, writers: 2, told: told(4) });
        assert_eq!(all.watermark(), Some(4));
        // The old number, of an epoch that was published late.
        all.hear(Announcement { writer: 0, writers: 1, told: told(7) });
        assert_eq!(all.watermark(), Some(4));
    }

    /// The rule against the one that it stands for: shards that are one, in which partitions are merged by their heads.
    #[test]
    fn no_row_is_late_that_was_not_late_in_front() {
        use crate::protocol::time::watermark_of;
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..500 {
            let (writers, delay) = (1 + random(4) as u32, 300_000);
            let mut at = vec![Told::default(); writers as usize];
            let mut times: Vec<i64> = (0..writers).map(|_| random(5_000_000) as i64).collect();
            let (mut all, mut watermark) = (Writers::default(), None);
            for _ in 0..200 {
                // An epoch of one of the writers: rows that are at most `delay` out of order, then how far it is.
                let writer = random(u64::from(writers)) as usize;
                for _ in 0..random(4) {
                    times[writer] += random(200_000) as i64;
                    let time = times[writer] - random(delay as u64) as i64;
                    assert!(Some(time) >= watermark, "round {round}: {time} is behind {watermark:?}");
                    at[writer].watermark = at[writer].watermark.max(Some(watermark_of(time, delay)));
                }
                all.hear(Announcement { writer: writer as u32, writers, told: at[writer] });
                watermark = watermark.max(all.watermark());
            }
            assert!(watermark.is_some() || at.iter().any(|told| told.watermark.is_none()), "round {round}");
        }
    }
}
