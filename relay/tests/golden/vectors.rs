//! Reading files of vectors.

use std::collections::BTreeMap;

/// Names in the first column, each with its bytes indented below; `#` begins a comment.
pub(crate) fn vectors(text: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let content = line.split('#').next().unwrap();
        if content.trim().is_empty() {
            continue;
        }
        if content.starts_with(' ') {
            let name: &String = current.as_ref().expect("a name comes first");
            let bytes = content.split_whitespace();
            let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap());
            all.get_mut(name).unwrap().extend(bytes);
        } else {
            let name = content.trim().to_owned();
            assert!(
                all.insert(name.clone(), Vec::new()).is_none(),
                "{name} twice"
            );
            current = Some(name);
        }
    }
    all
}
