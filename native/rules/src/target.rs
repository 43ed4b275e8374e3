//! What a rule can change: some columns, and attributes.

use arrow::datatypes::DataType;
use otlake_base::Table;
use otlake_decode::schema::{SPAN_STATUS_COLUMN, SPAN_TEXT_COLUMNS, schema};

use crate::object::Pattern;

/// Columns of attributes that every table has.
pub const ATTRIBUTES: &str = "attributes";
/// Likewise, of resources.
pub const RESOURCE_ATTRIBUTES: &str = "resource_attributes";
/// Likewise, of scopes.
pub const SCOPE_ATTRIBUTES: &str = "scope_attributes";

/// Attributes of the elements of a list: the list's column and the field, as in `events.attributes`.
const NESTED: [(&str, &str); 3] = [
    ("events", "attributes"),
    ("links", "attributes"),
    ("exemplars", "filtered_attributes"),
];

/// One thing to change.
#[derive(Clone, Debug)]
pub enum Target {
    /// A column, by its number in the table.
    Column {
        /// Its number.
        at: usize,
        /// Its name.
        name: String,
        /// Whether it holds text, else a number.
        is_text: bool,
        /// Whether it can be null.
        is_nullable: bool,
    },
    /// Attributes.
    Attribute {
        /// The number of the column that holds their JSON text, or the list.
        at: usize,
        /// That column's name.
        column: String,
        /// The field of the list's elements that holds the text.
        field: Option<&'static str>,
        /// Which keys.
        key: Pattern,
    },
}

impl Target {
    /// Reads a column's name, `attributes['key']`, or `events.attributes['key']` of a table.
    ///
    /// # Errors
    /// Why it cannot be changed, and what can.
    pub fn parse(text: &str, table: Table) -> Result<Target, String> {
        let text = text.trim();
        match text.split_once('[') {
            Some((place, key)) => attribute(text, place.trim_end(), key, table),
            None => column(text, table),
        }
    }

    /// Whether `series_id` is made of it.
    pub fn names_series(&self) -> bool {
        match self {
            Target::Column { name, .. } => {
                matches!(&**name, "name" | "scope_name" | "scope_version")
            }
            Target::Attribute { column, .. } => {
                [ATTRIBUTES, RESOURCE_ATTRIBUTES, SCOPE_ATTRIBUTES].contains(&&**column)
            }
        }
    }
}

/// Columns that rules can change.
fn changeable(table: Table) -> Vec<&'static str> {
    let mut columns = match table {
        Table::Spans => vec!["name", "kind", "status_code", "status_message"],
        Table::Logs => vec!["body", "severity_number", "severity_text", "event_name"],
        _ => vec!["name", "description", "unit"],
    };
    columns.extend(["scope_name", "scope_version"]);
    columns
}

/// Columns of attributes.
fn places(table: Table) -> Vec<String> {
    let schema = schema(table);
    let mut places: Vec<String> = [
        ATTRIBUTES,
        RESOURCE_ATTRIBUTES,
        SCOPE_ATTRIBUTES,
        "metadata",
    ]
    .into_iter()
    .filter(|name| schema.column_with_name(name).is_some())
    .map(str::to_owned)
    .collect();
    let nested = NESTED
        .iter()
        .filter(|(column, _)| schema.column_with_name(column).is_some());
    places.extend(nested.map(|(column, field)| format!("{column}.{field}")));
    places
}

fn column(name: &str, table: Table) -> Result<Target, String> {
    let schema = schema(table);
    let changeable = changeable(table);
    let Some((at, field)) = schema.column_with_name(name) else {
        return Err(format!(
            "there is no column `{name}`; columns that can be changed are {}, and attributes are \
             written as attributes['key']",
            changeable.join(", ")
        ));
    };
    if places(table).iter().any(|place| place == name) {
        return Err(format!(
            "name the attribute: {name}['key'], or {name}['*'] for all of them"
        ));
    }
    let followed = match name {
        "service_name" => Some(format!("{RESOURCE_ATTRIBUTES}['service.name']")),
        "body_value" => Some("body".to_owned()),
        _ if table == Table::Spans => {
            let mut hot = SPAN_TEXT_COLUMNS.iter().chain([&SPAN_STATUS_COLUMN]);
            hot.find(|(column, _)| *column == name)
                .map(|(_, keys)| format!("{ATTRIBUTES}['{}']", keys[0]))
        }
        _ => None,
    };
    if let Some(followed) = followed {
        return Err(format!(
            "`{name}` says what {followed} says, and follows it: change that"
        ));
    }
    if !changeable.contains(&name) {
        return Err(format!(
            "`{name}` cannot be changed: ids, times, counts and values stay as they came; columns that \
             can be changed are {}",
            changeable.join(", ")
        ));
    }
    Ok(Target::Column {
        at,
        name: name.to_owned(),
        is_text: field.data_type() == &DataType::Utf8View,
        is_nullable: field.is_nullable(),
    })
}

fn attribute(text: &str, place: &str, key: &str, table: Table) -> Result<Target, String> {
    let key = key.strip_suffix(']').map(str::trim);
    let key = key.and_then(|key| key.strip_prefix('\'')?.strip_suffix('\''));
    // As in SQL, a quote within quotes stands twice.
    let key = key.filter(|key| !key.replace("''", "").contains('\''));
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Err(format!(
            "`{text}` is not an attribute: write {ATTRIBUTES}['key'], with the key in single quotes"
        ));
    };
    let places = places(table);
    if !places.iter().any(|known| known == place) {
        return Err(format!(
            "`{place}` has no attributes; those that have are {}",
            places.join(", ")
        ));
    }
    let (column, field) = match place.split_once('.') {
        None => (place, None),
        Some((column, _)) => {
            let nested = NESTED.iter().find(|(of, _)| *of == column);
            (column, nested.map(|(_, field)| *field))
        }
    };
    let schema = schema(table);
    let at = schema.index_of(column).map_err(|error| error.to_string())?;
    Ok(Target::Attribute {
        at,
        column: column.to_owned(),
        field,
        key: Pattern::new(&key.replace("''", "'")),
    })
}
