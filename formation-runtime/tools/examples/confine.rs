//! The launcher of the sandbox on its own, for the tests of its walls. The runtime has it, too.

use std::ffi::OsString;

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some((spec, command)) = arguments.split_first() {
        // It returns only when the program was not started; the report says why.
        drop(muxi_tools::sandbox::confine(&spec.to_string_lossy(), command));
    }
    std::process::exit(1);
}
