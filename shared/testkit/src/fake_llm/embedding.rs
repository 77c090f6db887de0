//! A vector without a model: the same words always give the same, and shared words bring texts closer.

const DIMENSIONS: usize = 64;

/// Of length one.
pub(super) fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0_f32; DIMENSIONS];
    let words = text.split(|character: char| !character.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        vector[place(&word.to_lowercase())] += 1.0;
    }
    let length = vector.iter().map(|it| it * it).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|it| it / length).collect()
}

/// FNV-1a, which is the same in every process.
fn place(word: &str) -> usize {
    let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_words_are_closer() {
        let likeness = |one: &str, other: &str| -> f32 {
            embed(one).iter().zip(embed(other)).map(|(a, b)| a * b).sum()
        };
        assert!((likeness("Refund my order", "refund: MY order!") - 1.0).abs() < 1e-5);
        let (near, far) =
            (likeness("refund an order", "refund the order"), likeness("refund", "weather"));
        assert!(near > 0.6 && far < 0.1, "{near} {far}");
        assert_eq!(embed("!").len(), DIMENSIONS);
    }
}
