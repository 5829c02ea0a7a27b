//! The percentile distribution of a histogram as text, in the format of HdrHistogram's own tools (`.hgrm`, for
//! `plotFiles.html` and others).
//!
//! It reads nanoseconds and writes milliseconds.

use std::io::{self, Write};

use hdrhistogram::Histogram;

/// Lines for each halving of the distance to 100 %, as HdrHistogram has it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const NANOS_PER_MILLI: f64 = 1e6;

/// Writes the distribution of `histogram`, whose values are nanoseconds, in milliseconds.
///
/// A line says that `TotalCount` values, a share of `Percentile`, were at most `Value`. The last line, 100 %, has `inf`
/// for 1/(1-Percentile), as HdrHistogram's C library writes it; readers skip it. Values have as many decimals as the
/// histogram has digits.
///
/// # Errors
/// The errors of `out`.
pub fn write(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    let decimals = usize::from(histogram.sigfig());
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    writeln!(out)?;
    let mut count = 0;
    // The iterator would divide by zero.
    let steps = (!histogram.is_empty()).then(|| histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE));
    for step in steps.into_iter().flatten() {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NANOS_PER_MILLI;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:>12.decimals$} {quantile:>14.12} {count:>10} ")?;
        if quantile < 1.0 {
            writeln!(out, "{:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out, "{:>14}", "inf")?;
        }
    }
    let (mean, deviation) = (histogram.mean() / NANOS_PER_MILLI, histogram.stdev() / NANOS_PER_MILLI);
    let max = histogram.max() as f64 / NANOS_PER_MILLI;
    writeln!(out, "#[Mean    = {mean:>12.decimals$}, StdDeviation   = {deviation:>12.decimals$}]")?;
    writeln!(out, "#[Max     = {max:>12.decimals$}, Total count    = {:>12}]", histogram.len())?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", histogram.buckets(), sub_buckets(histogram))
}

/// Not in the histogram's API: the power of two that resolves twice as many values as its digits.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10_u64.pow(histogram.sigfig().into())).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for value in values {
            histogram.record(*value).unwrap();
        }
        histogram
    }

    fn text(histogram: &Histogram<u64>) -> String {
        let mut text = Vec::new();
        write(histogram, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn three_values_are_written_as_hdrhistogram_writes_them() {
        // 1, 2 and 4 ms are in buckets of 512, 1,024 and 2,048 ns and written as their upper ends: 1,000,447,
        // 2,000,895 and 4,001,791 ns. Ticks come every tenth up to 50 %, then every twentieth.
        assert_eq!(
            text(&histogram(&[1_000_000, 2_000_000, 4_000_000])),
            "       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000          1           1.00
       1.000 0.100000000000          1           1.11
       1.000 0.200000000000          1           1.25
       1.000 0.300000000000          1           1.43
       2.001 0.400000000000          2           1.67
       2.001 0.500000000000          2           2.00
       2.001 0.550000000000          2           2.22
       2.001 0.600000000000          2           2.50
       2.001 0.650000000000          2           2.86
       4.002 0.700000000000          3           3.33
       4.002 1.000000000000          3            inf
#[Mean    =        2.334, StdDeviation   =        1.247]
#[Max     =        4.002, Total count    =            3]
#[Buckets =           12, SubBuckets     =         2048]
"
        );
    }

    #[test]
    fn an_empty_histogram_has_only_head_and_tail() {
        let text = text(&histogram(&[]));
        assert!(
            text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n#[Mean"),
            "{text}"
        );
        assert!(text.contains("Total count    =            0]") && !text.contains("NaN"), "{text}");
    }
}
