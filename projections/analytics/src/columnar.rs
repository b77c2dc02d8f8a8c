//! Figures for programs that read columns: Apache Parquet, and the stream of Arrow's inter-process format. Whoever has more
//! rows than memory writes them with [`ParquetStream`].
//!
//! Both are written from one table in memory, whose types follow from those in SQL; ids are texts there, because no
//! reader agrees with another on how they are to be stored. What is withheld is null. Each column carries its line of
//! the data dictionary as metadata, and the table says from when its figures are, so that a file explains itself.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMicrosecondArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::queries::{Column, Figures};

/// The media type of Parquet.
pub const PARQUET: &str = "application/vnd.apache.parquet";
/// The media type of a stream of Arrow.
pub const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// The name of the time zone that moments are of.
const UTC: &str = "UTC";

/// Why figures cannot be written as columns.
#[derive(Debug, thiserror::Error)]
pub enum ColumnarError {
    /// No type of Arrow stands for that of a column.
    #[error("the column {column} has the type {sql_type}, which no column of a file has")]
    UnknownType {
        /// The column.
        column: String,
        /// Its type in SQL.
        sql_type: String,
    },
    /// A cell does not hold what its column says.
    #[error("the column {column} holds a value that is no {sql_type}")]
    Stored {
        /// The column.
        column: String,
        /// Its type in SQL.
        sql_type: String,
    },
    /// The columns do not make a table, or its stream cannot be written.
    #[error("the table cannot be written as a stream of Arrow")]
    Arrow(#[from] ArrowError),
    /// The file cannot be written.
    #[error("the table cannot be written as Parquet")]
    Parquet(#[from] ParquetError),
}

/// A file of Apache Parquet, compressed with Snappy, which every reader knows.
///
/// # Errors
/// See [`ColumnarError`].
pub fn parquet(figures: &Figures) -> Result<Vec<u8>, ColumnarError> {
    let table = table(figures)?;
    let mut writer = writer(table.schema())?;
    writer.write(&table)?;
    Ok(writer.into_inner()?)
}

fn writer(schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    ArrowWriter::try_new(Vec::new(), schema, Some(properties))
}

/// A column of a file that is written while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamColumn {
    /// Its name.
    pub name: &'static str,
    /// What it means, for the file's own metadata.
    pub description: &'static str,
    /// What its cells are.
    pub kind: CellKind,
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// Texts; ids are texts too.
    Text,
    /// Whole numbers.
    Number,
    /// Moments of UTC, to the microsecond.
    Moment,
}

/// The cells of a column in some rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cells {
    /// Texts.
    Text(Vec<Option<String>>),
    /// Whole numbers.
    Number(Vec<Option<i64>>),
    /// Microseconds since 1970.
    Moment(Vec<Option<i64>>),
}

/// A file of Apache Parquet whose rows do not have to fit into memory. What was written is taken out piece by piece; the
/// pieces one after the other are the file.
pub struct ParquetStream {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl ParquetStream {
    /// Begins a file. `about` are names and values of its metadata.
    ///
    /// # Errors
    /// When the columns make no table.
    pub fn begin(columns: &[StreamColumn], about: HashMap<String, String>) -> Result<Self, ColumnarError> {
        let field = |column: &StreamColumn| {
            let kind = match column.kind {
                CellKind::Text => DataType::Utf8,
                CellKind::Number => DataType::Int64,
                CellKind::Moment => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            };
            let metadata = HashMap::from([("description".to_owned(), column.description.to_owned())]);
            Field::new(column.name, kind, true).with_metadata(metadata)
        };
        let fields: Vec<Field> = columns.iter().map(field).collect();
        let schema = Arc::new(Schema::new(fields).with_metadata(about));
        Ok(Self { writer: writer(Arc::clone(&schema))?, schema })
    }

    /// Writes rows, as many as every column has cells, as a group of their own; gives what there is of the file since.
    ///
    /// # Errors
    /// When the cells are not those of the columns.
    pub fn rows(&mut self, cells: Vec<Cells>) -> Result<Vec<u8>, ColumnarError> {
        let array = |cells| -> ArrayRef {
            match cells {
                Cells::Text(texts) => Arc::new(StringArray::from(texts)),
                Cells::Number(numbers) => Arc::new(Int64Array::from(numbers)),
                Cells::Moment(moments) => {
                    Arc::new(TimestampMicrosecondArray::from(moments).with_timezone(UTC))
                }
            }
        };
        let arrays = cells.into_iter().map(array).collect();
        let table = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.writer.write(&table)?;
        self.writer.flush()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    /// Ends the file; gives the rest of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<Vec<u8>, ColumnarError> {
        Ok(self.writer.into_inner()?)
    }
}

/// A stream of Arrow's inter-process format: schema, one batch, end.
///
/// # Errors
/// See [`ColumnarError`].
pub fn arrow_stream(figures: &Figures) -> Result<Vec<u8>, ColumnarError> {
    let table = table(figures)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &table.schema())?;
    writer.write(&table)?;
    Ok(writer.into_inner()?)
}

fn table(figures: &Figures) -> Result<RecordBatch, ColumnarError> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for column in &figures.columns {
        let array = array(column, &figures.rows)?;
        let metadata = HashMap::from([("description".to_owned(), column.description.clone())]);
        fields.push(Field::new(&column.name, array.data_type().clone(), true).with_metadata(metadata));
        arrays.push(array);
    }
    let mut metadata = HashMap::from([("view".to_owned(), figures.view.to_string())]);
    if let Some(freshness) = figures.freshness {
        metadata.insert("published_at".to_owned(), freshness.published_at.to_string());
        metadata.insert("small_cell_threshold".to_owned(), freshness.small_cell_threshold.to_string());
        if let Some(newest) = freshness.newest_event_at {
            metadata.insert("newest_event_at".to_owned(), newest.to_string());
        }
    }
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    let options = RecordBatchOptions::new().with_row_count(Some(figures.rows.len()));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

fn array(column: &Column, rows: &[Value]) -> Result<ArrayRef, ColumnarError> {
    Ok(match column.sql_type.as_str() {
        "uuid" | "text" => Arc::new(StringArray::from(values(column, rows, Value::as_str)?)),
        "boolean" => Arc::new(BooleanArray::from(values(column, rows, Value::as_bool)?)),
        "integer" => Arc::new(Int32Array::from(values(column, rows, |value| {
            value.as_i64().and_then(|number| i32::try_from(number).ok())
        })?)),
        "bigint" => Arc::new(Int64Array::from(values(column, rows, Value::as_i64)?)),
        "double precision" => Arc::new(Float64Array::from(values(column, rows, Value::as_f64)?)),
        _ => {
            return Err(ColumnarError::UnknownType {
                column: column.name.clone(),
                sql_type: column.sql_type.clone(),
            });
        }
    })
}

/// A column of every row, null where it is withheld.
fn values<'a, T>(
    column: &Column,
    rows: &'a [Value],
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Vec<Option<T>>, ColumnarError> {
    let value = |row: &'a Value| match row.get(&column.name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| ColumnarError::Stored {
            column: column.name.clone(),
            sql_type: column.sql_type.clone(),
        }),
    };
    rows.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use carelog_domain::access::AnalyticsView;
    use serde_json::json;

    use super::*;

    fn figures(sql_type: &str, value: &Value) -> Figures {
        let (name, description) = ("patients".to_owned(), "Distinct patients. Class: number".to_owned());
        Figures {
            view: AnalyticsView::ExerciseStreaks,
            freshness: None,
            columns: vec![Column { name, sql_type: sql_type.to_owned(), description }],
            rows: vec![json!({ "patients": value }), json!({ "patients": null })],
        }
    }

    #[test]
    fn each_type_of_sql_has_its_own_and_what_is_withheld_is_null() {
        for (sql_type, value, expected) in [
            ("uuid", json!("0197a000-0000-7000-8000-000000000001"), DataType::Utf8),
            ("text", json!("all"), DataType::Utf8),
            ("boolean", json!(false), DataType::Boolean),
            ("integer", json!(15), DataType::Int32),
            ("bigint", json!(1_i64 << 40), DataType::Int64),
            ("double precision", json!(0.25), DataType::Float64),
        ] {
            let table = table(&figures(sql_type, &value)).unwrap();

            let field = table.schema_ref().field(0);
            assert_eq!((field.data_type(), table.num_rows()), (&expected, 2));
            assert_eq!((table.column(0).is_null(0), table.column(0).is_null(1)), (false, true));
            assert_eq!(field.metadata()["description"], "Distinct patients. Class: number");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_never_left_out() {
        for (sql_type, value) in [("integer", json!(1_i64 << 40)), ("boolean", json!(1)), ("text", json!(1))]
        {
            let refused = parquet(&figures(sql_type, &value)).unwrap_err();
            assert!(matches!(refused, ColumnarError::Stored { .. }), "{refused}");
        }
        let refused = arrow_stream(&figures("jsonb", &json!({}))).unwrap_err();
        assert!(matches!(refused, ColumnarError::UnknownType { .. }), "{refused}");
    }
}
