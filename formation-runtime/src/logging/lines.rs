//! Lines on standard output, and in files that are put aside when they are full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use muxi_formation::manifest::logging::{LineTarget, LogFile};

#[derive(Debug)]
pub(super) enum LineSink {
    Stdout,
    File(RotatingFile),
}

/// `NAME`, and before it `NAME.1`, the newest, to `NAME.n`.
#[derive(Debug)]
pub(super) struct RotatingFile {
    data_dir: PathBuf,
    path: PathBuf,
    size_max_bytes: u64,
    files_max: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Another process of the formation may put the file aside while it takes over.
    inode: u64,
}

/// How a target is shown: its transport and its place.
pub(super) fn shown(target: &LineTarget) -> (&'static str, String) {
    match target {
        LineTarget::Stdout => ("stdout", "stdout".to_owned()),
        LineTarget::File(file) => ("file", file.path.to_string()),
    }
}

// === impl LineSink ===

impl LineSink {
    pub(super) fn new(target: &LineTarget, data_dir: &Path) -> Self {
        match target {
            LineTarget::Stdout => Self::Stdout,
            LineTarget::File(LogFile { path, size_max_bytes, files_max }) => {
                Self::File(RotatingFile {
                    data_dir: data_dir.to_owned(),
                    path: data_dir.join(path),
                    size_max_bytes: *size_max_bytes,
                    files_max: *files_max,
                    open: None,
                })
            }
        }
    }

    /// Blocks for as long as the reader or the disk takes.
    pub(super) fn write(&mut self, lines: &[String]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut output = io::stdout().lock();
                output.write_all(lines.concat().as_bytes())?;
                output.flush()
            }
            Self::File(file) => {
                let written = file.write(lines);
                if written.is_err() {
                    // What is wrong with it may be mended by the next time.
                    file.open = None;
                }
                written
            }
        }
    }
}

// === impl RotatingFile ===

impl RotatingFile {
    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        let mut pending = String::new();
        for line in lines {
            let held = self.opened()?.size + pending.len() as u64;
            if held > 0 && held + line.len() as u64 > self.size_max_bytes {
                self.append(&pending)?;
                pending.clear();
                self.put_aside()?;
            }
            pending.push_str(line);
        }
        self.append(&pending)
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let open = self.opened()?;
        open.file.write_all(text.as_bytes())?;
        open.size += text.len() as u64;
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let here = fs::symlink_metadata(&self.path).ok().map(|it| it.ino());
        if self.open.as_ref().is_none_or(|open| Some(open.inode) != here) {
            self.open = None;
            self.open = Some(self.reopen()?);
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("the file is not open"))
    }

    fn reopen(&self) -> io::Result<Open> {
        let folder = self.path.parent().unwrap_or(&self.data_dir);
        fs::create_dir_all(folder)?;
        if !folder.canonicalize()?.starts_with(self.data_dir.canonicalize()?) {
            return Err(io::Error::other("a link leads out of the formation's data folder"));
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|it| !it.is_file()) {
            return Err(io::Error::other("there is something else than a file"));
        }
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).read(true).mode(0o600).open(&self.path)?;
        let about = file.metadata()?;
        let (mut size, inode) = (about.len(), about.ino());
        // A process that was killed may have left half a line.
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok(Open { file, size, inode })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.open = None;
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        // Also those of a start that kept more of them.
        let mut number = self.files_max.saturating_sub(1).max(1);
        while fs::remove_file(numbered(number)).is_ok() {
            number += 1;
        }
        if self.files_max <= 1 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.files_max - 1).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(folder: &Path, path: &str, files_max: u32) -> LineSink {
        let file = LogFile { path: path.into(), size_max_bytes: 10, files_max };
        LineSink::new(&LineTarget::File(file), folder)
    }

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| format!("{text}\n")).collect()
    }

    fn content(folder: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap().path())
            .map(|it| {
                (
                    it.file_name().unwrap().to_str().unwrap().to_owned(),
                    fs::read_to_string(it).unwrap(),
                )
            })
            .collect();
        found.sort();
        found
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_full_file_is_put_aside_and_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut three = sink(folder.path(), "logs/a.log", 3);
        three.write(&lines(&["1234", "5678"])).unwrap();
        let logs = folder.path().join("logs");
        assert_eq!(content(&logs), named(&[("a.log", "1234\n5678\n")]));
        three.write(&lines(&["a", "longer than a file", "b", "c"])).unwrap();
        let expected =
            [("a.log", "b\nc\n"), ("a.log.1", "longer than a file\n"), ("a.log.2", "a\n")];
        assert_eq!(content(&logs), named(&expected));
        let mut two = sink(folder.path(), "logs/a.log", 2);
        two.write(&lines(&["1234567"])).unwrap();
        assert_eq!(content(&logs), named(&[("a.log", "1234567\n"), ("a.log.1", "b\nc\n")]));
        let mut one = sink(folder.path(), "logs/b.log", 1);
        one.write(&lines(&["12345678", "x"])).unwrap();
        assert_eq!(fs::read_to_string(logs.join("b.log")).unwrap(), "x\n");
        assert!(!logs.join("b.log.1").exists());
    }

    #[test]
    fn half_a_line_is_ended_and_another_writer_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "cut").unwrap();
        let mut file = sink(folder.path(), "a.log", 3);
        file.write(&lines(&["x"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "cut\nx\n");
        fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        file.write(&lines(&["y"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "y\n");
    }

    #[test]
    fn nothing_outside_of_the_folder_is_written() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), folder.path().join("logs")).unwrap();
        let file = outside.path().join("b.log");
        std::os::unix::fs::symlink(&file, folder.path().join("b.log")).unwrap();
        for path in ["logs/a.log", "b.log"] {
            assert!(sink(folder.path(), path, 2).write(&lines(&["x"])).is_err(), "{path}");
        }
        assert_eq!(content(outside.path()), []);
    }
}
