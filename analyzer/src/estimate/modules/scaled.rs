//! Recorded shapes as another batch would have them.

use crate::load::ModuleRow;

/// The first size of what the outermost module took: the batch, where its first size is that.
pub(super) fn first_size(rows: &[ModuleRow]) -> Option<i64> {
    // Calls of inner modules end first.
    let outermost = rows.iter().rev().find_map(|row| row.inputs.as_ref())?;
    outermost.first()?.first().copied()
}

/// The rows with `asked` in the place of `recorded` wherever that is the first size of a shape, and whether it was of any.
pub(super) fn scaled(mut rows: Vec<ModuleRow>, recorded: i64, asked: i64) -> (Vec<ModuleRow>, bool) {
    let mut has_any = false;
    for row in &mut rows {
        for shape in row.inputs.iter_mut().chain(&mut row.outputs).flatten() {
            if let Some(size) = shape.first_mut().filter(|size| **size == recorded) {
                *size = asked;
                has_any = true;
            }
        }
    }
    (rows, has_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, inputs: &[&[i64]], outputs: &[&[i64]]) -> ModuleRow {
        let shapes = |shapes: &[&[i64]]| Some(shapes.iter().map(|shape| shape.to_vec()).collect());
        ModuleRow {
            path: path.to_owned(),
            class: None,
            parameters: None,
            parameter_bytes: None,
            buffers: None,
            buffer_bytes: None,
            dtypes: Vec::new(),
            shapes: vec![vec![16, 64]],
            inputs: shapes(inputs),
            outputs: shapes(outputs),
        }
    }

    #[test]
    fn the_batch_is_scaled_and_nothing_else() {
        let rows = vec![row("a", &[&[16, 64], &[64, 16]], &[&[16, 16]]), row("", &[&[16, 64]], &[&[1]])];
        assert_eq!(first_size(&rows), Some(16));
        let (rows, has_any) = scaled(rows, 16, 32);
        assert!(has_any);
        assert_eq!(rows[0].inputs, Some(vec![vec![32, 64], vec![64, 16]]));
        assert_eq!(rows[0].outputs, Some(vec![vec![32, 16]]));
        assert_eq!(rows[0].shapes, [[16, 64]], "parameters do not grow");
        assert!(!scaled(rows, 7, 9).1, "no shape has it");
    }
}
