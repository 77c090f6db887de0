//! Numbers that belong to people, told from all other numbers.

use std::ops::Range;

const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Whether the part is the middle of a longer word or number.
pub(super) fn is_attached(text: &str, part: &Range<usize>) -> bool {
    is_attached_before(text, part.start) || is_attached_after(text, part.end)
}

/// The cards in a run of digits with single spaces and hyphens.
pub(super) fn cards(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let groups = groups(text, &run);
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        let begins = first > 0 || !is_attached_before(text, run.start);
        let card = begins.then(|| card_at(text, &groups, first)).flatten();
        match card {
            Some(last) => {
                found.push(groups[first].start..groups[last].end);
                first = last + 1;
            }
            None => first += 1,
        }
    }
    found
}

/// Three, two and four digits in the ranges that are given out.
pub(super) fn ssn(text: &str, part: Range<usize>) -> Option<Range<usize>> {
    let written = &text[part.clone()];
    let separators: Vec<u8> = written.bytes().filter(|byte| !byte.is_ascii_digit()).collect();
    let digits = digits_of(written);
    let number = |range: Range<usize>| {
        digits[range].iter().fold(0u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let (area, group, serial) = (number(0..3), number(3..5), number(5..9));
    let is_given_out = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    let is_even = separators.windows(2).all(|pair| pair[0] == pair[1]);
    (is_given_out && is_even && !is_attached(text, &part)).then_some(part)
}

/// As much of the match as one number can have.
pub(super) fn phone(text: &str, part: Range<usize>) -> Option<Range<usize>> {
    if is_attached_before(text, part.start) {
        return None;
    }
    let mut end = part.end;
    // A longer run is two numbers: it is cut where one may end.
    while digits_of(&text[part.start..end]).len() > *PHONE_DIGITS.end()
        || is_attached_after(text, end)
    {
        let shorter = text[part.start..end].trim_end_matches(|c: char| c.is_ascii_digit());
        let shorter = shorter.trim_end_matches(|c: char| !c.is_ascii_digit());
        end = part.start + shorter.len();
        if shorter.is_empty() {
            return None;
        }
    }
    let digits = digits_of(&text[part.start..end]).len();
    PHONE_DIGITS.contains(&digits).then_some(part.start..end)
}

// === private helpers ===

fn digits_of(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
}

fn is_attached_before(text: &str, start: usize) -> bool {
    let mut before = text[..start].chars().rev();
    match before.next() {
        Some(c) if c.is_alphanumeric() || c == '_' => true,
        Some('.' | '-' | '+') => before.next().is_some_and(|c| c.is_ascii_digit()),
        Some(_) | None => false,
    }
}

fn is_attached_after(text: &str, end: usize) -> bool {
    let mut after = text[end..].chars();
    match after.next() {
        Some(c) if c.is_alphanumeric() || c == '_' => true,
        Some('.' | '-') => after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(_) | None => false,
    }
}

fn groups(text: &str, run: &Range<usize>) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (offset, byte) in text[run.clone()].bytes().enumerate() {
        let at = run.start + offset;
        if !byte.is_ascii_digit() {
            continue;
        }
        match groups.last_mut() {
            Some(group) if group.end == at => group.end = at + 1,
            Some(_) | None => groups.push(at..at + 1),
        }
    }
    groups
}

/// The last group of the card that begins with the group `first`.
fn card_at(text: &str, groups: &[Range<usize>], first: usize) -> Option<usize> {
    let lengths: Vec<usize> = groups[first..].iter().take(5).map(Range::len).collect();
    // As cards are written: in one, or in the groups that are printed on them; the longest first.
    let last = [5, 4, 3, 1].into_iter().filter(|count| *count <= lengths.len()).find(|count| {
        let fits = match lengths[..*count] {
            [length] => CARD_DIGITS.contains(&length),
            [4, 4, 4, 4, 1..=3] | [4, 4, 4, 4] | [4, 6, 4 | 5] => true,
            _ => false,
        };
        let last = first + count - 1;
        let ends = last + 1 < groups.len() || !is_attached_after(text, groups[last].end);
        fits && ends && is_card(&digits_of(&text[groups[first].start..groups[last].end]))
    })?;
    Some(first + last - 1)
}

/// The number range of an issuer, and the check digit.
fn is_card(digits: &[u8]) -> bool {
    let first = |count: usize| {
        digits.iter().take(count).fold(0u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let is_issued = match digits.len() {
        13 => first(1) == 4,
        14 => matches!(first(3), 300..=305 | 309 | 360..=369 | 380..=399),
        15 => matches!(first(2), 34 | 37) || matches!(first(4), 1800 | 2131),
        16..=19 => {
            first(1) == 4
                || matches!(first(2), 50..=69)
                || matches!(first(4), 2200..=2204 | 2221..=2720 | 3528..=3589)
        }
        _ => false,
    };
    is_issued && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| u32::from(if place % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    sum.is_multiple_of(10)
}
