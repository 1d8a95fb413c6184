//! Training jobs, played to their end.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use serde_json::{Value, json};

use super::world::{Fate, World};
use crate::drive::{Driver, Next, when};
use crate::model::Time;

fn driver() -> &'static Driver {
    Driver::named("TrainingJob").unwrap()
}

fn spec() -> Value {
    json!({"image": "a/b:1", "framework": "pytorch", "command": ["torchrun"], "accelerators": "H100:8", "workers": 4,
        "config": {"/etc/train": {"a.yaml": {"lr": 1}}}, "claims": {"results": {"size": "1Gi"}}, "outputs": {"/out": "results"},
        "checkpoint": {"path": "/out"}})
}

fn phase(world: &World) -> &str {
    world.object["status"]["phase"].as_str().unwrap_or_default()
}

/// Writes what is wanted until nothing is, and lets the cluster act; how many turns it took.
fn settle(world: &mut World, turns_max: usize) -> usize {
    for turn in 0..turns_max {
        if world.is_gone() {
            return turn;
        }
        let next = world.asked(driver());
        let before = world.clone();
        for write in &next.writes {
            if !world.write(write, Fate::Done) {
                break;
            }
        }
        let pause = next.wake.map_or(1, |wake| (wake - world.now).as_secs().clamp(1, 400));
        world.passes(pause);
        let still = (&before.object, &before.objects, &before.pods) == (&world.object, &world.objects, &world.pods);
        if still && next.writes.is_empty() && next.wake.is_none_or(|wake| wake <= world.now) {
            return turn;
        }
    }
    panic!("not settled: {:#}\n{:#?}", world.object["status"], world.asked(driver()));
}

fn until(world: &mut World, wanted: &str) {
    for _ in 0..100 {
        for write in world.asked(driver()).writes {
            if !world.write(&write, Fate::Done) {
                break;
            }
        }
        if phase(world) == wanted {
            return;
        }
        world.passes(1);
    }
    panic!("never {wanted}: {:#}", world.object["status"]);
}

fn names(next: &Next) -> Vec<&str> {
    next.writes.iter().map(|write| write.step.name.trim_start_matches("training-job-")).collect()
}

#[test]
fn a_job_that_nothing_happens_to_costs_a_constant_number_of_writes() {
    for workers in [1, 2, 8, 64] {
        let mut world = World::new(0, "TrainingJob", &spec());
        world.edit("workers", json!(workers));
        let mut written: BTreeMap<&str, usize> = BTreeMap::new();
        for turn in 0..200 {
            world.ends = turn > 100;
            for write in world.asked(driver()).writes {
                *written.entry(write.step.name).or_default() += 1;
                assert!(world.write(&write, Fate::Done));
            }
            world.passes(1);
        }
        assert_eq!(phase(&world), "Succeeded");
        let all: usize = written.values().sum();
        assert_eq!(all, if workers == 1 { 6 } else { 7 }, "{written:?}");
    }
}

#[test]
fn what_is_made_belongs_to_the_spec_and_data_does_not() {
    let mut world = World::new(0, "TrainingJob", &spec());
    let next = world.asked(driver());
    assert_eq!(names(&next), ["claim", "files", "service", "start", "status"]);
    for write in &next.writes[..4] {
        let claim = write.object["kind"] == "PersistentVolumeClaim";
        assert_eq!(write.object["metadata"]["ownerReferences"].is_null(), claim, "{write:?}");
        assert_eq!(write.object["metadata"]["namespace"], "team");
    }
    let job = &next.writes[3].object;
    assert_eq!((&job["spec"]["backoffLimit"], &job["spec"]["backoffLimitPerIndex"]), (&json!(0), &Value::Null));
    assert!(job["spec"]["suspend"].is_null(), "whoever suspends it owns the field");
    until(&mut world, "Running");
    assert_eq!(world.object["status"]["attempt"], 0);
}

#[test]
fn suspended_it_gives_its_devices_back_and_resumed_it_goes_on_as_the_same_attempt() {
    let mut world = World::new(0, "TrainingJob", &spec());
    until(&mut world, "Running");
    let uid = world.job().unwrap()["metadata"]["uid"].clone();
    world.edit("suspend", json!(true));
    let next = world.asked(driver());
    assert_eq!(names(&next), ["halt", "status"]);
    settle(&mut world, 20);
    assert_eq!((phase(&world), world.pods.len()), ("Suspended", 0));
    world.edit("suspend", json!(false));
    assert_eq!(names(&world.asked(driver())), ["resume", "status"]);
    until(&mut world, "Running");
    let job = world.job().unwrap();
    assert_eq!((&job["metadata"]["uid"], &world.object["status"]["attempt"]), (&uid, &json!(0)));
    world.passes(5);
    assert_eq!(world.asked(driver()), Next::default(), "pods of after the pause are no replacements");
}

#[test]
fn a_job_that_others_suspend_is_left_to_them() {
    let mut world = World::new(0, "TrainingJob", &spec());
    until(&mut world, "Running");
    let at = world.objects.iter().position(|object| object["kind"] == "Job").unwrap();
    world.objects[at]["spec"]["suspend"] = json!(true);
    settle(&mut world, 20);
    assert_eq!(phase(&world), "Queued");
    assert_eq!(world.objects[at]["spec"]["suspend"], true, "it was taken back for somebody else");
    world.objects[at]["spec"]["suspend"] = json!(false);
    until(&mut world, "Running");
    assert_eq!(world.object["status"]["attempt"], 0);
}

#[test]
fn a_worker_that_fails_starts_all_again_until_the_budget_is_spent() {
    let mut world = World::new(0, "TrainingJob", &spec());
    world.edit("retries", json!(2));
    let mut uids = BTreeSet::new();
    for attempt in 0..3 {
        until(&mut world, "Running");
        assert_eq!(world.object["status"]["attempt"], attempt);
        uids.extend(world.pods.iter().map(|pod| pod["metadata"]["name"].to_string()));
        world.hurt(false);
        world.passes(1);
    }
    settle(&mut world, 20);
    assert_eq!(phase(&world), "Failed");
    assert_eq!(uids.len(), 12, "each time all four were new");
    let failed = world.object["status"]["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Failed").unwrap();
    assert!(failed["message"].as_str().unwrap().starts_with("3 times since it last saved its work"), "{failed}");
}

#[test]
fn work_that_was_saved_fills_the_budget_again() {
    let mut world = World::new(0, "TrainingJob", &spec());
    world.edit("retries", json!(1));
    for attempt in 0..6 {
        until(&mut world, "Running");
        world.passes(10);
        let saved = when::text(world.now);
        world.pods[0]["metadata"]["annotations"] = json!({"gangplank.dev/last-checkpoint": saved});
        world.hurt(false);
        world.passes(1);
        until(&mut world, "Restarting");
        assert_eq!((&world.object["status"]["attempt"], &world.object["status"]["failures"]), (&json!(attempt + 1), &json!(1)));
        assert_eq!(world.object["status"]["lastCheckpoint"], saved);
    }
}

#[test]
fn a_worker_that_is_lost_starts_all_again_and_costs_nothing() {
    let mut world = World::new(0, "TrainingJob", &spec());
    world.edit("retries", json!(0));
    for attempt in 0..3 {
        until(&mut world, "Running");
        world.passes(5);
        assert_eq!(world.asked(driver()), Next::default());
        world.hurt(true);
        world.passes(1);
        until(&mut world, "Restarting");
        assert_eq!(
            (&world.object["status"]["attempt"], &world.object["status"]["disruptions"]),
            (&json!(attempt + 1), &json!(attempt + 1))
        );
    }
    world.ends = true;
    settle(&mut world, 50);
    assert_eq!(phase(&world), "Succeeded");
}

#[test]
fn workers_that_can_do_with_fewer_are_started_again_alone() {
    let mut world = World::new(0, "TrainingJob", &spec());
    world.edit("workers", json!("2..4"));
    until(&mut world, "Running");
    world.passes(5);
    world.hurt(true);
    settle(&mut world, 20);
    assert_eq!((phase(&world), &world.object["status"]["attempt"], &world.object["status"]["workers"]), ("Running", &json!(0), &json!(4)));
}

#[test]
fn in_the_queue_a_changed_spec_is_another_job_and_what_runs_is_left_alone() {
    let mut world = World::new(0, "TrainingJob", &spec());
    world.nodes = 0;
    until(&mut world, "Queued");
    world.passes(3);
    world.edit("priority", json!("urgent"));
    assert_eq!(names(&world.asked(driver())), ["status", "replace"]);
    settle(&mut world, 20);
    assert_eq!(world.job().unwrap()["spec"]["template"]["spec"]["priorityClassName"], "urgent");
    assert_eq!(world.object["status"]["attempt"], 0);
    world.nodes = 9;
    until(&mut world, "Running");
    let uid = world.job().unwrap()["metadata"]["uid"].clone();
    world.edit("priority", json!("idle"));
    settle(&mut world, 20);
    assert_eq!(world.job().unwrap()["metadata"]["uid"], uid);
    let current = world.object["status"]["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Current").unwrap();
    assert_eq!(current["status"], "False");
    world.hurt(true);
    world.passes(1);
    world.passes(1);
    until(&mut world, "Restarting");
    until(&mut world, "Running");
    assert_eq!(world.job().unwrap()["spec"]["template"]["spec"]["priorityClassName"], "idle", "the next attempt is as it says now");
}

#[test]
fn done_it_stays_as_long_as_it_says_and_no_longer() {
    let mut world = World::new(0, "TrainingJob", &spec());
    world.edit("keep", json!("1h"));
    world.ends = true;
    until(&mut world, "Succeeded");
    let over = world.now;
    let next = world.asked(driver());
    assert_eq!(next.writes, []);
    assert_eq!(next.wake, Some(Time::from_unix_ms(over.unix_ms() / 1000 * 1000 + 3_600_000)));
    world.passes(3600);
    assert_eq!(names(&world.asked(driver())), ["remove"]);
    // Nothing is started again because its Job is gone.
    world.passes(1);
    world.objects.clear();
    world.edit("keep", json!("2h"));
    assert_eq!(names(&world.asked(driver())), ["status"], "that it was seen, and no more");
}

#[test]
fn a_spec_that_makes_no_sense_or_reaches_too_far_is_told_so_and_makes_nothing() {
    for (field, value, told) in [
        ("accelerators", json!("H1OO:8"), "did you mean `H100`"),
        ("serviceAccount", json!("admin"), "runs as ServiceAccount admin"),
        ("hostNetwork", json!(true), "there is no field `hostNetwork`"),
    ] {
        let mut world = World::new(0, "TrainingJob", &spec());
        world.edit(field, value);
        assert_eq!(names(&world.asked(driver())), ["status"]);
        settle(&mut world, 9);
        let accepted = &world.object["status"]["conditions"][0];
        assert!(accepted["status"] == "False" && accepted["message"].as_str().unwrap().contains(told), "{accepted}");
        assert!(world.objects.is_empty());
    }
}

/// Whatever is seen, also what nobody wrote.
fn anything(world: &mut World) {
    let dice = |world: &mut World, below: u32| world.dice.random_range(0..below);
    let phases = ["Queued", "Running", "Restarting", "Suspended", "Invalid", ""];
    let time = when::text(Time::from_unix_ms(world.now.unix_ms() - u64::from(dice(world, 100_000))));
    let mut status = json!({"phase": phases[dice(world, 6) as usize], "attempt": dice(world, 3), "failures": dice(world, 2)});
    if world.chance(50) {
        status["conditions"] =
            json!([{"type": "Running", "status": if world.chance(50) { "True" } else { "False" }, "lastTransitionTime": time}]);
        status["newestWorkerTime"] = json!(time);
    }
    if world.chance(30) {
        status["restartTime"] = json!(time);
    }
    if world.chance(80) {
        world.object["status"] = status;
    }
}

#[test]
fn from_whatever_is_seen_and_through_whatever_goes_wrong_it_comes_to_its_end_and_writes_no_more() {
    let seeds = if std::env::var_os("GANGPLANK_LONG").is_some() { 0..100_000 } else { 0..60 };
    let (mut ends, mut longest): (BTreeMap<String, usize>, usize) = (BTreeMap::new(), 0);
    for seed in seeds {
        let mut world = World::new(seed, "TrainingJob", &spec());
        world.edit("retries", json!(1));
        anything(&mut world);
        let mut older = world.clone();
        for _ in 0..60 {
            if world.is_gone() {
                break;
            }
            // What is seen may be old, and whoever writes may stop after any write.
            let next = if world.chance(20) { older.asked(driver()) } else { world.asked(driver()) };
            let attempt = world.object["status"]["attempt"].as_u64().unwrap_or(0);
            for write in &next.writes {
                let fate = [Fate::Refused, Fate::Unheard, Fate::Done, Fate::Done, Fate::Done, Fate::Done][world.dice.random_range(0..6)];
                if !world.write(write, fate) || world.chance(5) {
                    break;
                }
            }
            let after = world.object["status"]["attempt"].as_u64().unwrap_or(0);
            assert!(after >= attempt, "seed {seed}: an attempt is forgotten");
            if world.chance(10) {
                older = world.clone();
            }
            match world.dice.random_range(0..12) {
                0 => world.hurt(false),
                1 => world.hurt(true),
                2 => world.edit("suspend", json!(true)),
                3 => world.edit("suspend", json!(false)),
                4 => world.nodes = world.dice.random_range(0..9),
                5 => world.edit("priority", json!("urgent")),
                6 => world.ends = world.chance(10),
                _ => {}
            }
            let seconds = world.dice.random_range(0..4);
            world.passes(seconds);
        }
        if world.is_gone() {
            continue;
        }
        world.edit("suspend", json!(false));
        (world.nodes, world.ends) = (usize::MAX, true);
        longest = longest.max(settle(&mut world, 60));
        assert!(["Succeeded", "Failed"].contains(&phase(&world)), "seed {seed}: {:#}", world.object["status"]);
        assert_eq!(world.asked(driver()), Next::default(), "seed {seed}");
        let jobs = world.objects.iter().filter(|object| object["kind"] == "Job").count();
        assert!(jobs <= 1, "seed {seed}: {jobs} Jobs");
        *ends.entry(phase(&world).to_owned()).or_default() += 1;
    }
    eprintln!("{ends:?}, settled after at most {longest} turns");
    assert!(ends.len() == 2, "both ends are seen: {ends:?}");
}

/// The controller ends at each write, before it and after it, in a life that has every one of them.
#[test]
fn stopped_at_any_write_the_next_one_goes_on_and_every_write_was_among_them() {
    let life = |stop: Option<(usize, Fate)>| {
        let mut world = World::new(0, "TrainingJob", &spec());
        world.edit("keep", json!("5m"));
        let (mut written, mut count) = (Vec::new(), 0);
        for turn in 0..90 {
            if world.is_gone() {
                break;
            }
            match turn {
                0 => world.nodes = 0,
                4 => world.edit("priority", json!("urgent")),
                10 => world.nodes = 99,
                15 => world.edit("suspend", json!(true)),
                20 => world.edit("suspend", json!(false)),
                27 => world.hurt(true),
                38 => world.hurt(false),
                60 => world.ends = true,
                _ => {}
            }
            for write in world.asked(driver()).writes {
                let fate = stop.filter(|(at, _)| *at == count).map_or(Fate::Done, |(_, fate)| fate);
                count += 1;
                written.push(write.step.name);
                if !world.write(&write, fate) {
                    break;
                }
            }
            for field in world.object["status"].as_object().into_iter().flatten().map(|(field, _)| field.as_str()) {
                let known = driver().status.iter().any(|(name, ..)| *name == field);
                assert!(known || ["observedGeneration", "phase", "conditions"].contains(&field), "`{field}` would be pruned");
            }
            world.passes(if turn > 70 { 100 } else { 1 });
        }
        (world, written)
    };
    let (world, written) = life(None);
    assert!(world.is_gone());
    let names: BTreeSet<&str> = written.iter().copied().collect();
    assert_eq!(names, driver().steps.iter().map(|step| step.name).collect(), "every write there is");
    for at in 0..written.len() {
        for fate in [Fate::Refused, Fate::Unheard] {
            let (world, again) = life(Some((at, fate)));
            assert!(world.is_gone(), "stopped at {at}, {}: {:#}", written[at], world.object["status"]);
            assert!(again.len() <= written.len() + 6, "{} writes instead of {}", again.len(), written.len());
        }
    }
    eprintln!("{} writes, each refused and each unheard", written.len());
}
