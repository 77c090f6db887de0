//! Charts as SVG, and as PNG with a font that is part of the program.

use charts_rs::{
    BarChart, ChartBase, FunnelChart, HorizontalBarChart, LineChart, PieChart, RadarChart,
    RadarIndicator, ScatterChart, THEME_DARK, THEME_LIGHT, YAxisConfig,
};

use crate::error::RenderError;
use crate::limits::{LIMITS, most};
use crate::order::{Chart, ChartKind, Series, Theme};

/// Far within what the drawing can compute with; more is a mistake.
const VALUE_MAX: f64 = 1e30;

/// Of a scatter chart; many of them must still be told apart.
const POINT_RADIUS: f32 = 5.0;

pub(crate) fn png(chart: &Chart) -> Result<Vec<u8>, RenderError> {
    charts_rs::svg_to_png(&svg(chart)?).map_err(undrawable)
}

pub(crate) fn svg(chart: &Chart) -> Result<String, RenderError> {
    check(chart)?;
    let theme = match chart.theme {
        Theme::Light => THEME_LIGHT,
        Theme::Dark => THEME_DARK,
    };
    let drawn = match chart.kind {
        ChartKind::Bar => {
            let mut drawing = BarChart::new_with_theme(series(chart), labels(chart), theme);
            dress(&mut drawing.base, chart);
            name_axis(&mut drawing.y_axis_configs, chart);
            drawing.svg()
        }
        ChartKind::HorizontalBar => {
            // Drawn from below, and read from above.
            let mut series = series(chart);
            for series in &mut series {
                series.data.reverse();
            }
            let labels = labels(chart).into_iter().rev().collect();
            let mut drawing = HorizontalBarChart::new_with_theme(series, labels, theme);
            dress(&mut drawing.base, chart);
            drawing.svg()
        }
        ChartKind::Line | ChartKind::Area => {
            let mut drawing = LineChart::new_with_theme(series(chart), labels(chart), theme);
            dress(&mut drawing.base, chart);
            drawing.base.series.fill = chart.kind == ChartKind::Area;
            name_axis(&mut drawing.y_axis_configs, chart);
            drawing.svg()
        }
        ChartKind::Pie | ChartKind::Donut => {
            let mut drawing = PieChart::new_with_theme(slices(chart), theme);
            dress(&mut drawing.base, chart);
            // Room for the names beside the slices.
            drawing.radius = as_f32(chart.width.min(chart.height)) * 0.3;
            let hole = if chart.kind == ChartKind::Donut { 0.55 } else { 0.0 };
            drawing.inner_radius = drawing.radius * hole;
            drawing.rose_type = Some(false);
            // Rounded corners would leave specks of shares that are 0.
            drawing.border_radius = Some(0.0);
            drawing.svg()
        }
        ChartKind::Funnel => {
            let mut drawing = FunnelChart::new_with_theme(slices(chart), theme);
            dress(&mut drawing.base, chart);
            drawing.svg()
        }
        ChartKind::Scatter => {
            let mut drawing = ScatterChart::new_with_theme(series(chart), theme);
            drawing.series_symbol_sizes = vec![POINT_RADIUS; chart.series.len()];
            dress(&mut drawing.base, chart);
            name_axis(&mut drawing.y_axis_configs, chart);
            drawing.svg()
        }
        ChartKind::Radar => {
            let mut drawing = RadarChart::new_with_theme(series(chart), indicators(chart), theme);
            dress(&mut drawing.base, chart);
            drawing.svg()
        }
    };
    drawn.map_err(undrawable)
}

/// Everything that the drawing relies on, with the place of what is wrong.
fn check(chart: &Chart) -> Result<(), RenderError> {
    let kind = chart.kind;
    for (place, side) in [("chart.width", chart.width), ("chart.height", chart.height)] {
        if !(LIMITS.pixels_min..=LIMITS.pixels).contains(&side) {
            let (least, most) = (LIMITS.pixels_min, LIMITS.pixels);
            let fault = format!("{side} pixels; it is from {least} to {most}");
            return Err(RenderError::argument(place, fault));
        }
    }
    let stackable = [ChartKind::Bar, ChartKind::HorizontalBar, ChartKind::Line, ChartKind::Area]
        .contains(&kind);
    if chart.stacked && !stackable {
        return Err(RenderError::argument("chart.stacked", "only bars, lines and areas stack"));
    }
    let has_y_axis =
        [ChartKind::Bar, ChartKind::Line, ChartKind::Area, ChartKind::Scatter].contains(&kind);
    if !chart.y_title.is_empty() && !has_y_axis {
        return Err(RenderError::argument("chart.y_title", "this kind has no such axis"));
    }
    most("the number of series", chart.series.len(), LIMITS.series)?;
    let points = |series: &Series| series.values.len() + series.points.len();
    most("the number of points", chart.series.iter().map(points).sum(), LIMITS.points)?;
    let names = chart.series.iter().map(|series| &series.name);
    let texts = [&chart.title, &chart.subtitle, &chart.y_title];
    for text in chart.labels.iter().chain(names).chain(texts) {
        most("the length of a text in the chart", text.chars().count(), LIMITS.label_chars)?;
    }
    if chart.series.is_empty() {
        return Err(RenderError::argument("chart.series", "there is none"));
    }
    for (index, series) in chart.series.iter().enumerate() {
        check_series(chart, series, &format!("chart.series[{index}]"))?;
    }
    if kind == ChartKind::Radar && chart.labels.len() < 3 {
        return Err(RenderError::argument("chart.labels", "a radar has three or more"));
    }
    if kind == ChartKind::Scatter && !chart.labels.is_empty() {
        return Err(RenderError::argument("chart.labels", "a scatter chart has none"));
    }
    if [ChartKind::Pie, ChartKind::Donut, ChartKind::Funnel].contains(&kind) {
        check_shares(chart)?;
    }
    Ok(())
}

fn check_series(chart: &Chart, series: &Series, place: &str) -> Result<(), RenderError> {
    let scatter = chart.kind == ChartKind::Scatter;
    let (given, other, wanted) = if scatter {
        (series.points.len(), series.values.len(), "points")
    } else {
        (series.values.len(), series.points.len(), "values")
    };
    if other > 0 || given == 0 {
        return Err(RenderError::argument(place, format!("this kind of chart takes `{wanted}`")));
    }
    if !scatter && given != chart.labels.len() {
        let fault = format!("{given} values for {} labels", chart.labels.len());
        return Err(RenderError::argument(format!("{place}.values"), fault));
    }
    let gaps_possible = !matches!(
        chart.kind,
        ChartKind::Pie | ChartKind::Donut | ChartKind::Funnel | ChartKind::Radar
    );
    if !gaps_possible && let Some(index) = series.values.iter().position(Option::is_none) {
        let place = format!("{place}.values[{index}]");
        return Err(RenderError::argument(place, "this kind of chart has no gaps"));
    }
    let values = series.values.iter().flatten().chain(series.points.iter().flatten());
    if values.clone().next().is_none() {
        return Err(RenderError::argument(place, "it has no value at all"));
    }
    if let Some(value) = values.into_iter().find(|value| value.is_nan() || value.abs() > VALUE_MAX)
    {
        return Err(RenderError::argument(place, format!("{value:e} is too large to be drawn")));
    }
    Ok(())
}

fn check_shares(chart: &Chart) -> Result<(), RenderError> {
    let [series] = chart.series.as_slice() else {
        return Err(RenderError::argument("chart.series", "this kind of chart has one"));
    };
    most("the number of shares", series.values.len(), LIMITS.series)?;
    let values = series.values.iter().flatten();
    if values.clone().any(|value| *value < 0.0) || values.sum::<f64>() <= 0.0 {
        let fault = "shares are 0 or more, and one of them is more";
        return Err(RenderError::argument("chart.series[0].values", fault));
    }
    Ok(())
}

fn dress(base: &mut ChartBase, chart: &Chart) {
    base.width = as_f32(chart.width);
    base.height = as_f32(chart.height);
    base.margin = charts_rs::Box { left: 20.0, top: 10.0, right: 40.0, bottom: 10.0 };
    base.title.text = printable(&chart.title);
    base.sub_title.text = printable(&chart.subtitle);
    base.series.label.hide_overlap = true;
    if chart.series.iter().all(|series| series.name.is_empty()) {
        base.legend.show = Some(false);
    }
}

fn name_axis(axes: &mut Vec<YAxisConfig>, chart: &Chart) {
    if chart.y_title.is_empty() {
        return;
    }
    if axes.is_empty() {
        axes.push(YAxisConfig::default());
    }
    axes[0].title = Some(printable(&chart.y_title));
}

fn series(chart: &Chart) -> Vec<charts_rs::Series> {
    let drawn = |(index, series): (usize, &Series)| charts_rs::Series {
        name: printable(&series.name),
        // Only one of the two holds anything.
        data: (series.points.iter().flatten().map(|value| Some(*value)))
            .chain(series.values.iter().copied())
            .map(|value| value.map(narrow))
            .collect(),
        index: Some(index),
        label_show: chart.show_values,
        stack: chart.stacked.then(|| "all".to_owned()),
        ..Default::default()
    };
    chart.series.iter().enumerate().map(drawn).collect()
}

/// Each value as a series of its own, named by its label.
fn slices(chart: &Chart) -> Vec<charts_rs::Series> {
    let values = chart.series.iter().flat_map(|series| series.values.iter().flatten());
    let slice = |(index, (label, value)): (usize, (&String, &f64))| charts_rs::Series {
        name: printable(label),
        data: vec![Some(narrow(*value))],
        index: Some(index),
        label_show: chart.show_values,
        ..Default::default()
    };
    chart.labels.iter().zip(values).enumerate().map(slice).collect()
}

/// The axis of each label ends at its largest value.
fn indicators(chart: &Chart) -> Vec<RadarIndicator> {
    let largest = |index: usize| {
        let values = chart.series.iter().filter_map(|series| series.values.get(index).copied()?);
        values.fold(0.0, f64::max)
    };
    let overall = (0..chart.labels.len()).map(largest).fold(0.0, f64::max);
    let indicator = |label: &String| RadarIndicator {
        name: printable(label),
        min: 0.0,
        max: narrow(if overall > 0.0 { overall } else { 1.0 }),
    };
    chart.labels.iter().map(indicator).collect()
}

fn labels(chart: &Chart) -> Vec<String> {
    chart.labels.iter().map(|label| printable(label)).collect()
}

/// What XML can hold.
fn printable(text: &str) -> String {
    let possible =
        |character: &char| !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}');
    text.chars().filter(possible).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "pixels are fewer than a value's digits")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "sides of a chart are small numbers")]
fn as_f32(pixels: usize) -> f32 {
    pixels as f32
}

fn undrawable(error: impl std::fmt::Display) -> RenderError {
    RenderError::Chart(error.to_string())
}
