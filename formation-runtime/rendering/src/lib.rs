//! Files made of what agents describe: texts, tables, charts, spreadsheets. Pure: bytes in, bytes out.
