//! How long a source file may be.

use std::path::Path;

use super::Fault;

const LINES_WANTED_MAX: usize = 500;
const LINES_MAX: usize = 600;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Length {
    Fine,
    Long(Fault),
    TooLong(Fault),
}

pub(super) fn judge(path: &Path, lines: usize) -> Length {
    let fault = |max: usize| {
        let what = format!("{} has {lines} lines, more than {max}", path.display());
        Fault::new(what, "give the part that has a name of its own a file of its own")
    };
    if lines > LINES_MAX {
        Length::TooLong(fault(LINES_MAX))
    } else if lines > LINES_WANTED_MAX {
        Length::Long(fault(LINES_WANTED_MAX))
    } else {
        Length::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_warn_before_they_fail() {
        let judged = |lines| judge(Path::new("a.rs"), lines);
        assert_eq!(judged(500), Length::Fine);
        assert!(matches!(judged(501), Length::Long(_)));
        assert!(matches!(judged(600), Length::Long(_)));
        assert!(matches!(judged(601), Length::TooLong(_)));
    }
}
