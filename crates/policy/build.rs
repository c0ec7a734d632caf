//! Writes the compiler's own tables of letter cases in a form that is a fourth as large:
//! the filter carries them. Read by `src/letters.rs`.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

/// Letters, each `step` after the last, that change by the same amount.
struct Run {
    first: u32,
    last: u32,
    step: u32,
    change: i32,
}

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let lower = table("LOWER", |letter| letter.to_lowercase().collect());
    let upper = table("UPPER", |letter| letter.to_uppercase().collect());
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("letters.rs"), lower + &upper)
}

fn table(name: &str, mapped: fn(char) -> Vec<char>) -> String {
    let mut runs: Vec<Run> = Vec::new();
    let mut several = Vec::new();
    for letter in ('\u{80}'..=char::MAX).filter(|letter| mapped(*letter) != [*letter]) {
        match *mapped(letter) {
            [to] => add(&mut runs, letter as u32, to as i32 - letter as i32),
            // All of them fit in two bytes, and become three at most; an array that does not
            // hold them would not compile.
            ref to => {
                let letters = [letter].into_iter().chain(to.iter().copied());
                let mut units: Vec<u32> = letters.map(u32::from).collect();
                units.resize(units.len().max(4), 0);
                several.push(units);
            }
        }
    }
    let mut text = format!("static {name}: Letters = Letters {{\n    runs: &[\n");
    for Run {
        first,
        last,
        step,
        change,
    } in runs
    {
        // Twice a change and its sign, and no two letters are so far apart.
        let change = (change << 1 ^ change >> 31) as u64;
        let run = u64::from(first) | u64::from(last - first) << 21 | u64::from(step) << 33;
        let _ = writeln!(text, "        {},", run | change << 36);
    }
    let _ = writeln!(text, "    ],\n    several: &{several:?},\n}};");
    text
}

fn add(runs: &mut Vec<Run>, letter: u32, change: i32) {
    if let Some(run) = runs.last_mut()
        && run.change == change
        && letter - run.last <= 2
        && (run.first == run.last || letter - run.last == run.step)
    {
        run.step = letter - run.last;
        run.last = letter;
        return;
    }
    runs.push(Run {
        first: letter,
        last: letter,
        step: 1,
        change,
    });
}
