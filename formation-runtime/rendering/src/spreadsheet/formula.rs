//! Formulas that compute with the workbook's own cells, and nothing else.
//!
//! A spreadsheet's functions can fetch pages, start programs and read other files. So the ones that
//! may be used are listed, and what refers beyond the workbook is refused.

mod parser;

const FORMULA_CHARS_MAX: usize = 2_000;

const FUNCTIONS: [&str; 94] = [
    "ABS",
    "ACOS",
    "AND",
    "ASIN",
    "ATAN",
    "AVERAGE",
    "AVERAGEIF",
    "AVERAGEIFS",
    "CEILING",
    "CHAR",
    "CHOOSE",
    "CLEAN",
    "CODE",
    "COLUMN",
    "COLUMNS",
    "CONCATENATE",
    "CORREL",
    "COS",
    "COUNT",
    "COUNTA",
    "COUNTBLANK",
    "COUNTIF",
    "COUNTIFS",
    "DATE",
    "DATEDIF",
    "DATEVALUE",
    "DAY",
    "EDATE",
    "EOMONTH",
    "EVEN",
    "EXP",
    "FACT",
    "FIND",
    "FLOOR",
    "FV",
    "GEOMEAN",
    "HLOOKUP",
    "HOUR",
    "IF",
    "IFERROR",
    "INDEX",
    "INT",
    "IRR",
    "ISBLANK",
    "ISERROR",
    "ISNUMBER",
    "ISTEXT",
    "LARGE",
    "LEFT",
    "LEN",
    "LN",
    "LOG",
    "LOG10",
    "LOOKUP",
    "LOWER",
    "MATCH",
    "MAX",
    "MEDIAN",
    "MID",
    "MIN",
    "MINUTE",
    "MOD",
    "MODE",
    "MONTH",
    "NETWORKDAYS",
    "NOT",
    "NPV",
    "ODD",
    "OR",
    "PI",
    "PMT",
    "POWER",
    "PRODUCT",
    "PROPER",
    "QUARTILE",
    "RANK",
    "RIGHT",
    "ROUND",
    "ROUNDDOWN",
    "ROUNDUP",
    "ROW",
    "SIN",
    "SMALL",
    "SQRT",
    "STDEV",
    "SUBSTITUTE",
    "SUM",
    "SUMIF",
    "SUMIFS",
    "SUMPRODUCT",
    "TEXT",
    "TRIM",
    "VLOOKUP",
    "YEAR",
];

/// What is wrong with it, if anything is.
pub(super) fn check(formula: &str) -> Result<(), String> {
    if !formula.starts_with('=') || formula.len() < 2 {
        return Err("a formula begins with =".to_owned());
    }
    if formula.chars().count() > FORMULA_CHARS_MAX {
        return Err(format!("a formula has at most {FORMULA_CHARS_MAX} characters"));
    }
    if formula.chars().any(char::is_control) {
        return Err("a formula has no control characters".to_owned());
    }
    parser::check(&formula[1..], &|name| FUNCTIONS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_no_program_can_read_is_told_with_its_place() {
        for (bad, fault) in [
            ("=A1+", "a value, a cell or a function is missing, at character 5"),
            ("=A1&&B1", "`&` stands where a value, a cell or a function must be, at character 5"),
            ("=*2", "`*` stands where a value, a cell or a function must be, at character 2"),
            ("=A1 B1", "`B` stands where an operator must be, at character 5"),
            ("=SUM(A1;B2)", "arguments have a comma between them, at character 8"),
            ("=SUM(A1", "a parenthesis is left open, at character 8"),
            ("=A1)", "a parenthesis closes that was not open, at character 4"),
            ("=()", "`)` stands where a value, a cell or a function must be, at character 3"),
            ("=Total*2", "`Total` is no number, cell or function, at character 7"),
            ("=A0", "`A0` is no number, cell or function, at character 4"),
            ("=XFE1", "`XFE1` is no number, cell or function, at character 6"),
            ("=A1:", "a cell is missing, at character 5"),
            ("=A1:B", "the ends of a range are two cells, two columns or two rows, at character 6"),
            ("=A", "a range ends in `:` and its end, at character 3"),
            ("=1.2.3", "`1.2.3` is no number, cell or function, at character 7"),
            ("=\"a\"\"", "a quote is left open, at character 2"),
            ("=Sheet1!", "a cell is missing, at character 9"),
            ("={1}", "`{` stands where a value, a cell or a function must be, at character 2"),
        ] {
            assert_eq!(check(bad), Err(fault.to_owned()), "{bad}");
        }
        let deep = format!("={}1{}", "(".repeat(900), ")".repeat(900));
        assert!(check(&deep).unwrap_err().contains("nests deeper"));
    }

    #[test]
    fn what_computes_passes_and_what_reaches_out_does_not() {
        for good in [
            "=SUM(A2:A9)",
            "=IF(A1>2,\"a \"\"(b)\"\" [c]\",ROUND(B1/3,2))",
            "=Sales!B2*(1+$C$1)",
            "='Q1 2026'!A1",
            "=sum (A1)",
            "=-A1+ +2%*(3 - -B$2)^2<>1.5e-3&\"x\"",
            "=IF(A1,,TRUE)",
            "=SUM(A1,,)",
            "=SUM(A:A,$1:$3,Sales!$B$2:C9,'It''s'!A1:B2)",
            "=PI()",
            "=LOG10(100)/.5",
            "=XFD1048576",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "SUM(A1)",
            "=",
            "=WEBSERVICE(\"http://x\")",
            "=HYPERLINK(\"http://x\")",
            "=cmd|'/c calc'!A1",
            "='[other.xlsx]Sheet1'!A1",
            "=SUM(A1",
            "=SUM(A1))",
            "=\"open",
            "=_xlfn.IMAGE(\"http://x\")",
            "=WEB SERVICE(1)",
        ] {
            check(bad).expect_err(bad);
        }
    }
}
