//! How long something takes: the minimum over many samples, each of many runs.
//!
//! Other work of the machine only ever adds time, so the least is nearest to what the
//! code itself takes.

/// A sample takes about this long, so that reading the clock does not count.
const SAMPLE_NS: u64 = 400_000;

/// One thing that is timed.
pub(crate) struct Timed<'a> {
    run: Box<dyn FnMut() + 'a>,
    runs: u64,
    least: f64,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(run: impl FnMut() + 'a) -> Timed<'a> {
        Timed {
            run: Box::new(run),
            runs: 1,
            least: f64::INFINITY,
        }
    }

    fn sample(&mut self, now: &dyn Fn() -> u64) -> u64 {
        let begun = now();
        for _ in 0..self.runs {
            (self.run)();
        }
        now().saturating_sub(begun)
    }
}

/// Nanoseconds per run of each. They take turns, so that all meet the same machine.
pub(crate) fn least(timed: &mut [Timed<'_>], samples: u32, now: &dyn Fn() -> u64) -> Vec<f64> {
    for one in timed.iter_mut() {
        while one.sample(now) < SAMPLE_NS {
            one.runs *= 2;
        }
    }
    for _ in 0..samples {
        for one in timed.iter_mut() {
            let took = one.sample(now) as f64 / one.runs as f64;
            one.least = one.least.min(took);
        }
    }
    timed.iter().map(|one| one.least).collect()
}
