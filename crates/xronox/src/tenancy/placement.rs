//! Which of several connections a new database goes to.

use xronox_model::Sha256;

use crate::HashAlgo;

/// The index of the connection for a key. `None` without connections, or if
/// none has any weight.
pub(crate) fn pick(method: HashAlgo, key: &str, weighted: &[(&str, u32)]) -> Option<usize> {
    match method {
        HashAlgo::Rendezvous => rendezvous(key, weighted),
        HashAlgo::Jump => jump(key, weighted),
    }
}

/// The connection that draws the highest number for the key, weights allowed
/// for ([rendezvous hashing](https://doi.org/10.1109/90.663936)).
fn rendezvous(key: &str, weighted: &[(&str, u32)]) -> Option<usize> {
    let draws = weighted
        .iter()
        .enumerate()
        .filter(|(_, (_, weight))| *weight > 0);
    let scored = draws.map(|(index, (name, weight))| {
        // The lengths keep (name, key) pairs apart.
        let drawn = hash(&format!("{}:{name}:{key}", name.len()));
        // A number in (0, 1): 53 bits and a half.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let uniform = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        (index, f64::from(*weight) / -uniform.ln())
    });
    scored
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(index, _)| index)
}

/// [Jump consistent hashing](https://arxiv.org/abs/1406.2294) over the
/// connections in their order, each as often as it weighs.
fn jump(key: &str, weighted: &[(&str, u32)]) -> Option<usize> {
    let buckets: u64 = weighted.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if buckets == 0 {
        return None;
    }
    let mut state = hash(key);
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        state = state
            .wrapping_mul(2_862_933_555_777_941_757)
            .wrapping_add(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as the paper has it: positive, and beyond u64 it saturates"
        )]
        {
            let step = (1_u64 << 31) as f64 / ((state >> 33) + 1) as f64;
            next = ((bucket + 1) as f64 * step) as u64;
        }
    }
    let mut before = 0;
    weighted.iter().position(|(_, weight)| {
        before += u64::from(*weight);
        bucket < before
    })
}

fn hash(text: &str) -> u64 {
    let bytes = Sha256::of(text.as_bytes());
    bytes.as_bytes()[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [HashAlgo; 2] = [HashAlgo::Rendezvous, HashAlgo::Jump];

    fn counts(method: HashAlgo, weighted: &[(&str, u32)]) -> Vec<usize> {
        let mut counts = vec![0; weighted.len()];
        for tenant in 0..20_000 {
            counts[pick(method, &format!("tenant-{tenant}"), weighted).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn each_gets_its_share() {
        for method in METHODS {
            let even = counts(method, &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
            assert!(even.iter().all(|n| (4700..5300).contains(n)), "{even:?}");
            let weighted = counts(method, &[("a", 3), ("b", 0), ("c", 1)]);
            assert!((14_600..15_400).contains(&weighted[0]), "{weighted:?}");
            assert_eq!(weighted[1], 0);
        }
    }

    #[test]
    fn a_connection_more_takes_only_its_own_share() {
        for method in METHODS {
            let (before, after) = (
                [("a", 1), ("b", 1), ("c", 1)],
                [("a", 1), ("b", 1), ("c", 1), ("d", 1)],
            );
            let mut moved = 0;
            for tenant in 0..20_000 {
                let key = format!("tenant-{tenant}");
                let (was, is) = (pick(method, &key, &before), pick(method, &key, &after));
                if was != is {
                    assert_eq!(is, Some(3), "only to the new one");
                    moved += 1;
                }
            }
            assert!((4600..5400).contains(&moved), "{moved}");
        }
    }

    #[test]
    fn choices_are_pinned() {
        let three = [("eu", 1), ("us", 1), ("ap", 1)];
        let picks = |method: HashAlgo| -> Vec<_> {
            ["acme", "globex", "initech", "umbrella"]
                .map(|key| pick(method, key, &three).unwrap())
                .to_vec()
        };
        assert_eq!(picks(HashAlgo::Rendezvous), [2, 2, 2, 1]);
        assert_eq!(picks(HashAlgo::Jump), [1, 0, 0, 0]);
        assert_eq!(pick(HashAlgo::Jump, "acme", &[]), None);
        assert_eq!(pick(HashAlgo::Rendezvous, "acme", &[("a", 0)]), None);
    }
}
