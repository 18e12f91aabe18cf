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

/// Where between two lines a rectangle of that width has most room up and down, at least the height, as
/// `[left, top, right, bottom]`; `is_free` is asked for each left edge.
pub(super) fn room_between(
    lower: &[Pixel],
    upper: &[Pixel],
    (width, height): (i32, i32),
    is_free: impl Fn(i32) -> bool,
) -> Option<[i32; 4]> {
    let (first, last) = (upper.first()?.0, upper.last()?.0);
    let mut best: Option<[i32; 4]> = None;
    for left in (first..last - width).step_by(8).filter(|left| is_free(*left)) {
        let right = left + width;
        let (Some((bottom, _)), Some((_, top))) = (span(lower, left, right), span(upper, left, right)) else {
            continue;
        };
        if bottom - top >= height && best.is_none_or(|best| bottom - top > best[3] - best[1]) {
            best = Some([left, top, right, bottom]);
        }
    }
    best
}

/// The least and the most pixels down that a line has between two pixels across; `None` where it does not reach both.
fn span(line: &[Pixel], left: i32, right: i32) -> Option<(i32, i32)> {
    let mut found: Option<(i32, i32)> = None;
    for pair in line.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if x1 < left || x0 > right {
            continue;
        }
        let (low, high) = found.unwrap_or((i32::MAX, i32::MIN));
        found = Some((low.min(y0.min(y1)), high.max(y0.max(y1))));
    }
    let reaches = line.first()?.0 <= left && line.last()?.0 >= right;
    found.filter(|_| reaches)
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

    #[test]
    fn a_label_lies_where_two_lines_are_apart() {
        let (lower, upper) = ([(0, 100), (200, 100)], [(0, 90), (100, 90), (101, 40), (200, 40)]);
        assert_eq!(room_between(&lower, &upper, (50, 20), |_| true), Some([104, 40, 154, 100]));
        assert_eq!(room_between(&lower, &upper, (50, 61), |_| true), None, "nowhere so high");
        assert_eq!(room_between(&lower, &upper, (50, 20), |left| left < 50), None);
    }
}
