//! A topic as a sink: the rows of an epoch and its mark in one transaction.
//!
//! Owns: what the sink holds; when its producer is made anew; which failures are tried again.
//! Does not own: transactions (`producer`), marks (`marks`), records (`records`).
//!
//! Invariants: an epoch at or below the mark is not written. Whenever it is not known how a transaction ended, or a
//! request may still be under way, the producer is made anew (which ends what was open) and the mark is read again
//! before anything is written. A sink whose mark names a newer generation writes nothing.

use crate::client::{Context, settings, wrong_setting};
use crate::marks::{Edge, Mark, Marks, Place};
use crate::producer::{self, MESSAGE_BYTES, Producer, ROW_FRAME_BYTES};
use crate::records::Records;
use crate::topics;
use rdkafka::admin::AdminClient;
use segno_core::persisted::StagedObject;
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::sink::{Held, Ownership, Sink, SinkRows};
use segno_core::{Code, Error, Result};

/// Attempts to write an epoch before the shard is told: the first, one after a broker went away, one after an election.
const ATTEMPTS: u32 = 3;

pub struct KafkaSink {
    name: String,
    spec: KafkaSinkSpec,
    partitions: u32,
    /// The largest batch of records that the topic takes, bytes, where it could be seen.
    takes: Option<u64>,
    marks: Marks,
    /// Number of the shard, and of how many.
    writer: (u32, u32),
    owned: Option<Owned>,
}

struct Owned {
    owner: Ownership,
    place: Place,
    /// `None` after a failure.
    producer: Option<Producer>,
    held: Option<u64>,
}

impl KafkaSink {
    /// Errors when it can be seen now that nothing can be written.
    pub fn open(name: &str, spec: &KafkaSinkSpec) -> Result<KafkaSink> {
        let admin: AdminClient<Context> =
            settings(&spec.connection).create_with_context(Context::new(&spec.connection)).map_err(|error| wrong_setting(&error))?;
        let found = topics::describe(admin.inner(), std::slice::from_ref(&spec.topic), || {})?;
        let partitions = found.first().map_or(0, |topic| topic.partitions);
        let takes = topics::setting(&admin, &spec.topic, "max.message.bytes")?.and_then(|bytes| bytes.parse().ok());
        check_limit(name, spec, takes)?;
        let marks = Marks::open(&spec.connection)?;
        Ok(KafkaSink { name: name.to_owned(), spec: spec.clone(), partitions, takes, marks, writer: (0, 1), owned: None })
    }

    /// For shard `number` of `of`; not said: there is one.
    pub fn written_by(self, number: u32, of: u32) -> KafkaSink {
        KafkaSink { writer: (number, of), ..self }
    }

    fn id(owner: &Ownership, sink: &str) -> String {
        format!("segno-{}-{}-{}-{sink}", owner.tenant, owner.pipeline, owner.shard)
    }

    /// Fences older producers, and reads the mark.
    fn renew(&self, owner: &Ownership, place: &Place) -> Result<(Producer, Option<Mark>)> {
        let producer = Producer::take_over(&self.spec, self.takes, &Self::id(owner, &self.name))?;
        match self.marks.read(place)? {
            Some(mark) if mark.generation > owner.generation => Err(self.overtaken(owner, mark.generation)),
            mark => Ok((producer, mark)),
        }
    }

    fn overtaken(&self, owner: &Ownership, by: u64) -> Error {
        let message = format!("sink \"{}\" was taken over by generation {by}; this process is generation {}", self.name, owner.generation);
        Error::new(Code::OwnershipLost, message).with_help(
            "another process runs this pipeline now, and this one has written nothing since and stops; or its checkpoint store was emptied: then give the pipeline another name",
        )
    }

    /// Writes an epoch, or only its mark, as often as it takes.
    fn write(&mut self, epoch: u64, rows: Option<&SinkRows<'_>>) -> Result<()> {
        let Some(mut owned) = self.owned.take() else {
            return Err(Error::new(Code::Internal, format!("sink \"{}\" was not taken over", self.name)));
        };
        let result = self.write_owned(&mut owned, epoch, rows);
        self.owned = Some(owned);
        result
    }

    fn write_owned(&self, owned: &mut Owned, epoch: u64, rows: Option<&SinkRows<'_>>) -> Result<()> {
        let (writer, writers) = self.writer;
        let records = rows.map(|rows| Records::new(&self.name, &self.spec, self.partitions, rows)).transpose()?;
        let records = records.map(|records| records.announced_by(writer, writers));
        let count = records.as_ref().map_or(0, Records::len) as u64;
        let mark = Mark { epoch, generation: owned.owner.generation, rows: count, mark: Edge::End };
        let mut attempt = 0;
        loop {
            let producer = match owned.producer.take().filter(|producer| !producer.is_disturbed()) {
                Some(producer) => producer,
                None => {
                    let (producer, held) = self.renew(&owned.owner, &owned.place)?;
                    owned.held = held.map(|mark| mark.epoch);
                    producer
                }
            };
            // A mark without rows only names the generation, so it is written again.
            if records.is_some() && owned.held.is_some_and(|held| held >= epoch) {
                owned.producer = Some(producer);
                return Ok(());
            }
            match producer.write(&self.spec.topic, records.as_ref(), &owned.owner, &owned.place, mark) {
                Ok(()) => {
                    owned.held = Some(epoch);
                    owned.producer = Some(producer);
                    return Ok(());
                }
                Err(failure) => {
                    attempt += 1;
                    let error = producer::error(&failure, &self.name, &self.spec.topic, mark, records.as_ref(), producer.context());
                    tracing::warn!(code = error.code().name(), attempt, "{error}");
                    if attempt == ATTEMPTS || is_final(&error) {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// Rows up to the limit must fit into the topic: a row that the journal names cannot be rejected any more.
fn check_limit(name: &str, spec: &KafkaSinkSpec, takes: Option<u64>) -> Result<()> {
    let Some(limit) = spec.row_bytes_max else { return Ok(()) };
    let own = spec.connection.settings.get(MESSAGE_BYTES).and_then(|bytes| bytes.parse().ok());
    let bounds = [
        (takes, format!("max.message.bytes of \"{}\"", spec.topic)),
        (own, format!("{MESSAGE_BYTES} under settings:")),
    ];
    for (bound, what) in bounds {
        if let Some(bound) = bound.filter(|&bound: &u64| bound < limit + ROW_FRAME_BYTES) {
            let fits = bound.saturating_sub(ROW_FRAME_BYTES);
            let advice = match fits {
                0 => format!("raise {what}"),
                fits => format!("raise {what}, or write row_bytes_max: {fits}; larger rows are then rejected as on_error says"),
            };
            return Err(Error::new(
                Code::RowLimit,
                format!("sink \"{name}\": rows may have {limit} bytes, and {what} is {bound}, of which {ROW_FRAME_BYTES} frame a row"),
            )
            .with_help(advice));
        }
    }
    Ok(())
}

/// Whether another attempt would end in the same way.
fn is_final(error: &Error) -> bool {
    matches!(error.code(), Code::RecordTooLarge | Code::TopicMissing | Code::KafkaDenied)
}

impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn exactly_once(&self) -> bool {
        true
    }

    fn wants_lineage(&self) -> bool {
        true
    }

    fn announces(&self) -> bool {
        self.spec.announces
    }

    fn take_over(&mut self, owner: &Ownership) -> Result<Held> {
        let place = self.marks.place(owner, &self.name);
        let (producer, mark) = self.renew(owner, &place)?;
        // A generation is taken once, so an equal one is of another checkpoint store.
        if let Some(mark) = mark.filter(|mark| mark.generation == owner.generation) {
            return Err(self.overtaken(owner, mark.generation));
        }
        let held = mark.map(|mark| mark.epoch);
        self.owned = Some(Owned { owner: owner.clone(), place, producer: Some(producer), held });
        let Some(epoch) = held else { return Ok(Held::Nothing) };
        // From now on an older owner that makes its producer anew sees that it is not the owner.
        self.write(epoch, None)?;
        Ok(Held::Through(epoch))
    }

    fn start_after(&mut self, epoch: u64) -> Result<()> {
        self.write(epoch, None)
    }

    fn stage(&mut self, _rows: &SinkRows<'_>) -> Result<Vec<StagedObject>> {
        Ok(Vec::new())
    }

    fn publish(&mut self, rows: &SinkRows<'_>, _staged: &[StagedObject]) -> Result<()> {
        if self.owned.as_ref().is_some_and(|owned| owned.held.is_some_and(|held| held >= rows.epoch)) {
            return Ok(());
        }
        self.write(rows.epoch, Some(rows))
    }

    fn discard_uncommitted(&mut self) -> Result<()> {
        Ok(())
    }
}
