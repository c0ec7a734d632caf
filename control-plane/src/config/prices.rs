//! The list `prices`: what models cost here, before the vendors' list prices.

use jupiter_filter::config::{ModelPrice, Price};

use super::reader::{Document, Section};

pub(super) fn read(document: &mut Document<'_>, root: &mut Section) -> Option<Vec<ModelPrice>> {
    let mut prices = Some(Vec::new());
    for mut s in document.list(root, "prices") {
        let model = document.required(&mut s, "model", |text| Ok(text.to_owned()));
        let input = document.required(&mut s, "input", per_million);
        let output = document.required(&mut s, "output", per_million);
        document.finish(&s);
        let price = (|| {
            Some(ModelPrice {
                model: model?,
                price: Price {
                    input_nano: input?,
                    output_nano: output?,
                },
            })
        })();
        match (price, &mut prices) {
            (Some(price), Some(list)) => list.push(price),
            _ => prices = None,
        }
    }
    prices
}

/// Dollars per million tokens are thousands of nano-dollars per token.
fn per_million(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is not a price in dollars per million tokens such as `2.50`, with at most three digits after the point"
        )
    };
    let (whole, thousandths) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(thousandths) || thousandths.len() > 3 {
        return Err(wrong());
    }
    let thousandths: u64 = format!("{thousandths:0<3}").parse().map_err(|_| wrong())?;
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    // A million dollars for a token is more than anyone asks.
    match whole {
        0..1_000_000_000 => Ok(whole * 1_000 + thousandths),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact_or_refused() {
        for (text, nano) in [("2.50", 2_500), ("0.075", 75), ("10", 10_000), ("0", 0)] {
            assert_eq!(per_million(text), Ok(nano), "{text}");
        }
        for wrong in [
            "",
            "-1",
            "2,5",
            "0.0001",
            ".5",
            "1e3",
            "99999999999",
            "free",
        ] {
            assert!(per_million(wrong).is_err(), "{wrong}");
        }
    }
}
