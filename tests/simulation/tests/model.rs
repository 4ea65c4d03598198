//! Every state of a small world: two workers, both sinks, each step at any moment, restarts and zombies at every step,
//! answers that are lost, creates that arrive late, checkpoints and their collection.

use segno_core::Code;
use segno_core::protocol::ownership::Next;
use segno_simulation::planted::Planted;
use segno_simulation::worker::{Edge, Phase};
use segno_simulation::world::{Action, Answer, Rules, World};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// Take-overs and restarts together: a first owner, its successor, and one after an accident of either.
const GENERATIONS: u64 = 3;
/// Two epochs and a kept checkpoint: the least with which entries are collected.
const EPOCHS: u64 = 2;
const KEEP: u32 = 1;

const NOTHING_WRONG: &str = "nothing is wrong";

struct Small {
    compares: bool,
    planted: Option<Planted>,
}

impl Model for Small {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(Rules { keep: KEEP, epochs: EPOCHS, compares: self.compares, planted: self.planted }, 2)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.wrong.is_some() {
            return;
        }
        let may_take = world.store.generation < GENERATIONS;
        for (w, worker) in world.workers.iter().enumerate() {
            let memory = &worker.memory;
            let starting = memory.phase == Phase::TakeGeneration;
            // The start of a worker that runs is a crash, too.
            let stopped = matches!(memory.phase, Phase::Stopped(code) if code != Code::OwnershipLost);
            if may_take && !starting && !stopped {
                actions.push(Action::Start(w));
            }
            if worker.is_up() && (may_take || !starting) {
                actions.push(Action::Step(w, Answer::Given));
            }
            if may_take && writes(&memory.phase) {
                actions.push(Action::Step(w, Answer::Lost { done: true }));
                actions.push(Action::Step(w, Answer::Lost { done: false }));
            }
            if world.may_image(w) {
                actions.push(Action::Image(w));
            }
            if memory.upload.is_some() {
                actions.push(Action::Upload(w));
            }
        }
        actions.extend((0..world.late.len()).map(Action::Arrive));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        world.act(action);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_WRONG, |_, world: &World| world.wrong.is_none()),
            // The bounds are wide enough for what they are meant for.
            Property::sometimes("all epochs are committed", |_, world: &World| world.end().0 == EPOCHS),
            Property::sometimes("a number that was collected is created again", |_, world: &World| {
                world.store.journal.values().any(|entry| world.truth.get(entry.sequence as usize - 1) != Some(entry))
            }),
            Property::sometimes("a create arrives after its author opened again", |_, world: &World| {
                world.truth.len() > 2 && !world.late.is_empty()
            }),
        ]
    }
}

/// Whether the answer to the next step can be lost after it was done.
fn writes(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Fence { .. }
            | Phase::RollForward { edge: Edge::Follower, .. }
            | Phase::Commit { next: Next::CreateEntry, .. }
            | Phase::Commit { next: Next::Publish, edge: Edge::Follower, .. }
    )
}

#[test]
fn no_state_of_a_small_world_is_wrong() {
    for compares in [false, true] {
        let checker = Small { compares, planted: None }.checker().spawn_bfs().join();
        println!("## model, marks compared: {compares}: {} states, the longest way {} actions", checker.unique_state_count(), checker.max_depth());
        assert!(checker.is_done());
        if let Some(path) = checker.discovery(NOTHING_WRONG) {
            let wrong = path.last_state().wrong;
            panic!("{wrong:?} after {:?}", path.into_actions());
        }
        checker.assert_properties();
    }
}

#[test]
fn planted_mistakes_are_found_by_the_model() {
    // A stale listing, a sink restored from a backup: only the simulation has them.
    let beyond = [
        Planted::ListDecidesEnd,
        Planted::NoMarksInManifest,
        Planted::MarkMadeBeforeTheDecision,
        Planted::MarkNotCompared,
    ];
    for planted in Planted::ALL.into_iter().filter(|planted| !beyond.contains(planted)) {
        let checker = Small { compares: false, planted: Some(planted) }.checker();
        let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let Some(path) = checker.discovery(NOTHING_WRONG) else { panic!("{planted:?} is not found") };
        let wrong = path.last_state().wrong.expect("what is wrong");
        let (states, actions) = (checker.unique_state_count(), path.into_actions().len());
        println!("## model finds {planted:?} after {states} states, {actions} actions: {wrong:?}");
    }
}
