//! Text for people, JSON for programs.

use crate::client::ClientError;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// One thing: JSON as it is, or a line for each field.
    pub fn value(self, value: &Value) {
        if self.json {
            println!("{value}");
        } else {
            print_fields(value, 0);
        }
    }

    /// Many things: JSON as it is, or a table of the named fields.
    pub fn table(self, page: &Value, columns: &[&str]) {
        if self.json {
            println!("{page}");
            return;
        }
        let rows: Vec<Vec<String>> = page["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| columns.iter().map(|column| cell(item.pointer(&pointer(column)))).collect())
            .collect();
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(i, column)| rows.iter().map(|row| row[i].len()).chain([column.len()]).max().unwrap_or(0))
            .collect();
        print_row(&columns.iter().map(ToString::to_string).collect::<Vec<_>>(), &widths);
        for row in &rows {
            print_row(row, &widths);
        }
        if let Some(next) = page.get("next").and_then(Value::as_str) {
            eprintln!("there is more: --cursor {next}");
        }
    }

    pub fn note(self, text: &str) {
        if self.json {
            println!("{}", json!({ "message": text }));
        } else {
            println!("{text}");
        }
    }

    /// Errors go to standard error, as text or as JSON with the API's problem where there is one.
    pub fn failed(self, error: &anyhow::Error, code: u8) -> ExitCode {
        if self.json {
            let problem = match error.downcast_ref::<ClientError>() {
                Some(ClientError::Refused { problem, .. }) => problem.clone(),
                _ => Value::Null,
            };
            eprintln!("{}", json!({ "error": format!("{error:#}"), "problem": problem, "exitCode": code }));
        } else {
            eprintln!("error: {error:#}");
        }
        ExitCode::from(code)
    }
}

fn pointer(column: &str) -> String {
    format!("/{}", column.replace('.', "/"))
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn print_row(cells: &[String], widths: &[usize]) {
    let line: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    println!("{}", line.join("  ").trim_end());
}

fn print_fields(value: &Value, indent: usize) {
    let Value::Object(fields) = value else { return println!("{:indent$}{}", "", cell(Some(value))) };
    for (name, value) in fields {
        match value {
            Value::Object(_) => {
                println!("{:indent$}{name}:", "");
                print_fields(value, indent + 2);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                println!("{:indent$}{name}:", "");
                for item in items {
                    println!("{:indent$}  -", "");
                    print_fields(item, indent + 4);
                }
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| cell(Some(item))).collect();
                println!("{:indent$}{name}: {}", "", items.join(", "));
            }
            plain => println!("{:indent$}{name}: {}", "", cell(Some(plain))),
        }
    }
}
