//! Cron expressions: minute, hour, day of the month, month, day of the week.

const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    (
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (
        "day of the week",
        0,
        7,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// Says what is expected in the place of an expression that is wrong.
pub(super) fn check(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(
            "a cron expression of five fields such as `0 3 * * *`: minute, hour, day, month, \
             weekday"
                .to_owned(),
        );
    }
    for (field, (name, low, high, names)) in fields.into_iter().zip(FIELDS) {
        if !field.split(',').all(|part| fits(part, low, high, names)) {
            return Err(format!(
                "a cron expression; its {name} is `*` or numbers from {low} to {high}, with \
                 `-`, `,` and `/`"
            ));
        }
    }
    Ok(())
}

/// `*`, `n` or `n-m`, each with `/step`.
fn fits(part: &str, low: u32, high: u32, names: &[&str]) -> bool {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if step.is_some_and(|step| {
        !step
            .parse()
            .is_ok_and(|step: u32| (1..=high).contains(&step))
    }) {
        return false;
    }
    let number = |text: &str| {
        let named = names
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name));
        let number = match named {
            Some(position) => u32::try_from(position).ok()? + low,
            None => text.parse().ok()?,
        };
        (low..=high).contains(&number).then_some(number)
    };
    match range.split_once('-') {
        _ if range == "*" => true,
        None => number(range).is_some(),
        Some((from, to)) => {
            matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn five_fields_of_numbers_ranges_lists_and_steps() {
        for text in [
            "* * * * *",
            "0 3 * * *",
            "*/5 0-6,12 1,15 jan-jun MON-fri",
            "0 0 1 1 7",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "1, * * * *",
            "@daily",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
