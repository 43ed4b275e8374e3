//! SQL functions of otlake: reaching into attributes, ids in hexadecimal, names of enums, counts of
//! sampled spans.

use std::ptr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder,
    Float64Builder, Int64Builder, ListBuilder, StringViewArray, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use crate::attribute::{self, Needle};
use crate::trace_state::adjusted_count;

/// What a function makes of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    /// `attr(attributes, key)`: a value as text.
    Attr,
    /// `attr_int(attributes, key)`: an integer value.
    AttrInt,
    /// `attr_double(attributes, key)`: a number.
    AttrDouble,
    /// `attr_bool(attributes, key)`: a boolean value.
    AttrBool,
    /// `attr_json(attributes, key)`: any value as JSON text.
    AttrJson,
    /// `attr_keys(attributes)`: the keys, in order.
    AttrKeys,
    /// `hex(id)`: lower-case hexadecimal text.
    Hex,
    /// `unhex(text)`: bytes.
    Unhex,
    /// `trace_id(text)`: the 16 bytes of 32 hexadecimal digits.
    TraceId,
    /// `span_id(text)`: the 8 bytes of 16 hexadecimal digits.
    SpanId,
    /// `span_kind_name(kind)`: `SERVER` and its like.
    SpanKindName,
    /// `status_name(status_code)`: `UNSET`, `OK` or `ERROR`.
    StatusName,
    /// `severity_name(severity_number)`: `INFO2` and its like.
    SeverityName,
    /// `adjusted_count(trace_state)`: how many spans one stands for.
    AdjustedCount,
}

const ALL: [Function; 14] = [
    Function::Attr,
    Function::AttrInt,
    Function::AttrDouble,
    Function::AttrBool,
    Function::AttrJson,
    Function::AttrKeys,
    Function::Hex,
    Function::Unhex,
    Function::TraceId,
    Function::SpanId,
    Function::SpanKindName,
    Function::StatusName,
    Function::SeverityName,
    Function::AdjustedCount,
];

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Attr => "attr",
            Function::AttrInt => "attr_int",
            Function::AttrDouble => "attr_double",
            Function::AttrBool => "attr_bool",
            Function::AttrJson => "attr_json",
            Function::AttrKeys => "attr_keys",
            Function::Hex => "hex",
            Function::Unhex => "unhex",
            Function::TraceId => "trace_id",
            Function::SpanId => "span_id",
            Function::SpanKindName => "span_kind_name",
            Function::StatusName => "status_name",
            Function::SeverityName => "severity_name",
            Function::AdjustedCount => "adjusted_count",
        }
    }

    fn signature(self) -> Signature {
        let exact = |types| Signature::exact(types, Volatility::Immutable);
        match self {
            Function::Attr
            | Function::AttrInt
            | Function::AttrDouble
            | Function::AttrBool
            | Function::AttrJson => exact(vec![DataType::Utf8View, DataType::Utf8View]),
            Function::AttrKeys
            | Function::Unhex
            | Function::TraceId
            | Function::SpanId
            | Function::AdjustedCount => exact(vec![DataType::Utf8View]),
            Function::Hex => Signature::any(1, Volatility::Immutable),
            Function::SpanKindName | Function::StatusName | Function::SeverityName => {
                exact(vec![DataType::Int64])
            }
        }
    }

    fn return_type(self) -> DataType {
        match self {
            Function::AttrInt => DataType::Int64,
            Function::AttrDouble | Function::AdjustedCount => DataType::Float64,
            Function::AttrBool => DataType::Boolean,
            Function::AttrKeys => {
                DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)))
            }
            Function::Unhex => DataType::Binary,
            Function::TraceId => DataType::FixedSizeBinary(16),
            Function::SpanId => DataType::FixedSizeBinary(8),
            _ => DataType::Utf8View,
        }
    }

    /// The function as DataFusion calls it.
    pub(crate) fn udf(self) -> ScalarUDF {
        self.looking_for(None)
    }

    fn looking_for(self, wanted: Option<String>) -> ScalarUDF {
        ScalarUDF::new_from_impl(Udf {
            function: self,
            signature: self.signature(),
            wanted,
        })
    }
}

/// The call of a function that gives an attribute as text, where rows without the text `wanted` in their
/// attributes are of no use: it may be null for these. None for any other expression.
pub(crate) fn wanting(call: &Expr, wanted: &str) -> Option<Expr> {
    let Expr::ScalarFunction(call) = call else {
        return None;
    };
    let udf = call.func.inner().downcast_ref::<Udf>()?;
    let is_plain = udf.function == Function::Attr && udf.wanted.is_none();
    // A key for each row, or a column that is made first, is looked at as before.
    let is_stored = matches!(call.args.as_slice(), [Expr::Column(_), Expr::Literal(..)]);
    (is_plain && is_stored).then(|| {
        let wanting = Function::Attr.looking_for(Some(wanted.to_owned()));
        wanting.call(call.args.clone())
    })
}

/// Every function.
pub(crate) fn all() -> impl Iterator<Item = ScalarUDF> {
    ALL.into_iter().map(Function::udf)
}

/// `attr_json(json, key)`: the value of an attribute as its JSON text; null where there is none.
pub fn attribute_json(json: Expr, key: &str) -> Expr {
    let key = lit(ScalarValue::Utf8View(Some(key.to_owned())));
    Function::AttrJson.udf().call(vec![json, key])
}

/// `hex(bytes)`: lower-case hexadecimal text.
pub fn hexadecimal(bytes: Expr) -> Expr {
    Function::Hex.udf().call(vec![bytes])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Udf {
    function: Function,
    signature: Signature,
    /// Rows without this text in their attributes may be given as null.
    wanted: Option<String>,
}

impl ScalarUDFImpl for Udf {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.function.return_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let first = args.args[0].to_array(rows)?;
        let array: ArrayRef = match self.function {
            Function::Attr
            | Function::AttrInt
            | Function::AttrDouble
            | Function::AttrBool
            | Function::AttrJson => self.attribute(&first, &args.args[1], rows)?,
            Function::AttrKeys => keys(text(&first)?),
            Function::Hex => hex(&first)?,
            Function::Unhex => unhex(text(&first)?)?,
            Function::TraceId => id(text(&first)?, 16)?,
            Function::SpanId => id(text(&first)?, 8)?,
            Function::SpanKindName => names(&first, span_kind),
            Function::StatusName => names(&first, status),
            Function::SeverityName => names(&first, severity),
            Function::AdjustedCount => counts(text(&first)?),
        };
        Ok(ColumnarValue::Array(array))
    }
}

impl Udf {
    fn attribute(&self, json: &ArrayRef, key: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
        let json = text(json)?;
        let key_array = match key {
            ColumnarValue::Array(keys) => Arc::clone(keys),
            ColumnarValue::Scalar(key) => key.to_array_of_size(1)?,
        };
        let keys = text(&key_array)?;
        let constant = matches!(key, ColumnarValue::Scalar(_));
        let values = Values {
            json,
            keys,
            constant,
            rows,
            wanted: self.wanted.as_deref().map(Needle::new),
        };
        Ok(match self.function {
            Function::AttrInt => {
                let mut builder = Int64Builder::with_capacity(rows);
                values.each(|value| builder.append_option(value.and_then(attribute::int)));
                Arc::new(builder.finish())
            }
            Function::AttrDouble => {
                let mut builder = Float64Builder::with_capacity(rows);
                values.each(|value| builder.append_option(value.and_then(attribute::double)));
                Arc::new(builder.finish())
            }
            Function::AttrBool => {
                let mut builder = BooleanBuilder::with_capacity(rows);
                values.each(|value| builder.append_option(value.and_then(attribute::boolean)));
                Arc::new(builder.finish())
            }
            Function::AttrJson => {
                let mut builder = StringViewBuilder::with_capacity(rows);
                values.each(|value| builder.append_option(value));
                Arc::new(builder.finish())
            }
            _ => {
                let mut builder = StringViewBuilder::with_capacity(rows);
                values.each(|value| builder.append_option(value.and_then(attribute::text)));
                Arc::new(builder.finish())
            }
        })
    }
}

/// The attribute texts of a batch and the keys to look for.
struct Values<'a> {
    json: &'a StringViewArray,
    keys: &'a StringViewArray,
    constant: bool,
    rows: usize,
    wanted: Option<Needle>,
}

impl<'a> Values<'a> {
    /// Calls `take` with each row's raw value. Rows of one resource share one text, and a
    /// dictionary page's rows one buffer: a text at the same address is not scanned again.
    fn each(&self, mut take: impl FnMut(Option<&'a str>)) {
        let mut last: Option<(&'a str, Option<&'a str>)> = None;
        for row in 0..self.rows {
            let key = if self.constant { 0 } else { row };
            if self.json.is_null(row) || self.keys.is_null(key) {
                take(None);
                continue;
            }
            let json = self.json.value(row);
            let value = match last {
                Some((seen, value)) if self.constant && ptr::eq(seen, json) => value,
                _ if self.is_unwanted(json) => None,
                _ => attribute::find(json, self.keys.value(key)),
            };
            last = Some((json, value));
            take(value);
        }
    }

    fn is_unwanted(&self, json: &str) -> bool {
        let wanted = self.wanted.as_ref();
        wanted.is_some_and(|wanted| !wanted.may_be_in(json))
    }
}

fn text(array: &ArrayRef) -> Result<&StringViewArray> {
    match array.as_string_view_opt() {
        Some(array) => Ok(array),
        None => exec_err!("text is wanted, not {}", array.data_type()),
    }
}

fn keys(json: &StringViewArray) -> ArrayRef {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for json in json {
        match json.and_then(attribute::Entries::new) {
            Some(entries) => {
                for (key, _) in entries {
                    builder.values().append_value(attribute::unescape(key));
                }
                builder.append(true);
            }
            None => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

/// Lower-case hexadecimal text of bytes.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    push_hex(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends lower-case hexadecimal digits.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The bytes of hexadecimal text of either case; `None` where it is not that.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

fn hex(array: &ArrayRef) -> Result<ArrayRef> {
    let bytes = cast(array, &DataType::BinaryView)?;
    let mut builder = StringViewBuilder::with_capacity(bytes.len());
    for value in bytes.as_binary_view() {
        builder.append_option(value.map(to_hex));
    }
    Ok(Arc::new(builder.finish()))
}

fn unhex(array: &StringViewArray) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    for value in array {
        match value.map(|text| (text, from_hex(text))) {
            Some((_, Some(bytes))) => builder.append_value(bytes),
            Some((text, None)) => return exec_err!("`{text}` is not hexadecimal"),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn id(array: &StringViewArray, width: i32) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), width);
    for value in array {
        match value {
            Some(text) => match from_hex(text) {
                Some(bytes) if bytes.len() * 2 == text.len() && bytes.len() as i32 == width => {
                    builder.append_value(bytes)?;
                }
                _ => return exec_err!("`{text}` is not {} hexadecimal digits", width * 2),
            },
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn counts(states: &StringViewArray) -> ArrayRef {
    let mut builder = Float64Builder::with_capacity(states.len());
    for state in states {
        builder.append_value(adjusted_count(state.unwrap_or_default()));
    }
    Arc::new(builder.finish())
}

fn names(array: &ArrayRef, name: fn(i64) -> Option<&'static str>) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(array.len());
    for number in array.as_primitive::<Int64Type>() {
        builder.append_option(number.and_then(name));
    }
    Arc::new(builder.finish())
}

fn span_kind(number: i64) -> Option<&'static str> {
    const NAMES: [&str; 6] = [
        "UNSPECIFIED",
        "INTERNAL",
        "SERVER",
        "CLIENT",
        "PRODUCER",
        "CONSUMER",
    ];
    NAMES.get(usize::try_from(number).ok()?).copied()
}

fn status(number: i64) -> Option<&'static str> {
    ["UNSET", "OK", "ERROR"]
        .get(usize::try_from(number).ok()?)
        .copied()
}

fn severity(number: i64) -> Option<&'static str> {
    const NAMES: [&str; 25] = [
        "UNSPECIFIED",
        "TRACE",
        "TRACE2",
        "TRACE3",
        "TRACE4",
        "DEBUG",
        "DEBUG2",
        "DEBUG3",
        "DEBUG4",
        "INFO",
        "INFO2",
        "INFO3",
        "INFO4",
        "WARN",
        "WARN2",
        "WARN3",
        "WARN4",
        "ERROR",
        "ERROR2",
        "ERROR3",
        "ERROR4",
        "FATAL",
        "FATAL2",
        "FATAL3",
        "FATAL4",
    ];
    NAMES.get(usize::try_from(number).ok()?).copied()
}
