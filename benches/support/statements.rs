//! Statements from PostgreSQL's log, as scripts for `pgbench`.

use std::collections::HashMap;

/// A statement with the values of its parameters, as literals of SQL.
pub struct Statement {
    sql: String,
    values: Vec<String>,
}

/// Returns the transactions of a log that `log_statement=all` wrote, in order. A statement outside of one is a transaction
/// too. Settings of a session are left out.
pub fn logged(log: &str) -> Vec<Vec<Statement>> {
    let mut transactions = Vec::new();
    // By the number of the process, since each session has its own.
    let mut open: HashMap<&str, Vec<Statement>> = HashMap::new();
    let mut last: Option<(&str, bool)> = None;
    for line in log.lines() {
        // `2026-11-28 22:12:54.782 UTC [27223] LOG:  statement: COMMIT`
        let Some((process, text)) = line.split_once('[').and_then(|(_, rest)| rest.split_once("] ")) else {
            continue;
        };
        if let Some(sql) = text.strip_prefix("LOG:  statement: ") {
            if sql.starts_with("BEGIN") {
                open.insert(process, Vec::new());
            } else if sql == "COMMIT" {
                transactions.extend(open.remove(process));
            }
            last = None;
        } else if let Some(sql) = text.strip_prefix("LOG:  execute ").and_then(|text| text.split_once(": ")) {
            let statement = Statement { sql: sql.1.to_owned(), values: Vec::new() };
            let in_transaction = open.contains_key(process);
            match open.get_mut(process) {
                Some(transaction) => transaction.push(statement),
                None => transactions.push(vec![statement]),
            }
            last = Some((process, in_transaction));
        } else if let (Some(values), Some((of, in_transaction))) = (parameters(text), last)
            && of == process
        {
            let transaction = if in_transaction { open.get_mut(process) } else { transactions.last_mut() };
            if let Some(statement) = transaction.and_then(|statements| statements.last_mut()) {
                statement.values = values;
            }
            last = None;
        }
    }
    transactions
}

/// Reads `DETAIL:  parameters: $1 = 'it''s', $2 = NULL`.
fn parameters(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix("DETAIL:  ")?;
    rest = rest.strip_prefix("parameters: ").or_else(|| rest.strip_prefix("Parameters: "))?;
    let mut values = Vec::new();
    while let Some((_, value)) = rest.split_once(" = ") {
        let end = if value.starts_with('\'') {
            end_of_literal(value)
        } else {
            value.find(',').unwrap_or(value.len())
        };
        values.push(value[..end].to_owned());
        rest = &value[end..];
    }
    Some(values)
}

/// Returns where a literal ends that begins with a quote. A quote in it is doubled.
fn end_of_literal(text: &str) -> usize {
    let mut quotes = text.match_indices('\'').map(|(at, _)| at).skip(1).peekable();
    while let Some(at) = quotes.next() {
        if quotes.peek() == Some(&(at + 1)) {
            quotes.next();
        } else {
            return at + 1;
        }
    }
    text.len()
}

/// Returns a script that runs a transaction with its values.
pub fn pgbench_script(transaction: &[Statement]) -> String {
    let body: String = transaction.iter().map(|statement| statement.with_values() + ";\n").collect();
    if transaction.len() == 1 { body } else { format!("BEGIN;\n{body}COMMIT;\n") }
}

impl Statement {
    /// Returns the statement with its values in place of `$1`, `$2` ….
    fn with_values(&self) -> String {
        let mut parts = self.sql.split('$');
        let mut sql = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let value = part[..digits].parse::<usize>().ok().and_then(|number| self.values.get(number - 1));
            match value {
                Some(value) if value.starts_with('\'') => sql += &escaped(value),
                Some(value) => sql += value,
                None => sql += &format!("${}", &part[..digits]),
            }
            sql += &part[digits..];
        }
        sql
    }
}

/// Returns the literal without colons, which begin a variable of `pgbench`.
fn escaped(literal: &str) -> String {
    format!("E{}", literal.replace('\\', "\\\\").replace(':', "\\x3A"))
}
