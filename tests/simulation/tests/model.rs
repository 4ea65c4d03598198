//! Every state of a small world: two workers, both sinks, each step at any moment, restarts and zombies at every step,
//! answers that are lost and creates that arrive late.

use segno_core::Code;
use segno_core::protocol::ownership::Next;
use segno_simulation::planted::Planted;
use segno_simulation::worker::{Edge, Phase};
use segno_simulation::world::{Action, Answer, Rules, World};
use stateright::{Checker, Model, Property};

/// Bounds of what is explored.
#[derive(Clone, Copy, Debug)]
struct Small {
    /// Takeovers and restarts together.
    generations: u64,
    epochs: u64,
    checkpoints: bool,
    lost_answers: bool,
    planted: Option<Planted>,
}

impl Model for Small {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(Rules { keep: 1, epochs: self.epochs, planted: self.planted }, 2)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let may_take = world.store.generation < self.generations;
        for (w, worker) in world.workers.iter().enumerate() {
            let started = worker.memory.phase == Phase::TakeGeneration;
            // A start is a crash, too, when the worker runs.
            if may_take && !started && matches!(worker.memory.phase, Phase::Down | Phase::Stopped(Code::OwnershipLost)) || (may_take && !started && worker.is_up()) {
                actions.push(Action::Start(w));
            }
            if worker.is_up() && (!started || may_take) {
                actions.push(Action::Step(w, Answer::Given));
            }
            if self.lost_answers && may_take && writes(&worker.memory.phase) {
                actions.push(Action::Step(w, Answer::Lost { done: true }));
                actions.push(Action::Step(w, Answer::Lost { done: false }));
            }
            if self.checkpoints && world.may_image(w) {
                actions.push(Action::Image(w));
            }
            if worker.memory.upload.is_some() {
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
            Property::always("nothing is wrong", |_, world: &World| world.wrong.is_none()),
            // Guards against bounds in which nothing happens.
            Property::sometimes("a zombie's number was collected", |_, world: &World| !world.store.journal.contains_key(&1) && world.store.generation > 1),
            Property::sometimes("all epochs are committed", |model: &Small, world: &World| world.end().0 == model.epochs),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.wrong.is_none()
    }
}

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
fn try_out() {
    for (generations, epochs, checkpoints, lost_answers) in [(2,2,false,false),(2,2,true,false),(3,1,false,true),(3,2,false,false),(3,2,false,true),(3,2,true,true)] {
        let started = std::time::Instant::now();
        let model = Small { generations, epochs, checkpoints, lost_answers, planted: None };
        let checker = model.checker().threads(1).timeout(std::time::Duration::from_secs(40)).spawn_bfs().join();
        println!("{model:?}: {} states, {} unique, depth {} in {:?} done {}", checker.state_count(), checker.unique_state_count(), checker.max_depth(), started.elapsed(), checker.is_done());
        for (name, path) in checker.discoveries() {
            if name.starts_with("nothing") {
                let world = path.last_state().clone();
                println!("{name}: {:?}\n{:?}", world.wrong, path.into_actions());
                println!("{world:#?}");
                return;
            }
        }
    }
}
