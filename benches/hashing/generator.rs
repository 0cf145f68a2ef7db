//! What the generator of a load takes of the machine for itself.

/// Above this part of a core, the generator of the load may have weighed on
/// what it measured.
const NEGLIGIBLE: f64 = 0.05;

/// A note on how many cores the generator of a load took.
pub fn note(while_doing: &str, cores: f64) -> String {
    let verdict = if cores > NEGLIGIBLE {
        "**WARNING: more than 5 %, it weighs on the figure**"
    } else {
        "negligible"
    };
    format!(
        "The load generator, {while_doing}: {:.1} % of a core, {verdict}.",
        cores * 100.0
    )
}
