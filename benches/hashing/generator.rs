//! The CPU time of the load generator.

/// Above this part of a core, the load generator may have affected the figures.
const NEGLIGIBLE: f64 = 0.05;

/// A note on the CPU time of the load generator.
pub fn note(while_doing: &str, cores: f64) -> String {
    let verdict = if cores > NEGLIGIBLE {
        "**WARNING: more than 5 %, which affects the figure**"
    } else {
        "negligible"
    };
    format!(
        "The load generator, {while_doing}: {:.1} % of a core, {verdict}.",
        cores * 100.0
    )
}
