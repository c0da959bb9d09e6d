//! What is written: orders of a shop, a KiB of JSON each.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

/// Bytes of each document in its canonical form.
pub(crate) const BYTES: usize = 1024;
/// How many values `region` and `score` have where it does not matter.
pub(crate) const GROUPS: usize = 200;

/// The order of this number in its version `revision`. The same numbers give
/// the same document in every run.
pub(crate) fn order(number: usize, revision: usize) -> Value {
    order_of(number, revision, GROUPS)
}

/// The same with so many values of `region`, which stays the same in all
/// versions of an order, and of `score`, which changes with each.
pub(crate) fn order_of(number: usize, revision: usize, groups: usize) -> Value {
    let mut fixed = StdRng::seed_from_u64(number as u64);
    let mut now = StdRng::seed_from_u64(((revision as u64 + 1) << 32) | number as u64);
    let (first, last) = (pick(&mut fixed, FIRST_NAMES), pick(&mut fixed, LAST_NAMES));
    let lines: Vec<Value> = (0..fixed.random_range(1..=3))
        .map(|_| {
            json!({
                "sku": format!("{:05}-{:03}", fixed.random_range(0..100_000), fixed.random_range(0..1000)),
                "title": format!("{} {}", pick(&mut fixed, WORDS), pick(&mut fixed, WORDS)),
                "quantity": now.random_range(1..20),
                "price": price(&mut fixed, 1000),
            })
        })
        .collect();
    let mut order = json!({
        "orderNo": format!("A-{number:07}"),
        "revision": revision,
        "region": region(fixed.random_range(0..groups)),
        "score": (fixed.random_range(0..groups) + revision) % groups,
        "status": pick(&mut now, STATES),
        "customer": {
            "name": format!("{first} {last}"),
            "email": format!("{}.{}@example.com", first.to_lowercase(), last.to_lowercase()),
            "phone": format!("+44 20 {:04} {:04}", fixed.random_range(0..10_000), fixed.random_range(0..10_000)),
        },
        "address": {
            "street": format!("{} {} Street", fixed.random_range(1..300), pick(&mut fixed, LAST_NAMES)),
            "city": pick(&mut fixed, CITIES),
            "postcode": format!("{:05}", fixed.random_range(0..100_000)),
        },
        "lines": lines,
        "total": price(&mut now, 10_000),
        "currency": pick(&mut fixed, &["EUR", "GBP", "SEK", "USD"]),
        "paid": now.random_bool(0.5),
        "note": "",
    });
    let room = BYTES.saturating_sub(order.to_string().len());
    // A later version keeps most of the note.
    let mut note = text(&mut now, room / 4);
    note.push_str(&text(&mut fixed, room - note.len()));
    order["note"] = Value::from(note);
    order
}

/// One of the values of `region`.
pub(crate) fn region(number: usize) -> String {
    format!("region-{number:03}")
}

/// An amount with cents: a whole one would lose its `.0` in canonical form.
fn price(random: &mut StdRng, below: u32) -> f64 {
    let cents = random.random_range(1..100);
    f64::from(random.random_range(0..below) * 100 + cents) / 100.0
}

/// So many bytes of words.
fn text(random: &mut StdRng, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(pick(random, WORDS));
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).copied().unwrap_or_default()
}

const STATES: &[&str] = &["new", "paid", "packed", "sent", "delivered", "returned"];

const FIRST_NAMES: &[&str] = &[
    "Ada",
    "Alan",
    "Barbara",
    "Charles",
    "Donald",
    "Edsger",
    "Frances",
    "Grace",
    "Hedy",
    "Jean",
    "John",
    "Katherine",
    "Ken",
    "Leslie",
    "Margaret",
    "Niklaus",
    "Radia",
    "Sophie",
    "Tim",
    "Tony",
];

const LAST_NAMES: &[&str] = &[
    "Allen", "Backus", "Berners", "Dijkstra", "Goldberg", "Hamilton", "Hoare", "Hopper", "Johnson",
    "Knuth", "Lamarr", "Lamport", "Liskov", "Lovelace", "Perlman", "Ritchie", "Sammet", "Thompson",
    "Turing", "Wilson", "Wirth",
];

const CITIES: &[&str] = &[
    "Aberdeen",
    "Bergen",
    "Cologne",
    "Dublin",
    "Eindhoven",
    "Florence",
    "Geneva",
    "Hamburg",
    "Innsbruck",
    "Krakow",
    "Lisbon",
    "Malmo",
    "Nantes",
    "Oslo",
    "Porto",
    "Riga",
    "Seville",
    "Tallinn",
    "Utrecht",
    "Vienna",
    "Warsaw",
    "Zurich",
];

const WORDS: &[&str] = &[
    "about",
    "above",
    "account",
    "across",
    "address",
    "after",
    "again",
    "agreed",
    "almost",
    "already",
    "always",
    "amount",
    "another",
    "answer",
    "arrive",
    "asked",
    "autumn",
    "away",
    "back",
    "because",
    "been",
    "before",
    "behind",
    "better",
    "between",
    "black",
    "blue",
    "both",
    "bottle",
    "bottom",
    "bought",
    "break",
    "bring",
    "broken",
    "brother",
    "called",
    "came",
    "card",
    "carry",
    "change",
    "check",
    "clean",
    "clear",
    "close",
    "cold",
    "colour",
    "come",
    "could",
    "counter",
    "country",
    "cover",
    "customer",
    "damage",
    "dark",
    "date",
    "deliver",
    "different",
    "door",
    "down",
    "driver",
    "early",
    "eight",
    "either",
    "empty",
    "enough",
    "evening",
    "every",
    "except",
    "exchange",
    "extra",
    "family",
    "few",
    "fifteen",
    "find",
    "first",
    "five",
    "folded",
    "follow",
    "forgot",
    "forward",
    "found",
    "four",
    "fragile",
    "free",
    "friend",
    "from",
    "full",
    "garden",
    "gave",
    "gift",
    "give",
    "glass",
    "goods",
    "great",
    "green",
    "ground",
    "half",
    "hand",
    "handle",
    "have",
    "heavy",
    "help",
    "here",
    "high",
    "house",
    "however",
    "hundred",
    "inside",
    "instead",
    "into",
    "invoice",
    "keep",
    "kitchen",
    "know",
    "label",
    "large",
    "last",
    "late",
    "leave",
    "left",
    "less",
    "letter",
    "light",
    "like",
    "line",
    "little",
    "long",
    "look",
    "lost",
    "lower",
    "made",
    "many",
    "mark",
    "matter",
    "metal",
    "middle",
    "might",
    "missing",
    "monday",
    "money",
    "month",
    "more",
    "morning",
    "most",
    "mother",
    "much",
    "must",
    "name",
    "near",
    "need",
    "neighbour",
    "never",
    "new",
    "next",
    "night",
    "nine",
    "north",
    "nothing",
    "number",
    "often",
    "only",
    "open",
    "orange",
    "order",
    "other",
    "outside",
    "over",
    "package",
    "paid",
    "paper",
    "parcel",
    "part",
    "pass",
    "people",
    "perhaps",
    "phone",
    "piece",
    "place",
    "please",
    "porch",
    "price",
    "problem",
    "promised",
    "quarter",
    "quick",
    "quite",
    "reach",
    "ready",
    "really",
    "receipt",
    "receive",
    "red",
    "refund",
    "repair",
    "replace",
    "request",
    "return",
    "right",
    "ring",
    "river",
    "road",
    "room",
    "round",
    "said",
    "same",
    "scratch",
    "second",
    "seen",
    "send",
    "seven",
    "several",
    "shall",
    "shelf",
    "ship",
    "short",
    "should",
    "side",
    "silver",
    "since",
    "six",
    "size",
    "small",
    "some",
    "soon",
    "south",
    "spare",
    "special",
    "spring",
    "square",
    "stairs",
    "stand",
    "start",
    "station",
    "still",
    "stood",
    "stop",
    "store",
    "street",
    "such",
    "summer",
    "sunday",
    "sure",
    "table",
    "take",
    "tall",
    "tell",
    "than",
    "that",
    "their",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "think",
    "third",
    "this",
    "those",
    "though",
    "three",
    "through",
    "thursday",
    "time",
    "today",
    "together",
    "told",
    "tomorrow",
    "took",
    "track",
    "tuesday",
    "turn",
    "twelve",
    "twenty",
    "under",
    "until",
    "upper",
    "very",
    "voucher",
    "wait",
    "walk",
    "wall",
    "want",
    "warehouse",
    "warm",
    "water",
    "week",
    "well",
    "went",
    "were",
    "west",
    "what",
    "when",
    "where",
    "which",
    "while",
    "white",
    "whole",
    "window",
    "winter",
    "with",
    "without",
    "wood",
    "work",
    "world",
    "would",
    "wrapped",
    "write",
    "wrong",
    "year",
    "yellow",
    "yesterday",
    "young",
    "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_a_kib() {
        for number in 0..2000 {
            for revision in [0, 1, 99] {
                assert_eq!(order(number, revision).to_string().len(), BYTES, "{number}");
            }
        }
    }

    #[test]
    fn versions_keep_their_region_and_change_their_score() {
        let (a, b) = (order(7, 3), order(7, 4));
        assert_eq!(a["region"], b["region"]);
        assert_ne!(a["score"], b["score"]);
    }
}
