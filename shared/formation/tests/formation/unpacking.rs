use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muxi_formation::{UnpackError, UnpackLimits, Unpacked, unpack};

use crate::hostile::{self, Archive};

struct Target {
    _parent: tempfile::TempDir,
    path: PathBuf,
}

fn target() -> Target {
    let parent = tempfile::tempdir().unwrap();
    Target { path: parent.path().join("bundle"), _parent: parent }
}

fn unpacked(archive: &[u8], target: &Target) -> Result<Unpacked, UnpackError> {
    unpack(archive, &target.path, &UnpackLimits::default())
}

fn variant(error: &UnpackError) -> String {
    let debug = format!("{error:?}");
    debug.split([' ', '(', '{']).next().unwrap().to_owned()
}

#[test]
fn every_hostile_archive_meets_its_own_variant_and_leaves_nothing() {
    for refused in hostile::refused() {
        let target = target();
        let error = unpacked(&refused.archive, &target).expect_err(refused.what);
        assert_eq!(variant(&error), refused.variant, "{}: {error}", refused.what);
        assert!(!target.path.exists(), "{}", refused.what);
        let siblings = fs::read_dir(target.path.parent().unwrap()).unwrap().count();
        assert_eq!(siblings, 0, "{} wrote beside the target", refused.what);
        let told = error.to_string();
        assert!(told.len() < 400 && !told.contains('\n'), "{}: {told}", refused.what);
    }
}

#[test]
fn a_bomb_stops_while_it_inflates() {
    struct Counting<'a>(&'a [u8], &'a mut usize);
    impl Read for Counting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            *self.1 += read;
            Ok(read)
        }
    }
    let bomb = hostile::bomb();
    let (target, mut read) = (target(), 0);
    // One byte at a time is worth 32 KiB of buffer at most.
    let limits = UnpackLimits { ratio: 20, ..UnpackLimits::default() };
    let error = unpack(Counting(&bomb, &mut read), &target.path, &limits).unwrap_err();
    assert!(matches!(error, UnpackError::Ratio { ratio: 20 }));
    assert!(read < bomb.len(), "{read} of {} bytes were read", bomb.len());
}

#[test]
fn each_cap_is_kept_to_the_byte() {
    let archive = hostile::hello("hello");
    let inflated = 512 + 512 + 512 + 1024;
    for (unpacked_bytes, fits) in [(inflated, true), (inflated - 1, false)] {
        let limits = UnpackLimits { unpacked_bytes, ..UnpackLimits::default() };
        let result = unpack(&archive[..], &target().path, &limits);
        assert_eq!(result.is_ok(), fits, "{unpacked_bytes}: {result:?}");
    }
    let text = hostile::manifest_text("hello", "1.0.0", "local/smollm2-135m-instruct");
    let bytes = text.len() as u64;
    for (file_bytes, fits) in [(bytes, true), (bytes - 1, false)] {
        let limits = UnpackLimits { file_bytes, ..UnpackLimits::default() };
        assert_eq!(unpack(&archive[..], &target().path, &limits).is_ok(), fits, "{file_bytes}");
    }
    for (entries, fits) in [(2, true), (1, false)] {
        let limits = UnpackLimits { entries, ..UnpackLimits::default() };
        assert_eq!(unpack(&archive[..], &target().path, &limits).is_ok(), fits, "{entries}");
    }
}

#[test]
fn the_root_is_the_top_folder_or_the_target() {
    let target_a = target();
    let nested = unpacked(&hostile::hello("my-team"), &target_a).unwrap();
    assert_eq!(nested.root, target_a.path.join("my-team"));
    assert_eq!(nested.files, 1);
    assert_eq!(nested.bytes, fs::metadata(nested.root.join("formation.afs")).unwrap().len());

    let target_b = target();
    let flat = unpacked(&hostile::flat("my-team"), &target_b).unwrap();
    assert_eq!(flat.root, target_b.path);
    assert!(flat.root.join("formation.afs").is_file());
}

#[test]
fn archives_of_common_tools_are_read() {
    let long = format!("hello/{}/{}.md", "folder".repeat(15), "file".repeat(20));
    let archives = [
        ("git archive", Archive::default().pax(b'g', &[("comment", "0123abcd")])),
        ("BSD tar", Archive::default().pax(b'x', &[("mtime", "1.5"), ("LIBARCHIVE.xattr.a", "b")])),
    ];
    for (tool, start) in archives {
        let archive = start
            .file("hello/formation.yaml", b"x")
            .pax(b'x', &[("path", &long)])
            .file("hello/short", b"1")
            .entry(b'L', b"././@LongLink", format!("{long}2\0").as_bytes())
            .file("hello/short", b"2")
            // Before POSIX: a folder is a file with a slash, and the type is NUL.
            .entry(0, b"hello/old/", b"")
            .entry(0, b"hello/old/file", b"3")
            .folder("hello/old")
            .gzip();
        let unpacked =
            unpacked(&archive, &target()).unwrap_or_else(|error| panic!("{tool}: {error}"));
        assert_eq!(unpacked.files, 4, "{tool}");
    }
}

#[test]
fn content_arrives_and_modes_are_two() {
    let archive = Archive::default()
        .file("hello/formation.afs", b"id: hello")
        .file("hello/.key", b"key")
        .file_with_mode("hello/run.sh", 0o7777)
        .file_with_mode("hello/odd", 0o6000)
        .gzip();
    let target = target();
    let root = unpacked(&archive, &target).unwrap().root;
    assert_eq!(fs::read(root.join("formation.afs")).unwrap(), b"id: hello");
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("run.sh"), 0o755);
    assert_eq!(mode("odd"), 0o644);
    assert_eq!(mode(".key"), 0o600);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("precious"), "x").unwrap();
    let error = unpack(&hostile::hello("hello")[..], folder.path(), &UnpackLimits::default());
    assert!(matches!(error, Err(UnpackError::NotEmpty { .. })));
    assert!(Path::new(&folder.path().join("precious")).exists());
}

#[test]
fn every_truncation_and_every_flipped_byte_ends_well() {
    let whole = Archive::default()
        .folder("hello")
        .file("hello/formation.afs", b"id: hello\n")
        .pax(b'x', &[("path", "hello/a")])
        .file("b", b"content")
        .gzip();
    for length in 0..whole.len() {
        let target = target();
        assert!(unpacked(&whole[..length], &target).is_err(), "{length} bytes");
        assert!(!target.path.exists(), "{length} bytes");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        let target = target();
        let result = unpacked(&changed, &target);
        assert_eq!(result.is_err(), !target.path.exists(), "byte {at}");
        // A change may be without meaning: in gzip's header, or another way to write the zeros.
        if let Ok(unpacked) = result {
            let content = |name: &str| fs::read(unpacked.root.join(name)).unwrap();
            assert_eq!(content("formation.afs"), b"id: hello\n", "byte {at}");
            assert_eq!(content("a"), b"content", "byte {at}");
        }
    }
}
