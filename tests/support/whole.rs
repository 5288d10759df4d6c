//! The long suites: how much of each the daily command runs, and all of it where `RINGHOOKD_WHOLE=1` is set, as in `.ci/run`.

/// A suite, how much of it the daily command runs, and the whole.
const SUITES: &[(&str, usize, usize)] = &[
    ("images of power cuts", 1_000, 20_000),
    ("of each five calls of the disk, those that fail", 1, 5),
    ("failed syncs", 20, 200),
    ("flipped bits", 150, 1_500),
    ("random histories of the store", 24, 96),
    ("simulated years of 60 accounts", 4, 40),
    ("accounts in a large simulated year", 1_000, 10_000),
    ("silent connections", 1_100, 3_000),
    ("slow bodies", 600, 5_400),
    ("kills under load", 26, 100),
    ("restarts under load", 10, 100),
    ("kills at each fail point", 1, 4),
];

/// How much of a suite this run does.
pub(crate) fn share(suite: &str) -> usize {
    let found = SUITES.iter().find(|(name, ..)| *name == suite);
    let (_, quick, all) = found.unwrap_or_else(|| panic!("{suite} is not in the table of suites"));
    let share = if is_whole() { *all } else { *quick };
    println!("{suite}: {share} of {all}");
    share
}

/// The distance between the samples of a suite, one after the other.
pub(crate) fn stride(suite: &str) -> usize {
    let (_, _, all) = SUITES.iter().find(|(name, ..)| *name == suite).unwrap();
    all / share(suite)
}

fn is_whole() -> bool {
    match std::env::var("RINGHOOKD_WHOLE").as_deref() {
        Ok("1") => true,
        Ok("" | "0") | Err(_) => false,
        Ok(other) => panic!("RINGHOOKD_WHOLE={other:?}: neither 0 nor 1"),
    }
}

/// A line for each suite of which this run does a part.
pub(crate) fn left_out() -> Vec<String> {
    let parts = SUITES.iter().filter(|_| !is_whole());
    parts.map(|(suite, quick, all)| format!("{suite}: {quick} of {all}")).collect()
}

/// The names of all suites.
pub(crate) fn suites() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, ..)| *name)
}
