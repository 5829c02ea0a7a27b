//! The functions of expressions: what they take, and what they return.

use std::rc::Rc;

use time::{OffsetDateTime, UtcOffset};

use super::{
    types::{Type, suggestion},
    value::{Text, Value},
};
use crate::timestamp::Timestamp;

/// A function: its name, how it may be called, and the types of its arguments, of which a method's target is the first.
struct Function {
    name: &'static str,
    form: Form,
    takes: &'static [&'static [Type]],
    /// How many of the last arguments may be absent.
    optional: usize,
    returns: Type,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `f(x)`
    Function,
    /// `x.f()`
    Method,
    Either,
}

const TEXT: &[Type] = &[Type::Text];
const NUMBER: &[Type] = &[Type::Int, Type::Double, Type::Text];
const WHEN: &[Type] = &[Type::Time, Type::Duration];

const fn text_test(name: &'static str, form: Form) -> Function {
    Function { name, form, takes: &[TEXT, TEXT], optional: 0, returns: Type::Bool }
}

const fn conversion(name: &'static str, takes: &'static [&'static [Type]], returns: Type) -> Function {
    Function { name, form: Form::Function, takes, optional: 0, returns }
}

const fn date_part(name: &'static str, takes: &'static [&'static [Type]]) -> Function {
    Function { name, form: Form::Method, takes, optional: 1, returns: Type::Int }
}

const DATE: &[&[Type]] = &[&[Type::Time], TEXT];
const CLOCK: &[&[Type]] = &[WHEN, TEXT];

static FUNCTIONS: [Function; 21] = [
    Function {
        name: "size",
        form: Form::Either,
        takes: &[&[Type::Text, Type::List(&Type::Any), Type::Map(&Type::Any)]],
        optional: 0,
        returns: Type::Int,
    },
    text_test("contains", Form::Method),
    text_test("startsWith", Form::Method),
    text_test("endsWith", Form::Method),
    text_test("matches", Form::Either),
    Function { name: "lowerAscii", form: Form::Method, takes: &[TEXT], optional: 0, returns: Type::Text },
    conversion("int", &[&[Type::Int, Type::Double, Type::Text, Type::Time]], Type::Int),
    conversion("double", &[NUMBER], Type::Double),
    conversion("string", &[&[Type::Bool, Type::Int, Type::Double, Type::Text, Type::Time]], Type::Text),
    conversion("timestamp", &[&[Type::Text, Type::Time]], Type::Time),
    conversion("duration", &[&[Type::Text, Type::Duration]], Type::Duration),
    date_part("getFullYear", DATE),
    date_part("getMonth", DATE),
    date_part("getDate", DATE),
    date_part("getDayOfMonth", DATE),
    date_part("getDayOfWeek", DATE),
    date_part("getDayOfYear", DATE),
    date_part("getHours", CLOCK),
    date_part("getMinutes", CLOCK),
    date_part("getSeconds", CLOCK),
    date_part("getMilliseconds", CLOCK),
];

/// The longest text that a function makes or reads, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 16 * 1024;

/// Checks a call, and returns the type of its result.
pub(super) fn check(name: &str, is_method: bool, types: &[Type]) -> Result<Type, String> {
    let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
        let known = FUNCTIONS.iter().map(|function| function.name);
        let macros = ["has", "all", "exists", "exists_one", "filter", "map"];
        return Err(format!("there is no function {name}(){}", suggestion(name, known.chain(macros))));
    };
    match (function.form, is_method) {
        (Form::Function, true) => return Err(format!("write {name}(x), not x.{name}()")),
        (Form::Method, false) => return Err(format!("write x.{name}(), not {name}(x)")),
        _ => {}
    }
    let most = function.takes.len();
    if types.len() > most || types.len() + function.optional < most {
        let ([given, wanted], subject) =
            ([types.len(), most].map(|count| count - usize::from(is_method)), name);
        return Err(format!(
            "{subject}() takes {wanted} argument{}, and has {given}",
            if wanted == 1 { "" } else { "s" }
        ));
    }
    for (found, allowed) in types.iter().zip(function.takes) {
        if !allowed.iter().any(|kind| found.may_be(*kind)) {
            let allowed: Vec<_> = allowed.iter().map(|kind| kind.describe()).collect();
            return Err(format!("{name}() takes {}, and this is {}", allowed.join(" or "), found.describe()));
        }
    }
    Ok(function.returns)
}

/// Checks the arguments that are literal texts, so that a pattern or a time that can't be read is found early.
pub(super) fn check_literals(name: &str, literals: &[Option<&str>]) -> Result<(), String> {
    let first = literals.first().copied().flatten();
    let last = literals.last().copied().flatten();
    match name {
        "matches" => last.map_or(Ok(()), |pattern| regex(pattern).map(drop)),
        "timestamp" => first.map_or(Ok(()), |text| read_time(text).map(drop)),
        "duration" => first.map_or(Ok(()), |text| read_duration(text).map(drop)),
        _ if name.starts_with("get") && literals.len() == 2 => {
            last.map_or(Ok(()), |zone| offset(zone).map(drop))
        }
        _ => Ok(()),
    }
}

/// Calls a function; a method's target is the first argument. `spend` pays for work that depends on the length of a text.
pub(super) fn call<'a>(
    name: &str,
    arguments: &[Value<'a>],
    spend: &mut dyn FnMut(usize) -> Result<(), String>,
) -> Result<Value<'a>, String> {
    let wrong = || {
        let given: Vec<_> = arguments.iter().map(Value::describe).collect();
        Err(format!("{name}() can't take {}", given.join(" and ")))
    };
    for argument in arguments {
        if let Value::Text(text) = argument {
            spend(text.len() / 64)?;
        }
    }
    Ok(match (name, arguments) {
        ("size", [Value::Text(text)]) => Value::Int(length(text.chars().count())),
        ("size", [value]) => match value {
            Value::Map(map) => Value::Int(length(map.len())),
            Value::InputMap(map, _) => Value::Int(length(map.len())),
            value => match value.elements() {
                Some(elements) => Value::Int(length(elements.len())),
                None => return wrong(),
            },
        },
        ("contains", [Value::Text(text), Value::Text(part)]) => {
            spend(text.len() / 8)?;
            Value::Bool(text.contains(&**part))
        }
        ("startsWith", [Value::Text(text), Value::Text(part)]) => Value::Bool(text.starts_with(&**part)),
        ("endsWith", [Value::Text(text), Value::Text(part)]) => Value::Bool(text.ends_with(&**part)),
        ("matches", [Value::Text(text), Value::Text(pattern)]) => {
            // A pattern of this size takes up to some microseconds a byte.
            spend(1_000 + text.len() * 32)?;
            Value::Bool(regex(pattern)?.is_match(text))
        }
        ("lowerAscii", [Value::Text(text)]) => computed(text.to_ascii_lowercase())?,
        ("int", [value @ Value::Int(_)])
        | ("double", [value @ Value::Double(_)])
        | ("string", [value @ Value::Text(_)])
        | ("timestamp", [value @ Value::Time(_)])
        | ("duration", [value @ Value::Duration(_)]) => value.clone(),
        #[allow(clippy::cast_possible_truncation, reason = "it is in range")]
        ("int", [Value::Double(number)]) if number.abs() < 9.2e18 => Value::Int(*number as i64),
        ("int", [Value::Time(millis)]) => Value::Int(millis.div_euclid(1_000)),
        ("int", [Value::Text(text)]) => match text.parse() {
            Ok(number) => Value::Int(number),
            Err(_) => return wrong(),
        },
        #[allow(clippy::cast_precision_loss, reason = "as CEL converts")]
        ("double", [Value::Int(number)]) => Value::Double(*number as f64),
        ("double", [Value::Text(text)]) => match text.parse() {
            Ok(number) if f64::is_finite(number) => Value::Double(number),
            _ => return wrong(),
        },
        ("string", [Value::Bool(value)]) => Value::text(value.to_string()),
        ("string", [Value::Int(number)]) => Value::text(number.to_string()),
        ("string", [Value::Double(number)]) => Value::text(number.to_string()),
        ("string", [Value::Time(millis)]) => Value::text(Timestamp::from_unix_millis(*millis).to_rfc3339()),
        ("timestamp", [Value::Text(text)]) => Value::Time(read_time(text)?),
        ("duration", [Value::Text(text)]) => Value::Duration(read_duration(text)?),
        (part, [Value::Duration(millis)]) => match duration_part(part, *millis) {
            Some(number) => Value::Int(number),
            None => return wrong(),
        },
        (part, [Value::Time(millis)]) => match date_part_of(part, *millis, UtcOffset::UTC) {
            Some(number) => Value::Int(number),
            None => return wrong(),
        },
        (part, [Value::Time(millis), Value::Text(zone)]) => {
            match date_part_of(part, *millis, offset(zone)?) {
                Some(number) => Value::Int(number),
                None => return wrong(),
            }
        }
        _ => return wrong(),
    })
}

/// Returns a computed text, unless it is too long.
pub(super) fn computed<'a>(text: String) -> Result<Value<'a>, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("a text of {} bytes is longer than {MAX_TEXT_BYTES}", text.len()));
    }
    Ok(Value::Text(Text::Computed(Rc::from(text))))
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn regex(pattern: &str) -> Result<regex_lite::Regex, String> {
    regex_lite::RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX_BYTES)
        .nest_limit(32)
        .build()
        .map_err(|error| format!("the regular expression {pattern:?} can't be read: {error}"))
}

fn read_time(text: &str) -> Result<i64, String> {
    let time = Timestamp::parse_rfc3339(text);
    time.map(Timestamp::unix_millis).ok_or_else(|| {
        format!("timestamp() takes a time like \"2026-12-24T18:00:00Z\" or a date, not {:?}", shortened(text))
    })
}

/// Reads `1h30m`, `90s`, `250ms` or `7d`, with a sign or a fraction.
fn read_duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, f64); 7] = [
        ("ms", 1.0),
        ("us", 0.001),
        ("ns", 0.000_001),
        ("d", 86_400_000.0),
        ("h", 3_600_000.0),
        ("m", 60_000.0),
        ("s", 1_000.0),
    ];
    const MAX_MILLIS: f64 = 315_576_000_000_000.0;
    let refuse =
        || format!("duration() takes one like \"36h\", \"30m\" or \"7d\", not {:?}", shortened(text));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(refuse());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
        let number: f64 = rest[..end].parse().map_err(|_| refuse())?;
        rest = &rest[end..];
        let (unit, millis) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(refuse)?;
        rest = &rest[unit.len()..];
        total += number * millis;
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is in range")]
    if total <= MAX_MILLIS { Ok((sign * total).round() as i64) } else { Err(refuse()) }
}

/// Reads the offset of a time zone.
fn offset(zone: &str) -> Result<UtcOffset, String> {
    let refuse =
        || format!("time zones are given as UTC or as an offset like \"+02:00\", not {:?}", shortened(zone));
    if zone == "UTC" || zone == "Z" {
        return Ok(UtcOffset::UTC);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(refuse)?;
    let two_digits = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = two_digits(hours).zip(two_digits(minutes)).ok_or_else(refuse)?;
    if hours > 14 || minutes > 59 {
        return Err(refuse());
    }
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).map_err(|_| refuse())
}

fn date_part_of(part: &str, millis: i64, offset: UtcOffset) -> Option<i64> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()?;
    let moment = moment.checked_to_offset(offset)?;
    Some(match part {
        "getFullYear" => i64::from(moment.year()),
        "getMonth" => i64::from(u8::from(moment.month())) - 1,
        "getDate" => i64::from(moment.day()),
        "getDayOfMonth" => i64::from(moment.day()) - 1,
        "getDayOfWeek" => i64::from(moment.weekday().number_days_from_sunday()),
        "getDayOfYear" => i64::from(moment.ordinal()) - 1,
        "getHours" => i64::from(moment.hour()),
        "getMinutes" => i64::from(moment.minute()),
        "getSeconds" => i64::from(moment.second()),
        "getMilliseconds" => i64::from(moment.millisecond()),
        _ => return None,
    })
}

fn duration_part(part: &str, millis: i64) -> Option<i64> {
    Some(match part {
        "getHours" => millis / 3_600_000,
        "getMinutes" => millis / 60_000,
        "getSeconds" => millis / 1_000,
        "getMilliseconds" => millis % 1_000,
        _ => return None,
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
