//! What a request has told so far, for those who follow it. A long answer has thousands of pieces, so
//! their text lies in one string.

use super::turn::Update;

#[derive(Debug, Default)]
pub(super) struct Told {
    text: String,
    updates: Vec<Kept>,
}

#[derive(Debug)]
enum Kept {
    /// A part of the text, by bytes; answers are bounded far below four gigabytes.
    Text {
        begin: u32,
        end: u32,
        is_thought: bool,
    },
    Other(Box<Update>),
}

// === impl Told ===

impl Told {
    pub(super) fn push(&mut self, update: &Update) {
        let begin = self.text.len();
        if let Update::Text(piece) | Update::Thinking(piece) = update {
            let is_thought = matches!(update, Update::Thinking(_));
            self.text.push_str(piece);
            if let (Ok(begin), Ok(end)) = (u32::try_from(begin), u32::try_from(self.text.len())) {
                self.updates.push(Kept::Text { begin, end, is_thought });
                return;
            }
        }
        self.updates.push(Kept::Other(Box::new(update.clone())));
    }

    pub(super) fn get(&self, number: usize) -> Option<Update> {
        Some(match self.updates.get(number)? {
            Kept::Text { begin, end, is_thought } => {
                let piece = self.text[*begin as usize..*end as usize].to_owned();
                if *is_thought { Update::Thinking(piece) } else { Update::Text(piece) }
            }
            Kept::Other(update) => Update::clone(update),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.updates.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.updates.last(), Some(Kept::Other(update)) if update.is_last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Failure;

    #[test]
    fn what_was_told_is_read_as_it_was_told() {
        let updates = [
            Update::Asked { agent: "a".to_owned(), name: "A".to_owned() },
            Update::Thinking("hm".to_owned()),
            Update::Text("gr".to_owned()),
            Update::Text("ün".to_owned()),
            Update::Text(String::new()),
            Update::Failed(Failure::Stopping),
        ];
        let mut told = Told::default();
        assert!(told.is_empty());
        for update in &updates {
            assert!(!told.is_over());
            told.push(update);
        }
        assert!(told.is_over());
        let read: Vec<Update> = (0..told.len()).map(|number| told.get(number).unwrap()).collect();
        assert_eq!(read, updates);
        assert_eq!(told.get(told.len()), None);
    }
}
