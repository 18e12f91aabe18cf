//! Lines through pixels, with as few points as they need: what a large plot is made of.

/// A pixel.
pub(super) type Pixel = (i32, i32);

/// The line without the points that lie between their neighbours on a straight one.
pub(super) fn simplified(points: Vec<Pixel>) -> Vec<Pixel> {
    let mut line: Vec<Pixel> = Vec::with_capacity(points.len().min(64));
    for point in points {
        while let [.., (x0, y0), (x1, y1)] = line[..] {
            let (x2, y2) = point;
            if i64::from(x1 - x0) * i64::from(y2 - y0) != i64::from(x2 - x0) * i64::from(y1 - y0) {
                break;
            }
            line.pop();
        }
        line.push(point);
    }
    line
}

/// Characters of such a polygon in SVG.
pub(super) fn svg_length(points: &[Pixel]) -> usize {
    let digits = |number: i32| number.max(1).ilog10() as usize + 1;
    // An element with its colour and opacity takes some sixty.
    60 + points.iter().map(|(x, y)| digits(*x) + digits(*y) + 2).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_lines_have_two_points() {
        let line = simplified(vec![(0, 5), (1, 5), (2, 5), (3, 4), (4, 3), (5, 3), (6, 3)]);
        assert_eq!(line, [(0, 5), (2, 5), (4, 3), (6, 3)]);
        assert_eq!(simplified(vec![(0, 0)]), [(0, 0)]);
    }
}
