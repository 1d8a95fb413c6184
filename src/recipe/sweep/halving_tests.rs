//! Halving: what comes next, and what it finds and spends on learning curves that are drawn from seeds.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Goal, Halving, Next, Outcome, Run, best};

fn halving(trials: u32, parallel: u32, max: u64) -> Halving {
    let budgets = Halving::budgets(1, max, 3);
    Halving { budgets, factor: 3, trials, parallel, total: None, goal: Goal::Minimize, resumes: true }
}

fn ended(trial: u32, rung: usize, metric: f64) -> Run {
    Run { trial, rung, outcome: Outcome::Ended(metric) }
}

#[test]
fn budgets_grow_by_the_factor_and_end_with_the_most() {
    assert_eq!(Halving::budgets(1, 27, 3), [1, 3, 9, 27]);
    assert_eq!(Halving::budgets(2, 10, 3), [2, 6, 10]);
    assert_eq!(Halving::budgets(1, u64::MAX, 10).len(), 21);
}

#[test]
fn what_comes_next_is_a_promotion_from_as_high_as_there_is_one_else_a_new_trial() {
    let halving = halving(9, 2, 9);
    let running = |trial, rung| Run { trial, rung, outcome: Outcome::Running };
    let failed = |trial, rung| Run { trial, rung, outcome: Outcome::Failed };
    let start = |trial, rung| Next::Start { trial, rung };
    let three = [ended(0, 0, 3.0), ended(1, 0, 1.0), ended(2, 0, 2.0)];
    let nine: Vec<Run> = (0..9).map(|trial| ended(trial, 0, f64::from(trial))).collect();
    let with = |runs: &[Run], more: &[Run]| [runs, more].concat();
    for (runs, next) in [
        (vec![], start(0, 0)),
        (vec![running(0, 0)], start(1, 0)),
        (vec![running(0, 0), running(1, 0)], Next::Wait),
        (three[..2].to_vec(), start(2, 0)),
        (three.to_vec(), start(1, 1)),
        (with(&three, &[running(1, 1)]), start(3, 0)),
        // Nobody waits for a rung to fill; of equals the first.
        (vec![ended(0, 0, 1.0), ended(1, 0, 1.0), ended(2, 0, 1.0)], start(0, 1)),
        // Failures are worse than all others, and never go on.
        (vec![failed(0, 0), ended(1, 0, 9.0), failed(2, 0)], start(1, 1)),
        (vec![failed(0, 0), failed(1, 0), failed(2, 0)], start(3, 0)),
        (nine.clone(), start(0, 1)),
        (with(&nine, &[ended(0, 1, 5.0), ended(1, 1, 4.0), ended(2, 1, 6.0)]), start(1, 2)),
        (with(&nine, &[ended(0, 1, 5.0), ended(1, 1, 4.0), ended(2, 1, 6.0), running(1, 2)]), Next::Wait),
        // Above all, whatever lower budgets said.
        (with(&nine, &[ended(0, 1, 5.0), ended(1, 1, 4.0), ended(2, 1, 6.0), ended(1, 2, 9.0)]), Next::Done(Some(ended(1, 2, 9.0)))),
        ((0..9).map(|trial| failed(trial, 0)).collect(), Next::Done(None)),
    ] {
        assert_eq!(halving.next(&runs), next, "{runs:?}");
    }
    let most = Halving { goal: Goal::Maximize, ..halving };
    assert_eq!(most.next(&three), start(0, 1));
}

#[test]
fn nothing_begins_that_the_total_does_not_pay() {
    let halving = Halving { total: Some(5), ..halving(9, 9, 9) };
    let three = [ended(0, 0, 3.0), ended(1, 0, 1.0), ended(2, 0, 2.0)];
    assert_eq!(halving.next(&three), Next::Start { trial: 1, rung: 1 }, "3 are spent, and the next rung has 2 more");
    let promoted = [three.as_slice(), &[Run { trial: 1, rung: 1, outcome: Outcome::Running }]].concat();
    assert_eq!(halving.next(&promoted), Next::Wait);
    let anew = Halving { resumes: false, ..halving };
    assert_eq!(anew.next(&three), Next::Done(Some(ended(1, 0, 1.0))), "3 are spent, and from its beginning it needs 3");
}

/// Loss of a trial by what it has spent: falls as a power to a floor of its own.
struct Curve {
    floor: f64,
    height: f64,
    rate: f64,
    seconds_each: f64,
}

/// What a sweep did: all runs, what they spent, the most at a time, and by which runs each was decided.
fn simulated(halving: &Halving, curves: &[Curve], dice: &mut StdRng) -> (Vec<Run>, u64) {
    let (mut runs, mut ends, mut spent) = (Vec::<Run>::new(), Vec::<f64>::new(), 0);
    let mut now = 0.0;
    loop {
        match halving.next(&runs) {
            Next::Start { trial, rung } => {
                let again = runs.iter().any(|run| (run.trial, run.rung) == (trial, rung));
                assert!(!again, "trial {trial} twice on rung {rung}");
                assert!(
                    rung == 0
                        || runs.iter().any(|run| (run.trial, run.rung) == (trial, rung - 1) && matches!(run.outcome, Outcome::Ended(_)))
                );
                if rung > 0 {
                    // Among the best third of those that have ended below it by now.
                    let below = runs.iter().filter(|run| run.rung == rung - 1 && run.outcome != Outcome::Running);
                    let loss = |run: &Run| if let Outcome::Ended(loss) = run.outcome { loss } else { f64::INFINITY };
                    let own = runs.iter().find(|run| (run.trial, run.rung) == (trial, rung - 1)).map_or(f64::INFINITY, loss);
                    let better = below.clone().filter(|run| loss(run) < own).count();
                    assert!((better + 1) * 3 <= below.count(), "{better} were better");
                }
                spent += halving.cost(rung);
                let cost = halving.cost(rung) as f64;
                runs.push(Run { trial, rung, outcome: Outcome::Running });
                ends.push(now + cost * curves[trial as usize].seconds_each);
                let running = runs.iter().filter(|run| run.outcome == Outcome::Running).count();
                assert!(running <= halving.parallel as usize);
            }
            Next::Wait => {
                let open = (0..runs.len()).filter(|at| runs[*at].outcome == Outcome::Running);
                let first = { open }.min_by(|a, b| ends[*a].total_cmp(&ends[*b])).unwrap();
                now = ends[first];
                let (run, curve) = (runs[first], &curves[runs[first].trial as usize]);
                let noise: f64 = dice.random_range(-0.01..0.01);
                let budget = halving.budgets[run.rung] as f64;
                let gone = dice.random_bool(0.02);
                let loss = curve.floor + curve.height * budget.powf(-curve.rate) + noise;
                runs[first].outcome = if gone { Outcome::Failed } else { Outcome::Ended(loss) };
            }
            Next::Done(_) => return (runs, spent),
        }
    }
}

#[test]
fn on_drawn_learning_curves_it_finds_one_of_the_best_for_a_fraction_of_what_all_would_spend() {
    let (mut best_found, mut in_best_five, mut part, seeds) = (0, 0, 0.0, 200);
    for seed in 0..seeds {
        let dice = &mut StdRng::seed_from_u64(seed);
        let mut curve = || Curve {
            floor: dice.random_range(0.1..1.0),
            height: dice.random_range(0.5..2.0),
            rate: dice.random_range(0.3..0.9),
            seconds_each: dice.random_range(0.5..2.0),
        };
        let curves: Vec<Curve> = (0..81).map(|_| curve()).collect();
        let halving = halving(81, 8, 81);
        let (runs, spent) = simulated(&halving, &curves, dice);
        let found = best(Goal::Minimize, &runs).unwrap();
        let gone = runs.iter().any(|run| run.rung == 4 && run.outcome == Outcome::Failed);
        assert!(found.rung == 4 || gone, "seed {seed}: somebody gets the whole budget");
        let last = |at: usize| curves[at].floor + curves[at].height * 81_f64.powf(-curves[at].rate);
        let better = (0..81).filter(|at| last(*at) < last(found.trial as usize)).count();
        best_found += u32::from(better == 0);
        in_best_five += u32::from(better < 5);
        part += spent as f64 / (81.0 * 81.0);
        let total = Halving { total: Some(300), ..halving };
        assert!(simulated(&total, &curves, dice).1 <= 300, "seed {seed}");
    }
    let part = part / seeds as f64;
    eprintln!(
        "halving of 81 trials, 200 seeds: the best in {best_found}, one of the best five in {in_best_five}, {:.1} % of the budget of a grid",
        part * 100.0
    );
    assert!(in_best_five >= 180 && best_found >= 100 && part < 0.15, "{best_found} {in_best_five} {part}");
}
