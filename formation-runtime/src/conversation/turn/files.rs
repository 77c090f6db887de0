//! The files of an answer: which of them are to be kept, and what became of those.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use muxi_contract::formation::artifacts::ArtifactRef;

use super::{Effect, MadeFile, Update};

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Files {
    /// Hashes, since some providers send each file twice.
    seen: HashSet<u64>,
    keeping: usize,
    pub(super) artifacts: Vec<ArtifactRef>,
    pub(super) warnings: Vec<String>,
}

// === impl Files ===

impl Files {
    pub(super) fn came(&mut self, made: MadeFile, files_max: usize) -> Option<Effect> {
        let mut hasher = DefaultHasher::new();
        (&made.name, &made.file.content_type, &made.file.bytes).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return None;
        }
        let number = self.seen.len();
        if number > files_max {
            let why = format!("the answer has more than {files_max} files; the others are lost");
            // Once is enough.
            return (!self.warnings.contains(&why)).then(|| self.warn(why));
        }
        self.keeping += 1;
        Some(Effect::Keep(number, made))
    }

    pub(super) fn kept(&mut self, result: Result<ArtifactRef, String>) -> Effect {
        self.keeping = self.keeping.saturating_sub(1);
        match result {
            Ok(artifact) => {
                self.artifacts.push(artifact.clone());
                Effect::Tell(Update::Artifact(artifact))
            }
            Err(why) => self.warn(why),
        }
    }

    pub(super) fn warn(&mut self, why: String) -> Effect {
        self.warnings.push(why.clone());
        Effect::Tell(Update::Warning(why))
    }

    pub(super) const fn are_kept(&self) -> bool {
        self.keeping == 0
    }
}

#[cfg(test)]
mod tests {
    use muxi_llm::ModelFile;

    use super::super::{AnswerLimits, Event, Finish, Turn};
    use super::*;

    fn turn() -> Turn {
        Turn::new(AnswerLimits { text_bytes: 100, files: 2 })
    }

    fn file(bytes: &'static str) -> Event {
        let (content_type, bytes) = ("image/png".to_owned(), bytes.into());
        Event::File(MadeFile { name: None, file: ModelFile { content_type, bytes } })
    }

    fn artifact(id: &str) -> ArtifactRef {
        ArtifactRef {
            id: id.to_owned(),
            name: id.to_owned(),
            version: 1,
            content_type: "image/png".to_owned(),
            size_bytes: 1,
            url: String::new(),
        }
    }

    #[test]
    fn an_answer_is_complete_when_its_files_are_kept() {
        let mut turn = turn();
        assert!(matches!(turn.step(file("cat"))[..], [Effect::Keep(1, _)]));
        assert!(turn.step(file("cat")).is_empty());
        assert!(matches!(turn.step(file("dog"))[..], [Effect::Keep(2, _)]));
        assert!(matches!(turn.step(file("cow"))[..], [Effect::Tell(Update::Warning(_))]));
        assert!(turn.step(file("pig")).is_empty());
        assert!(turn.step(Event::Finished(Finish::default())).is_empty());
        assert!(!turn.is_over());
        let told = turn.step(Event::Kept(Ok(artifact("a"))));
        assert_eq!(told, [Effect::Tell(Update::Artifact(artifact("a")))]);
        let effects = turn.step(Event::Kept(Err("the disk is full".to_owned())));
        let [Effect::Tell(Update::Warning(_)), Effect::Save(end), Effect::Tell(told)] =
            &effects[..]
        else {
            panic!("{effects:?}");
        };
        assert_eq!((&end.artifacts, end.warnings.len()), (&vec![artifact("a")], 2));
        assert!(matches!(told, Update::Completed(it) if it.artifacts == [artifact("a")]));
    }

    #[test]
    fn a_turn_that_is_cut_off_keeps_the_files_that_there_were() {
        let mut turn = turn();
        turn.step(file("cat"));
        turn.step(file("dog"));
        turn.step(Event::Kept(Ok(artifact("a"))));
        let effects = turn.step(Event::Cancelled);
        assert!(matches!(&effects[0], Effect::Save(end) if end.artifacts == [artifact("a")]));
        assert!(turn.step(Event::Kept(Ok(artifact("b")))).is_empty());
    }
}
