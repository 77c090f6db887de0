//! Texts as vectors, by the embeddings route.

use serde::Deserialize;
use serde_json::json;

use super::answer::UsageFrame;
use crate::http::{Connection, Fault};
use crate::wire::malformed;
use crate::{Embeddings, LlmErrorKind};

/// A batch of the largest vectors in long decimals.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

pub(super) async fn embed(
    connection: &Connection,
    model: &str,
    texts: &[String],
) -> Result<Embeddings, Fault> {
    let body = json!({ "model": model, "input": texts });
    let answer = connection.post_for_json("/embeddings", &body, ANSWER_BYTES_MAX).await?;
    let Answer { data, usage } = serde_json::from_slice(&answer).map_err(malformed)?;
    let vectors = in_order(data, texts.len())?;
    Ok(Embeddings { vectors, usage: usage.map(Into::into) })
}

// === private helpers ===

#[derive(Deserialize)]
struct Answer {
    data: Vec<Embedded>,
    usage: Option<UsageFrame>,
}

#[derive(Deserialize)]
struct Embedded {
    /// Where a server sends none, they come in order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// One vector a text, all of one length.
fn in_order(data: Vec<Embedded>, count: usize) -> Result<Vec<Vec<f32>>, Fault> {
    let protocol = |message: String| Fault::new(LlmErrorKind::Protocol, message);
    if data.len() != count {
        return Err(protocol(format!("sent {} vectors for {count} texts", data.len())));
    }
    let mut vectors = vec![Vec::new(); count];
    for (at, Embedded { index, embedding }) in data.into_iter().enumerate() {
        let index = index.unwrap_or(at);
        match vectors.get_mut(index) {
            Some(vector) if vector.is_empty() => *vector = embedding,
            Some(_) | None => {
                return Err(protocol(format!("sent no vector, or two, for text {index}")));
            }
        }
    }
    let length = vectors.first().map_or(0, Vec::len);
    let usable = |vector: &Vec<f32>| {
        !vector.is_empty() && vector.len() == length && vector.iter().all(|it| it.is_finite())
    };
    if vectors.iter().all(usable) {
        return Ok(vectors);
    }
    Err(protocol("sent vectors that are empty or of several lengths".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_the_texts_or_not_at_all() {
        let vector = |index, values: &[f32]| Embedded { index, embedding: values.to_vec() };
        let read = |data| in_order(data, 2).map_err(|fault| fault.message);
        let both = Ok(vec![vec![1.0], vec![2.0]]);
        assert_eq!(read(vec![vector(Some(1), &[2.0]), vector(Some(0), &[1.0])]), both);
        assert_eq!(read(vec![vector(None, &[1.0]), vector(None, &[2.0])]), both);
        for (name, data) in [
            ("one only", vec![vector(None, &[1.0])]),
            ("twice the same", vec![vector(Some(0), &[1.0]), vector(Some(0), &[1.0])]),
            ("beyond", vec![vector(Some(0), &[1.0]), vector(Some(2), &[1.0])]),
            ("empty", vec![vector(None, &[]), vector(None, &[])]),
            ("of two lengths", vec![vector(None, &[1.0]), vector(None, &[1.0, 2.0])]),
            ("no numbers", vec![vector(None, &[f32::NAN]), vector(None, &[1.0])]),
        ] {
            assert!(read(data).is_err(), "{name}");
        }
    }
}
