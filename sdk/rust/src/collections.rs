//! Maps and sets whose order follows from what was put into them.
//!
//! Owns: their hasher. Those of the standard library have another one for each map, which depends on how many were made before: so
//! their order would depend on which records share a call.

use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

/// As `std::collections::HashMap`; made with `HashMap::default()`.
pub type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// As `std::collections::HashSet`; made with `HashSet::default()`.
pub type HashSet<T> = std::collections::HashSet<T, BuildHasherDefault<DefaultHasher>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_follows_from_the_contents() {
        let words = || (0..100).map(|number| format!("w{number}")).collect::<HashSet<String>>();
        let first: Vec<String> = words().into_iter().collect();
        for _ in 0..10 {
            assert_eq!(words().into_iter().collect::<Vec<_>>(), first);
        }
    }
}
