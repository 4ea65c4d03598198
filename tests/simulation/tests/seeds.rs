//! Random ways through a larger world, one for each seed, with faults that the model leaves out: stale listings, lost
//! hints, damaged objects, lost disks, a sink that is restored from a backup, long sleeps and what ages meanwhile.
//!
//! `SEGNO_SIMULATION_SEED=n` replays one seed and prints every action; `SEGNO_SIMULATION_SEEDS=n` sets their number.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_core::Code;
use segno_simulation::check::Wrong;
use segno_simulation::planted::Planted;
use segno_simulation::worker::Phase;
use segno_simulation::world::{Action, Answer, Rules, World};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 20_000;
/// Seeds among which a planted mistake must be found.
const SEEDS_PLANTED: u64 = 20_000;
/// Turns before everything heals.
const TURNS: usize = 500;
/// Actions within which a single worker, that nothing hinders, must come to the end.
const ACTIONS_HEALED: usize = 2_000;
/// What a seed may cost on one core.
const SEED_TIME_MAX: Duration = Duration::from_millis(20);

/// What may happen in the world of a seed.
struct Faults {
    lost_answers: bool,
    stale_listing: bool,
    lost_hints: bool,
    lost_disks: bool,
    damage: bool,
    backups: bool,
}

impl Faults {
    fn draw(rng: &mut StdRng) -> Faults {
        let stale_listing = rng.random_bool(0.4);
        Faults {
            lost_answers: rng.random_bool(0.6),
            stale_listing,
            // With both, nothing tells where a collected journal goes on; then a shard stops, and that is all.
            lost_hints: !stale_listing && rng.random_bool(0.4),
            lost_disks: rng.random_bool(0.5),
            damage: rng.random_bool(0.15),
            backups: rng.random_bool(0.2),
        }
    }

    fn action(&self, rng: &mut StdRng, world: &World) -> Option<Action> {
        let pick = |rng: &mut StdRng, numbers: Vec<u64>| {
            (!numbers.is_empty()).then(|| numbers[rng.random_range(0..numbers.len())])
        };
        match rng.random_range(0..10) {
            0 => Some(Action::Age),
            1 if self.stale_listing => Some(Action::StaleListing(rng.random_range(0..6))),
            2 if self.lost_hints => Some(Action::LoseHints),
            3 if self.lost_disks => {
                // A worker that runs would notice: its disk is lost while it is down.
                let down = (0..world.workers.len()).filter(|&w| !world.workers[w].is_up()).map(|w| w as u64).collect();
                pick(rng, down).map(|w| Action::LoseDisk(w as usize))
            }
            4 if self.damage => pick(rng, world.store.files.keys().copied().collect()).map(Action::DamageFile),
            5 if self.damage => pick(rng, world.store.manifests.keys().copied().collect()).map(Action::DamageManifest),
            6 if self.damage && rng.random_bool(0.2) => {
                // Of a lost last entry nothing is left to tell, unless a sink or a checkpoint holds what came of it.
                let last = world.store.journal.keys().next_back().copied();
                let before = world.store.journal.keys().copied().filter(|&sequence| Some(sequence) != last).collect();
                pick(rng, before).map(Action::LoseEntry)
            }
            7 if self.damage && rng.random_bool(0.4) => Some(Action::LoseMark),
            8 if self.backups => Some(Action::Backup),
            // A broker is not restored while a producer is connected to it.
            9 if self.backups && world.rules.compares => Some(Action::RestoreBackup),
            _ => None,
        }
    }
}

/// How a seed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// All epochs are committed and everywhere.
    Complete,
    /// Stopped loudly, after damage.
    Stopped(Code),
}

/// The next action of a worker.
fn action_of(rng: &mut StdRng, world: &World, w: usize, faults: &Faults) -> Option<Action> {
    let worker = &world.workers[w];
    match worker.memory.phase {
        Phase::Stopped(code) if code != Code::OwnershipLost => None,
        Phase::Down | Phase::Stopped(_) => Some(Action::Start(w)),
        _ if rng.random_bool(0.01) => Some(Action::Crash(w)),
        _ if worker.memory.upload.is_some() && rng.random_bool(0.3) => Some(Action::Upload(w)),
        _ if world.may_image(w) && rng.random_bool(0.4) => Some(Action::Image(w)),
        _ if faults.lost_answers && rng.random_bool(0.02) => {
            Some(Action::Step(w, Answer::Lost { done: rng.random_bool(0.5) }))
        }
        _ => Some(Action::Step(w, Answer::Given)),
    }
}

/// Runs one seed: what happened, and how it ended.
fn run(seed: u64, planted: Option<Planted>) -> (World, Vec<Action>, Result<End, Wrong>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let faults = Faults::draw(&mut rng);
    let rules = Rules {
        keep: rng.random_range(1..=3),
        epochs: rng.random_range(3..=16),
        compares: rng.random_bool(0.5),
        planted,
    };
    let mut world = World::new(rules, rng.random_range(2..=3));
    let mut actions = Vec::new();
    let mut awake = 0;
    // Another worker wakes: often, or after so long that its successor has come far.
    let switch = if rng.random_bool(0.5) { 0.1 } else { 0.01 };
    for _ in 0..TURNS {
        if world.wrong.is_some() {
            break;
        }
        if rng.random_bool(switch) {
            awake = rng.random_range(0..world.workers.len());
        }
        let action = if rng.random_bool(0.02) {
            faults.action(&mut rng, &world)
        } else if !world.late.is_empty() && rng.random_bool(0.02) {
            Some(Action::Arrive(rng.random_range(0..world.late.len())))
        } else {
            action_of(&mut rng, &world, awake, &faults)
        };
        let Some(action) = action else {
            awake = rng.random_range(0..world.workers.len());
            continue;
        };
        actions.push(action);
        world.act(action);
    }
    let end = heal(&mut world, &mut actions);
    let end = world.wrong.map_or(Ok(end), Err);
    (world, actions, end)
}

/// Everything heals, and one worker goes to the end.
fn heal(world: &mut World, actions: &mut Vec<Action>) -> End {
    let mut act = |world: &mut World, action| {
        if world.wrong.is_none() {
            actions.push(action);
            world.act(action);
        }
    };
    act(world, Action::StaleListing(0));
    while !world.late.is_empty() && world.wrong.is_none() {
        act(world, Action::Arrive(0));
    }
    act(world, Action::Start(0));
    for _ in 0..ACTIONS_HEALED {
        match world.workers[0].memory.phase {
            Phase::Ready if world.workers[0].memory.epoch == world.rules.epochs => return End::Complete,
            Phase::Stopped(code) => return End::Stopped(code),
            _ => act(world, Action::Step(0, Answer::Given)),
        }
    }
    world.wrong.get_or_insert(Wrong::Stuck);
    End::Stopped(Code::Internal)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn no_seed_goes_wrong() {
    if let Some(seed) = from_environment("SEGNO_SIMULATION_SEED") {
        let (world, actions, end) = run(seed, None);
        actions.iter().for_each(|action| println!("{action:?}"));
        println!("{world:#?}");
        assert!(end.is_ok(), "seed {seed}: {end:?}");
        return;
    }
    let seeds = from_environment("SEGNO_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let started = Instant::now();
    let mut ends: BTreeMap<End, u64> = BTreeMap::new();
    for seed in 0..seeds {
        let (_, actions, end) = run(seed, None);
        match end {
            Ok(end) => *ends.entry(end).or_default() += 1,
            Err(wrong) => panic!(
                "seed {seed}: {wrong:?} after {} actions; SEGNO_SIMULATION_SEED={seed} replays it",
                actions.len()
            ),
        }
    }
    let took = started.elapsed();
    println!("## simulation: {seeds} seeds in {:.1} s: {ends:?}", took.as_secs_f64());
    let complete = ends.get(&End::Complete).copied().unwrap_or(0);
    assert!(complete * 10 >= seeds * 8, "most worlds come to their end: {ends:?}");
    assert!(took < SEED_TIME_MAX * seeds as u32, "{took:?} for {seeds} seeds");
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in 0..50 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

#[test]
fn planted_mistakes_are_found_by_the_simulation() {
    for planted in Planted::ALL {
        let found = (0..SEEDS_PLANTED).find_map(|seed| Some((seed, run(seed, Some(planted)).2.err()?)));
        let Some((seed, wrong)) = found else { panic!("{planted:?} is not found in {SEEDS_PLANTED} seeds") };
        println!("## simulation finds {planted:?} after {} seeds: {wrong:?}", seed + 1);
    }
}
