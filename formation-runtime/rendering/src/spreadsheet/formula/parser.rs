//! Whether a text is a formula that spreadsheet programs can read: operands between operators, calls with
//! their arguments, and ranges of cells. A file with one that they cannot read does not open.

/// Spreadsheet programs nest no deeper.
const DEPTH_MAX: usize = 64;
const COLUMNS_MAX: u32 = 16_384;
const ROWS_MAX: u32 = 1_048_576;
/// A longer one comes before one that it begins with.
const OPERATORS: [&str; 12] = ["<>", "<=", ">=", "<", ">", "=", "&", "+", "-", "*", "/", "^"];

type Parsed = Result<(), String>;

/// What follows the first `=`. `is_function` tells which functions there are, in capitals.
pub(super) fn check(text: &str, is_function: &dyn Fn(&str) -> bool) -> Parsed {
    let mut parser = Parser { text, at: 0, depth: 0, is_function };
    parser.expression()?;
    match parser.peek() {
        None => Ok(()),
        Some(')') => Err(parser.fault("a parenthesis closes that was not open")),
        Some(_) => Err(parser.no_operator()),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    depth: usize,
    is_function: &'a dyn Fn(&str) -> bool,
}

/// One end of a range, by what it names.
#[derive(PartialEq)]
enum End {
    Cell,
    Column,
    Row,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault(&format!("it nests deeper than {DEPTH_MAX}")));
        }
        loop {
            self.operand()?;
            self.blanks();
            let rest = self.rest();
            let Some(operator) = OPERATORS.iter().find(|it| rest.starts_with(**it)) else { break };
            self.at += operator.len();
        }
        self.depth -= 1;
        Ok(())
    }

    fn operand(&mut self) -> Parsed {
        self.blanks();
        while self.eat('+') || self.eat('-') {
            self.blanks();
        }
        match self.peek() {
            Some('"') => self.quoted('"').map(drop)?,
            Some('\'') => {
                let sheet = self.quoted('\'')?;
                if let Some(odd) = sheet.chars().find(|it| "[]|\\/?*:".contains(*it)) {
                    return Err(self.fault(&format!("`{odd}` is not possible in a sheet's name")));
                }
                if !self.eat('!') {
                    return Err(self.fault("after a sheet's name stands `!` and a cell"));
                }
                self.cells()?;
            }
            Some('(') => {
                self.at += 1;
                self.expression()?;
                self.close()?;
            }
            Some(first) if is_of_word(first) => self.word()?,
            Some(other) => {
                let what = format!("`{other}` stands where a value, a cell or a function must be");
                return Err(self.fault(&what));
            }
            None => return Err(self.fault("a value, a cell or a function is missing")),
        }
        self.blanks();
        while self.eat('%') {
            self.blanks();
        }
        Ok(())
    }

    /// A number, a word of logic, a call, or cells, perhaps of another sheet.
    fn word(&mut self) -> Parsed {
        let start = self.at;
        let word = self.take_word();
        let after = self.at;
        if self.eat('!') {
            return self.cells();
        }
        self.blanks();
        if self.peek() == Some('(') && !word.starts_with(|it: char| it.is_ascii_digit()) {
            let name = word.to_ascii_uppercase();
            if !(self.is_function)(&name) {
                return Err(format!("the function {name} is not available in formulas"));
            }
            return self.arguments();
        }
        self.at = after;
        let is_logic = ["TRUE", "FALSE"].iter().any(|it| word.eq_ignore_ascii_case(it));
        let is_range = self.peek() == Some(':');
        if !is_range && (is_logic || self.is_number(word)) {
            return Ok(());
        }
        self.at = start;
        self.cells()
    }

    /// One cell, or a range of cells, of columns or of rows.
    fn cells(&mut self) -> Parsed {
        let first = self.end()?;
        if !self.eat(':') {
            let is_cell = first == End::Cell;
            return if is_cell {
                Ok(())
            } else {
                Err(self.fault("a range ends in `:` and its end"))
            };
        }
        if self.end()? == first {
            Ok(())
        } else {
            Err(self.fault("the ends of a range are two cells, two columns or two rows"))
        }
    }

    fn end(&mut self) -> Result<End, String> {
        let word = self.take_word();
        end_of(word).ok_or_else(|| {
            let what = if word.is_empty() {
                "a cell is missing".to_owned()
            } else {
                format!("`{word}` is no number, cell or function")
            };
            self.fault(&what)
        })
    }

    fn arguments(&mut self) -> Parsed {
        self.at += 1;
        loop {
            self.blanks();
            // One that is left out is allowed.
            if !matches!(self.peek(), Some(',' | ')')) {
                self.expression()?;
            }
            if !self.eat(',') {
                return self.close();
            }
        }
    }

    fn close(&mut self) -> Parsed {
        if self.eat(')') {
            return Ok(());
        }
        Err(match self.peek() {
            None => self.fault("a parenthesis is left open"),
            Some(';') => self.fault("arguments have a comma between them"),
            Some(_) => self.no_operator(),
        })
    }

    /// What stands in quotes; a doubled quote is one of the text.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let start = self.at + 1;
        let mut from = start;
        while let Some(found) = self.text[from..].find(quote) {
            from += found + 1;
            if !self.text[from..].starts_with(quote) {
                self.at = from;
                return Ok(self.text[start..from - 1].to_owned());
            }
            from += 1;
        }
        Err(self.fault("a quote is left open"))
    }

    /// Moves on over an exponent's sign, which looks like an operator.
    fn is_number(&mut self, word: &str) -> bool {
        if let Some(mantissa) = word.strip_suffix(['e', 'E'])
            && is_decimal(mantissa)
        {
            let rest = self.rest();
            let digits = rest.strip_prefix(['+', '-']).unwrap_or_default();
            let count = digits.bytes().take_while(u8::is_ascii_digit).count();
            if count > 0 {
                self.at += 1 + count;
            }
            return count > 0;
        }
        match word.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => is_decimal(mantissa) && is_digits(exponent),
            None => is_decimal(word),
        }
    }

    fn take_word(&mut self) -> &'a str {
        let text: &'a str = self.text;
        let rest = &text[self.at..];
        let word = &rest[..rest.find(|it| !is_of_word(it)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(' ').len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.at += wanted.len_utf8();
        }
        is_there
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn no_operator(&self) -> String {
        let found = self.peek().map(String::from).unwrap_or_default();
        self.fault(&format!("`{found}` stands where an operator must be"))
    }

    /// Counted with the `=`.
    fn fault(&self, what: &str) -> String {
        format!("{what}, at character {}", self.text[..self.at].chars().count() + 2)
    }
}

// === private helpers ===

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '$')
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_one = |it: &str| it.is_empty() || is_digits(it);
    is_one(whole) && is_one(part) && !(whole.is_empty() && part.is_empty())
}

fn end_of(word: &str) -> Option<End> {
    let word = word.strip_prefix('$').unwrap_or(word);
    let letters = word.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (column, row) = word.split_at(letters);
    let has_mark = row.starts_with('$');
    let row = row.strip_prefix('$').unwrap_or(row);
    let is_column = !column.is_empty() && column.len() <= 3 && number_of(column) <= COLUMNS_MAX;
    let is_row = is_digits(row) && row.parse().is_ok_and(|it: u32| (1..=ROWS_MAX).contains(&it));
    match (column.is_empty(), row.is_empty() && !has_mark) {
        (false, false) if is_column && is_row => Some(End::Cell),
        (false, true) if is_column => Some(End::Column),
        (true, false) if is_row && !has_mark => Some(End::Row),
        _ => None,
    }
}

/// Of a column: A is 1, Z is 26, AA is 27.
fn number_of(column: &str) -> u32 {
    let digit = |letter: u8| u32::from(letter.to_ascii_uppercase() - b'A') + 1;
    column.bytes().fold(0, |number, letter| number * 26 + digit(letter))
}
