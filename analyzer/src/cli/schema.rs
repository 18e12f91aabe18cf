//! `tidegauge schema`.

use std::io::Write as _;

use anyhow::Result;
use tidegauge_schemas::{Table, format_doc};

use crate::render::{self, Cell, Format};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The whole format as Markdown: FORMAT.md
    #[arg(long)]
    markdown: bool,
    /// As data
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let text = if args.markdown {
        format_doc::markdown()
    } else {
        columns().render(if args.json { Format::Json } else { Format::Text })
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn columns() -> render::Table {
    let mut table = render::Table::new(&[
        ("table", "Table"),
        ("column", "Column"),
        ("type", "Type"),
        ("nullable", "Nullable"),
        ("unit", "Unit"),
        ("doc", "What it holds"),
    ]);
    for of in Table::ALL {
        for column in of.columns() {
            table.rows.push(vec![
                Cell::Text(of.name().to_owned()),
                Cell::Text(column.name.to_owned()),
                Cell::Text(column.column_type.name().to_owned()),
                Cell::Flag(column.nullable),
                if column.unit.is_empty() { Cell::Unknown } else { Cell::Text(column.unit.to_owned()) },
                Cell::Text(column.doc.to_owned()),
            ]);
        }
    }
    table
}
