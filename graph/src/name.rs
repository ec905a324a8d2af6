//! Names are paths of labels, rendered only when somebody reads them: a search builds thousands of
//! graphs a second and reads the names of few.

/// One step of a path: a word and, where there are several of it, a number. A word such as
/// `first/relu` is several steps at once, with no [`Graph::within`](crate::Graph::within) for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    pub(crate) word: &'static str,
    pub(crate) index: Option<u32>,
}

impl From<&'static str> for Label {
    fn from(word: &'static str) -> Self {
        Self { word, index: None }
    }
}

impl From<(&'static str, usize)> for Label {
    fn from((word, index): (&'static str, usize)) -> Self {
        Self { word, index: Some(index as u32) }
    }
}

/// An inner step and the scope it stands in; 0 is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) label: Label,
    pub(crate) parent: u32,
}

/// `a/b1/label` for a label in scope `b1` in scope `a`.
pub(crate) fn render(scopes: &[Scope], mut scope: u32, label: Label) -> String {
    let mut path = vec![label];
    while let Some(inner) = scope.checked_sub(1) {
        let Scope { label, parent } = scopes[inner as usize];
        path.push(label);
        scope = parent;
    }
    let mut name = String::new();
    for Label { word, index } in path.into_iter().rev() {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(word);
        if let Some(index) = index {
            name.push_str(&index.to_string());
        }
    }
    name
}
