//! The parameters of a statement: values reach SQL in no other way.

use rusqlite::types::Value as SqlValue;

use registry_domain::filter::Value;

/// The values that a statement binds, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<SqlValue>);

impl Values {
    /// Adds a value and returns the parameter that stands for it.
    pub(super) fn bind(&mut self, value: impl Into<SqlValue>) -> String {
        self.0.push(value.into());
        format!("?{}", self.0.len())
    }

    /// Adds a value of a filter. A time is compared in milliseconds, as old rows may lack the fraction.
    pub(super) fn bind_value(&mut self, value: &Value) -> String {
        match value {
            Value::Text(text) => self.bind(text.clone()),
            Value::Integer(number) => self.bind(*number),
            Value::Number(number) => self.bind(*number),
            Value::Flag(flag) => self.bind(*flag),
            Value::Time(time) => format!("millis({})", self.bind(time.to_string())),
        }
    }

    /// Adds the values of a list.
    pub(super) fn bind_all(&mut self, values: &[Value]) -> String {
        values.iter().map(|value| self.bind_value(value)).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn into_inner(self) -> Vec<SqlValue> {
        self.0
    }
}
