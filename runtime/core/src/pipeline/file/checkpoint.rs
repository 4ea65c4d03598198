//! `checkpoint` and `epoch` of a pipeline file.
//!
//! Owns: which stores are accepted. A local folder dies with its machine, so it is accepted only by name.

use crate::Code;
use crate::pipeline::fields::{Fields, Reader};
use crate::pipeline::shape;
use crate::pipeline::spec::*;

impl Reader {
    pub(super) fn checkpoint(&mut self, fields: &Fields<'_>) -> Option<CheckpointSpec> {
        let Some(node) = fields.get("checkpoint") else {
            self.error(
                Code::NoCheckpoint,
                &fields.span(),
                "the pipeline has no checkpoint store",
                "add checkpoint: { store: \"s3://bucket/prefix\" }; on a laptop: checkpoint: { store: \"file://./checkpoints\", ephemeral: true }",
            );
            return None;
        };
        let fields = self.fields(node, "checkpoint", &shape::CHECKPOINT.names())?;
        let ephemeral = match fields.get("ephemeral") {
            Some(node) => self.bool(node, "checkpoint.ephemeral"),
            None => Some(false),
        };
        let help = "write store: \"s3://bucket/prefix\", or store: \"file://./folder\" with ephemeral: true";
        let store = self.required(&fields, "store", "checkpoint", help).and_then(|node| {
            let url = self.text(node, "checkpoint.store")?;
            let store = match url.split_once("://") {
                Some(("file", path)) if !path.is_empty() => StoreUrl::File(path.into()),
                Some(("s3", bucket)) if !bucket.trim_matches('/').is_empty() => {
                    StoreUrl::S3(url.trim_end_matches('/').to_owned())
                }
                Some((scheme @ ("file" | "s3"), _)) => {
                    self.error(Code::StoreUrl, &node.span, format!("checkpoint.store names nothing after {scheme}://"), help);
                    return None;
                }
                Some((scheme, _)) => {
                    self.error(Code::StoreUrl, &node.span, format!("checkpoint.store cannot be of the kind {scheme}://"), help);
                    return None;
                }
                None => {
                    let help = format!("write \"s3://bucket/prefix\", or for a local folder \"file://{url}\" with ephemeral: true");
                    self.error(Code::StoreUrl, &node.span, "checkpoint.store is not a URL", help);
                    return None;
                }
            };
            if let StoreUrl::File(path) = &store {
                match ephemeral {
                    Some(true) => self.warn(
                        Code::EphemeralStore,
                        &node.span,
                        format!("the checkpoints are in the local folder {}", path.display()),
                        "when this machine or its disk is lost, so are journal, checkpoints and with them exactly-once and replay; use s3:// in production",
                    ),
                    Some(false) => self.error(
                        Code::LocalStore,
                        &node.span,
                        "checkpoints on a local disk are lost with the machine",
                        "use store: \"s3://bucket/prefix\"; for development only, add ephemeral: true",
                    ),
                    None => {}
                }
            }
            Some(store)
        });
        let replay_debt = match fields.get("replay_debt") {
            Some(node) => self.duration(node, "checkpoint.replay_debt"),
            None => Some(REPLAY_DEBT_DEFAULT),
        };
        let keep = match fields.get("keep") {
            Some(node) => self.count(node, "checkpoint.keep", 1..=10_000).map(|keep| keep as u32),
            None => Some(CHECKPOINTS_KEEP_DEFAULT),
        };
        Some(CheckpointSpec { store: store?, ephemeral: ephemeral?, replay_debt: replay_debt?, keep: keep? })
    }

    pub(super) fn epoch(&mut self, fields: &Fields<'_>) -> Option<EpochSpec> {
        let mut epoch = EpochSpec::default();
        let Some(node) = fields.get("epoch") else { return Some(epoch) };
        let fields = self.fields(node, "epoch", &shape::EPOCH.names())?;
        if let Some(node) = fields.get("max_records") {
            epoch.max_records = self.count(node, "epoch.max_records", 1..=EPOCH_RECORDS_MAX)?;
        }
        if let Some(node) = fields.get("max_bytes") {
            epoch.max_bytes = self.bytes(node, "epoch.max_bytes", 1..=EPOCH_BYTES_MAX)?;
        }
        if let Some(node) = fields.get("max_delay") {
            epoch.max_delay = self.duration(node, "epoch.max_delay")?;
        }
        if let Some(node) = fields.get("max_timers") {
            epoch.max_timers = self.count(node, "epoch.max_timers", 1..=EPOCH_RECORDS_MAX)?;
        }
        Some(epoch)
    }

    pub(super) fn state(&mut self, fields: &Fields<'_>) -> Option<StateSpec> {
        let mut state = StateSpec::default();
        let Some(node) = fields.get("state") else { return Some(state) };
        let fields = self.fields(node, "state", &shape::STATE.names())?;
        if let Some(node) = fields.get("memory") {
            state.memory = self.bytes(node, "state.memory", STATE_MEMORY_MIN..=STATE_MEMORY_MAX)?;
        }
        Some(state)
    }
}
