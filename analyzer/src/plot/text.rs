//! How wide text is, and what of it fits: no font is at hand where a plot is drawn, and none is known where it is looked at.

/// Advances of the printable ASCII characters in DejaVu Sans, from the space on, in thousandths of the size: the widest of
/// the fonts that a plot is shown in, hence a bound for all of them.
const ADVANCES: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295,
    295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838,
    500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521,
    392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];
/// What plotters divides sizes by on the way to SVG.
const SIZE_PER_PIXEL: f64 = 1.24;

fn advance(c: char) -> u16 {
    match c {
        ' '..='~' => ADVANCES[c as usize - 32],
        '·' => 318,
        'µ' => 636,
        '\u{80}'..='\u{24f}' => 790,
        '\u{1f000}'.. => 1400,
        _ => 1000,
    }
}

/// A bound on the width of text, pixels.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    let thousandths: u64 = text.chars().map(|c| u64::from(advance(c))).sum();
    (thousandths as f64 / 1000.0 * f64::from(size) / SIZE_PER_PIXEL).ceil() as i32
}

/// The text, or as much of its beginning and end as is at most so wide: they say most.
pub(super) fn fit(text: &str, size: i32, pixels: i32) -> String {
    if text.is_empty() || text_width(text, size) <= pixels {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    let cut = |keep: usize| {
        let head: String = characters[..keep - keep / 2].iter().collect();
        let tail: String = characters[characters.len() - keep / 2..].iter().collect();
        format!("{head}…{tail}")
    };
    let (mut fits, mut is_too_wide) = (0, characters.len());
    while fits + 1 < is_too_wide {
        let middle = usize::midpoint(fits, is_too_wide);
        if text_width(&cut(middle), size) <= pixels {
            fits = middle;
        } else {
            is_too_wide = middle;
        }
    }
    cut(fits)
}

/// The text in at most so many lines, broken between words; the last is cut if not all of it fits.
pub(super) fn wrap(text: &str, size: i32, pixels: i32, lines: usize) -> Vec<String> {
    let mut done: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if done.len() + 1 < lines && !line.is_empty() && text_width(&longer, size) > pixels {
            done.push(std::mem::replace(&mut line, word.to_owned()));
        } else {
            line = longer;
        }
    }
    done.push(line);
    done.iter().map(|line| fit(line, size, pixels)).collect()
}

/// Places that text or marks have taken.
#[derive(Debug, Default)]
pub(super) struct Taken(Vec<[i32; 4]>);

impl Taken {
    /// Takes `[left, top, right, bottom]` if nothing of it is taken; whether it was free.
    pub(super) fn take(&mut self, place: [i32; 4]) -> bool {
        let [left, top, right, bottom] = place;
        let is_free =
            self.0.iter().all(|[l, t, r, b]| right <= *l || left >= *r || bottom <= *t || top >= *b);
        if is_free {
            self.0.push(place);
        }
        is_free
    }

    /// Takes a place that something is drawn at, whatever else is there.
    pub(super) fn put(&mut self, place: [i32; 4]) {
        self.0.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_loses_its_middle() {
        let wide = text_width("abcdefghij", 15);
        assert_eq!(fit("abcdefghij", 15, wide), "abcdefghij");
        assert_eq!(fit("abcdefghij", 15, wide - 1), "abcd…hij");
        assert_eq!(fit("äöü", 15, 0), "…");
        assert_eq!(fit("", 15, 0), "");
    }

    #[test]
    fn text_is_broken_between_words() {
        let wide = text_width("one two", 15);
        assert_eq!(wrap("one two three", 15, wide, 3), ["one two", "three"]);
        assert_eq!(wrap("one two three", 15, wide, 2), ["one two", "three"]);
        let cut = wrap("one two three four", 15, wide, 2);
        assert!(cut.len() == 2 && cut[1].contains('…') && text_width(&cut[1], 15) <= wide, "{cut:?}");
        assert_eq!(wrap("", 15, 10, 2), [""]);
    }

    #[test]
    fn places_are_taken_once() {
        let mut taken = Taken::default();
        assert!(taken.take([0, 0, 10, 10]));
        assert!(!taken.take([9, 9, 12, 12]));
        assert!(taken.take([10, 0, 12, 10]), "side by side");
        taken.put([0, 0, 40, 40]);
        assert!(!taken.take([30, 30, 31, 31]));
    }
}
