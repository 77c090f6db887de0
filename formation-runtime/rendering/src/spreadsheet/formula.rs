//! Formulas that compute with the workbook's own cells, and nothing else.
//!
//! A spreadsheet's functions can fetch pages, start programs and read other files. So the ones that
//! may be used are listed, and what refers beyond the workbook is refused.

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
    let mut depth = 0_usize;
    let mut word = String::new();
    // Outside of quotes are the odd ones: a doubled quote closes and opens again.
    for (index, part) in formula.split('"').enumerate() {
        if index % 2 == 1 {
            word.clear();
            continue;
        }
        for character in part.chars() {
            match character {
                '(' => {
                    depth += 1;
                    let name = word.to_ascii_uppercase();
                    if !name.is_empty() && !FUNCTIONS.contains(&name.as_str()) {
                        return Err(format!("the function {name} is not available in formulas"));
                    }
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or("a parenthesis closes that was not open")?;
                }
                '[' | ']' | '|' | '{' | '}' | '\\' | '@' => {
                    return Err(format!("`{character}` is not possible in a formula"));
                }
                character if character.is_control() => {
                    return Err("a formula has no control characters".to_owned());
                }
                _ => {}
            }
            if character.is_alphanumeric() || character == '_' || character == '.' {
                word.push(character);
            } else if !character.is_whitespace() {
                word.clear();
            }
        }
    }
    if depth > 0 {
        return Err("a parenthesis is left open".to_owned());
    }
    if formula.matches('"').count() % 2 == 1 {
        return Err("a quote is left open".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_computes_passes_and_what_reaches_out_does_not() {
        for good in [
            "=SUM(A2:A9)",
            "=IF(A1>2,\"a \"\"(b)\"\" [c]\",ROUND(B1/3,2))",
            "=Sales!B2*(1+$C$1)",
            "='Q1 2026'!A1",
            "=sum (A1)",
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
