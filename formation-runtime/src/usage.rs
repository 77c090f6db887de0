//! Prices and budgets. Pure: times and sums are arguments.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Unit, ZonedRound};
use muxi_formation::manifest::{Budget, ModelName, Period, Price, Usage as Config};
use muxi_llm::{Attachment, AttachmentKind, CompletionRequest, Message, Usage as Tokens};
use muxi_memory::Spent;

/// Billionths in one of the currency.
const NANO: f64 = 1e9;
const TOKENS_PRICED: f64 = 1e6;

/// A budget that is used up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the {whose} budget of {limit} a {} is used up; it begins anew at {resets_at}", per.as_str())]
pub struct Exceeded {
    pub whose: &'static str,
    pub limit: String,
    pub per: Period,
    pub resets_at: Timestamp,
}

/// What a call of this model costs; `None` without a price. A model on this machine costs nothing.
pub fn cost_nano(config: &Config, model: &str, prompt: u64, completion: u64) -> Option<i64> {
    let price = match config.prices.iter().find(|(name, _)| name.as_str() == model) {
        Some((_, price)) => *price,
        None if is_free(model) => Price { input: 0.0, output: 0.0 },
        None => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "no call has 2⁵² tokens")]
    let cost = prompt as f64 * price.input + completion as f64 * price.output;
    #[expect(clippy::cast_possible_truncation, reason = "a cast of floats saturates")]
    Some((cost / TOKENS_PRICED * NANO).round() as i64)
}

/// What calls used that ended before anybody said so: about four bytes a token, as in most texts. What
/// a model sees of a file is not its bytes, so that an image counts as a thousand tokens and a document
/// as one for fifty bytes.
pub fn estimate(asked: &CompletionRequest, calls: u32, said_bytes: usize) -> Tokens {
    let tokens = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN) as u64;
    let of_file = |file: &Attachment| match file.kind {
        AttachmentKind::Image => IMAGE_TOKENS,
        AttachmentKind::Document => (file.bytes.len() / DOCUMENT_BYTES_PER_TOKEN) as u64,
    };
    let of_message = |message: &Message| {
        tokens(message.content.len()) + message.attachments.iter().map(of_file).sum::<u64>()
    };
    let prompt: u64 = asked.messages.iter().map(of_message).sum();
    Tokens { prompt_tokens: prompt * u64::from(calls), completion_tokens: tokens(said_bytes) }
}

const BYTES_PER_TOKEN: usize = 4;
const IMAGE_TOKENS: u64 = 1_000;
const DOCUMENT_BYTES_PER_TOKEN: usize = 50;

/// From when to when the budget's period that holds this moment lasts.
pub fn period(per: Period, now: Timestamp) -> (Timestamp, Timestamp) {
    let now = now.to_zoned(TimeZone::UTC);
    let begin = match per {
        Period::Hour => {
            now.round(ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc))
        }
        Period::Day => now.start_of_day(),
        Period::Month => now.first_of_month().and_then(|first| first.start_of_day()),
    };
    let begin = begin.unwrap_or(now);
    let end = match per {
        Period::Hour => begin.checked_add(1.hour()),
        Period::Day => begin.checked_add(1.day()),
        Period::Month => begin.checked_add(1.month()),
    };
    let end = end.unwrap_or_else(|_| begin.clone());
    (begin.timestamp(), end.timestamp())
}

/// Whether there is nothing left of the budget.
pub fn check(
    whose: &'static str,
    budget: &Budget,
    currency: &str,
    spent: &Spent,
    resets_at: Timestamp,
) -> Result<(), Exceeded> {
    let tokens = spent.prompt_tokens + spent.completion_tokens;
    let exceeded = |limit: String| Exceeded { whose, limit, per: budget.per, resets_at };
    if let Some(max) = budget.tokens.filter(|max| tokens >= *max) {
        return Err(exceeded(format!("{max} tokens")));
    }
    if let Some(max) = budget.money.filter(|max| money(spent.cost_nano) >= *max) {
        return Err(exceeded(format!("{max} {currency}")));
    }
    Ok(())
}

/// In the currency.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn money(nano: i64) -> f64 {
    nano as f64 / NANO
}

/// Models that a budget of money cannot be held for, since nobody said what they cost.
pub fn unpriced<'a>(
    config: &Config,
    models: impl Iterator<Item = &'a ModelName>,
) -> Vec<&'a ModelName> {
    let budgets = [config.budgets.formation, config.budgets.user];
    if budgets.iter().flatten().all(|budget| budget.money.is_none()) {
        return Vec::new();
    }
    models.filter(|model| !config.prices.contains_key(*model) && !is_free(model.as_str())).collect()
}

fn is_free(model: &str) -> bool {
    model.starts_with("local/") || model.starts_with("llama_cpp/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_call_costs_what_its_tokens_cost() {
        let config = config("{prices: {a/b: {input: 2.5, output: 10}}}");
        assert_eq!(cost_nano(&config, "a/b", 1_000_000, 100_000), Some(3_500_000_000));
        assert_eq!(cost_nano(&config, "a/b", 1, 0), Some(2_500));
        assert_eq!(cost_nano(&config, "a/c", 1, 0), None);
        assert_eq!(cost_nano(&config, "local/small", 5, 5), Some(0));
    }

    #[test]
    fn periods_are_those_of_the_calendar() {
        let now: Timestamp = "2026-02-28T23:59:59.5Z".parse().unwrap();
        for (per, begin, end) in [
            (Period::Hour, "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z"),
            (Period::Day, "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"),
            (Period::Month, "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ] {
            let expected = (begin.parse().unwrap(), end.parse().unwrap());
            assert_eq!(period(per, now), expected, "{per:?}");
        }
    }

    #[test]
    fn a_budget_ends_with_its_last_token_or_coin() {
        let spent = Spent {
            prompt_tokens: 60,
            completion_tokens: 40,
            cost_nano: 2_000_000_000,
            ..Spent::default()
        };
        let at: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let budget = |tokens, money| Budget { per: Period::Day, tokens, money };
        let is_left = |budget: Budget| check("user's", &budget, "USD", &spent, at);
        assert!(is_left(budget(Some(101), Some(2.01))).is_ok());
        let told = is_left(budget(Some(100), None)).unwrap_err().to_string();
        assert_eq!(
            told,
            "the user's budget of 100 tokens a day is used up; it begins anew at 2026-03-01T00:00:00Z"
        );
        assert!(is_left(budget(None, Some(2.0))).is_err());
    }

    #[test]
    fn what_nobody_told_is_estimated_by_its_length() {
        let file = |kind| Attachment {
            kind,
            name: "f".to_owned(),
            media_type: "x/y".to_owned(),
            bytes: vec![0; 5_000].into(),
        };
        let mut question = Message::user("x".repeat(41));
        question.attachments = vec![file(AttachmentKind::Image), file(AttachmentKind::Document)];
        let asked = CompletionRequest { messages: vec![question], ..Default::default() };
        let used = estimate(&asked, 2, 5);
        assert_eq!((used.prompt_tokens, used.completion_tokens), (2 * (11 + 1_000 + 100), 2));
        assert_eq!(estimate(&asked, 0, 0), Tokens::default());
    }
}
