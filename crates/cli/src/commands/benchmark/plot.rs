//! A run as one picture: latency over time, what came over time, percentiles.
//!
//! The file stands by itself, as an SVG or as a page around it: no script, no
//! font, nothing to fetch; it is light or dark as its reader's screen is.

use super::results::Results;
use super::show;
use super::tally::Interval;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const HEAD: f64 = 64.0;
const PANEL: f64 = 190.0;
const PANEL_STEP: f64 = 260.0;
const HEIGHT: f64 = HEAD + 3.0 * PANEL_STEP;

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{font:13px system-ui,sans-serif;background:#fff}\
.ink{fill:#1c2430}.dim{fill:#5c6672}.grid{stroke:#e3e6ea}.axis{stroke:#9aa3ad}\
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}\
.a{stroke:#1f6fb2}.b{stroke:#b35c00}.c{stroke:#8a94a0;stroke-width:1.2}\
.ta{fill:#1f6fb2}.tb{fill:#b35c00}.tc{fill:#707a86}.bad{fill:#c62828}.good{fill:#1f6fb2;opacity:.25}\
@media(prefers-color-scheme:dark){\
svg{background:#14181d}.ink{fill:#e8ebef}.dim{fill:#9aa5b1}.grid{stroke:#2a3038}.axis{stroke:#5b6672}\
.a{stroke:#6db3f2}.b{stroke:#f0a45a}.c{stroke:#76818d}\
.ta{fill:#6db3f2}.tb{fill:#f0a45a}.tc{fill:#8e99a5}.bad{fill:#ff6b6b}.good{fill:#6db3f2}}";

/// Where a picture goes; its name says in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlotFile {
    Svg(PathBuf),
    Html(PathBuf),
}

impl PlotFile {
    pub fn path(&self) -> &Path {
        match self {
            PlotFile::Svg(path) | PlotFile::Html(path) => path,
        }
    }
}

pub fn file(text: &str) -> Result<PlotFile, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => Ok(PlotFile::Svg(path)),
        Some("html") => Ok(PlotFile::Html(path)),
        _ => Err("name a file that ends in .svg or .html".to_owned()),
    }
}

pub fn draw(results: &Results, file: &PlotFile) -> String {
    let svg = svg(results);
    match file {
        PlotFile::Svg(_) => svg,
        PlotFile::Html(_) => page(results, &svg),
    }
}

fn page(results: &Results, svg: &str) -> String {
    let mut rows = String::new();
    for (name, times) in show::times(results) {
        let Some(t) = times else { continue };
        let cells = [t.p50, t.p90, t.p99, t.p999, t.max].map(show::time);
        let _ = write!(
            rows,
            "<tr><th>{name}<td>{}<td>{}",
            cells.join("<td>"),
            t.count
        );
    }
    let title = escaped(&results.setup.target);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>Benchmark of {title}</title>\
         <style>body{{margin:24px auto;max-width:{WIDTH}px;padding:0 12px;font:15px system-ui,sans-serif;\
         color-scheme:light dark;background:#fff;color:#1c2430}}svg{{width:100%;height:auto}}\
         table{{border-collapse:collapse}}th,td{{text-align:right;padding:3px 14px 3px 0}}th:first-child{{text-align:left}}\
         @media(prefers-color-scheme:dark){{body{{background:#14181d;color:#e8ebef}}}}</style>\n\
         {svg}\n<table><tr><th>milliseconds<th>p50<th>p90<th>p99<th>p99.9<th>max<th>count{rows}</table></html>\n"
    )
}

fn svg(results: &Results) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\"><title>Benchmark of {0}</title><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"none\"/>\
         <text class=\"ink\" x=\"{LEFT}\" y=\"26\" font-size=\"17\" font-weight=\"600\">{0}</text>\
         <text class=\"dim\" x=\"{LEFT}\" y=\"48\">{1}</text>",
        escaped(&results.setup.target),
        escaped(&subtitle(results)),
    );
    let end = results.intervals.last().map_or(1.0, |last| last.at);
    let time = Scale::linear(0.0, end.max(1e-3));
    latency_over_time(&mut out, results, &time);
    ends_over_time(&mut out, results, &time);
    percentiles(&mut out, results);
    out + "</svg>"
}

fn subtitle(results: &Results) -> String {
    let setup = &results.setup;
    let pace = match setup.rate {
        Some(rate) => format!("{rate} requests/s"),
        None => "closed loop".to_owned(),
    };
    let streamed = if setup.stream { ", streamed" } else { "" };
    format!(
        "{}  ·  {pace}, at most {} at once{streamed}  ·  {:.1} answers/s  ·  {:.2} % failed",
        crate::output::when(&results.started_at),
        setup.concurrency,
        results.per_second,
        results.error_rate * 100.0
    )
}

fn latency_over_time(out: &mut String, results: &Results, time: &Scale) {
    let of = |value: fn(&Interval) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        let points = results.intervals.iter();
        points
            .map(|interval| (middle(results, interval), value(interval)))
            .collect()
    };
    let series = [
        ("max", "c", of(|i| i.max)),
        ("p99", "b", of(|i| i.p99)),
        ("p50", "a", of(|i| i.p50)),
    ];
    let values = series
        .iter()
        .flat_map(|(_, _, points)| points.iter().filter_map(|p| p.1));
    let scale = Scale::log(values);
    let panel = Panel::new(0.0, "Latency of answers, milliseconds", time, &scale);
    panel.frame(out, "seconds", |second| format!("{second}"));
    let names = series.iter().rev().map(|(name, class, _)| (*name, *class));
    panel.legend(out, names);
    for (_, class, points) in &series {
        panel.line(out, class, points);
    }
}

fn ends_over_time(out: &mut String, results: &Results, time: &Scale) {
    let mut start = 0.0;
    let mut bars = Vec::new();
    for interval in &results.intervals {
        let width = (interval.at - start).max(1e-3);
        let good = (interval.answered + interval.denied) as f64 / width;
        bars.push((start, interval.at, good, interval.errors as f64 / width));
        start = interval.at;
    }
    let most = bars
        .iter()
        .map(|(_, _, good, bad)| good + bad)
        .fold(1.0, f64::max);
    let scale = Scale::linear(0.0, most);
    let panel = Panel::new(1.0, "Answers and errors per second", time, &scale);
    panel.frame(out, "seconds", |second| format!("{second}"));
    panel.legend(out, [("answers", "a"), ("errors", "bad")].into_iter());
    for (from, to, good, bad) in bars {
        panel.bar(out, "good", (from, to), (0.0, good));
        panel.bar(out, "bad", (from, to), (good, good + bad));
    }
}

fn percentiles(out: &mut String, results: &Results) {
    let count = results
        .latency_ms
        .map_or(10.0, |times| times.count.max(10) as f64);
    // How many nines: 90 % stands at 1, 99 % at 2.
    let nines = |percentile: f64| match percentile {
        p if p >= 100.0 => count.log10(),
        p => (-(1.0 - p / 100.0).log10()).min(count.log10()),
    };
    let points: Vec<_> = results
        .curve
        .iter()
        .map(|(p, ms)| (nines(*p), Some(*ms)))
        .collect();
    let across = Scale {
        ticks: (0..=count.log10() as u32).map(f64::from).collect(),
        ..Scale::linear(0.0, count.log10())
    };
    let scale = Scale::log(results.curve.iter().map(|(_, ms)| *ms));
    let panel = Panel::new(2.0, "Latency by percentile, milliseconds", &across, &scale);
    panel.frame(out, "%", |nines| match nines {
        n if n < 0.5 => "0".to_owned(),
        n => format!(
            "{:.*}",
            (n - 2.0).max(0.0) as usize,
            100.0 - 100.0 / 10_f64.powf(n)
        ),
    });
    panel.line(out, "a", &points);
}

/// Where a point of an interval stands.
fn middle(results: &Results, interval: &Interval) -> f64 {
    let width = results.intervals.first().map_or(1.0, |first| first.at);
    (interval.at - width / 2.0).max(0.0)
}

/// From values to a part of an axis.
struct Scale {
    lo: f64,
    hi: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Scale {
    fn linear(lo: f64, hi: f64) -> Scale {
        let rough = (hi - lo) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|s| s * power)
            .find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let first = (lo / step).ceil() as i64;
        let last = (hi / step + 1e-9).floor() as i64;
        // A step of a tenth has no exact form; its label has.
        let tick = |n| (n as f64 * step * 1e6).round() / 1e6;
        Scale {
            lo,
            hi,
            logarithmic: false,
            ticks: (first..=last).map(tick).collect(),
        }
    }

    /// From a 1, 2 or 5 below the values to one above.
    fn log(values: impl Iterator<Item = f64>) -> Scale {
        let (lo, hi) = values.fold((f64::MAX, f64::MIN), |(lo, hi), value| {
            (lo.min(value), hi.max(value))
        });
        let (lo, hi) = if lo > hi {
            (1.0, 10.0)
        } else {
            (lo.max(1e-3), hi)
        };
        let steps = (-3..8).flat_map(|power| {
            // Below one by division: a tenth has no exact form, but the nearest one.
            let scale = 10_f64.powi(i32::abs(power));
            [1.0, 2.0, 5.0].map(|step| {
                if power < 0 {
                    step / scale
                } else {
                    step * scale
                }
            })
        });
        let steps: Vec<f64> = steps.collect();
        let below = steps.iter().rev().copied().find(|step| *step <= lo);
        let below = below.unwrap_or(1e-3);
        let above = |step: &f64| *step >= hi && *step > below;
        let above = steps
            .iter()
            .copied()
            .find(above)
            .unwrap_or(hi.max(below * 2.0));
        let mut ticks: Vec<f64> = steps;
        ticks.retain(|tick| (below..=above).contains(tick));
        if ticks.len() > 8 {
            ticks.retain(|tick| tick.log10().fract().abs() < 1e-9);
        }
        Scale {
            lo: below,
            hi: above,
            logarithmic: true,
            ticks,
        }
    }

    /// 0 at the low end, 1 at the high one.
    fn at(&self, value: f64) -> f64 {
        match self.logarithmic {
            true => (value.max(self.lo) / self.lo).log10() / (self.hi / self.lo).log10(),
            false => (value - self.lo) / (self.hi - self.lo),
        }
    }
}

struct Panel<'a> {
    top: f64,
    title: &'static str,
    across: &'a Scale,
    up: &'a Scale,
}

impl<'a> Panel<'a> {
    fn new(number: f64, title: &'static str, across: &'a Scale, up: &'a Scale) -> Panel<'a> {
        Panel {
            top: HEAD + number * PANEL_STEP + 28.0,
            title,
            across,
            up,
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.across.at(value) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.up.at(value)) * PANEL
    }

    fn frame(&self, out: &mut String, unit: &str, label: impl Fn(f64) -> String) {
        let (top, bottom) = (self.top, self.top + PANEL);
        let _ = write!(
            out,
            "<text class=\"ink\" x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"600\">{}</text>",
            top - 10.0,
            self.title
        );
        for tick in &self.up.ticks {
            let y = self.y(*tick);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                LEFT - 8.0,
                y + 4.5
            );
        }
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>"
        );
        for tick in &self.across.ticks {
            let x = self.x(*tick);
            let last = x > RIGHT - 60.0;
            let _ = write!(
                out,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>",
                bottom + 4.0
            );
            if !last {
                let _ = write!(
                    out,
                    "<text class=\"dim\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    bottom + 19.0,
                    label(*tick)
                );
            }
        }
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">{unit}</text>",
            bottom + 19.0
        );
    }

    fn legend<'n>(&self, out: &mut String, names: impl Iterator<Item = (&'n str, &'n str)>) {
        let names: Vec<_> = names.collect();
        for (index, (name, class)) in names.iter().rev().enumerate() {
            let class = match *class {
                "bad" => "bad".to_owned(),
                class => format!("t{class}"),
            };
            let _ = write!(
                out,
                "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-weight=\"600\">{name}</text>",
                RIGHT - index as f64 * 64.0,
                self.top - 10.0
            );
        }
    }

    /// Broken where there is no value: a gap is not drawn over.
    fn line(&self, out: &mut String, class: &str, points: &[(f64, Option<f64>)]) {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            match y {
                Some(y) => {
                    let _ = write!(path, "{pen}{:.1} {:.1}", self.x(*x), self.y(*y));
                    // A point alone would not be seen.
                    if pen == 'M' {
                        path.push_str("h.1");
                    }
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        let _ = write!(
            out,
            "<path class=\"line {class}\" stroke-linecap=\"round\" d=\"{path}\"/>"
        );
    }

    fn bar(&self, out: &mut String, class: &str, (from, to): (f64, f64), (lo, hi): (f64, f64)) {
        if hi <= lo {
            return;
        }
        let (x, y) = (self.x(from), self.y(hi));
        // The thinnest bar of errors is still seen.
        let height = (self.y(lo) - y).max(1.5);
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{:.1} to {:.1} s: {:.1}/s</title></rect>",
            (self.x(to) - x).max(0.5),
            from,
            to,
            hi - lo
        );
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in crate::output::plain(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::results;
    use super::*;

    #[test]
    fn plot_names_its_form_by_its_ending() {
        assert_eq!(file("a/b.svg"), Ok(PlotFile::Svg("a/b.svg".into())));
        assert_eq!(file("b.html"), Ok(PlotFile::Html("b.html".into())));
        assert!(file("b.png").is_err() && file("svg").is_err());
    }

    #[test]
    fn picture_fetches_nothing_and_shows_what_was_measured() {
        let mut results = results();
        results.setup.target = "http://h/?a=<b>&c".to_owned();
        for file in [PlotFile::Svg("a".into()), PlotFile::Html("a".into())] {
            let text = draw(&results, &file);
            assert!(text.contains("http://h/?a=&lt;b&gt;&amp;c"));
            for outside in ["<script", "@import", "url(", "href", "src="] {
                assert!(!text.contains(outside), "{outside}");
            }
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(text.contains("class=\"bad\""));
        }
    }

    #[test]
    fn a_gap_is_not_drawn_over() {
        let (across, up) = (Scale::linear(0.0, 4.0), Scale::linear(0.0, 1.0));
        let mut out = String::new();
        let points = [
            (0.0, Some(0.5)),
            (1.0, Some(0.5)),
            (2.0, None),
            (3.0, Some(0.5)),
        ];
        Panel::new(0.0, "", &across, &up).line(&mut out, "a", &points);
        assert_eq!(out.matches('M').count(), 2, "{out}");
        assert_eq!(out.matches('L').count(), 1, "{out}");
    }

    #[test]
    fn run_without_an_answer_is_drawn_too() {
        let mut results = results();
        results.intervals.clear();
        results.curve.clear();
        results.latency_ms = None;
        let text = draw(&results, &PlotFile::Svg("a".into()));
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(
            Scale::linear(0.0, 60.0).ticks,
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
        );
        assert_eq!(Scale::linear(0.0, 0.7).ticks, [0.0, 0.2, 0.4, 0.6]);
        let log = |values: &[f64]| Scale::log(values.iter().copied());
        assert_eq!(
            log(&[0.3, 42.0]).ticks,
            [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
        );
        assert_eq!(log(&[5.0]).ticks, [5.0, 10.0]);
        let wide = log(&[0.3, 4200.0]);
        assert_eq!((wide.lo, wide.hi), (0.2, 5000.0));
        assert_eq!(wide.ticks, [1.0, 10.0, 100.0, 1000.0]);
    }
}
