//! [`Plot`]: a line chart as SVG, drawn for few series whose names stand at the end of their lines.
//!
//! Both the colour and the mark tell series apart; the colours are those of Okabe and Ito, which people with any colour
//! vision can tell from each other. This store has the widest line and comes last, above the others.

use std::fmt::Write;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 480.0;
/// Between the picture's edges and the field: left for labels of the axis, right for names of series.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 132.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 58.0;
/// Least distance of two names.
const NAME_HEIGHT: f64 = 17.0;

/// How a series looks.
#[derive(Clone, Copy, Debug)]
struct Look {
    colour: &'static str,
    width: f64,
    dash: &'static str,
    mark: Mark,
}

#[derive(Clone, Copy, Debug)]
enum Mark {
    Disc,
    Square,
    Diamond,
    Up,
    Down,
    Cross,
    None,
}

fn look(name: &str) -> Look {
    let solid = |colour, mark| Look { colour, width: 1.8, dash: "", mark };
    match name {
        "cidstore" => Look { colour: "#d55e00", width: 4.0, dash: "", mark: Mark::Disc },
        "hashbrown" => Look { dash: "6 4", ..solid("#000000", Mark::Square) },
        "papaya" => Look { dash: "6 4", ..solid("#777777", Mark::Diamond) },
        "lmdb" => solid("#0072b2", Mark::Square),
        "redb" => solid("#009e73", Mark::Up),
        "fjall" => solid("#cc79a7", Mark::Down),
        "parity-db" => solid("#e69f00", Mark::Diamond),
        "canopydb" => solid("#56b4e9", Mark::Disc),
        "rocksdb" => solid("#7a5230", Mark::Cross),
        _ => Look { dash: "2 4", ..solid("#444444", Mark::None) },
    }
}

/// A line: a name, and points by increasing x.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Stands at the line's end.
    pub name: String,
    /// Places on the axes; y is above zero.
    pub points: Vec<(f64, f64)>,
}

/// A chart with a logarithmic vertical axis.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Says what is shown.
    pub title: String,
    /// Says on what.
    pub subtitle: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Places on the horizontal axis and what stands there. The first and last are its ends.
    pub x_ticks: Vec<(f64, String)>,
    /// Beside the vertical axis.
    pub y_label: String,
    /// What stands at a place of the vertical axis.
    pub y_text: fn(f64) -> String,
    /// The lines.
    pub series: Vec<Series>,
}

impl Plot {
    /// The picture; `None` if no series has a point.
    #[must_use]
    pub fn to_svg(&self) -> Option<String> {
        let field = Field::of(self)?;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"13\">\n\
             <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            title = escaped(&self.title)
        );
        text(&mut svg, (LEFT, 26.0), "font-size=\"17\" font-weight=\"bold\"", &self.title);
        text(&mut svg, (LEFT, 46.0), "font-size=\"12\" fill=\"#555\"", &self.subtitle);
        self.axes(&mut svg, &field);
        let mut series: Vec<&Series> =
            self.series.iter().filter(|one| !one.points.is_empty()).collect();
        // A stable sort: the widest line is drawn last.
        series.sort_by(|one, other| look(&one.name).width.total_cmp(&look(&other.name).width));
        for one in &series {
            line(&mut svg, &field, one);
        }
        names(&mut svg, &field, &series);
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn axes(&self, svg: &mut String, field: &Field) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for value in field.y_ticks() {
            let y = field.y(value);
            rule(svg, (LEFT, y), (right, y));
            let attributes = "text-anchor=\"end\" fill=\"#333\"";
            text(svg, (LEFT - 8.0, y + 4.5), attributes, &(self.y_text)(value));
        }
        for (place, label) in &self.x_ticks {
            let x = field.x(*place);
            rule(svg, (x, TOP), (x, bottom));
            text(svg, (x, bottom + 20.0), "text-anchor=\"middle\" fill=\"#333\"", label);
        }
        let middle = ((LEFT + right) / 2.0, HEIGHT - 14.0);
        text(svg, middle, "text-anchor=\"middle\"", &self.x_label);
        let middle = (TOP + bottom) / 2.0;
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\"");
        text(svg, (18.0, middle), &turned, &self.y_label);
    }
}

/// Where values lie in the picture.
struct Field {
    x_ends: (f64, f64),
    y_ends: (f64, f64),
}

impl Field {
    fn of(plot: &Plot) -> Option<Self> {
        let x_ends = (plot.x_ticks.first()?.0, plot.x_ticks.last()?.0);
        let values = || plot.series.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y));
        let least = values().min_by(f64::total_cmp)?;
        let most = values().max_by(f64::total_cmp)?;
        // To the next round number on both sides.
        let below = ticks_from(least / 10.0).take_while(|tick| *tick <= least).last()?;
        let above = ticks_from(most).find(|tick| *tick >= most)?;
        Some(Self { x_ends, y_ends: (below, if above > below { above } else { below * 10.0 }) })
    }

    fn x(&self, place: f64) -> f64 {
        let (first, last) = self.x_ends;
        let share = if last > first { (place - first) / (last - first) } else { 0.5 };
        // Marks at the ends do not touch the edge.
        let inset = 18.0;
        LEFT + inset + share * (WIDTH - LEFT - RIGHT - 2.0 * inset)
    }

    fn y(&self, value: f64) -> f64 {
        let (least, most) = self.y_ends;
        let share = (value / least).ln() / (most / least).ln();
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    /// 1, 2 and 5 of each power of ten; only the powers where that would be too many.
    fn y_ticks(&self) -> Vec<f64> {
        let (least, most) = self.y_ends;
        let all = || ticks_from(least).take_while(|tick| *tick <= most * 1.001);
        if all().count() <= 10 {
            return all().collect();
        }
        all().filter(|tick| (tick.log10().round() - tick.log10()).abs() < 0.01).collect()
    }
}

/// 1, 2 and 5 of each power of ten, from the power at or below `least` on, those above it.
fn ticks_from(least: f64) -> impl Iterator<Item = f64> {
    let power = least.log10().floor() as i32;
    (power..)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
        .filter(move |tick| *tick >= least * 0.999)
}

fn line(svg: &mut String, field: &Field, series: &Series) {
    let Look { colour, width, dash, mark } = look(&series.name);
    let points: Vec<(f64, f64)> =
        series.points.iter().map(|(x, y)| (field.x(*x), field.y(*y))).collect();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dash}\" \
         stroke-linejoin=\"round\"/>",
        path.join(" ")
    );
    let size = 2.4 + width;
    for (x, y) in points {
        let shape = |corners: &[(f64, f64)]| {
            let corners: Vec<String> = corners
                .iter()
                .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * size, y + dy * size))
                .collect();
            format!("<polygon points=\"{}\" fill=\"{colour}\"/>\n", corners.join(" "))
        };
        svg.push_str(&match mark {
            Mark::Disc => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size:.1}\" fill=\"{colour}\"/>\n"),
            Mark::Square => shape(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            Mark::Diamond => shape(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
            Mark::Up => shape(&[(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)]),
            Mark::Down => shape(&[(0.0, 1.2), (1.1, -0.9), (-1.1, -0.9)]),
            Mark::Cross => format!(
                "<path d=\"M{:.1} {:.1}l{d:.1} {d:.1}m0 -{d:.1}l-{d:.1} {d:.1}\" stroke=\"{colour}\" stroke-width=\"2.4\"/>\n",
                x - size,
                y - size,
                d = 2.0 * size
            ),
            Mark::None => String::new(),
        });
    }
}

/// The names of series at the height of their lines' ends, moved apart where they would overlap.
fn names(svg: &mut String, field: &Field, series: &[&Series]) {
    let mut ends: Vec<(f64, (f64, f64), &str)> = series
        .iter()
        .filter_map(|one| {
            let (x, y) = one.points.last()?;
            Some((field.y(*y), (field.x(*x), field.y(*y)), one.name.as_str()))
        })
        .collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = TOP;
    for (place, ..) in &mut ends {
        *place = place.max(free);
        free = *place + NAME_HEIGHT;
    }
    let mut free = HEIGHT - BOTTOM + NAME_HEIGHT / 2.0;
    for (place, ..) in ends.iter_mut().rev() {
        *place = place.min(free);
        free = *place - NAME_HEIGHT;
    }
    let x = WIDTH - RIGHT + 14.0;
    for (place, (end_x, end_y), name) in ends {
        let Look { colour, width, .. } = look(name);
        // From the mark to the name, so that it is plain whose it is.
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{end_y:.1}\" x2=\"{:.1}\" y2=\"{place:.1}\" stroke=\"{colour}\" stroke-width=\"0.8\" \
             stroke-opacity=\"0.6\"/>",
            end_x + 8.0,
            x - 3.0
        );
        let weight = if width > 2.0 { "bold" } else { "normal" };
        let attributes = format!("fill=\"{colour}\" font-weight=\"{weight}\"");
        text(svg, (x, place + 4.5), &attributes, name);
    }
}

fn rule(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escaped(words));
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(series: Vec<Series>) -> Plot {
        Plot {
            title: "a < b".to_owned(),
            subtitle: String::new(),
            x_label: String::new(),
            x_ticks: vec![(0.0, "0".to_owned()), (1.0, "1".to_owned())],
            y_label: String::new(),
            y_text: |value| format!("{value}"),
            series,
        }
    }

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.to_owned(), points: points.to_vec() }
    }

    #[test]
    fn this_store_is_drawn_last_and_boldly() {
        let ours = series("cidstore", &[(0.0, 10.0), (1.0, 20.0)]);
        let theirs = series("lmdb", &[(0.0, 30.0), (1.0, 70.0)]);
        let svg = plot(vec![ours, theirs]).to_svg().unwrap();
        let (ours, theirs) = (svg.find("#d55e00").unwrap(), svg.find("#0072b2").unwrap());
        assert!(theirs < ours, "{svg}");
        assert!(svg.contains("font-weight=\"bold\">cidstore</text>"), "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn names_of_lines_that_end_together_are_apart() {
        let names = ["lmdb", "redb", "fjall", "canopydb"];
        let svg = plot(names.map(|name| series(name, &[(1.0, 50.0)])).to_vec()).to_svg().unwrap();
        let mut places: Vec<f64> = names
            .iter()
            .map(|name| {
                let line = svg.lines().find(|line| line.ends_with(&format!(">{name}</text>")));
                let after = line.unwrap().split("y=\"").nth(1).unwrap();
                after.split('"').next().unwrap().parse().unwrap()
            })
            .collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|two| two[1] - two[0] >= NAME_HEIGHT - 0.2), "{places:?}");
    }

    #[test]
    fn the_axis_reaches_round_numbers_around_all_values() {
        let field = Field::of(&plot(vec![series("lmdb", &[(0.0, 63.0), (1.0, 740.0)])])).unwrap();
        assert_eq!(field.y_ends, (50.0, 1000.0));
        assert_eq!(field.y_ticks(), [50.0, 100.0, 200.0, 500.0, 1000.0]);
        let wide = Field { x_ends: (0.0, 1.0), y_ends: (1.0, 100_000.0) };
        assert_eq!(wide.y_ticks(), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]);
    }

    #[test]
    fn nothing_makes_no_picture() {
        assert!(plot(vec![series("lmdb", &[])]).to_svg().is_none());
    }
}
