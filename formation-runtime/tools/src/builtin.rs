//! Tools that this program itself offers.

mod generate_file;

pub use generate_file::GenerateFile;
