use std::fmt::Display;

/// `1 backend`, `2 backends`: a number of what `one` is called.
pub fn count<N: Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_all_else_is_several() {
        assert_eq!(count(0u64, "pool"), "0 pools");
        assert_eq!(count(1usize, "pool"), "1 pool");
        assert_eq!(count(21u32, "pool"), "21 pools");
    }
}
