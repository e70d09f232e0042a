//! "Did you mean": the nearest of the names that would have been right.

/// Beyond this many candidates nobody is helped by waiting for the nearest.
const MOST_CANDIDATES: usize = 20_000;
/// A longer name is no slip of the finger, and its distance is dear to compute.
const LONGEST: usize = 80;

/// The candidate that `given` was probably meant to be. Cost: one edit distance for each candidate of similar length.
pub(crate) fn nearest<'c>(given: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if given.len() > LONGEST {
        return None;
    }
    let most_edits = (given.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .take(MOST_CANDIDATES)
        .filter(|candidate| candidate.len().abs_diff(given.len()) <= most_edits + 4)
        .filter_map(|candidate| {
            let same_but_for_case = candidate.eq_ignore_ascii_case(given);
            let edits = if same_but_for_case { 0 } else { strsim::osa_distance(given, candidate) };
            (edits <= most_edits && edits < given.len().max(2)).then_some((edits, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// The nearest candidate as a help line.
pub(crate) fn did_you_mean<'c>(given: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(given, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// "`a`, `b` or `c`".
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["segment", "uplink", "workload"];
        assert_eq!(nearest("segmnet", known), Some("segment"));
        assert_eq!(nearest("Workload", known), Some("workload"));
        assert_eq!(nearest("rule", known), None);
        assert_eq!(nearest("x", ["y"]), Some("y"));
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
