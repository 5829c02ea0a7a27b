//! Operators of two operands: order, equality, membership and calculations.

use std::{cmp::Ordering, rc::Rc};

use super::{
    evaluate::{Evaluated, Evaluator, Failure, failed, path},
    functions,
    tree::{Node, Operator},
    value::{Elements, Value, compare_numbers},
};

impl<'a> Evaluator<'a, '_> {
    pub(super) fn binary(
        &mut self,
        operator: Operator,
        values: &[Value<'a>; 2],
        nodes: [&Node; 2],
    ) -> Evaluated<'a> {
        let [left, right] = values;
        match operator {
            Operator::Equal => return Ok(Value::Bool(self.equal(left, right)?)),
            Operator::NotEqual => return Ok(Value::Bool(!self.equal(left, right)?)),
            Operator::In => return self.contains(left, right, nodes),
            _ => {}
        }
        let refuse = || {
            let [a, b] = nodes.map(path);
            let symbol = operator.symbol();
            failed(format!(
                "{a} is {} and {b} is {}, which {symbol} can't take",
                left.describe(),
                right.describe()
            ))
        };
        if operator.is_order() {
            let order = match (left, right) {
                (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
                (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
                (Value::Int(a), Value::Double(b)) => compare_numbers(*a, *b),
                (Value::Double(a), Value::Int(b)) => compare_numbers(*b, *a).map(Ordering::reverse),
                (Value::Text(a), Value::Text(b)) => {
                    self.budget.spend(a.len().min(b.len()) / 32)?;
                    Some(a.cmp(b))
                }
                (Value::Time(a), Value::Time(b)) | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
                _ => return refuse(),
            };
            let holds = order.is_some_and(|order| match operator {
                Operator::Less => order.is_lt(),
                Operator::LessOrEqual => order.is_le(),
                Operator::Greater => order.is_gt(),
                _ => order.is_ge(),
            });
            return Ok(Value::Bool(holds));
        }
        let result = match (operator, left, right) {
            (_, Value::Int(a), Value::Int(b)) => integer(operator, *a, *b)?,
            (_, Value::Double(a), Value::Double(b)) => double(operator, *a, *b)?,
            #[allow(clippy::cast_precision_loss, reason = "integers of conditions are small")]
            (_, Value::Int(a), Value::Double(b)) => double(operator, *a as f64, *b)?,
            #[allow(clippy::cast_precision_loss, reason = "integers of conditions are small")]
            (_, Value::Double(a), Value::Int(b)) => double(operator, *a, *b as f64)?,
            (Operator::Add, Value::Text(a), Value::Text(b)) => {
                self.budget.spend((a.len() + b.len()) / 32)?;
                Some(functions::computed([&**a, &**b].concat())?)
            }
            (Operator::Add, Value::Time(a), Value::Duration(b))
            | (Operator::Add, Value::Duration(b), Value::Time(a)) => a.checked_add(*b).map(Value::Time),
            (Operator::Add, Value::Duration(a), Value::Duration(b)) => a.checked_add(*b).map(Value::Duration),
            (Operator::Subtract, Value::Time(a), Value::Duration(b)) => a.checked_sub(*b).map(Value::Time),
            (Operator::Subtract, Value::Time(a), Value::Time(b))
            | (Operator::Subtract, Value::Duration(a), Value::Duration(b)) => {
                a.checked_sub(*b).map(Value::Duration)
            }
            (Operator::Add, _, _) if !is_map(left) && !is_map(right) => {
                match (left.elements(), right.elements()) {
                    (Some(first), Some(second)) => Some(self.joined(&first, &second)?),
                    _ => return refuse(),
                }
            }
            _ => return refuse(),
        };
        result.map_or_else(|| failed(format!("the result of {} is too large", operator.symbol())), Ok)
    }

    fn joined(&mut self, first: &Elements<'_, 'a>, second: &Elements<'_, 'a>) -> Evaluated<'a> {
        self.budget.spend(first.len() + second.len())?;
        let of = |elements: &Elements<'_, 'a>| {
            (0..elements.len()).map_while(|at| elements.get(at)).collect::<Vec<_>>()
        };
        Ok(Value::List(Rc::new([of(first), of(second)].concat())))
    }

    fn contains(&mut self, key: &Value<'a>, within: &Value<'a>, nodes: [&Node; 2]) -> Evaluated<'a> {
        match (key, within) {
            (Value::Text(name), Value::Map(_) | Value::InputMap(..)) => {
                return Ok(Value::Bool(within.get(name).is_some()));
            }
            (_, Value::List(_) | Value::InputList(..)) => {}
            _ => {
                let [_, path] = nodes.map(path);
                let what = within.describe();
                return failed(format!("{path} is {what}, so nothing can be in it"));
            }
        }
        let Some(elements) = within.elements() else { return Ok(Value::Bool(false)) };
        for index in 0..elements.len() {
            let Some(element) = elements.get(index) else { break };
            if self.equal(key, &element)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }

    fn equal(&mut self, left: &Value<'a>, right: &Value<'a>) -> Result<bool, Failure> {
        self.budget.spend(1)?;
        Ok(match (left, right) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            #[allow(clippy::float_cmp, reason = "that is what == asks for")]
            (Value::Double(a), Value::Double(b)) => a == b,
            (Value::Int(a), Value::Double(b)) | (Value::Double(b), Value::Int(a)) => {
                compare_numbers(*a, *b) == Some(Ordering::Equal)
            }
            (Value::Text(a), Value::Text(b)) => {
                self.budget.spend(a.len().min(b.len()) / 32)?;
                a == b
            }
            (Value::Time(a), Value::Time(b)) | (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Object(a, _), Value::Object(b, _)) => {
                std::ptr::eq(*a, *b) || {
                    self.budget.spend(a.len() * 16)?;
                    a == b
                }
            }
            _ => match (self.elements(left)?, self.elements(right)?) {
                (Some(a), Some(b)) if is_map(left) == is_map(right) && a.len() == b.len() => {
                    for index in 0..a.len() {
                        let same = match (a.get(index), b.get(index)) {
                            (Some(Value::Text(key)), _) if is_map(left) => {
                                match (left.get(&key), right.get(&key)) {
                                    (Some(a), Some(b)) => self.equal(&a, &b)?,
                                    _ => false,
                                }
                            }
                            (Some(a), Some(b)) => self.equal(&a, &b)?,
                            _ => false,
                        };
                        if !same {
                            return Ok(false);
                        }
                    }
                    true
                }
                _ => false,
            },
        })
    }
}

fn is_map(value: &Value<'_>) -> bool {
    matches!(value, Value::Map(_) | Value::InputMap(..))
}

fn integer<'a>(operator: Operator, a: i64, b: i64) -> Result<Option<Value<'a>>, Failure> {
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        _ if b == 0 => return failed("a number is divided by zero"),
        Operator::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    Ok(result.map(Value::Int))
}

/// Calculates with doubles. A result that is not finite, which would compare as larger than any score, is refused.
fn double<'a>(operator: Operator, a: f64, b: f64) -> Result<Option<Value<'a>>, Failure> {
    let result = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        _ if b == 0.0 => return failed("a number is divided by zero"),
        Operator::Divide => a / b,
        _ => a % b,
    };
    Ok(Some(result).filter(|number| number.is_finite()).map(Value::Double))
}
