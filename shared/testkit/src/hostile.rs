//! Archives as attackers and broken tools make them, built byte by byte, and a few honest ones.
//!
//! Needs nothing of this crate: the formation crate's own tests include this file.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

const BLOCK_BYTES: usize = 512;
const MEBIBYTE: usize = 1024 * 1024;

/// A tar archive that is written without any of the checks of a real one.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    tar: Vec<u8>,
}

/// An archive that must be refused, and the variant of `UnpackError` that says so.
#[derive(Debug)]
pub struct Refused {
    pub what: &'static str,
    pub variant: &'static str,
    pub archive: Vec<u8>,
}

// === honest ones ===

/// The bundle of a small formation on the embedded model, below one folder.
pub fn hello(id: &str) -> Vec<u8> {
    hello_with(id, "1.0.0", "local/smollm2-135m-instruct")
}

/// The same with a version and a model of choice.
pub fn hello_with(id: &str, version: &str, model: &str) -> Vec<u8> {
    let manifest = format!("{id}/formation.afs");
    Archive::default()
        .folder(id)
        .file(&manifest, manifest_text(id, version, model).as_bytes())
        .gzip()
}

/// The same without the folder, as `tar -C dir .` writes it.
pub fn flat(id: &str) -> Vec<u8> {
    let text = manifest_text(id, "1.0.0", "local/smollm2-135m-instruct");
    Archive::default().folder("./").file("./formation.afs", text.as_bytes()).gzip()
}

pub fn manifest_text(id: &str, version: &str, model: &str) -> String {
    format!(
        "schema: \"1.0.0\"\nid: {id}\nversion: \"{version}\"\ndescription: For tests.\n\
         llm:\n  models:\n    - text: {model}\n\
         agents:\n  - id: helper\n    description: Helps.\n"
    )
}

// === bundles that unpack and do not load ===

pub fn bad_yaml() -> Vec<u8> {
    Archive::default().file("hello/formation.afs", b"id: hello\nschema: \"1.0.0\n  - [").gzip()
}

pub fn bad_manifest() -> Vec<u8> {
    Archive::default().file("hello/formation.afs", b"schema: 9.0.0\nid: NO\nnonsense: 1\n").gzip()
}

// === archives that do not unpack ===

pub fn traversal() -> Vec<u8> {
    honest().file("hello/../../evil", b"x").gzip()
}

pub fn symlink() -> Vec<u8> {
    honest().link(EntryType::Symlink, "hello/passwd", "/etc/passwd").gzip()
}

/// 32 MiB of zeros in some 32 KiB.
pub fn bomb() -> Vec<u8> {
    honest().file("hello/zeros", &vec![0; 32 * MEBIBYTE]).gzip()
}

pub fn two_roots() -> Vec<u8> {
    honest().file("other/notes.txt", b"x").gzip()
}

pub fn no_manifest() -> Vec<u8> {
    Archive::default().file("hello/README.md", b"x").gzip()
}

pub fn truncated() -> Vec<u8> {
    let mut archive = hello("hello");
    archive.truncate(archive.len() / 2);
    archive
}

/// Every hostile archive, each with the variant that it must meet.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn refused() -> Vec<Refused> {
    let mut refused = Vec::new();
    let mut add = |variant, what, archive| refused.push(Refused { what, variant, archive });

    add("Traversal", "a path that climbs out", traversal());
    add("Traversal", "a pax path that climbs out", {
        honest().pax(b'x', &[("path", "hello/../../evil")]).file("hello/good", b"x").gzip()
    });
    add("Traversal", "a GNU long name that climbs out", {
        honest().entry(b'L', b"././@LongLink", b"../evil\0").file("hello/good", b"x").gzip()
    });
    add("Absolute", "an absolute path", honest().file("/etc/evil", b"x").gzip());
    add("Kind", "a symbolic link", symlink());
    add("Kind", "a hard link", honest().link(EntryType::Link, "hello/a", "hello/b").gzip());
    add("Kind", "a character device", honest().entry(b'3', b"hello/null", b"").gzip());
    add("Kind", "a block device", honest().entry(b'4', b"hello/sda", b"").gzip());
    add("Kind", "a named pipe", honest().entry(b'6', b"hello/pipe", b"").gzip());
    add("Kind", "a GNU sparse file", honest().entry(b'S', b"hello/sparse", b"").gzip());
    add("Kind", "an unknown kind", honest().entry(b'Z', b"hello/z", b"").gzip());
    add("Kind", "a sparse file by pax", {
        honest().pax(b'x', &[("GNU.sparse.major", "1")]).file("hello/sparse", b"x").gzip()
    });
    add("EmptyName", "an entry without a name", honest().entry(b'0', b"", b"x").gzip());
    add("EmptyName", "a file that is the folder itself", honest().file("./", b"x").gzip());
    add("LongName", "a path that is too long", {
        honest().pax(b'x', &[("path", &"a/".repeat(400))]).file("hello/a", b"x").gzip()
    });
    add("LongName", "a name that no file system takes", {
        honest().pax(b'x', &[("path", &"a".repeat(300))]).file("hello/a", b"x").gzip()
    });
    add("Depth", "a tree that is too deep", {
        honest().pax(b'x', &[("path", &"a/".repeat(40))]).file("hello/a", b"x").gzip()
    });
    add("NotUtf8", "a name that is not UTF-8", honest().entry(b'0', b"hello/\xff", b"x").gzip());
    add("Characters", "a line break in a name", honest().file("hello/a\nb", b"x").gzip());
    add("Characters", "a NUL in a name", {
        honest().pax(b'x', &[("path", "hello/a\0b")]).file("hello/a", b"x").gzip()
    });
    add("Characters", "a backslash in a name", honest().file("hello\\..\\x", b"x").gzip());
    add("Duplicate", "a file twice", honest().file("hello/a", b"1").file("hello/a", b"2").gzip());
    add("Duplicate", "a file twice but for letter case", {
        honest().file("hello/Key", b"1").file("hello/kEY", b"2").gzip()
    });
    add("Duplicate", "a folder twice but for letter case", {
        honest().file("hello/a/1", b"1").file("hello/A/2", b"2").gzip()
    });
    add("Duplicate", "a file in the place of a folder", {
        honest().file("hello/a/1", b"1").file("hello/a", b"2").gzip()
    });
    add("FileAsFolder", "a folder in the place of a file", {
        honest().file("hello/a", b"1").file("hello/a/1", b"2").gzip()
    });
    add("SizeLie", "a pax size that is not the header's", {
        honest().pax(b'x', &[("size", "5")]).file("hello/a", b"0123456789").gzip()
    });
    add("SizeLie", "a folder with content", honest().entry(b'5', b"hello/d/", b"x").gzip());
    add("FileTooLarge", "a header that tells of a giant", honest().giant("hello/giant").gzip());
    add("Ratio", "a bomb", bomb());
    add("TooManyEntries", "more entries than anyone packs", {
        (0..10_001).fold(honest(), |it, i| it.file(&format!("hello/{i}"), b"")).gzip()
    });
    add("TooManyEntries", "global extensions without end", {
        (0..40_001).fold(Archive::default(), |it, _| it.pax(b'g', &[])).gzip()
    });
    add("NotGzip", "text", b"this is no archive".to_vec());
    add("NotGzip", "nothing", Vec::new());
    add("NotGzip", "a tar without gzip", honest().ended());
    add("Truncated", "half a gzip", truncated());
    add("Truncated", "a gzip without its checksum", {
        let mut archive = hello("hello");
        archive.truncate(archive.len() - 8);
        archive
    });
    add("Truncated", "a tar without its end", gzip(&honest().tar));
    add("Truncated", "a tar that stops within a file", {
        let mut tar = honest().file("hello/a", &[b'x'; 2000]).tar;
        tar.truncate(tar.len() - 1024);
        gzip(&tar)
    });
    add("Truncated", "an extension without its entry", {
        honest().pax(b'x', &[("path", "hello/a")]).gzip()
    });
    add("Corrupt", "a wrong checksum of the gzip", {
        let mut archive = hello("hello");
        let at = archive.len() - 6;
        archive[at] ^= 0xff;
        archive
    });
    add("TrailingBytes", "bytes after the gzip", [hello("hello"), b"tail".to_vec()].concat());
    add("TrailingBytes", "a second gzip", [hello("hello"), hello("other")].concat());
    add("TrailingBytes", "a second tar", {
        gzip(&[honest().ended(), Archive::default().file("hello/x", b"x").ended()].concat())
    });
    add("Header", "a wrong checksum of a header", {
        let mut tar = honest().ended();
        tar[0] ^= 1;
        gzip(&tar)
    });
    add("Header", "a pax record with a wrong length", {
        honest().entry(b'x', b"pax", b"99 path=a\n").file("hello/a", b"x").gzip()
    });
    add("Header", "two pax extensions of one entry", {
        let names = [("path", "hello/a")];
        honest().pax(b'x', &names).pax(b'x', &names).file("hello/a", b"x").gzip()
    });
    add("Header", "a global extension that renames everything", {
        Archive::default().pax(b'g', &[("path", "evil")]).file("hello/formation.afs", b"x").gzip()
    });
    add("Header", "an extension of a megabyte", {
        honest().entry(b'x', b"pax", &vec![b'1'; MEBIBYTE]).file("hello/a", b"x").gzip()
    });
    add("NoManifest", "no manifest at all", no_manifest());
    add("NoManifest", "an empty archive", Archive::default().gzip());
    add("NoManifest", "a manifest that lies too deep", {
        Archive::default().file("a/b/formation.afs", b"x").gzip()
    });
    add("SeveralRoots", "a second top folder", two_roots());
    add("SeveralRoots", "a file beside the top folder", honest().file("notes.txt", b"x").gzip());
    add("SeveralManifests", "manifests in two folders", {
        honest().file("other/formation.yaml", b"x").gzip()
    });
    add("SeveralManifests", "two spellings of the manifest", {
        honest().file("hello/formation.yml", b"x").gzip()
    });
    refused
}

// === impl Archive ===

impl Archive {
    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(b'0', path.as_bytes(), content)
    }

    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.entry(b'5', path.as_bytes(), b"")
    }

    #[must_use]
    pub fn link(mut self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = header(kind.as_byte(), path.as_bytes(), 0);
        header.set_link_name_literal(target).expect("the target fits into a header");
        self.push(&mut header, b"");
        self
    }

    /// Any kind, any name of up to 100 bytes, with the size told truly.
    #[must_use]
    pub fn entry(mut self, kind: u8, name: &[u8], content: &[u8]) -> Self {
        let mut header = header(kind, name, content.len() as u64);
        self.push(&mut header, content);
        self
    }

    /// With every mode bit there is, set-user-id among them.
    #[must_use]
    pub fn file_with_mode(mut self, path: &str, mode: u32) -> Self {
        let mut header = header(b'0', path.as_bytes(), 0);
        header.set_mode(mode);
        self.push(&mut header, b"");
        self
    }

    /// A pax extension: `x` for the next entry, `g` for all.
    #[must_use]
    pub fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let content: String = records.iter().map(|(key, value)| pax_record(key, value)).collect();
        self.entry(kind, b"pax_header", content.as_bytes())
    }

    /// The header of a file of 7 GiB, and nothing of it.
    #[must_use]
    pub fn giant(mut self, path: &str) -> Self {
        let mut header = header(b'0', path.as_bytes(), 7 << 30);
        self.push(&mut header, b"");
        self
    }

    pub fn gzip(self) -> Vec<u8> {
        gzip(&self.ended())
    }

    fn ended(mut self) -> Vec<u8> {
        self.tar.extend([0; 2 * BLOCK_BYTES]);
        self.tar
    }

    fn push(&mut self, header: &mut Header, content: &[u8]) {
        header.set_cksum();
        self.tar.extend(header.as_bytes());
        self.tar.extend(content);
        self.tar.resize(self.tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }
}

// === private helpers ===

fn honest() -> Archive {
    let text = manifest_text("hello", "1.0.0", "local/smollm2-135m-instruct");
    Archive::default().folder("hello/").file("hello/formation.afs", text.as_bytes())
}

/// The name goes in as it is: the tar crate would refuse most of the ones used here.
fn header(kind: u8, name: &[u8], bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag = [kind];
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes);
    header
}

/// `length key=value`, where the length counts itself too.
fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let digits = |length: usize| length.to_string().len();
    let mut length = rest.len() + 1;
    while length != rest.len() + digits(length) {
        length = rest.len() + digits(length);
    }
    format!("{length}{rest}")
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(tar).expect("writing into memory");
    encoder.finish().expect("writing into memory")
}
