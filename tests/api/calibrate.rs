//! `bienvenue calibrate`: the time of each bcrypt cost on a machine.

use crate::harness::process::{command, run};

#[test]
fn each_cost_has_a_row_of_figures() {
    let folder = tempfile::tempdir().unwrap();
    let mut calibrate = command(folder.path());
    calibrate.args(["calibrate", "--hash-threads=2"]);
    let ended = run(calibrate);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.errors, "");
    let rows: Vec<Vec<f64>> = ended
        .output
        .lines()
        .map(|line| {
            let words = line.split_whitespace();
            words.filter_map(|word| word.parse().ok()).collect()
        })
        .filter(|row: &Vec<f64>| row.len() == 5)
        .collect();
    let costs: Vec<f64> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(costs, [10.0, 11.0, 12.0, 13.0, 14.0], "{}", ended.output);
    for row in &rows {
        assert!(row.iter().all(|&figure| figure > 0.0), "{}", ended.output);
    }
    assert!(ended.output.contains("--bcrypt-cost=1"), "{}", ended.output);
    // It creates no files.
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
